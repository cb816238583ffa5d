use crate::stand::Stand;
use module_rig::{
    board::Output,
    modem::{Family, Plan},
    pulses::gaps,
};
use std::time::{Duration, Instant};
#[tokio::test(flavor = "multi_thread")]
#[ignore = "x"]
async fn scratch() {
    let t = Instant::now();
    let mut stand = Stand::start(Family::A7670, Plan::default(), None);
    println!("started {:?}", t.elapsed());
    let info = stand.console.info().await.unwrap();
    println!("{:?} {info:?}", t.elapsed());
    let begun = Instant::now();
    stand.board.coin(3, Duration::from_millis(60), Duration::from_millis(90)).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let p = stand.board.pulses(Output::Coin).unwrap();
    println!(
        "{:?} {:?} first {:?}",
        p.iter().map(|p| p.width).collect::<Vec<_>>(),
        gaps(&p),
        p.first().map(|p| p.at - begun)
    );
    let m = stand.board.cut_power().unwrap();
    println!("{:?}", &m[..32]);
    stand.board.power_up(Some(&m)).unwrap();
}
