//! Bytes on the wire, counted on the modem's TCP side: of a sale, and of doing nothing.

use crate::{demo::Demo, test_bench::TestBench, until_within};
use module_rig::{
    modem::{Family, Plan, Way, meter::HEADERS_BYTES},
    packets::packets,
};
use protocol::limits::KEEPALIVE_DEFAULT_S;
use std::time::{Duration, Instant};

/// DESIGN.md, "Cost": MQTT of a sale both ways.
const SALE_BYTES_MAX: usize = 600;
/// DESIGN.md, "Cost": idling for a month, TCP/IP headers included as field.md reckons them. That holds at a keep-alive of
/// 240 s; at the default of 120 s, for networks that drop idle connections early, a month may cost twice that.
const MONTH_BYTES_MAX: f64 = 2e6;
const MONTH_BYTES_MAX_AT_120_S: f64 = 2.0 * MONTH_BYTES_MAX;
const MONTH_S: f64 = 30.0 * 86_400.0;
/// How long before the end of the keep-alive minimq pings.
const PING_AHEAD_S: f64 = 5.0;
/// Of MQTT 5, with nothing to say beside.
const PUBACK_BYTES: usize = 4;
const IDLE: Duration = Duration::from_secs(150);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the image: cargo xtask rig"]
async fn a_sale_and_idling_cost_what_they_may() {
    let demo = Demo::start().await;
    let code = demo.spare_code().await;
    let mut bench = TestBench::provisioned(Family::Quectel, Plan::default(), &demo.module(), demo.broker()).await;
    let stand_up = Instant::now();
    let visitor = demo.visitor();
    visitor.price_forms(&code).await;
    // From now on nothing is said but what keeps alive, and the page's probe is forgotten.
    let kept = until_within(IDLE, "a keep-alive exchange", async || last(&bench, "PINGRESP")).await;
    let meter = bench.board.modem.meter();
    let segments: Vec<_> = meter.segments_since(stand_up).collect();
    let [.., before, ping, pong] = segments.as_slice() else { panic!("a ping after nothing: {segments:?}") };
    let period_s = (ping.at - before.at).as_secs_f64();
    let status = last(&bench, "PUBLISH status").expect("a status was published at the beginning");
    println!(
        "idle: {status} bytes a status; after {period_s:.1} s of silence {} bytes and {kept} back",
        ping.bytes.len()
    );
    assert_eq!((ping.bytes.len(), pong.bytes.len()), (2, 2), "more was said than a ping");
    assert!((period_s - (f64::from(KEEPALIVE_DEFAULT_S) - PING_AHEAD_S)).abs() < 3.0, "{period_s} s");
    let status_period_s = f64::from(bench.console.info().await.unwrap().settings.status_period_s);
    // A status and its PUBACK stand in for a ping; each exchange is two segments, and two that acknowledge them.
    let with_headers = |bytes: usize| bytes as f64 + 4.0 * HEADERS_BYTES as f64;
    let month = |period_s: f64| {
        let statuses = MONTH_S / status_period_s;
        statuses * with_headers(status + PUBACK_BYTES) + (MONTH_S / period_s - statuses) * with_headers(4)
    };
    let (as_it_is, kept_240) = (month(period_s), month(240.0 - PING_AHEAD_S));
    println!("idle, TCP/IP included: {:.0} kB a day, {:.2} MB a month", as_it_is / 30.0 / 1e3, as_it_is / 1e6);
    println!("idle at a keep-alive of 240 s: {:.0} kB a day, {:.2} MB a month", kept_240 / 30.0 / 1e3, kept_240 / 1e6);
    assert!(as_it_is <= MONTH_BYTES_MAX_AT_120_S && kept_240 <= MONTH_BYTES_MAX, "{as_it_is} {kept_240}");

    let meter = bench.board.modem.meter();
    let before = [Way::Up, Way::Down].map(|way| meter.last(way).len());
    let begun = Instant::now();
    let bought = visitor.buy(&code).await;
    visitor.sale_state(&bought.path, &["credited"]).await;
    // What the server's taking of the last ack still costs.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let meter = bench.board.modem.meter();
    println!("of a sale:");
    let mut sale = 0;
    for (way, before) in [Way::Up, Way::Down].into_iter().zip(before) {
        for packet in packets(&meter.last(way)[before..]) {
            println!("  {way:?} {:4} {}", packet.bytes, packet.name);
            // What a status costs is counted under idling: one is due, whatever happens.
            if packet.name != "PUBLISH status" {
                sale += packet.bytes;
            }
        }
    }
    let sum = meter.since(begun);
    println!(
        "  {sale} bytes of MQTT; all that went meanwhile {} bytes, {} with TCP/IP",
        sum.bytes(),
        sum.with_headers()
    );
    assert!(sale <= SALE_BYTES_MAX, "{sale} bytes");
}

/// The bytes of the last packet of a name, if one went.
fn last(bench: &TestBench, name: &str) -> Option<usize> {
    let meter = bench.board.modem.meter();
    let all = [Way::Up, Way::Down].into_iter().flat_map(|way| packets(&meter.last(way)));
    all.rev().find(|packet| packet.name == name).map(|packet| packet.bytes)
}
