//! Credits: given exactly, journaled, once; refused when they must be.
#![allow(clippy::unwrap_used)]

mod support;

use module_firmware::module::SENSE_SETTLE_US;
use protocol::{
    limits::CREDIT_WINDOW,
    messages::{Action, CoinProfile, Command, Reason, Settings, Stage, Sync, faults},
};
use support::{Bench, Flash, UNIX_MS};

fn ready() -> Bench {
    Bench::ready(Flash::blank(8))
}

#[test]
fn gives_a_credit_exact_to_the_microsecond_and_says_so() {
    let mut bench = ready();
    bench.run_ms(5);
    bench.credit(1, 3);
    bench.run_ms(1000);
    let at_us = 5_000;
    let expected: Vec<_> = (0..3).map(|n| (at_us + n * 100_000, at_us + n * 100_000 + 50_000)).collect();
    assert_eq!(bench.credit_train(), expected);
    let acks = bench.acks();
    assert_eq!(acks.len(), 2);
    assert_eq!((acks[0].stage, acks[0].sequence, acks[0].command), (Stage::Received, 1, 1001));
    assert_eq!((acks[1].stage, acks[1].pulses, acks[1].reason), (Stage::Done, Some(3), None));
    assert_eq!(acks[1].uptime_ms, (at_us + 250_000) / 1000);
    assert_eq!(acks[1].at_ms, Some(UNIX_MS + acks[1].uptime_ms));
    assert_eq!(bench.module.totals().credit_pulses, 3);
}

#[test]
fn a_repeat_is_answered_and_not_given_again() {
    let mut bench = ready();
    let command = bench.command(1, Action::Credit { pulses: 2 });
    bench.send(&command);
    bench.send(&command);
    assert_eq!((bench.last_ack().stage, bench.last_ack().first), (Stage::Duplicate, Some(Stage::Received)));
    bench.run_ms(1000);
    bench.send(&command);
    let ack = bench.last_ack();
    assert_eq!((ack.stage, ack.first, ack.pulses), (Stage::Duplicate, Some(Stage::Done), Some(2)));
    // Over a reboot, without a clock, and long past its expiry.
    let mut bench = Bench::boot(bench.cut());
    bench.connect();
    bench.run_ms(3_600_000);
    bench.send(&command);
    let ack = bench.last_ack();
    assert_eq!((ack.stage, ack.first, ack.pulses), (Stage::Duplicate, Some(Stage::Done), Some(2)));
    assert!(bench.credit_train().is_empty());
}

#[test]
fn another_command_under_a_used_sequence_is_not_answered_with_the_first_ones_outcome() {
    let mut bench = ready();
    bench.credit(1, 2);
    bench.run_ms(1000);
    let mut other = bench.command(1, Action::Credit { pulses: 2 });
    other.id = 77;
    bench.send(&other);
    assert_eq!((bench.last_ack().stage, bench.last_ack().reason), (Stage::Failed, Some(Reason::Invalid)));
    assert_eq!(bench.credit_train().len(), 2);
}

/// A server whose database was put back from a copy gives the same payment another sequence.
#[test]
fn a_credit_is_known_by_its_id_under_another_sequence() {
    let mut bench = ready();
    let credit = |bench: &Bench, id, sequence| Command { id, ..bench.command(sequence, Action::Credit { pulses: 2 }) };
    let first = credit(&bench, 77, 10);
    bench.send(&first);
    let waits = credit(&bench, 78, 11);
    bench.send(&waits);
    let again = credit(&bench, 78, 40);
    bench.send(&again);
    let ack = bench.last_ack();
    assert_eq!((ack.command, ack.sequence), (78, 40), "the answer is to what was asked");
    assert_eq!((ack.stage, ack.first), (Stage::Duplicate, Some(Stage::Received)), "it waits");
    bench.run_ms(2000);
    assert_eq!(bench.credit_train().len(), 4);
    let mut bench = Bench::ready(bench.cut());
    // Lower, higher, and one that another credit used: the id decides.
    for sequence in [3, 11, 500] {
        let again = credit(&bench, 77, sequence);
        bench.send(&again);
        bench.run_ms(1000);
        let ack = bench.last_ack();
        assert_eq!((ack.stage, ack.first, ack.pulses), (Stage::Duplicate, Some(Stage::Done), Some(2)), "{sequence}");
    }
    assert!(bench.credit_train().is_empty());
}

#[test]
fn an_expired_credit_is_a_question_and_can_never_be_given_later() {
    let mut bench = ready();
    bench.credit(1, 2);
    bench.run_ms(1000);
    let mut ask = bench.command(2, Action::Credit { pulses: 2 });
    ask.issued_ms -= 500;
    ask.expires_ms = ask.issued_ms;
    bench.send(&ask);
    assert_eq!((bench.last_ack().stage, bench.last_ack().pulses), (Stage::Expired, Some(0)));
    // The same payment, commanded once more under a later sequence.
    let fresh = Command { id: ask.id, ..bench.command(9, Action::Credit { pulses: 2 }) };
    bench.send(&fresh);
    bench.run_ms(1000);
    assert_eq!((bench.last_ack().stage, bench.last_ack().first), (Stage::Duplicate, Some(Stage::Expired)));
    ask.id = 1001;
    bench.send(&ask);
    let ack = bench.last_ack();
    assert_eq!((ack.stage, ack.first, ack.pulses), (Stage::Duplicate, Some(Stage::Done), Some(2)));
    assert_eq!(bench.credit_train().len(), 2);
}

#[test]
fn what_is_older_than_the_flash_is_not_called_expired() {
    let mut bench = ready();
    let mut ask = bench.command(1, Action::Credit { pulses: 2 });
    (ask.issued_ms, ask.expires_ms) = (UNIX_MS - 3_600_000, UNIX_MS - 3_580_000);
    bench.send(&ask);
    assert_eq!((bench.last_ack().stage, bench.last_ack().reason), (Stage::Failed, Some(Reason::TooOld)));
    bench.send(&ask);
    let ack = bench.last_ack();
    assert_eq!((ack.stage, ack.first, ack.reason), (Stage::Duplicate, Some(Stage::Failed), Some(Reason::TooOld)));
    assert!(bench.credit_train().is_empty());
}

#[test]
fn new_credits_are_taken_out_of_order_and_old_ones_are_refused() {
    let mut bench = ready();
    for sequence in (100..100 + CREDIT_WINDOW as u32).rev() {
        bench.credit(sequence, 1);
        bench.run_ms(500);
        assert_eq!(bench.last_ack().stage, Stage::Done, "{sequence}");
    }
    bench.credit(200, 1);
    bench.run_ms(500);
    assert_eq!(bench.last_ack().stage, Stage::Done);
    let given = bench.credit_train().len();
    // 100 fell out of the window.
    for sequence in [100, 50, 1, 0] {
        bench.credit(sequence, 1);
        bench.run_ms(500);
        assert_eq!((bench.last_ack().stage, bench.last_ack().reason), (Stage::Failed, Some(Reason::TooOld)));
    }
    let mut bench = Bench::ready(bench.cut());
    bench.credit(100, 1);
    bench.run_ms(500);
    assert_eq!(bench.last_ack().reason, Some(Reason::TooOld));
    assert!(bench.credit_train().is_empty());
    assert_eq!(given, CREDIT_WINDOW + 1);
    assert_eq!(bench.module.totals().credit_pulses, given as u64);
}

#[test]
fn what_was_given_is_remembered_over_any_number_of_refusals() {
    let mut bench = ready();
    bench.credit(1, 2);
    bench.run_ms(1000);
    bench.credit(2, 5);
    while bench.credit_train().len() < 4 {
        bench.run_ms(1);
    }
    // Two pulses are given whole; the third is cut.
    let mut bench = Bench::ready(bench.cut());
    bench.send(&bench.command(3, Action::Lock { locked: true }));
    bench.run_ms(100);
    for sequence in (100..300).filter(|sequence| *sequence != 290) {
        bench.credit(sequence, 1);
        bench.run_ms(20);
        assert_eq!(bench.last_ack().reason, Some(Reason::Locked));
    }
    bench.send(&bench.command(400, Action::Lock { locked: false }));
    bench.run_ms(100);
    bench.credit(1, 2);
    let whole = bench.last_ack();
    assert_eq!((whole.stage, whole.first, whole.pulses), (Stage::Duplicate, Some(Stage::Done), Some(2)));
    bench.credit(2, 5);
    let cut = bench.last_ack();
    assert_eq!((cut.stage, cut.first, cut.reason), (Stage::Duplicate, Some(Stage::Failed), Some(Reason::PowerLost)));
    assert_eq!(u64::from(cut.pulses.unwrap()) + 2, bench.module.totals().credit_pulses);
    // The refusals of before are forgotten, and refused for that; a late one among the newest is taken.
    bench.credit(150, 1);
    assert_eq!(bench.last_ack().reason, Some(Reason::TooOld));
    assert!(bench.credit_train().is_empty());
    bench.credit(290, 1);
    bench.run_ms(500);
    assert_eq!(bench.last_ack().stage, Stage::Done);
}

#[test]
fn expiry_is_judged_by_the_clock_and_a_missing_clock_is_said() {
    let mut bench = Bench::boot(Flash::blank(8));
    bench.connect();
    let command = Command {
        id: 5,
        sequence: 1,
        issued_ms: UNIX_MS + 1000,
        expires_ms: UNIX_MS + 11_000,
        action: Action::Credit { pulses: 1 },
    };
    bench.send(&command);
    assert_eq!(bench.last_ack().stage, Stage::Clock);
    bench.sync_at(UNIX_MS);
    assert_eq!(bench.last_ack().stage, Stage::Done);
    // Exactly at its expiry it still counts; a millisecond later it does not.
    bench.run_to(11_000_000);
    bench.send(&command);
    assert_eq!(bench.last_ack().stage, Stage::Received);
    bench.run_ms(500);
    let late = Command { id: 6, sequence: 2, expires_ms: bench.unix_ms() - 1, ..command };
    bench.send(&late);
    assert_eq!(bench.last_ack().stage, Stage::Expired);
    // It stays expired, whatever the clock says later.
    bench.sync_at(UNIX_MS);
    bench.send(&late);
    assert_eq!((bench.last_ack().stage, bench.last_ack().first), (Stage::Duplicate, Some(Stage::Expired)));
    assert_eq!(bench.credit_train().len(), 1);
}

#[test]
fn a_clock_evidently_behind_is_not_trusted() {
    let mut bench = ready();
    let issued_ms = bench.unix_ms() + 10_001;
    let command =
        Command { id: 5, sequence: 1, issued_ms, expires_ms: issued_ms + 60_000, action: Action::Credit { pulses: 1 } };
    bench.send(&command);
    assert_eq!(bench.last_ack().stage, Stage::Clock);
    bench.sync_at(issued_ms);
    bench.send(&command);
    bench.run_ms(500);
    assert_eq!(bench.last_ack().stage, Stage::Done);
}

#[test]
fn a_credit_that_waits_past_its_expiry_is_not_begun() {
    let mut bench = ready();
    bench.credit(1, 50);
    let mut second = bench.command(2, Action::Credit { pulses: 1 });
    second.expires_ms = second.issued_ms + 2_000;
    bench.send(&second);
    bench.run_ms(10_000);
    let acks = bench.acks();
    let of = |sequence| acks.iter().filter(|ack| ack.sequence == sequence).map(|ack| ack.stage).collect::<Vec<_>>();
    assert_eq!(of(1), [Stage::Received, Stage::Done]);
    assert_eq!(of(2), [Stage::Received, Stage::Expired]);
    assert_eq!(bench.credit_train().len(), 50);
}

#[test]
fn too_many_waiting_credits_are_busy_and_stay_refused() {
    let mut bench = ready();
    for sequence in 1..=6 {
        bench.credit(sequence, 2);
    }
    bench.run_ms(5000);
    let busy: Vec<_> = bench.acks().into_iter().filter(|ack| ack.sequence == 6).collect();
    assert_eq!(
        busy.iter().map(|ack| (ack.stage, ack.reason)).collect::<Vec<_>>(),
        [(Stage::Failed, Some(Reason::Busy))]
    );
    assert_eq!(bench.credit_train().len(), 10);
    // A copy that was delayed on the way must not be given now: it may have been refunded.
    bench.credit(6, 2);
    bench.run_ms(1000);
    let ack = bench.last_ack();
    assert_eq!((ack.stage, ack.first, ack.reason), (Stage::Duplicate, Some(Stage::Failed), Some(Reason::Busy)));
    assert_eq!(bench.credit_train().len(), 10);
}

#[test]
fn values_out_of_bounds_are_invalid() {
    let mut bench = ready();
    for (sequence, pulses) in [(1, 0), (2, 51), (3, 65_535)] {
        bench.credit(sequence, pulses);
        assert_eq!((bench.last_ack().stage, bench.last_ack().reason), (Stage::Failed, Some(Reason::Invalid)));
    }
    bench.settings(4, Settings { version: 1, status_period_s: 1, ..Settings::default() });
    assert_eq!((bench.last_ack().stage, bench.last_ack().reason), (Stage::Failed, Some(Reason::Invalid)));
    assert!(bench.credit_train().is_empty());
}

#[test]
fn a_lock_refuses_new_and_waiting_credits_and_lets_the_one_being_given_end() {
    let mut bench = ready();
    bench.credit(1, 5);
    bench.credit(2, 5);
    let lock = bench.command(3, Action::Lock { locked: true });
    bench.send(&lock);
    bench.credit(4, 1);
    bench.run_ms(3000);
    assert_eq!(bench.credit_train().len(), 5);
    let acks = bench.acks();
    let last = |sequence| acks.iter().rfind(|ack| ack.sequence == sequence).map(|ack| (ack.stage, ack.reason));
    assert_eq!(last(1), Some((Stage::Done, None)));
    assert_eq!(last(2), Some((Stage::Failed, Some(Reason::Locked))));
    assert_eq!(last(3), Some((Stage::Done, None)));
    // The lock comes into force when it is in flash, which waits for the pulse under way.
    assert!(matches!(last(4), Some((Stage::Failed, Some(Reason::Locked)))));
    let mut bench = Bench::ready(bench.cut());
    assert!(bench.module.is_locked());
    bench.send(&lock);
    assert_eq!((bench.last_ack().stage, bench.last_ack().first), (Stage::Duplicate, Some(Stage::Done)));
    let unlock = bench.command(5, Action::Lock { locked: false });
    bench.send(&unlock);
    bench.send(&lock);
    assert_eq!(bench.last_ack().reason, Some(Reason::Superseded));
    assert!(!bench.module.is_locked());
}

#[test]
fn settings_are_taken_in_order_and_kept() {
    let mut bench = ready();
    let profile = CoinProfile { credit_width_ms: 100, credit_gap_ms: 200, ..CoinProfile::default() };
    bench.settings(5, Settings { version: 2, profile, ..Settings::default() });
    assert_eq!(bench.last_ack().stage, Stage::Done);
    bench.settings(4, Settings { version: 1, ..Settings::default() });
    assert_eq!((bench.last_ack().stage, bench.last_ack().reason), (Stage::Failed, Some(Reason::Superseded)));
    // Another kind of state has its own order.
    let lock = bench.command(3, Action::Lock { locked: false });
    bench.send(&lock);
    assert_eq!(bench.last_ack().stage, Stage::Done);
    let mut bench = Bench::ready(bench.cut());
    assert_eq!(bench.module.settings().version, 2);
    bench.run_ms(1000);
    let at_us = bench.now_us;
    bench.credit(6, 2);
    bench.run_ms(1000);
    assert_eq!(bench.credit_train(), [(at_us, at_us + 100_000), (at_us + 300_000, at_us + 400_000)]);
}

#[test]
fn a_sync_must_answer_this_boot_and_be_quick() {
    let mut bench = Bench::boot(Flash::blank(8));
    bench.connect();
    bench.run_ms(60_000);
    let sync = |echo_boot, echo_uptime_ms| Command {
        id: 1,
        sequence: 1,
        issued_ms: 0,
        expires_ms: 0,
        action: Action::Sync(Sync { server_ms: UNIX_MS, echo_boot, echo_uptime_ms }),
    };
    for (boot, uptime_ms) in [(2, 59_000), (0, 59_000), (1, 49_999), (1, 60_001)] {
        bench.send(&sync(boot, uptime_ms));
        assert_eq!((bench.last_ack().stage, bench.last_ack().reason), (Stage::Failed, Some(Reason::SlowSync)));
        assert_eq!(bench.module.unix_ms(bench.now_us), None);
    }
    bench.send(&sync(1, 58_000));
    assert_eq!(bench.module.unix_ms(bench.now_us), Some(UNIX_MS + 1000));
}

#[test]
fn a_probe_says_whether_a_credit_would_be_given() {
    let mut bench = ready();
    let probe = |bench: &mut Bench, sequence| {
        let command = bench.command(sequence, Action::Probe);
        bench.send(&command);
        (bench.last_ack().stage, bench.last_ack().reason)
    };
    assert_eq!(probe(&mut bench, 1), (Stage::Done, None));
    for sequence in 2..=6 {
        bench.credit(sequence, 10);
    }
    assert_eq!(probe(&mut bench, 7), (Stage::Failed, Some(Reason::Busy)));
    bench.run_ms(20_000);
    assert_eq!(probe(&mut bench, 8), (Stage::Done, None));
    bench.edge(false);
    bench.run_ms(601);
    assert_eq!(bench.module.faults() & faults::BLOCKING, faults::COIN_LINE_STUCK);
    assert_eq!(probe(&mut bench, 9), (Stage::Failed, Some(Reason::Fault)));
    bench.edge(true);
    bench.run_ms(10);
    assert_eq!(probe(&mut bench, 10), (Stage::Done, None));
    let mut late = bench.command(11, Action::Probe);
    (late.issued_ms, late.expires_ms) = (late.issued_ms - 2, late.issued_ms - 1);
    bench.send(&late);
    assert_eq!(bench.last_ack().stage, Stage::Expired);
    let lock = bench.command(12, Action::Lock { locked: true });
    bench.send(&lock);
    assert_eq!(probe(&mut bench, 13), (Stage::Failed, Some(Reason::Locked)));
}

#[test]
fn unknown_actions_and_foreign_bytes() {
    let mut bench = ready();
    let unknown = bench.command(1, Action::Unknown(99));
    bench.send(&unknown);
    assert_eq!((bench.last_ack().stage, bench.last_ack().reason), (Stage::Failed, Some(Reason::Unsupported)));
    let said = bench.acks().len();
    let mut forged = support::sealed(&unknown);
    *forged.last_mut().unwrap() ^= 1;
    bench.send_bytes(&forged);
    bench.send_bytes(&[]);
    bench.send_bytes(&[0; 300]);
    let good = support::sealed(&unknown);
    bench.module.on_message(bench.now_us, "m/0000000000/command", &good);
    bench.settle();
    assert_eq!(bench.acks().len(), said, "what is not believed is not answered");
    assert_eq!((bench.module.counters().bad_tags, bench.module.counters().bad_payloads), (1, 3));
    assert_eq!(bench.module.faults(), faults::BAD_SIGNATURES);
    bench.credit(2, 1);
    bench.run_ms(500);
    assert_eq!(bench.last_ack().stage, Stage::Done);
}

#[test]
fn a_restart_is_commanded_once() {
    let mut bench = ready();
    let reboot = bench.command(1, Action::Reboot);
    bench.credit(2, 2);
    bench.send(&reboot);
    assert!(!bench.module.wants_reboot(bench.now_us), "not in the middle of a credit");
    bench.run_ms(1000);
    assert!(bench.module.wants_reboot(bench.now_us));
    assert_eq!(bench.credit_train().len(), 2);
    let mut bench = Bench::ready(bench.cut());
    bench.send(&reboot);
    assert_eq!((bench.last_ack().stage, bench.last_ack().first), (Stage::Duplicate, Some(Stage::Done)));
    assert!(!bench.module.wants_reboot(bench.now_us));
}

#[test]
fn done_waits_for_the_machine_where_it_can_say() {
    let mut bench = ready();
    bench.settings(1, Settings { version: 1, sense: true, ..Settings::default() });
    bench.credit(2, 2);
    bench.run_ms(1000);
    assert_eq!(bench.last_ack().stage, Stage::Received);
    bench.sense(true);
    bench.settle();
    assert_eq!(bench.last_ack().stage, Stage::Done);
    bench.sense(false);
    bench.credit(3, 2);
    bench.run_ms(10_000);
    let ack = bench.last_ack();
    assert_eq!((ack.stage, ack.reason, ack.pulses), (Stage::Failed, Some(Reason::MachineSilent), Some(2)));
    bench.credit(4, 1);
    assert_eq!(bench.last_ack().reason, Some(Reason::Fault));
    // The machine starts after all, on a coin perhaps.
    bench.sense(true);
    bench.credit(5, 1);
    bench.run_ms(1000);
    assert_eq!(bench.last_ack().stage, Stage::Done);
}

#[test]
fn flash_that_forgot_refuses_what_it_may_have_given() {
    let mut bench = ready();
    let before = Command {
        id: 9,
        sequence: 9,
        issued_ms: UNIX_MS - 1,
        expires_ms: UNIX_MS + 60_000,
        action: Action::Credit { pulses: 1 },
    };
    bench.send(&before);
    assert_eq!((bench.last_ack().stage, bench.last_ack().reason), (Stage::Failed, Some(Reason::TooOld)));
    let mut bench = Bench::ready_at(bench.cut(), UNIX_MS + 10_000);
    bench.send(&before);
    assert_eq!(bench.last_ack().reason, Some(Reason::TooOld));
    let after = Command { id: 10, sequence: 10, issued_ms: UNIX_MS + 1, ..before };
    bench.send(&after);
    assert_eq!(bench.last_ack().stage, Stage::Received);
}

#[test]
fn the_cap_per_minute_holds_credits_back_and_loses_none() {
    let mut bench = Bench::ready(Flash::blank(8));
    let capped =
        Settings { version: 1, credit_pulses_max: 10, credit_pulses_per_minute_max: 20, ..Settings::default() };
    bench.settings(1, capped);
    bench.run_ms(100);
    let credit = |bench: &mut Bench, sequence, lifetime_ms| {
        let mut command = bench.command(sequence, Action::Credit { pulses: 8 });
        command.expires_ms = command.issued_ms + lifetime_ms;
        bench.send(&command);
    };
    credit(&mut bench, 2, 20_000);
    bench.run_ms(2000);
    let probe = bench.command(3, Action::Probe);
    bench.send(&probe);
    assert_eq!(bench.last_ack().stage, Stage::Done, "there is room for the largest");
    credit(&mut bench, 4, 20_000);
    bench.run_ms(2000);
    assert_eq!((bench.last_ack().sequence, bench.last_ack().stage), (4, Stage::Done));
    let probe = bench.command(5, Action::Probe);
    bench.send(&probe);
    assert_eq!((bench.last_ack().stage, bench.last_ack().reason), (Stage::Failed, Some(Reason::Busy)));
    // One paid for before: it waits as long as it may, whole, and is told if that was too short.
    credit(&mut bench, 6, 10_000);
    credit(&mut bench, 7, 90_000);
    assert_eq!(bench.last_ack().stage, Stage::Received);
    bench.run_ms(11_000);
    assert_eq!((bench.last_ack().sequence, bench.last_ack().stage), (6, Stage::Expired));
    assert_eq!(bench.credit_train().len(), 16);
    bench.run_ms(60_000);
    let ack = bench.last_ack();
    assert_eq!((ack.sequence, ack.stage, ack.pulses), (7, Stage::Done, Some(8)));
    let train = bench.credit_train();
    for (at_us, _) in &train {
        let minute = train.iter().filter(|(from_us, _)| (*at_us..at_us + 60_000_000).contains(from_us)).count();
        assert!(minute <= 20, "{minute} in a minute");
    }
    assert_eq!(bench.module.counters().credits_capped, 2);
    let probe = bench.command(8, Action::Probe);
    bench.send(&probe);
    assert_eq!(bench.last_ack().stage, Stage::Done);
    // Room for less than one credit of the largest is no cap but a lock.
    bench.settings(10, Settings { credit_pulses_per_minute_max: 9, ..capped });
    assert_eq!(bench.last_ack().reason, Some(Reason::Invalid));
}

#[test]
fn a_memory_start_noted_by_a_fast_clock_is_corrected() {
    const DAY_MS: u64 = 86_400_000;
    let credited = |bench: &mut Bench, sequence| {
        bench.credit(sequence, 1);
        bench.run_ms(500);
        (bench.last_ack().stage, bench.last_ack().reason)
    };
    let done = (Stage::Done, None);
    // In the same boot, and in a later one.
    let mut bench = Bench::ready_at(Flash::blank(8), UNIX_MS + DAY_MS);
    bench.run_ms(30_000);
    bench.sync_at(UNIX_MS + 30_000);
    assert_eq!(credited(&mut bench, 1), done);
    let bench = Bench::ready_at(Flash::blank(8), UNIX_MS + DAY_MS);
    let mut bench = Bench::ready_at(bench.cut(), UNIX_MS);
    assert_eq!(credited(&mut bench, 1), done);
    // What was issued before this boot may still have been forgotten, over restarts and whatever the clock does next.
    bench.sync_at(UNIX_MS + DAY_MS);
    assert_eq!(credited(&mut bench, 2), done);
    let mut bench = Bench::ready_at(bench.cut(), UNIX_MS + 5_000);
    let old = Command { issued_ms: UNIX_MS - 1, ..bench.command(3, Action::Credit { pulses: 1 }) };
    bench.send(&old);
    assert_eq!((bench.last_ack().stage, bench.last_ack().reason), (Stage::Failed, Some(Reason::TooOld)));
    assert_eq!(credited(&mut bench, 4), done);
}

#[test]
fn a_spike_on_the_sense_input_is_ignored() {
    let mut bench = ready();
    bench.settings(1, Settings { version: 1, sense: true, ..Settings::default() });
    bench.credit(2, 1);
    bench.run_ms(1000);
    for running in [true, false, true, false] {
        bench.module.on_sense(bench.now_us, running);
        bench.run_ms(SENSE_SETTLE_US / 1000 - 1);
    }
    assert_eq!(bench.last_ack().stage, Stage::Received);
    bench.run_ms(10_000);
    assert_eq!(bench.last_ack().reason, Some(Reason::MachineSilent));
    // Nor does one clear the fault, or end what runs.
    bench.module.on_sense(bench.now_us, true);
    bench.run_ms(1);
    bench.module.on_sense(bench.now_us, false);
    bench.run_ms(100);
    assert_eq!(bench.module.faults(), faults::MACHINE_SILENT);
    bench.sense(true);
    bench.module.on_sense(bench.now_us, false);
    bench.module.on_sense(bench.now_us, true);
    bench.run_ms(100);
    bench.credit(3, 1);
    bench.run_ms(1000);
    assert_eq!(bench.last_ack().stage, Stage::Done);
}

/// The server was started again with its clock set back by an hour: what it issues looks expired to a module whose clock it
/// set before. That is no reason to lose a credit for ever.
#[test]
fn a_credit_issued_after_the_servers_clock_was_set_back_is_given_after_a_sync() {
    let mut bench = ready();
    bench.run_ms(60_000);
    let mut credit = bench.command(1, Action::Credit { pulses: 2 });
    (credit.issued_ms, credit.expires_ms) = (credit.issued_ms - 3_600_000, credit.expires_ms - 3_600_000);
    bench.send(&credit);
    assert_eq!(bench.last_ack().stage, Stage::Clock, "not final");
    let sync = Sync {
        server_ms: credit.issued_ms + 500,
        echo_boot: bench.last_ack().boot,
        echo_uptime_ms: bench.now_us / 1000,
    };
    bench.send(&Command { id: 99, sequence: 0, issued_ms: 0, expires_ms: 0, action: Action::Sync(sync) });
    bench.send(&credit);
    bench.run_ms(2_000);
    assert_eq!((bench.last_ack().sequence, bench.last_ack().stage), (1, Stage::Done));
    assert_eq!(bench.credit_train().len(), 2);
}

#[test]
fn a_credit_that_is_expired_by_a_clock_set_just_now_is_expired_for_ever() {
    let mut bench = ready();
    bench.run_ms(60_000);
    let mut late = bench.command(1, Action::Credit { pulses: 2 });
    (late.issued_ms, late.expires_ms) = (late.issued_ms - 30_000, late.issued_ms - 10_000);
    bench.send(&late);
    assert_eq!(bench.last_ack().stage, Stage::Clock);
    let server_ms = bench.module.unix_ms(bench.now_us).unwrap();
    let sync = Sync { server_ms, echo_boot: bench.last_ack().boot, echo_uptime_ms: bench.now_us / 1000 };
    bench.send(&Command { id: 99, sequence: 0, issued_ms: 0, expires_ms: 0, action: Action::Sync(sync) });
    bench.send(&late);
    assert_eq!(bench.last_ack().stage, Stage::Expired);
    bench.run_ms(60_000);
    bench.send(&late);
    assert_eq!((bench.last_ack().stage, bench.last_ack().first), (Stage::Duplicate, Some(Stage::Expired)));
    assert!(bench.credit_train().is_empty());
}
