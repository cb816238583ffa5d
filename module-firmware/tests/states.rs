//! Settings, lock, restart, locate and sync: their order, their repeats, their expiry.
#![allow(clippy::unwrap_used)]

mod support;

use module_firmware::{BootReport, Health, commands::LOCATE_US, light::LightSignal, module::REBOOT_WAIT_MAX_US};
use protocol::messages::{Action, Command, Diagnostics, Panic, Reason, ResetCause, Settings, Stage, Sync};
use support::{Bench, Flash, Said, UNIX_MS};

fn settings(version: u32) -> Action {
    Action::Settings(Settings { version, ..Settings::default() })
}

/// Two actions of each kind that sets a state.
fn states() -> [(Action, Action); 3] {
    [
        (settings(1), settings(2)),
        (Action::Lock { locked: true }, Action::Lock { locked: false }),
        (Action::Reboot, Action::Reboot),
    ]
}

fn last(bench: &Bench) -> (Stage, Option<Stage>, Option<Reason>) {
    let ack = bench.last_ack();
    (ack.stage, ack.first, ack.reason)
}

#[test]
fn a_late_repeat_is_told_what_came_of_the_first_even_past_its_expiry() {
    for (older, newer) in states() {
        let mut bench = Bench::ready(Flash::blank(8));
        let (older, newer) = (bench.command(1, older), bench.command(2, newer));
        bench.send(&newer);
        assert_eq!(last(&bench), (Stage::Done, None, None));
        let mut bench = Bench::ready_at(bench.cut(), newer.expires_ms + 60_000);
        bench.send(&newer);
        assert_eq!(last(&bench), (Stage::Duplicate, Some(Stage::Done), None), "{newer:?}");
        bench.send(&older);
        assert_eq!(last(&bench), (Stage::Failed, None, Some(Reason::Superseded)), "{older:?}");
        let late = Command { sequence: 3, ..newer };
        bench.send(&late);
        assert_eq!(last(&bench), (Stage::Expired, None, None), "{late:?}");
        assert!(!bench.module.wants_reboot(bench.now_us));
    }
}

#[test]
fn a_state_waits_for_the_pulse_under_way_and_says_so_when_asked() {
    for (older, newer) in states() {
        let mut bench = Bench::ready(Flash::blank(8));
        bench.credit(10, 1);
        bench.run_ms(10);
        let (older, newer) = (bench.command(1, older), bench.command(2, newer));
        bench.send(&older);
        bench.send(&older);
        assert_eq!(last(&bench), (Stage::Duplicate, Some(Stage::Received), None), "{older:?}");
        bench.send(&newer);
        assert_eq!(last(&bench), (Stage::Failed, None, Some(Reason::Superseded)));
        assert_eq!(bench.last_ack().command, older.id);
        bench.run_ms(500);
        assert!(bench.acks().iter().any(|ack| ack.command == newer.id && ack.stage == Stage::Done));
        assert!(bench.acks().iter().all(|ack| ack.command != older.id || ack.stage != Stage::Done));
    }
}

#[test]
fn without_a_clock_states_are_not_set_and_a_probe_is_answered() {
    let mut bench = Bench::boot(Flash::blank(8));
    bench.connect();
    let command = |action| Command { id: 1, sequence: 1, issued_ms: UNIX_MS, expires_ms: UNIX_MS + 60_000, action };
    for action in
        [settings(1), Action::Lock { locked: true }, Action::Reboot, Action::Locate, Action::Credit { pulses: 1 }]
    {
        bench.send(&command(action));
        assert_eq!(last(&bench), (Stage::Clock, None, None), "{action:?}");
    }
    assert!(!bench.module.is_locked() && bench.module.settings().version == 0);
    bench.send(&command(Action::Probe));
    assert_eq!(last(&bench), (Stage::Done, None, None));
}

#[test]
fn locate_blinks_for_its_time_each_time() {
    let mut bench = Bench::ready(Flash::blank(8));
    for sequence in [1, 1] {
        let locate = bench.command(sequence, Action::Locate);
        bench.send(&locate);
        let begin_us = bench.now_us;
        assert_eq!(bench.module.sign(bench.now_us), LightSignal::Locate);
        assert_eq!(last(&bench), (Stage::Done, None, None));
        bench.run_to(begin_us + LOCATE_US);
        assert_eq!(bench.module.sign(bench.now_us), LightSignal::AllWell);
        let blinks = bench.changes.iter().filter(|change| change.at_us >= begin_us && change.outputs.light).count();
        assert!(blinks >= 300, "{blinks} blinks");
        bench.changes.clear();
    }
}

fn diagnostics(bench: &Bench) -> Vec<Diagnostics> {
    let of = |said: &Said| if let Said::Status { diagnostics, .. } = said { *diagnostics } else { None };
    bench.said.iter().filter_map(of).collect()
}

#[test]
fn diagnose_is_answered_by_the_next_status_until_it_is_heard() {
    let mut bench = Bench::ready(Flash::blank(8));
    let panic = Some(Panic { file_hash: 7, line: 217 });
    let report = BootReport { reset_cause: Some(ResetCause::Panic), panic, uptime_before_s: Some(60) };
    bench.module.set_boot_report(report);
    bench.module.set_health(Health { modem_restarts: 1, modem_timeouts: 2, edges_lost: 3, ..Health::default() });
    bench.send_bytes(b"nothing that is signed");
    bench.credit(1, 51);
    bench.run_ms(5_000);
    assert_eq!(diagnostics(&bench), [], "nobody asked");
    let diagnose = bench.command(2, Action::Diagnose);
    bench.send(&diagnose);
    assert_eq!(last(&bench), (Stage::Done, None, None));
    bench.run_ms(5_000);
    let writes = diagnostics(&bench)[0].flash_writes;
    let expected = Diagnostics {
        reset_cause: Some(ResetCause::Panic),
        panic,
        uptime_before_s: Some(60),
        bad_tags: 1,
        flash_writes: writes,
        sessions: 1,
        modem_restarts: 1,
        modem_timeouts: 2,
        edges_lost: 3,
        credits_capped: 1,
        ..Diagnostics::default()
    };
    assert_eq!(diagnostics(&bench), [expected], "once");
    assert!((3..10).contains(&writes), "{writes}");

    // A status on its way when the connection goes was not heard.
    bench.online = false;
    let again = bench.command(3, Action::Diagnose);
    bench.send(&again);
    bench.now_us += 2_000_000;
    bench.settle();
    while bench.module.outgoing(bench.now_us).is_some() {}
    bench.disconnect();
    bench.said.clear();
    bench.connect();
    assert_eq!(
        diagnostics(&bench),
        [Diagnostics { sessions: 2, flash_writes: diagnostics(&bench)[0].flash_writes, ..expected }]
    );
}

#[test]
fn the_light_says_how_the_module_is() {
    let mut bench = Bench::restart(Flash::blank(8));
    assert_eq!(bench.module.sign(0), LightSignal::NoNetwork);
    bench.connect();
    bench.sync_at(UNIX_MS);
    assert_eq!(bench.module.sign(bench.now_us), LightSignal::AllWell);
    assert!(bench.outputs.light);
    let changes = bench.changes.len();
    bench.run_ms(1_000_000);
    assert_eq!(bench.changes.len(), changes, "it stays lit, and nothing wakes for it");
    bench.credit(1, 3);
    bench.run_ms(100);
    assert_eq!(bench.module.sign(bench.now_us), LightSignal::Crediting);
    bench.run_ms(1000);
    let lock = bench.command(2, Action::Lock { locked: true });
    bench.send(&lock);
    assert_eq!(bench.module.sign(bench.now_us), LightSignal::Locked);
    bench.module.set_health(Health { supply_low: true, ..Health::default() });
    bench.run_ms(10);
    assert_eq!(bench.module.sign(bench.now_us), LightSignal::Fault(5));
    assert!(bench.outputs.inhibit, "a machine that cannot be driven takes no coins");
    bench.module.set_health(Health::default());
    bench.run_ms(10);
    assert!(!bench.outputs.inhibit, "a locked one does");
    bench.edge(false);
    bench.run_ms(700);
    assert_eq!(bench.module.sign(bench.now_us), LightSignal::Fault(2));
    assert!(bench.outputs.inhibit, "a line that cannot be read takes no coins");
    bench.edge(true);
    bench.run_ms(10);
    assert!(!bench.outputs.inhibit);
    let restart = bench.command(3, Action::Reboot);
    bench.send(&restart);
    assert!(bench.outputs.inhibit, "nobody reads the line while it restarts");
}

#[test]
fn a_sync_sets_the_clock_by_half_its_round_trip_up_to_the_bound() {
    for (round_trip_ms, taken) in [(0, true), (1, true), (10_000, true), (10_001, false)] {
        let mut bench = Bench::boot(Flash::blank(8));
        bench.connect();
        bench.run_ms(20_000);
        let sync = Sync { server_ms: UNIX_MS, echo_boot: 1, echo_uptime_ms: 20_000 - round_trip_ms };
        bench.send(&Command { id: 1, sequence: 1, issued_ms: 0, expires_ms: 0, action: Action::Sync(sync) });
        let expected = taken.then_some(UNIX_MS + round_trip_ms / 2);
        assert_eq!(bench.module.unix_ms(bench.now_us), expected, "{round_trip_ms}");
        assert_eq!(bench.last_ack().stage, if taken { Stage::Done } else { Stage::Failed });
    }
}

#[test]
fn a_restart_waits_for_its_answer_and_for_the_coin_under_way_but_not_for_ever() {
    let mut bench = Bench::ready(Flash::blank(8));
    bench.edge(false);
    let reboot = bench.command(1, Action::Reboot);
    bench.send(&reboot);
    bench.run_ms(50);
    bench.edge(true);
    bench.run_ms(60);
    assert!(!bench.module.wants_reboot(bench.now_us), "another coin may follow");
    bench.run_ms(400);
    assert!(bench.module.wants_reboot(bench.now_us));
    assert_eq!((bench.coin_train().len(), bench.module.totals().coin_pulses), (1, 1));

    let mut bench = Bench::ready(Flash::blank(8));
    bench.online = false;
    let reboot = bench.command(1, Action::Reboot);
    bench.send(&reboot);
    bench.run_to(bench.now_us + REBOOT_WAIT_MAX_US - 1);
    assert!(!bench.module.wants_reboot(bench.now_us), "its answer was not heard");
    bench.run_to(bench.now_us + 1);
    assert!(bench.module.wants_reboot(bench.now_us));
}
