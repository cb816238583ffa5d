use crate::{backend::{broker, module, Server}, stand::Stand};
use module_rig::{board::Output, modem::{Family, Plan}, pulses::gaps};
use std::time::{Duration, Instant};
async fn coins(stand: &mut Stand, what: &str) {
    let from = stand.board.qemu().unwrap().qtest.edges().count();
    let before = stand.console.info().await.unwrap().totals;
    let begun = Instant::now();
    stand.board.coin(5, Duration::from_millis(60), Duration::from_millis(90)).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let edges = stand.board.qemu().unwrap().qtest.edges().since(from);
    for e in edges { print!("{}:{}@{} ", e.pin, e.high as u8, (e.at - begun).as_millis()); }
    let p = stand.board.pulses_since(Output::Coin, begun).unwrap();
    let after = stand.console.info().await.unwrap();
    println!("\n{what}: {:?} {:?} first {:?} {:?} {:?} lost {:?}", p.iter().map(|p| p.width).collect::<Vec<_>>(), gaps(&p), p.first().map(|p| p.at - begun), before, after.totals, after.diagnostics.edges_lost);
}
#[tokio::test(flavor = "multi_thread")]
#[ignore = "x"]
async fn scratch() {
    let (_broker, at) = broker().await;
    let module = module(1);
    let mut server = Server::start(at, &module).await;
    let mut stand = Stand::start(Family::A7670, Plan::default(), None);
    coins(&mut stand, "fresh").await;
    stand.console.provision(module.0, &module.1, &at.ip().to_string(), at.port()).await.unwrap();
    stand.console.reboot().await.unwrap();
    coins(&mut stand, "rebooted").await;
    coins(&mut stand, "rebooted").await;
    server.until_ready().await;
    coins(&mut stand, "connected").await;
    coins(&mut stand, "connected").await;
}
