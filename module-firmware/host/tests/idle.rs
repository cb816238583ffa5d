//! Modules that have nothing to do. Alone in this file: what the process takes is theirs, and starting hundreds holds up
//! no pulses of other tests.
#![allow(clippy::unwrap_used)]

mod support;

use std::{fs, time::Duration};
use support::{Mosquitto, Server, start};

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
