//! A thousand commands, duplicated and out of order: each credit is given once.

use crate::{
    backend::{Said, Server, broker, module},
    test_bench::TestBench,
    until,
};
use module_rig::{
    board::Output,
    modem::{Family, Plan},
};
use protocol::messages::{Action, Command, Stage};
use std::collections::BTreeMap;
use std::time::Instant;

const CREDITS: u32 = 250;
/// Messages of each credit.
const COPIES: u32 = 4;
/// Credits that may wait in the module at a time, less one.
const TOGETHER: usize = 4;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the image: cargo xtask rig"]
async fn a_thousand_duplicated_and_reordered_commands_give_each_credit_once() {
    let (_broker, at) = broker().await;
    let module = module(1);
    let mut server = Server::start(at, &module).await;
    let plan = Plan { answer_ms: 0..1, network_ms: 0..1, ..Plan::default() };
    let mut bench = TestBench::provisioned(Family::A7670, plan, &module, at).await;
    bench.pace(20, 20).await;
    let asked = Instant::now();
    let booted = bench.console.info().await.unwrap();
    let told = Instant::now();
    server.until_ready().await;

    let begun = Instant::now();
    let mut random = 88_172_645_463_325_252_u64;
    let mut draw = move |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random as usize % below
    };
    let (mut done, mut duplicates) = (BTreeMap::new(), 0);
    // Repeats of a group's commands may come with the next group's.
    let mut late: Vec<Command> = vec![];
    let mut sent = 0;
    for group in 0..CREDITS as usize / TOGETHER + 1 {
        let count = TOGETHER.min(CREDITS as usize - group * TOGETHER);
        let fresh: Vec<Command> = (0..count).map(|_| server.command(Action::Credit { pulses: 1 })).collect();
        let mut messages = std::mem::take(&mut late);
        for command in &fresh {
            let now = 1 + draw(COPIES as usize);
            messages.extend(std::iter::repeat_n(*command, now));
            late.extend(std::iter::repeat_n(*command, COPIES as usize - now));
        }
        for at in (1..messages.len()).rev() {
            messages.swap(at, draw(at + 1));
        }
        for message in &messages {
            server.send(message).await;
        }
        sent += messages.len();
        while !fresh.iter().all(|command| done.contains_key(&command.sequence)) {
            take(server.next().await, &mut done, &mut duplicates);
        }
    }
    for message in &late {
        server.send(message).await;
    }
    sent += late.len();
    while duplicates + done.len() < sent {
        take(server.next().await, &mut done, &mut duplicates);
    }
    println!("{sent} commands in {:.1} s: {} credits, {duplicates} repeats", begun.elapsed().as_secs_f64(), done.len());
    assert_eq!(sent as u32, CREDITS * COPIES);
    assert!(done.values().all(|times| *times == 1), "{done:?}");
    assert_eq!(done.len() as u32, CREDITS);
    let given = until("the last pulse", async || {
        let given = bench.board.pulses(Output::Credit).unwrap().len();
        (given as u32 >= CREDITS).then_some(given)
    })
    .await;
    assert_eq!(given as u32, CREDITS);
    let between_ms = told.elapsed().as_millis();
    let info = bench.console.info().await.unwrap();
    let around_ms = asked.elapsed().as_millis();
    assert_eq!(info.totals.credit_pulses, u64::from(CREDITS));

    // All that traffic has not moved the module's clock: it ran a second ahead whenever a short run of its counter was over
    // before the next was set. An emulator on a busy machine may lose some.
    let uptime_ms = u128::from(info.uptime_ms - booted.uptime_ms);
    println!("the module's clock: {uptime_ms} ms between two answers, {between_ms} to {around_ms} ms apart");
    assert!(uptime_ms >= between_ms * 19 / 20 && uptime_ms <= around_ms + 500);
}

/// Counts what an ack says.
fn take(said: Said, done: &mut BTreeMap<u32, u32>, duplicates: &mut usize) {
    let Said::Ack(ack) = said else { return };
    match ack.stage {
        Stage::Received => {}
        Stage::Done => *done.entry(ack.sequence).or_default() += 1,
        Stage::Duplicate => *duplicates += 1,
        Stage::Failed | Stage::Expired | Stage::Clock | Stage::Unknown(_) => panic!("{ack:?}"),
    }
}
