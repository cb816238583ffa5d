//! Networks that do not answer, and modules that have nothing to do.
#![allow(clippy::unwrap_used)]

mod support;

use module_firmware::link::BACKOFF_FIRST_MS;
use std::{
    fs,
    time::{Duration, Instant},
};
use support::{Mosquitto, PATIENCE, Server, counted, start};
use tokio::{net::TcpListener, time::timeout};

#[tokio::test]
async fn waits_longer_each_time_it_is_turned_away() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let _module = start(0, listener.local_addr().unwrap()).await;
    drop(timeout(PATIENCE, listener.accept()).await.unwrap().unwrap());
    let first = Instant::now();
    for _ in 0..3 {
        drop(timeout(PATIENCE, listener.accept()).await.unwrap().unwrap());
    }
    // Each wait is at least half of its whole: 1/2, 2/2, 4/2 of the first.
    let least = Duration::from_millis(BACKOFF_FIRST_MS * 7 / 2);
    assert!(first.elapsed() >= least, "{:?}", first.elapsed());
}

#[tokio::test]
async fn coins_pass_while_the_broker_says_nothing() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let module = start(0, listener.local_addr().unwrap()).await;
    let (silent, _) = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
    module.insert_coin(4).await;
    counted(&module, 4).await;
    assert_eq!(module.snapshot().machine_refused, 0);
    drop(silent);
}

/// Ticks of processor time this process took, of which there are 100 a second on Linux.
fn ticks() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = stat.rsplit_once(')').unwrap().1;
    after_name.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum()
}

fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// A busy loop in one of them would take a processor.
#[tokio::test]
async fn idle_modules_sleep_and_are_small() {
    const MODULES: u64 = 300;
    const WATCHED: Duration = Duration::from_secs(4);
    let mosquitto = Mosquitto::start(MODULES).await;
    let before_kib = resident_kib();
    let mut modules = vec![];
    for n in 0..MODULES {
        modules.push(start(n, mosquitto.at).await);
    }
    Server::heard_from(mosquitto.at, MODULES as usize).await;
    let each_kib = resident_kib().saturating_sub(before_kib) / MODULES;
    let begun = ticks();
    tokio::time::sleep(WATCHED).await;
    let taken = ticks() - begun;
    println!("{MODULES} idle modules: {taken} ticks in {WATCHED:?}, {each_kib} KiB each");
    assert!(taken <= 20, "{taken} ticks of 10 ms in {WATCHED:?}");
    assert!(each_kib <= 128, "{each_kib} KiB each");
}
