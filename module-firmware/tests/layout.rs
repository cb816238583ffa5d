//! What lies in flash, byte for byte: modules in the field hold it, and their next firmware has to read it.
//!
//! `layout.hex` is the flash after [`story`], written by the first firmware that had this layout. It stays as it is: a
//! firmware with another layout also has to read this one.
#![allow(clippy::unwrap_used)]

mod support;

use protocol::messages::{Action, Settings, Stage};
use std::fmt::Write;
use support::{Bench, Flash, Said};

const GOLDEN: &str = include_str!("layout.hex");
/// Bytes of flash in a line of the file. Lines of blank flash are left out.
const LINE_BYTES: usize = 32;
const PAGES: usize = 4;
const COINS: u32 = 60;
const LEARNED_AT: u32 = 5;

fn settings() -> Settings {
    Settings { version: 3, credit_pulses_max: 20, status_period_s: 600, sense: false, ..Settings::default() }
}

/// Settings, more coins than a page has room for, a credit given, one refused, the lock, a learning cancelled.
fn story() -> Flash {
    let mut bench = Bench::ready(Flash::blank(PAGES));
    bench.settings(1, settings());
    bench.coins(COINS, 50, 100);
    bench.run_ms(1_000);
    bench.credit(2, 3);
    bench.run_ms(2_000);
    bench.credit(3, 21);
    bench.learn(LEARNED_AT, 10, false);
    bench.run_ms(1_000);
    bench.learn(LEARNED_AT + 1, 0, false);
    bench.run_ms(1_000);
    let lock = bench.command(4, Action::Lock { locked: true });
    bench.send(&lock);
    bench.run_ms(1_000);
    bench.cut()
}

fn written(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (line, bytes) in bytes.chunks(LINE_BYTES).enumerate().filter(|(_, bytes)| bytes.iter().any(|b| *b != 0xFF)) {
        writeln!(text, "{:04x} {}", line * LINE_BYTES, hex::encode(bytes)).unwrap();
    }
    text
}

fn golden() -> Flash {
    let mut flash = Flash::blank(PAGES);
    for line in GOLDEN.lines() {
        let (at, bytes) = line.split_once(' ').unwrap();
        flash.place(usize::from_str_radix(at, 16).unwrap(), &hex::decode(bytes).unwrap());
    }
    flash
}

#[test]
fn flash_is_laid_out_as_in_the_field() {
    let now = written(&story().bytes);
    assert!(now == GOLDEN, "modules in the field have another layout; this is the one of now:\n{now}");
}

#[test]
fn what_the_field_has_is_read_and_written_on() {
    let mut flash = golden();
    for boots in 2..5 {
        let mut bench = Bench::ready(flash);
        assert_eq!((bench.module.boots(), *bench.module.settings()), (boots, settings()));
        assert!(bench.module.is_locked());
        let credit = bench.command(2, Action::Credit { pulses: 3 });
        bench.send(&credit);
        let ack = bench.last_ack();
        assert_eq!((ack.stage, ack.first, ack.pulses), (Stage::Duplicate, Some(Stage::Done), Some(3)));
        let refused = bench.command(3, Action::Credit { pulses: 21 });
        bench.send(&refused);
        assert_eq!((bench.last_ack().stage, bench.last_ack().first), (Stage::Duplicate, Some(Stage::Failed)));
        bench.learn(LEARNED_AT + 1, 10, false);
        assert_eq!(bench.last_ack().stage, Stage::Duplicate);
        bench.coins(1, 50, 100);
        bench.run_ms(60_000);
        let totals = bench.said.iter().rev().find_map(|said| match said {
            Said::Status { coins, credits, .. } => Some((*coins, *credits)),
            Said::Pulse(_) | Said::Ack(_) => None,
        });
        assert_eq!(totals, Some((u64::from(COINS + boots - 1), 3)));
        flash = bench.cut();
    }
}
