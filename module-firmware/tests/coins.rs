//! Coins and credits share one line to the machine: neither loses a pulse of the other, and no two touch.
#![allow(clippy::unwrap_used)]

mod support;

use module_firmware::coinline::{
    driver::{SENSE_TIMEOUT_US, STALL_MAX_US},
    relay::OWED_INHIBIT,
};
use proptest::prelude::*;
use protocol::messages::{Action, CoinProfile, Reason, Settings, Stage, faults};
use support::{Bench, Flash};

/// A quarter of the default profile's shortest width: so much later than the acceptor's pulse the machine's comes.
const SETTLE_US: u64 = 3_750;

#[test]
fn a_coin_is_passed_on_within_5_ms_with_its_own_width_and_without_a_network() {
    let mut bench = Bench::restart(Flash::blank(8));
    bench.run_to(1_000_000);
    bench.coins(3, 37, 61);
    bench.run_ms(1000);
    let expected: Vec<_> =
        (0..3).map(|n| 1_000_000 + SETTLE_US + n * 98_000).map(|begin_us| (begin_us, begin_us + 37_000)).collect();
    assert_eq!(bench.coin_train(), expected);
    assert_eq!(bench.module.totals().coin_pulses, 3);
}

#[test]
fn coins_are_told_by_burst_with_the_running_total() {
    let mut bench = Bench::ready(Flash::blank(8));
    bench.coins(3, 40, 60);
    bench.run_ms(1000);
    bench.coins(1, 80, 60);
    bench.run_ms(1000);
    let told: Vec<_> =
        bench.pulses().iter().map(|p| (p.mark.sequence, p.pulses, p.coin_pulses_total, p.width_ms, p.gap_ms)).collect();
    assert_eq!(told, [(1, 3, 3, 40, 60), (2, 1, 4, 80, 0)]);
}

#[test]
fn a_credit_waits_until_the_burst_is_over() {
    let mut bench = Bench::ready(Flash::blank(8));
    bench.edge(false);
    bench.run_ms(30);
    bench.credit(1, 2);
    bench.run_ms(20);
    bench.edge(true);
    let end_us = bench.now_us;
    bench.run_ms(2000);
    let begin_us = end_us + 300_000;
    assert_eq!(bench.credit_train(), [(begin_us, begin_us + 50_000), (begin_us + 100_000, begin_us + 150_000)]);
    assert_eq!(bench.coin_train().len(), 1);
    assert_eq!(bench.last_ack().stage, Stage::Done);
}

#[test]
fn a_coin_in_the_middle_of_a_credit_is_owed_and_given_before_it_goes_on() {
    let mut bench = Bench::ready(Flash::blank(8));
    let begin_us = bench.now_us;
    bench.credit(1, 2);
    bench.run_ms(10);
    bench.coins(1, 30, 0);
    bench.run_ms(2000);
    assert_eq!(bench.coin_train(), [(begin_us + 100_000, begin_us + 150_000)]);
    let credits = bench.credit_train();
    assert_eq!(credits[0], (begin_us, begin_us + 50_000));
    // The burst ended at 40 ms, so the second pulse comes at 340 ms.
    assert_eq!(credits[1], (begin_us + 340_000, begin_us + 390_000));
}

#[test]
fn width_and_gap_are_the_settings_whatever_they_are() {
    let mut bench = Bench::ready(Flash::blank(8));
    for (index, (width_ms, gap_ms)) in
        [(1, 1), (20, 20), (50, 50), (100, 300), (500, 20), (2000, 2000)].into_iter().enumerate()
    {
        let sequence = 2 * index as u32 + 1;
        let profile = CoinProfile { credit_width_ms: width_ms, credit_gap_ms: gap_ms, ..CoinProfile::default() };
        bench.settings(sequence, Settings { version: sequence, profile, ..Settings::default() });
        bench.run_ms(10_000);
        let (given, at_us) = (bench.credit_train().len(), bench.now_us);
        bench.credit(sequence + 1, 4);
        bench.run_ms(40_000);
        let (width_us, gap_us) = (u64::from(width_ms) * 1000, u64::from(gap_ms) * 1000);
        let expected: Vec<_> =
            (0..4).map(|n| at_us + n * (width_us + gap_us)).map(|begin_us| (begin_us, begin_us + width_us)).collect();
        assert_eq!(bench.credit_train()[given..], expected, "{width_ms} and {gap_ms} ms");
    }
}

#[test]
fn the_acceptor_is_inhibited_while_much_is_owed() {
    let mut bench = Bench::ready(Flash::blank(8));
    let profile = CoinProfile { credit_width_ms: 2000, credit_gap_ms: 2000, ..CoinProfile::default() };
    bench.settings(1, Settings { version: 1, profile, ..Settings::default() });
    bench.credit(2, 1);
    let pulses = u32::from(OWED_INHIBIT);
    bench.coins(pulses - 1, 20, 20);
    assert!(!bench.outputs.inhibit);
    bench.coins(1, 20, 20);
    assert!(bench.outputs.inhibit);
    bench.run_ms(4000 * u64::from(pulses + 2));
    assert!(!bench.outputs.inhibit);
    assert_eq!(bench.coin_train().len(), pulses as usize);
    assert_eq!(bench.module.totals().coin_pulses, u64::from(pulses));
}

#[test]
fn a_credit_that_cannot_go_on_is_given_up_with_what_it_gave() {
    let mut bench = Bench::ready(Flash::blank(8));
    bench.credit(1, 2);
    bench.run_ms(20);
    bench.edge(false);
    bench.run_to(50_000 + STALL_MAX_US - 1);
    assert_eq!(bench.last_ack().stage, Stage::Received);
    bench.run_ms(1);
    let ack = bench.last_ack();
    assert_eq!((ack.stage, ack.reason, ack.pulses), (Stage::Failed, Some(Reason::Fault), Some(1)));
    assert_eq!(bench.module.faults(), faults::COIN_LINE_STUCK);
    bench.edge(true);
    bench.run_ms(10_000);
    assert_eq!(bench.credit_train().len(), 1);
}

#[test]
fn a_machine_that_does_not_answer_is_silent_exactly_after_the_time_it_has() {
    let mut bench = Bench::ready(Flash::blank(8));
    bench.settings(1, Settings { version: 1, sense: true, ..Settings::default() });
    bench.credit(2, 1);
    bench.run_to(50_000 + SENSE_TIMEOUT_US - 1);
    assert_eq!(bench.last_ack().stage, Stage::Received);
    bench.run_ms(1);
    let ack = bench.last_ack();
    assert_eq!((ack.stage, ack.reason, ack.pulses), (Stage::Failed, Some(Reason::MachineSilent), Some(1)));
}

/// What happens next on a busy line.
#[derive(Debug, Clone)]
enum Event {
    Coins { pulses: u32, width_ms: u64, gap_ms: u64 },
    Credit { pulses: u16 },
    Pause { ms: u64 },
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (1_u32..6, 20_u64..200, 20_u64..200)
            .prop_map(|(pulses, width_ms, gap_ms)| Event::Coins { pulses, width_ms, gap_ms }),
        2 => (1_u16..6).prop_map(|pulses| Event::Credit { pulses }),
        2 => (0_u64..600).prop_map(|ms| Event::Pause { ms }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// However coins and credits mix, each coin counted is given to the machine once, each credit is given whole or
    /// refused, and pulses keep their distance.
    #[test]
    fn no_pulse_is_lost_or_touches_another(events in prop::collection::vec(event(), 1..30)) {
        let mut bench = Bench::ready(Flash::blank(8));
        let (mut sequence, mut coins) = (0, 0);
        for event in events {
            match event {
                Event::Coins { pulses, width_ms, gap_ms } => {
                    bench.coins(pulses, width_ms, gap_ms);
                    coins += pulses as usize;
                }
                Event::Credit { pulses } => {
                    sequence += 1;
                    bench.credit(sequence, pulses);
                }
                Event::Pause { ms } => bench.run_ms(ms),
            }
        }
        bench.run_ms(60_000);
        prop_assert_eq!(bench.coin_train().len(), coins);
        prop_assert_eq!(bench.module.totals().coin_pulses, coins as u64);
        prop_assert_eq!(bench.pulses().iter().map(|burst| usize::from(burst.pulses)).sum::<usize>(), coins);
        let finals: Vec<_> = bench.acks().into_iter().filter(|ack| ack.stage != Stage::Received).collect();
        prop_assert_eq!(finals.iter().filter(|ack| ack.sequence > 0).count(), sequence as usize);
        let given: usize = finals.iter().filter_map(|ack| ack.pulses).map(usize::from).sum();
        prop_assert_eq!(bench.credit_train().len(), given);
        prop_assert_eq!(bench.module.totals().credit_pulses, given as u64);
        keeps_distance(&bench)?;
    }
}

fn keeps_distance(bench: &Bench) -> Result<(), TestCaseError> {
    let coins = bench.coin_train().into_iter().map(|(begin_us, end_us)| (begin_us, end_us, true));
    let credits = bench.credit_train().into_iter().map(|(begin_us, end_us)| (begin_us, end_us, false));
    let mut pulses: Vec<_> = coins.chain(credits).collect();
    pulses.sort_unstable();
    for pair in pulses.windows(2) {
        // A coin behind a coin comes as it came in; with a pulse of ours on either side the profile's gap holds.
        let least_us = if pair[0].2 && pair[1].2 { 20_000 } else { 50_000 };
        prop_assert!(pair[1].0 >= pair[0].1 + least_us, "{:?} and {:?}", pair[0], pair[1]);
    }
    Ok(())
}

#[test]
fn a_locked_module_still_passes_and_counts_coins() {
    let mut bench = Bench::ready(Flash::blank(8));
    let lock = bench.command(1, Action::Lock { locked: true });
    bench.send(&lock);
    bench.coins(2, 50, 50);
    bench.run_ms(1000);
    assert_eq!((bench.coin_train().len(), bench.module.totals().coin_pulses), (2, 2));
}

#[test]
fn a_coin_that_comes_in_at_a_restart_is_counted_and_owed_and_a_line_read_wrong_gives_the_machine_nothing() {
    let mut bench = Bench::restart_with(Flash::blank(8), false);
    bench.run_ms(40);
    assert!(bench.coin_train().is_empty());
    bench.edge(true);
    bench.run_ms(1000);
    assert_eq!((bench.module.totals().coin_pulses, bench.coin_train().len()), (1, 1));

    for mut bench in [Bench::restart_with(Flash::blank(8), false), Bench::boot_with(Flash::blank(8), false)] {
        bench.run_ms(10_000);
        assert_eq!(bench.module.faults(), faults::COIN_LINE_STUCK);
        assert!(bench.coin_train().is_empty());
    }
}

#[test]
fn settings_that_come_with_a_coin_half_way_give_the_machine_one_whole_pulse() {
    for after_ms in [1, 10, 30, 49] {
        let mut bench = Bench::ready(Flash::blank(8));
        bench.run_ms(1000);
        bench.edge(false);
        bench.run_ms(after_ms);
        let profile = CoinProfile { credit_width_ms: 80, ..CoinProfile::default() };
        bench.settings(1, Settings { version: 1, profile, ..Settings::default() });
        bench.run_ms(50 - after_ms);
        bench.edge(true);
        bench.run_ms(2000);
        let train = bench.coin_train();
        assert_eq!((bench.module.totals().coin_pulses, train.len()), (1, 1), "after {after_ms} ms");
        // What was not on its way yet is owed.
        let width_us = if after_ms < 4 { 80_000 } else { 50_000 };
        assert_eq!(train[0].1 - train[0].0, width_us, "after {after_ms} ms");
    }
}

/// Coins keep a credit from going on, and end just before it is given up: the pulse begun then is counted like any other.
#[test]
fn a_credit_pulse_begun_at_the_last_moment_is_counted() {
    let mut last_moments = 0;
    for early_ms in (0..600).step_by(10) {
        let mut bench = Bench::ready(Flash::blank(8));
        bench.credit(1, 2);
        while bench.module.totals().credit_pulses == 0 {
            bench.run_ms(1);
        }
        let stalled_us = bench.now_us + STALL_MAX_US;
        bench.run_ms(early_ms % 100);
        while bench.now_us < stalled_us - early_ms * 1000 {
            bench.coins(1, 50, 50);
        }
        bench.run_ms(2_000);
        let given = bench.credit_train();
        last_moments +=
            u32::from(given.last().is_some_and(|(from_us, to_us)| (*from_us..*to_us).contains(&stalled_us)));
        let ack = bench.last_ack();
        assert_eq!(ack.pulses, Some(given.len() as u16), "{early_ms}: {ack:?}");
        assert_eq!(bench.module.totals().credit_pulses, given.len() as u64, "{early_ms}");
    }
    assert!(last_moments > 0);
}
