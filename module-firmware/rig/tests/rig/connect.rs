//! From a blank board to the server's page, with each family of modems.

use crate::{demo::Demo, test_bench::TestBench};
use module_rig::modem::{Family, Plan};
use std::time::Instant;

async fn first_connect(family: Family) {
    let demo = Demo::start().await;
    let code = demo.spare_code().await;
    let mut bench = TestBench::start(family, Plan::default(), None);
    let blank = bench.console.info().await.unwrap();
    assert_eq!((blank.id, blank.connected), (None, false));

    let (id, secret) = demo.module();
    let server = demo.broker();
    bench.console.provision(id, &secret, &server.ip().to_string(), server.port()).await.unwrap();
    let begun = Instant::now();
    let info = bench.console.reboot().await.unwrap();
    assert_eq!(info.id, Some(id));

    let mut integrator = demo.integrator(&code).await;
    let status = integrator.next("status", |status| status["online"] == true).await;
    println!("{family:?}: online {} ms after its restart", begun.elapsed().as_millis());
    assert_eq!(status["module"], id.as_str());
    assert_eq!(status["signal_csq"], 21, "{status}");
    demo.visitor().price_forms(&code).await;
    assert!(bench.console.info().await.unwrap().connected);

    let counters = bench.board.modem.counters();
    assert_eq!((counters.boots, counters.connections, counters.impatient), (1, 1, 0), "{counters:?}");
    let hardware = bench.console.info().await.unwrap().hardware;
    println!("{family:?}: {} bytes of the stack were never used", hardware.stack_unused_bytes);
    assert!(hardware.emulated && hardware.stack_unused_bytes > 0, "{hardware:?}");
    assert_eq!((hardware.modem_overruns, hardware.console_overruns, hardware.bad_frames), (0, 0, 0), "{hardware:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the image: cargo xtask rig"]
async fn a_blank_board_connects_through_a_sim800() {
    first_connect(Family::Sim800).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the image: cargo xtask rig"]
async fn a_blank_board_connects_through_an_a7670() {
    first_connect(Family::A7670).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the image: cargo xtask rig"]
async fn a_blank_board_connects_through_a_quectel() {
    first_connect(Family::Quectel).await;
}
