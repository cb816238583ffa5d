//! Learning the coin line, through the module's own doors: edges, commands, the button, the machine's word, power cuts.
#![allow(clippy::unwrap_used)]

mod support;

use module_firmware::{coinline::learner::QUIET_US, light::LightSignal};
use protocol::messages::{Action, CoinProfile, LearnFailure, LearnStage, Learned, Reason, Settings, Stage, faults};
use support::{
    Bench, Flash, UNIX_MS,
    acceptor::{Acceptor, Dice, Machine},
};

/// A learning that samples `coins` coins of the acceptor; their pulses go round in `pulses`.
fn sample(bench: &mut Bench, acceptor: &Acceptor, coins: u8, pulses: &[u64]) -> u64 {
    let mut dice = Dice(u64::from(coins) * 7919 + acceptor.width_us);
    let mut given = 0;
    for coin in 0..usize::from(coins) {
        let pulses = pulses[coin % pulses.len()];
        given += pulses;
        acceptor.coin(bench, &mut dice, pulses);
    }
    given
}

/// Begins a learning on a bench whose line rests as the acceptor's does.
fn begin(acceptor: &Acceptor, coins: u8, confirm: bool) -> Bench {
    let mut bench = if acceptor.idle_high { Bench::ready(Flash::blank(8)) } else { Bench::ready_low(Flash::blank(8)) };
    if !acceptor.idle_high {
        bench.run_ms(5000);
        assert!(bench.outputs.inhibit && bench.coin_train().is_empty(), "and none of it goes to the machine");
        assert_eq!(bench.module.faults(), faults::COIN_LINE_STUCK, "by the built-in profile it is active");
    }
    bench.learn(1, coins, confirm);
    assert_eq!((bench.last_ack().stage, bench.last_ack().sequence), (Stage::Done, 1));
    assert_eq!(bench.module.sign(bench.now_us), LightSignal::LearnQuiet);
    assert!(bench.outputs.inhibit, "no coin shall come while the line is heard at rest");
    bench.run_ms(QUIET_US / 1000 + 10);
    assert_eq!(bench.module.sign(bench.now_us), LightSignal::LearnCoin);
    assert!(!bench.outputs.inhibit);
    assert_eq!(bench.module.faults(), 0);
    bench
}

/// Learns an acceptor without confirming, and holds the result against it.
fn learns(acceptor: &Acceptor, coins: u8, pulses: &[u64]) -> (Bench, Learned) {
    let mut bench = begin(acceptor, coins, false);
    let given = sample(&mut bench, acceptor, coins, pulses);
    bench.run_ms(2000);
    let learned = bench.learned().unwrap();
    assert_eq!((learned.stage, learned.failure), (LearnStage::Stored, None), "{acceptor:?} {learned:?}");
    assert_eq!((learned.coins, learned.coins_asked, learned.confirmed), (coins, coins, Some(false)));
    let profile = learned.profile.unwrap();
    assert_eq!(bench.module.profile(), profile);
    assert!(profile.is_valid(), "{profile:?}");
    assert_eq!(profile.idle_high, acceptor.idle_high);

    // Coins went on meanwhile: relayed, and counted once.
    assert_eq!(bench.module.totals().coin_pulses, given, "{acceptor:?}");
    assert_eq!(bench.coin_train().len() as u64, given);

    // What it may give is within the bounds, though the coins seen need not have shown its ends.
    let (least_ms, most_ms) = acceptor.widths_ms();
    let bounce_ms = acceptor.bounce_us.div_ceil(1000);
    assert!(u64::from(profile.width_min_ms) <= least_ms - bounce_ms.min(least_ms / 4), "{profile:?} {acceptor:?}");
    assert!(u64::from(profile.width_max_ms) >= most_ms + bounce_ms, "{profile:?} {acceptor:?}");
    assert!(u64::from(profile.gap_min_ms) > bounce_ms, "{profile:?} {acceptor:?}");

    // The pulses replayed are the median, within what was seen.
    let widths = learned.widths_ms.unwrap();
    assert_eq!(profile.credit_width_ms, widths.median);
    assert!(widths.min <= widths.median && widths.median <= widths.max);
    let seen = least_ms..=most_ms + bounce_ms;
    assert!(seen.contains(&u64::from(widths.min)) && seen.contains(&u64::from(widths.max)), "{widths:?} {acceptor:?}");
    let counts = learned.coin_pulses.unwrap();
    assert_eq!(u64::from(counts.min), *pulses.iter().min().unwrap());
    assert_eq!(u64::from(counts.max), *pulses.iter().max().unwrap());
    assert_eq!(learned.gaps_ms.is_some(), pulses.iter().any(|pulses| *pulses > 1));
    if let Some(gaps) = learned.gaps_ms {
        assert_eq!(profile.credit_gap_ms, gaps.median);
        assert!(profile.gap_min_ms < gaps.min && profile.burst_end_ms > gaps.max, "{profile:?} {gaps:?}");
    }
    assert!(u64::from(learned.bounce_us) <= acceptor.bounce_us);

    // With it, hundreds of coins of the same acceptor are counted and relayed, each pulse once.
    bench.changes.clear();
    let more: u64 = (0..10).map(|_| sample(&mut bench, acceptor, coins, pulses)).sum();
    assert_eq!(bench.module.totals().coin_pulses, given + more, "{profile:?} {acceptor:?}");
    assert_eq!(bench.coin_train().len() as u64, more);

    // A credit is given by the pulses learned.
    bench.changes.clear();
    bench.credit(2, 2);
    bench.run_ms(10_000);
    let train = bench.credit_train();
    assert_eq!(train.len(), 2);
    assert_eq!(train[0].1 - train[0].0, u64::from(profile.credit_width_ms) * 1000);
    assert_eq!(train[1].0 - train[0].1, u64::from(profile.credit_gap_ms) * 1000);
    (bench, learned)
}

#[test]
fn learns_a_dg600f_at_each_setting_of_its_speed_switch() {
    for width_ms in [25, 45, 65, 100] {
        for bounce_us in [0, 1_000, 4_000] {
            for pulses in [&[1][..], &[1, 2, 5]] {
                let acceptor = Acceptor { bounce_us, ..Acceptor::new(width_ms, 20) };
                let (_, learned) = learns(&acceptor, 10, pulses);
                assert_eq!(learned.bounce_us > 0, bounce_us > 0);
            }
        }
    }
}

#[test]
fn learns_a_cashflow_952x_through_bounce_and_noise() {
    for spikes in [0, 2] {
        let acceptor = Acceptor { bounce_us: 3_000, spikes, ..Acceptor::new(100, 20) };
        let (bench, learned) = learns(&acceptor, 20, &[1]);
        assert_eq!(learned.noise_edges > 0, spikes > 0);
        assert_eq!(bench.module.totals().noise_edges > 0, spikes > 0);
    }
}

#[test]
fn learns_a_normally_closed_line() {
    for width_ms in [30, 100] {
        let acceptor = Acceptor { idle_high: false, bounce_us: 2_000, ..Acceptor::new(width_ms, 10) };
        let (bench, _) = learns(&acceptor, 10, &[1, 2]);
        assert_eq!(bench.module.faults(), 0);
    }
}

#[test]
fn learns_an_acceptor_of_many_pulses() {
    // Two pulses are 10, forty 200 (openkiosk); the slow one of coin multiplier boards: 250 ms each 500 ms.
    learns(&Acceptor { bounce_us: 1_000, spikes: 1, ..Acceptor::new(50, 5) }, 10, &[2, 40, 10, 4]);
    learns(&Acceptor::new(250, 3), 10, &[2, 5]);
    // NV9: 100 ms to 3 %; pulses of 20 and of 500 ms, the ends of what counts.
    learns(&Acceptor::new(100, 3), 10, &[1, 4]);
    learns(&Acceptor::new(20, 0), 10, &[1, 3]);
    learns(&Acceptor::new(500, 2), 10, &[1, 3]);
}

/// A learning that failed: what it says, and the profile from before in force.
fn failed(bench: &Bench, failure: LearnFailure) -> Learned {
    let learned = bench.learned().unwrap();
    assert_eq!((learned.stage, learned.failure), (LearnStage::Failed, Some(failure)), "{learned:?}");
    assert_eq!(bench.module.profile(), CoinProfile::default());
    learned
}

#[test]
fn without_coins_it_fails_and_says_so() {
    let mut bench = begin(&Acceptor::new(50, 0), 10, false);
    sample(&mut bench, &Acceptor::new(50, 0), 4, &[1]);
    bench.run_ms(61_000);
    assert_eq!(failed(&bench, LearnFailure::NoCoins).coins, 4);
    assert_eq!(bench.module.sign(bench.now_us), LightSignal::LearnFailed);
    bench.run_ms(10_000);
    assert_eq!(bench.module.sign(bench.now_us), LightSignal::AllWell);
}

#[test]
fn a_stuck_line_is_reported() {
    let mut bench = begin(&Acceptor::new(50, 0), 10, true);
    sample(&mut bench, &Acceptor::new(50, 0), 4, &[1]);
    bench.edge(false);
    bench.run_ms(1_100);
    failed(&bench, LearnFailure::LineStuck);
    assert!(bench.credit_train().is_empty());

    // Active from the beginning on, it looks like the rest of a normally closed line: until no coin comes.
    let mut bench = Bench::ready(Flash::blank(8));
    bench.edge(false);
    bench.learn(1, 10, false);
    bench.run_ms(70_000);
    failed(&bench, LearnFailure::LineStuck);
}

#[test]
fn noise_and_mixed_pulses_are_no_acceptor() {
    // Never at rest.
    let mut bench = Bench::ready(Flash::blank(8));
    bench.learn(1, 10, false);
    for _ in 0..700 {
        bench.edge(false);
        bench.run_ms(20);
        bench.edge(true);
        bench.run_ms(80);
    }
    failed(&bench, LearnFailure::Noise);

    // More spikes than pulses.
    let noisy = Acceptor { spikes: 6, ..Acceptor::new(50, 0) };
    let mut bench = begin(&noisy, 10, false);
    sample(&mut bench, &noisy, 10, &[1]);
    bench.run_ms(2000);
    failed(&bench, LearnFailure::Noise);

    // Two acceptors on one line, or noise as long as pulses.
    let mut bench = begin(&Acceptor::new(50, 0), 10, false);
    for width_ms in [30, 100] {
        sample(&mut bench, &Acceptor::new(width_ms, 0), 5, &[1]);
    }
    bench.run_ms(2000);
    let learned = failed(&bench, LearnFailure::Uneven);
    let widths = learned.widths_ms.unwrap();
    assert_eq!((widths.min, widths.max), (30, 100));

    // A signal without end.
    let mut bench = begin(&Acceptor::new(50, 0), 10, false);
    bench.coins(210, 50, 50);
    failed(&bench, LearnFailure::Noise);
}

/// Confirms with a person who presses once for each credit that the machine shows, `deaf` to so many of them.
fn confirm_by_hand(bench: &mut Bench, machine: &Machine, ends_ms: u64) {
    let mut seen = 0;
    let since_us = 0;
    let end_us = bench.now_us + ends_ms * 1000;
    while bench.now_us < end_us && bench.learned().unwrap().stage == LearnStage::Confirming {
        bench.run_ms(100);
        let credits = machine.credits(bench, since_us);
        // People take their time, and press once a burst is over.
        if credits > seen && bench.module.sign(bench.now_us) == LightSignal::LearnPress {
            bench.press_ms(150);
            bench.run_ms(300);
            seen += 1;
        }
    }
}

fn until_confirming(acceptor: &Acceptor) -> Bench {
    let mut bench = begin(acceptor, 10, true);
    sample(&mut bench, acceptor, 9, &[1]);
    bench.changes.clear();
    sample(&mut bench, &Acceptor { rest_ms: 0, ..acceptor.clone() }, 1, &[1]);
    while bench.learned().unwrap().stage != LearnStage::Confirming {
        bench.run_ms(5);
    }
    bench
}

#[test]
fn a_person_confirms_the_smallest_pulses_that_the_machine_takes() {
    let takes =
        |width_ms: u64, gap_ms: u64| Machine { width_min_us: width_ms * 1000, gap_min_us: gap_ms * 1000, pulses: 1 };
    // Games that need more than 70 ms; a pinball board that refuses pulses close together; one that takes anything.
    for (machine, pair, test_pulses) in [
        (takes(70, 0), (100, 50), 15),
        (takes(20, 90), (25, 100), 9),
        (takes(0, 0), (25, 50), 3),
        (takes(200, 400), (250, 500), 36),
    ] {
        let mut bench = until_confirming(&Acceptor::new(65, 20));
        confirm_by_hand(&mut bench, &machine, 600_000);
        let learned = bench.learned().unwrap();
        assert_eq!((learned.stage, learned.confirmed), (LearnStage::Stored, Some(true)), "{learned:?}");
        let profile = learned.profile.unwrap();
        assert_eq!((profile.credit_width_ms, profile.credit_gap_ms), pair, "{machine:?}");
        assert_eq!((learned.test_pulses, bench.credit_train().len()), (test_pulses, usize::from(test_pulses)));
        assert_eq!(bench.module.totals().credit_pulses, 0, "test pulses are no credits");
        assert_eq!((bench.module.profile(), bench.module.faults()), (profile, 0));
    }
}

#[test]
fn a_machine_that_takes_none_of_them_leaves_the_old_profile() {
    let mut bench = until_confirming(&Acceptor::new(65, 20));
    confirm_by_hand(&mut bench, &Machine { width_min_us: 900_000, gap_min_us: 0, pulses: 1 }, 600_000);
    let learned = failed(&bench, LearnFailure::Unconfirmed);
    assert!(learned.profile.unwrap().is_valid(), "what was derived is told: an operator may take it as it is");
    assert_eq!((learned.test_pulses, bench.credit_train().len()), (36, 36));
    assert_eq!(bench.module.faults(), 0);
}

#[test]
fn a_machine_that_gives_too_much_is_not_confirmed() {
    // Each pulse counts twice: the person presses six times for three.
    let mut bench = until_confirming(&Acceptor::new(65, 20));
    while bench.module.sign(bench.now_us) != LightSignal::LearnPress {
        bench.run_ms(50);
    }
    let trial = bench.learned().unwrap().profile.unwrap();
    (0..6).for_each(|_| bench.press_ms(100));
    bench.run_ms(5_000);
    let learned = bench.learned().unwrap();
    assert_eq!(learned.stage, LearnStage::Confirming);
    assert_ne!(learned.profile.unwrap(), trial, "the next pair is tried");
}

#[test]
fn the_sense_input_confirms_where_it_is_wired() {
    let acceptor = Acceptor::new(45, 20);
    let mut bench = Bench::ready(Flash::blank(8));
    bench.settings(1, Settings { version: 1, sense: true, ..Settings::default() });
    bench.run_ms(100);
    bench.learn(2, 10, true);
    bench.run_ms(3100);
    sample(&mut bench, &acceptor, 10, &[1]);
    let machine = Machine { width_min_us: 40_000, gap_min_us: 0, pulses: 1 };
    let since_us = 0;
    let mut runs = 0;
    for _ in 0..300 {
        bench.run_ms(100);
        if machine.credits(&bench, since_us) > runs {
            runs += 1;
            bench.sense(true);
            bench.run_ms(20_000);
            bench.sense(false);
        }
    }
    let learned = bench.learned().unwrap();
    assert_eq!((learned.stage, learned.confirmed), (LearnStage::Stored, Some(true)), "{learned:?}");
    let profile = learned.profile.unwrap();
    assert_eq!(profile.credit_width_ms, 50);
    assert_eq!((learned.test_pulses, runs), (4, 3));
    assert_eq!(bench.module.faults(), 0);
}

#[test]
fn the_button_begins_a_learning_and_ends_it() {
    let mut bench = Bench::ready(Flash::blank(8));
    bench.press_ms(200);
    assert_eq!(bench.module.sign(bench.now_us), LightSignal::AllWell, "a short press does nothing");
    bench.press_ms(3500);
    assert_eq!(bench.module.sign(bench.now_us), LightSignal::LearnQuiet);
    bench.run_ms(4000);
    let learned = bench.learned().unwrap();
    assert_eq!((learned.stage, learned.command, learned.coins_asked), (LearnStage::Sampling, 0, 10));
    sample(&mut bench, &Acceptor::new(50, 0), 3, &[1]);
    assert_eq!(bench.learned().unwrap().coins, 3, "each coin is told");
    bench.press_ms(3500);
    bench.run_ms(1000);
    failed(&bench, LearnFailure::Cancelled);

    // Without network it works as well; the result is told once there is one.
    bench.disconnect();
    bench.press_ms(3500);
    bench.run_ms(4000);
    sample(&mut bench, &Acceptor::new(50, 0), 10, &[1]);
    bench.run_ms(2000);
    confirm_offline(&mut bench);
    let stored = bench.module.profile();
    assert_ne!(stored, CoinProfile::default());
    bench.said.clear();
    bench.connect();
    assert_eq!(bench.learned().unwrap().profile, Some(stored));
    bench.said.clear();
    bench.run_ms(4_000_000);
    assert!(!bench.said.is_empty() && bench.learned().is_none(), "heard once, it is not said again");
}

fn confirm_offline(bench: &mut Bench) {
    while bench.module.sign(bench.now_us) != LightSignal::LearnPress {
        bench.run_ms(50);
    }
    (0..3).for_each(|_| bench.press_ms(100));
    bench.run_ms(4_000);
    assert_eq!(bench.module.sign(bench.now_us), LightSignal::LearnStored);
}

#[test]
fn commands_end_it_take_its_place_and_are_obeyed_once() {
    let mut bench = begin(&Acceptor::new(50, 0), 10, false);
    // The same again, and an older one.
    let again =
        bench.command(1, Action::Learn(protocol::messages::Learn { coins: 10, confirm: false, test_pulses: 0 }));
    bench.send(&again);
    assert_eq!((bench.last_ack().stage, bench.last_ack().first), (Stage::Duplicate, Some(Stage::Done)));
    sample(&mut bench, &Acceptor::new(50, 0), 3, &[1]);
    bench.learn(5, 12, false);
    bench.run_ms(4000);
    let learned = bench.learned().unwrap();
    assert_eq!((learned.stage, learned.command, learned.coins), (LearnStage::Sampling, 5, 0));
    bench.learn(4, 12, false);
    assert_eq!((bench.last_ack().stage, bench.last_ack().reason), (Stage::Failed, Some(Reason::Superseded)));
    // Out of bounds.
    for (coins, test_pulses) in [(9, 0), (51, 0), (10, 11)] {
        let learn = protocol::messages::Learn { coins, confirm: true, test_pulses };
        let command = bench.command(6, Action::Learn(learn));
        bench.send(&command);
        assert_eq!((bench.last_ack().stage, bench.last_ack().reason), (Stage::Failed, Some(Reason::Invalid)));
    }
    bench.learn(7, 0, false);
    assert_eq!(bench.last_ack().stage, Stage::Done);
    bench.run_ms(1000);
    failed(&bench, LearnFailure::Cancelled);
    bench.learn(8, 0, false);
    assert_eq!(bench.last_ack().stage, Stage::Done, "there is nothing to end, and that is well");
    // After a restart the last one is still known.
    let mut bench = Bench::ready_at(bench.cut(), UNIX_MS + 1_000_000);
    bench.learn(8, 10, false);
    assert_eq!(bench.last_ack().stage, Stage::Duplicate);
    bench.learn(7, 10, false);
    assert_eq!(bench.last_ack().reason, Some(Reason::Superseded));
}

#[test]
fn a_stored_profile_outlives_power_and_gives_way_to_settings() {
    let (bench, learned) = learns(&Acceptor::new(65, 20), 10, &[1]);
    let profile = learned.profile.unwrap();
    let mut bench = Bench::ready_at(bench.cut(), UNIX_MS + 1_000_000);
    assert_eq!(bench.module.profile(), profile);
    // Other settings replace it, for good.
    let settings = Settings { version: 3, ..Settings::default() };
    bench.settings(10, settings);
    bench.run_ms(100);
    assert_eq!(bench.module.profile(), CoinProfile::default());
    let mut bench = Bench::ready_at(bench.cut(), UNIX_MS + 2_000_000);
    assert_eq!(bench.module.profile(), CoinProfile::default());
    // A learning that fails afterwards does not bring it back.
    bench.learn(11, 10, false);
    bench.run_ms(70_000);
    failed(&bench, LearnFailure::NoCoins);
    let bench = Bench::ready_at(bench.cut(), UNIX_MS + 3_000_000);
    assert_eq!(bench.module.profile(), CoinProfile::default());
}

#[test]
fn settings_during_a_learning_end_it() {
    let mut bench = begin(&Acceptor::new(50, 0), 10, false);
    sample(&mut bench, &Acceptor::new(50, 0), 3, &[1]);
    let profile = CoinProfile { credit_width_ms: 80, ..CoinProfile::default() };
    bench.settings(2, Settings { version: 1, profile, ..Settings::default() });
    bench.run_ms(1500);
    assert_eq!(bench.learned().unwrap().failure, Some(LearnFailure::Settings));
    assert_eq!(bench.module.profile(), profile);
}

#[test]
fn a_failed_learning_leaves_the_one_before_it_in_force() {
    let (mut bench, learned) = learns(&Acceptor::new(65, 20), 10, &[1]);
    bench.learn(3, 10, false);
    bench.run_ms(70_000);
    assert_eq!(bench.learned().unwrap().failure, Some(LearnFailure::NoCoins));
    assert_eq!(Some(bench.module.profile()), learned.profile);
    let bench = Bench::ready_at(bench.cut(), UNIX_MS + 1_000_000);
    assert_eq!(Some(bench.module.profile()), learned.profile);
}

#[test]
fn a_locked_module_tries_no_pulses() {
    let mut bench = Bench::ready(Flash::blank(8));
    let lock = bench.command(1, Action::Lock { locked: true });
    bench.send(&lock);
    bench.learn(2, 10, true);
    assert_eq!((bench.last_ack().stage, bench.last_ack().reason), (Stage::Failed, Some(Reason::Locked)));
    bench.learn(3, 10, false);
    assert_eq!(bench.last_ack().stage, Stage::Done, "coins can be sampled");

    let mut bench = until_confirming(&Acceptor::new(50, 0));
    bench.run_ms(100);
    let lock = bench.command(2, Action::Lock { locked: true });
    bench.send(&lock);
    bench.run_ms(1500);
    failed(&bench, LearnFailure::Locked);
    let pulses = bench.credit_train().len();
    bench.run_ms(60_000);
    assert_eq!(bench.credit_train().len(), pulses);
}

#[test]
fn no_sale_begins_while_pulses_are_tried_and_a_credit_that_comes_goes_first() {
    let mut bench = until_confirming(&Acceptor::new(50, 0));
    let probe = bench.command(2, Action::Probe);
    bench.send(&probe);
    assert_eq!((bench.last_ack().stage, bench.last_ack().reason), (Stage::Failed, Some(Reason::Busy)));
    while bench.credit_train().is_empty() {
        bench.run_ms(5);
    }
    // In the middle of a burst of three.
    bench.credit(3, 4);
    bench.run_ms(3_000);
    let ack = bench.last_ack();
    assert_eq!((ack.sequence, ack.stage, ack.pulses), (3, Stage::Done, Some(4)));
    assert_eq!(bench.module.totals().credit_pulses, 4);
    let credited = bench.module.profile().credit_width_ms;
    bench.run_ms(2_000);
    confirm_offline(&mut bench);
    let learned = bench.learned().unwrap();
    assert_eq!((learned.stage, learned.test_pulses), (LearnStage::Stored, 6), "the burst was begun anew");
    assert_eq!(bench.module.totals().credit_pulses, 4);
    assert!(credited >= 45, "the credit had the pulses of the profile, not of the trial");
    let probe = bench.command(4, Action::Probe);
    bench.send(&probe);
    assert_eq!(bench.last_ack().stage, Stage::Done);
}

#[test]
fn a_coin_that_falls_in_breaks_a_trial_off_and_is_passed_on() {
    let mut bench = until_confirming(&Acceptor::new(50, 0));
    while bench.module.sign(bench.now_us) != LightSignal::LearnPress {
        bench.run_ms(50);
    }
    bench.press_ms(100);
    let coins = bench.module.totals().coin_pulses;
    Acceptor::new(50, 0).coin(&mut bench, &mut Dice(1), 1);
    assert_eq!(bench.module.totals().coin_pulses, coins + 1);
    assert_eq!(bench.coin_train().len(), 2);
    bench.run_ms(1_000);
    confirm_offline(&mut bench);
    assert_eq!(bench.learned().unwrap().test_pulses, 6);
}

#[test]
fn power_cut_at_every_write_of_a_learning() {
    let acceptor = Acceptor::new(50, 10);
    let mut flash = Flash::blank(8);
    let torn = flash.keep_torn();
    let mut bench = Bench::ready(flash);
    // How many test pulses the machine had got, by the number of writes begun.
    let mut given = vec![];
    let note = |bench: &Bench, given: &mut Vec<usize>| given.resize(torn.borrow().len(), bench.credit_train().len());
    bench.learn(1, 10, true);
    bench.run_ms(3100);
    sample(&mut bench, &acceptor, 9, &[1]);
    sample(&mut bench, &Acceptor { rest_ms: 0, ..acceptor }, 1, &[1]);
    note(&bench, &mut given);
    // The first pair makes the machine credit nothing, the second each time.
    while bench.learned().unwrap().stage != LearnStage::Stored {
        bench.run_ms(10);
        note(&bench, &mut given);
        let second = bench.learned().unwrap().profile.is_some_and(|profile| profile.credit_width_ms == 50);
        if second && bench.module.sign(bench.now_us) == LightSignal::LearnPress {
            (0..3).for_each(|_| bench.press_ms(100));
            bench.run_ms(3_100);
            note(&bench, &mut given);
        }
    }
    let profile = bench.module.profile();
    assert_eq!(bench.credit_train().len(), 6);
    let mut stored = 0;
    for (flash, given) in torn.borrow().iter().zip(&given) {
        let mut bench = Bench::boot(flash.clone());
        bench.connect();
        match bench.learned() {
            Some(learned) if learned.stage == LearnStage::Stored => {
                assert_eq!((bench.module.profile(), learned.profile), (profile, Some(profile)));
                stored += 1;
            }
            Some(learned) => {
                assert_eq!((learned.stage, learned.failure), (LearnStage::Failed, Some(LearnFailure::Restarted)));
                assert_eq!(bench.module.profile(), CoinProfile::default());
                assert!(usize::from(learned.test_pulses) >= *given, "counted before they are given");
            }
            None => assert_eq!(bench.module.profile(), CoinProfile::default()),
        }
        assert_eq!(bench.module.faults(), 0);
        bench.run_ms(10_000);
        assert!(bench.credit_train().is_empty(), "nothing goes on by itself");
    }
    assert!(given.len() > 40, "{} writes", given.len());
    let mut bench = Bench::ready_at(bench.cut(), UNIX_MS + 1_000_000);
    bench.run_ms(100);
    assert_eq!(bench.module.profile(), profile);
    assert!(stored > 0);
}
