//! What is lost in the middle of a credit: the link, or all power; and what is lost for good: the memory.

use crate::{demo::Demo, test_bench::TestBench, until, visitor::Visitor};
use module_rig::{
    board::Output,
    modem::{Family, Plan},
};
use std::time::Duration;

/// So slow that the middle of a credit can be met.
const PACE_MS: u16 = 300;

/// Buys the second price, of six pulses, and gives the sale's path.
async fn buy_six(visitor: &Visitor, code: &str) -> String {
    let forms = visitor.price_forms(code).await;
    let ordered = visitor.submit(&forms[1]).await;
    let provider = ordered.location.unwrap_or_else(|| panic!("not ordered: {}", ordered.html));
    let payment = visitor.get(provider.as_str()).await.forms("/h5/pay").pop().expect("the provider's form");
    visitor.approve(&payment).await
}

async fn pulses_seen(bench: &TestBench, count: usize) {
    until("pulses", async || (bench.board.pulses(Output::Credit).unwrap().len() >= count).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the image: cargo xtask rig"]
async fn a_link_lost_in_mid_credit_costs_nothing_but_time() {
    let demo = Demo::start().await;
    let code = demo.spare_code().await;
    let mut bench = TestBench::provisioned(Family::Quectel, Plan::default(), &demo.module(), demo.broker()).await;
    bench.pace(PACE_MS, PACE_MS).await;
    let visitor = demo.visitor();
    let path = buy_six(&visitor, &code).await;
    pulses_seen(&bench, 1).await;

    bench.board.modem.with(|core| core.drop_bearer());
    visitor.sale_state(&path, &["credited"]).await;
    assert_eq!(bench.board.pulses(Output::Credit).unwrap().len(), 6);
    assert!(bench.board.modem.counters().connections >= 2, "the link was not lost");
    // Repeats of the command found it done.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(bench.board.pulses(Output::Credit).unwrap().len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the image: cargo xtask rig"]
async fn a_power_cut_in_mid_credit_is_told_not_resumed_and_refunded() {
    let demo = Demo::start().await;
    let code = demo.spare_code().await;
    let mut bench = TestBench::provisioned(Family::A7670, Plan::default(), &demo.module(), demo.broker()).await;
    bench.pace(PACE_MS, PACE_MS).await;
    let visitor = demo.visitor();
    // When a pulse has just ended and may not be in flash yet, and within the next but one.
    for (pulses, later_ms) in [(2, 0), (1, 3 * u64::from(PACE_MS) / 2)] {
        let path = buy_six(&visitor, &code).await;
        pulses_seen(&bench, pulses).await;
        tokio::time::sleep(Duration::from_millis(later_ms)).await;
        bench.board.stop().unwrap();
        // Those that ended; one that had begun counts for nothing.
        let seen = bench.board.pulses(Output::Credit).unwrap().len();

        bench.power_cycle(Duration::from_secs(1)).await;
        visitor.sale_state(&path, &["refunded"]).await;
        let page = visitor.get(&path).await;
        assert_eq!(page.texts("h1"), ["Refunded"]);
        assert_eq!(bench.board.pulses(Output::Credit).unwrap(), [], "it went on by itself");
        // A pulse is known once it is in flash, which comes after its end.
        let told = page.texts(".receipt dd");
        let known = told.iter().find_map(|text| text.split_once(" of 6")?.0.parse::<usize>().ok());
        let known = known.unwrap_or_else(|| panic!("{told:?}"));
        assert!(known <= seen && seen <= known + 1, "{known} known of {seen}");
        assert!(seen < 6, "the credit was over");
    }
}

/// Its flash was damaged beyond repair, or another board took its place: it counts its boots from 1, and has to prove it.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the image: cargo xtask rig"]
async fn a_board_without_its_memory_sells_again() {
    let demo = Demo::start().await;
    let code = demo.spare_code().await;
    let (identity, server, visitor) = (demo.module(), demo.broker(), demo.visitor());
    let mut bench = TestBench::provisioned(Family::Sim800, Plan::default(), &identity, server).await;
    for _ in 0..2 {
        bench.power_cycle(Duration::from_millis(200)).await;
    }
    let bought = visitor.buy(&code).await;
    visitor.sale_state(&bought.path, &["credited"]).await;
    let boots = bench.console.info().await.unwrap().boot;
    drop(bench);

    let mut bench = TestBench::provisioned(Family::Sim800, Plan::default(), &identity, server).await;
    let info = bench.console.info().await.unwrap();
    assert!(info.boot < boots, "{} boots of {boots}", info.boot);
    let bought = visitor.buy(&code).await;
    visitor.sale_state(&bought.path, &["credited"]).await;
    let given = bench.console.info().await.unwrap().totals.credit_pulses;
    assert_eq!(bench.board.pulses(Output::Credit).unwrap().len() as u64, given);
    assert!(given > 0);
}
