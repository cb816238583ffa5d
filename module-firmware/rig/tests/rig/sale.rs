//! A sale, from the scan page to the pulses on the machine's line.

use crate::{demo::Demo, test_bench::TestBench, until};
use module_rig::{
    board::Output,
    modem::{Family, Plan},
    pulses::gaps,
};
use std::time::{Duration, Instant};

/// A pulse, or a gap, as it should be.
const PULSE: Duration = Duration::from_millis(50);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the image: cargo xtask rig"]
async fn a_sale_goes_from_the_scan_page_to_pulses_and_shows_as_credited() {
    let demo = Demo::start().await;
    let code = demo.spare_code().await;
    let bench = TestBench::provisioned(Family::A7670, Plan::default(), &demo.module(), demo.broker()).await;
    let visitor = demo.visitor();
    visitor.price_forms(&code).await;
    let payment = visitor.try_order(&code).await.unwrap().expect("the machine is ready");

    let approved = Instant::now();
    let path = visitor.approve(&payment).await;
    let pulses = until("the pulses", async || {
        let pulses = bench.board.pulses(Output::Credit).unwrap();
        (pulses.len() == 2).then_some(pulses)
    })
    .await;
    println!("first pulse {} ms after the payment was approved", (pulses[0].at - approved).as_millis());
    visitor.sale_state(&path, &["credited"]).await;

    // Two pulses and a gap together, wide: each edge may be heard of late on a busy machine.
    let all = pulses[0].width + gaps(&pulses)[0] + pulses[1].width;
    assert!(all > PULSE && all < 20 * PULSE, "{pulses:?}");
    let page = visitor.get(&path).await;
    let given = "2 of 2 credits given".to_owned();
    assert!(page.texts(".receipt dd").contains(&given), "{:?}", page.texts(".receipt dd"));
    assert_eq!(bench.board.pulses(Output::Credit).unwrap().len(), 2);
    assert_eq!(bench.board.pulses(Output::Coin).unwrap(), [], "a credit is no coin");
}
