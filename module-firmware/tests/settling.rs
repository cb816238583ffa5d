//! The coin line after power-on: an acceptor that starts with the module gives no coin, and no coin is given in part.
#![allow(clippy::unwrap_used)]

mod support;

use module_firmware::{
    BootReport,
    coinline::settling::{REST_US, RESTLESS_MAX_US},
};
use protocol::{
    limits::SETTLE_DEFAULT_MS,
    messages::{CoinProfile, ResetCause, Settings, faults},
};
use support::{Bench, Flash};

/// What was counted, and what the machine got.
fn coins(bench: &Bench) -> (u64, usize) {
    (bench.module.totals().coin_pulses, bench.coin_train().len())
}

/// A coin of two pulses, told of by then.
fn a_coin_counts(bench: &mut Bench, before: u64) {
    bench.coins(2, 50, 50);
    bench.run_ms(1_000);
    assert_eq!(coins(bench), (before + 2, before as usize + 2));
}

#[test]
fn a_line_held_from_power_on_is_no_coin_however_long() {
    for held_ms in [1, 16, 20, 60, 300, 590, 700, 1_500, 2_990, 3_010, 3_200, 3_590, 5_000, 12_000, 40_000] {
        let mut bench = Bench::boot_with(Flash::blank(8), false);
        bench.run_ms(held_ms);
        bench.edge(true);
        bench.run_ms(5_000);
        assert_eq!(coins(&bench), (0, 0), "held for {held_ms} ms");
        assert_eq!((bench.module.totals().noise_edges, bench.module.faults()), (1, 0), "held for {held_ms} ms");
        a_coin_counts(&mut bench, 0);
    }
}

#[test]
fn pulls_after_power_on_are_no_coins_and_are_told_as_noise() {
    for (after_ms, held_ms) in
        [(5, 30), (50, 60), (200, 120), (900, 300), (1_700, 50), (2_400, 250), (2_900, 300), (2_999, 599)]
    {
        let mut bench = Bench::boot(Flash::blank(8));
        bench.run_ms(after_ms);
        // Thrice: what follows one that began in time belongs to it.
        bench.coins(3, held_ms, 100);
        bench.run_ms(5_000);
        assert_eq!(coins(&bench), (0, 0), "pulled {after_ms} ms after power for {held_ms} ms");
        assert_eq!(bench.module.totals().noise_edges, 6);
        a_coin_counts(&mut bench, 0);
    }
}

#[test]
fn the_acceptor_is_inhibited_while_the_line_settles_and_the_first_coin_after_it_counts() {
    let mut bench = Bench::boot(Flash::blank(8));
    let settled_us = u64::from(SETTLE_DEFAULT_MS) * 1_000;
    bench.run_to(settled_us - 1);
    assert!(bench.outputs.inhibit);
    bench.run_to(settled_us);
    assert!(!bench.outputs.inhibit);
    a_coin_counts(&mut bench, 0);
}

#[test]
fn a_restart_that_kept_the_supply_counts_the_first_coin() {
    use ResetCause::{BrownOut, Other, Panic, PowerOn, ResetPin, Software, Unknown, Watchdog};
    let causes = [ResetPin, Software, Watchdog, Panic, PowerOn, BrownOut, Other, Unknown(9)].map(Some);
    for reset_cause in causes.into_iter().chain([None]) {
        let mut bench = Bench::boot_after(Flash::blank(8), true, BootReport { reset_cause, ..BootReport::default() });
        bench.coins(2, 50, 50);
        bench.run_ms(5_000);
        let counts = matches!(reset_cause, Some(ResetPin | Software | Watchdog | Panic));
        assert_eq!(coins(&bench), if counts { (2, 2) } else { (0, 0) }, "{reset_cause:?}");
        assert_eq!(bench.module.totals().noise_edges, if counts { 0 } else { 4 }, "{reset_cause:?}");
    }
}

#[test]
fn the_time_to_settle_is_a_setting_and_outlives_power() {
    for (settle_ms, until_ms) in [(0, 3_000), (100, 500), (8_000, 8_000)] {
        let mut bench = Bench::ready(Flash::blank(8));
        bench.settings(1, Settings { version: 1, settle_ms, ..Settings::default() });
        let mut bench = Bench::boot(bench.cut());
        bench.run_ms(1);
        bench.coins(1, 20, 20);
        bench.run_to(until_ms * 1_000 + REST_US);
        assert_eq!(coins(&bench), (0, 0), "{settle_ms} ms");
        a_coin_counts(&mut bench, 0);
    }
}

#[test]
fn a_credit_waits_for_the_line_to_settle() {
    let mut bench = Bench::boot(Flash::blank(8));
    bench.connect();
    bench.sync_at(support::UNIX_MS);
    bench.credit(1, 3);
    bench.run_to(2_999_000);
    assert_eq!(bench.credit_train().len(), 0);
    bench.run_ms(2_000);
    assert_eq!((bench.credit_train().len(), bench.last_ack().pulses), (3, Some(3)));
}

#[test]
fn a_line_without_rest_is_read_all_the_same_in_the_end() {
    let mut bench = Bench::boot(Flash::blank(8));
    while bench.now_us < RESTLESS_MAX_US + 4_000_000 {
        bench.coins(1, 1, 100);
    }
    assert_eq!(coins(&bench), (0, 0));
    a_coin_counts(&mut bench, 0);
}

#[test]
fn a_normally_closed_line_is_stuck_until_its_profile_is_known_and_counts_then() {
    let mut bench = Bench::boot_with(Flash::blank(8), false);
    bench.connect();
    bench.sync_at(support::UNIX_MS);
    bench.run_ms(2_900);
    assert_eq!(bench.module.faults(), 0, "it may be starting");
    bench.run_ms(200);
    assert_eq!(bench.module.faults(), faults::COIN_LINE_STUCK);
    let profile = CoinProfile { idle_high: false, ..CoinProfile::default() };
    bench.settings(1, Settings { version: 1, profile, ..Settings::default() });
    bench.run_ms(1_000);
    assert_eq!(bench.module.faults(), 0);
    for _ in 0..2 {
        bench.edge(true);
        bench.run_ms(50);
        bench.edge(false);
        bench.run_ms(50);
    }
    bench.run_ms(1_000);
    assert_eq!(coins(&bench), (2, 2));
}
