//! Coins: relayed at once, counted once, told to the server.

use crate::{demo::Demo, test_bench::TestBench, until};
use module_rig::{
    board::Output,
    modem::{Family, Plan},
};
use std::time::Duration;

const WIDTH: Duration = Duration::from_millis(60);
const GAP: Duration = Duration::from_millis(90);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the image: cargo xtask rig"]
async fn coins_are_relayed_counted_and_made_up_after_an_outage() {
    let demo = Demo::start().await;
    let code = demo.spare_code().await;
    let mut integrator = demo.integrator(&code).await;
    let mut bench = TestBench::provisioned(Family::Sim800, Plan::default(), &demo.module(), demo.broker()).await;
    integrator.next("status", |status| status["online"] == true).await;

    bench.board.coin(3, WIDTH, GAP).unwrap();
    let pulse = integrator.next("pulse", |_| true).await;
    assert_eq!((&pulse["pulses"], &pulse["coin_pulses_total"]), (&3.into(), &3.into()), "{pulse}");
    let width_ms = pulse["width_ms"].as_u64().unwrap();
    // Wide: the host's edges may come late to an emulator on a busy machine.
    assert!((20..=500).contains(&width_ms), "{pulse}");
    let relayed = bench.board.pulses(Output::Coin).unwrap();
    assert_eq!(relayed.len(), 3);

    // While the network is away coins are passed on as ever, and the total tells of them later.
    bench.board.modem.plan(|plan| plan.registration = module_rig::modem::Registration::Searching);
    bench.board.modem.with(|core| core.restart());
    for _ in 0..4 {
        bench.board.coin(1, WIDTH, GAP).unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    until("the relayed coins", async || (bench.board.pulses(Output::Coin).unwrap().len() == 7).then_some(())).await;
    bench.board.modem.plan(|plan| plan.registration = module_rig::modem::Registration::Taken);
    integrator.next("status", |status| status["online"] == true && status["coin_pulses_total"] == 7).await;

    // And they outlive a restart.
    let info = bench.console.reboot().await.unwrap();
    assert_eq!(info.totals.coin_pulses, 7);
}
