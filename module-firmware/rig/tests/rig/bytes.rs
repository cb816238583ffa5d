//! Bytes on the wire, counted on the modem's TCP side: of a sale, and of doing nothing.

use crate::{demo::Demo, stand::Stand};
use module_rig::{
    modem::{Family, Plan, Way},
    packets::packets,
};
use std::time::{Duration, Instant};

/// DESIGN.md, "Cost": MQTT of a sale both ways.
const SALE_BYTES_MAX: usize = 600;
/// DESIGN.md, "Cost": idling for a month, TCP/IP headers included.
const MONTH_BYTES_MAX: f64 = 2e6;
const MONTH_S: f64 = 30.0 * 86_400.0;
/// A keep-alive exchange or two, and no more of the time of whoever waits for the tests.
const IDLE: Duration = Duration::from_secs(130);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the image: cargo xtask rig"]
async fn a_sale_and_a_month_of_idling_cost_what_they_may() {
    let demo = Demo::start().await;
    let code = demo.spare_code().await;
    let stand = Stand::provisioned(Family::Quectel, Plan::default(), &demo.module(), demo.broker()).await;
    let visitor = demo.visitor();
    visitor.price_forms(&code).await;
    // The probe of that page serves for 10 s; this sale shall have its own.
    tokio::time::sleep(Duration::from_secs(11)).await;

    let meter = stand.board.modem.meter();
    let before = [Way::Up, Way::Down].map(|way| meter.last(way).len());
    let begun = Instant::now();
    let bought = visitor.buy(&code).await;
    visitor.sale_state(&bought.path, &["credited"]).await;
    // What the server's taking of the last ack still costs.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let meter = stand.board.modem.meter();
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
    println!("  {sale} bytes of MQTT; all that went meanwhile {} bytes, {} with TCP/IP", sum.bytes(), sum.with_headers());
    assert!(sale <= SALE_BYTES_MAX, "{sale} bytes");

    let begun = Instant::now();
    tokio::time::sleep(IDLE).await;
    let meter = stand.board.modem.meter();
    let sum = meter.since(begun);
    let idle_s = begun.elapsed().as_secs_f64();
    let scale = MONTH_S / idle_s;
    println!("idle for {idle_s:.0} s: {} bytes in {} segments, {} with TCP/IP", sum.bytes(), sum.segments, sum.with_headers());
    for segment in meter.segments_since(begun) {
        let names: Vec<_> = packets(&segment.bytes).into_iter().map(|packet| packet.name).collect();
        println!("  {:5.1} s {:?} {names:?}", (segment.at - begun).as_secs_f64(), segment.way);
    }
    let month = sum.with_headers() as f64 * scale;
    println!("scaled to a month: {:.2} MB with TCP/IP, {:.2} MB of MQTT", month / 1e6, sum.bytes() as f64 * scale / 1e6);
    assert!(month <= MONTH_BYTES_MAX, "{:.2} MB a month", month / 1e6);
}
