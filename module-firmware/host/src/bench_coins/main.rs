//! The coin line's benchmark: pulses of every kind of acceptor through the module's whole core, on a mock clock that is
//! exact to the microsecond. Each pulse must be counted once and passed on once, within 5 ms of its edge.
//!
//! Beside it, on the same edges: a counter with fixed delays, as coin acceptors are commonly read (a level must stand for
//! 29 ms, and after a pulse nothing counts for 110 ms).

mod acceptor;
mod rig;
mod tally;

use acceptor::{ACCEPTORS, Dice, Line};
use rig::Rig;
use std::process::ExitCode;
use tally::{FixedDelays, Latencies};

const PULSES: u64 = 1_000_000;
const CREDITS: u32 = 20_000;
/// A coin goes on to the machine within this of its edge, in microseconds.
const RELAY_MAX_US: u64 = 5_000;
const SEED: u64 = 1;

fn main() -> ExitCode {
    let pulses = match std::env::args().nth(1).map(|argument| argument.parse()) {
        None => PULSES,
        Some(Ok(pulses)) => pulses,
        Some(Err(_)) => {
            eprintln!("usage: bench-coins [PULSES]");
            return ExitCode::FAILURE;
        }
    };
    let coins = coins(pulses);
    let credits = credits();
    if coins && credits {
        println!("\nnone lost, none invented, none merged, none late");
        ExitCode::SUCCESS
    } else {
        println!("\nBROKEN: see above");
        ExitCode::FAILURE
    }
}

/// Reads and relays pulses of all acceptors on both kinds of contact; whether each came through once and in time.
fn coins(pulses: u64) -> bool {
    let lines = ACCEPTORS.iter().flat_map(|acceptor| [true, false].map(|idle_high| (acceptor, idle_high)));
    let each = pulses.div_ceil(lines.clone().count() as u64);
    println!("{:<34} {:>8} {:>6} {:>9} {:>8}   fixed delays", "acceptor", "pulses", "lost", "invented", "noise");
    println!("{:<34} {:>8} {:>6} {:>9} {:>8} {:>10} {:>9}", "", "", "", "", "edges", "lost", "invented");
    let (mut settled, mut first) = (Latencies::default(), Latencies::default());
    let (mut all, mut ours, mut theirs) = (0, 0, 0);
    for (number, (acceptor, idle_high)) in lines.enumerate() {
        let mut rig = Rig::new(idle_high);
        let mut peer = FixedDelays::new(idle_high);
        let mut line = Line::new(*acceptor, idle_high, Dice::new(SEED + number as u64));
        let mut given = 0;
        while given < each {
            given += line.coin(each - given, rig.now_us(), &mut |edge| {
                peer.edge(edge.at_us, edge.level_high);
                rig.edge(edge.at_us, edge.level_high);
            });
            rig.run_to(line.rests_from_us());
        }
        let passed = rig.passed();
        let (counted, relayed) = (rig.coin_pulses(), passed.len() as u64);
        let lost = given.saturating_sub(counted.min(relayed));
        let invented = counted.max(relayed).saturating_sub(given);
        let (peer_lost, peer_invented) = (given.saturating_sub(peer.counted()), peer.counted().saturating_sub(given));
        let name = format!("{}, {}", acceptor.name, if idle_high { "NO" } else { "NC" });
        let noise = rig.noise_edges();
        println!("{name:<34} {given:>8} {lost:>6} {invented:>9} {noise:>8} {peer_lost:>10} {peer_invented:>9}");
        if lost + invented == 0 {
            for (truth, out) in line.pulses().iter().zip(passed) {
                settled.add(out.0 - truth.settled_us);
                settled.add(out.1 - truth.ended_us);
                first.add(out.0 - truth.first_us);
            }
        }
        all += given;
        ours += lost + invented;
        theirs += peer_lost + peer_invented;
    }
    println!("\n{all} pulses: {ours} wrong; by fixed delays {theirs} wrong, {:.3} of all", theirs as f64 / all as f64);
    println!("relay, from the edge once bounce is over   {settled}   limit {:.3}", RELAY_MAX_US as f64 / 1000.0);
    println!("relay, from the very first contact         {first}");
    ours == 0 && settled.max_us() <= RELAY_MAX_US
}

/// Gives credits while coins come; whether both are whole.
fn credits() -> bool {
    let mut rig = Rig::new(true);
    let mut dice = Dice::new(SEED);
    let mut line = Line::new(ACCEPTORS[4], true, Dice::new(SEED + 1));
    let (mut coins, mut asked) = (0_u64, 0_u64);
    let (mut free, mut waited) = (Latencies::default(), Latencies::default());
    for sequence in 1..=CREDITS {
        let from_us = rig.now_us();
        let command_us = from_us + dice.within(0, 4_000_000);
        let pulses = dice.within(1, 4);
        let mut sent = None;
        let mut under_way = false;
        // A coin each two seconds, and the command at any moment of it.
        while rig.now_us() < command_us + 2_000_000 {
            let mut edges = vec![];
            let most = dice.within(1, 5);
            coins += line.coin(most, rig.now_us(), &mut |edge| edges.push(edge));
            for edge in edges {
                if sent.is_none() && edge.at_us >= command_us {
                    rig.run_to(command_us);
                    under_way = !rig.is_quiet();
                    rig.credit(sequence, pulses as u16);
                    sent = Some(rig.now_us());
                }
                rig.edge(edge.at_us, edge.level_high);
            }
            rig.run_to(line.rests_from_us() + dice.within(0, 2_000_000));
        }
        let at_us = sent.unwrap_or_else(|| {
            let now_us = rig.now_us();
            under_way = !rig.is_quiet();
            rig.credit(sequence, pulses as u16);
            now_us
        });
        rig.run_to(rig.now_us() + 3_000_000);
        asked += pulses;
        if let Some(begun_us) = rig.take_credit_begun() {
            if under_way { waited.add(begun_us - at_us) } else { free.add(begun_us - at_us) }
        }
    }
    let (relayed, given) = (rig.passed().len() as u64, rig.credit_pulses());
    println!("\n{CREDITS} credits of {asked} pulses while {coins} coin pulses came:");
    println!("credit pulses given {given}, coin pulses counted {}, passed on {relayed}", rig.coin_pulses());
    println!("least gap between two pulses on the machine's line   {:.3} ms", rig.least_gap_us() as f64 / 1000.0);
    println!("command to first pulse, line at rest       {free}");
    println!("command to first pulse, coin under way     {waited}");
    given == asked && rig.coin_pulses() == coins && relayed == coins && rig.least_gap_us() > 0
}
