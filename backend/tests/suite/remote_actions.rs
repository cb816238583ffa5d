//! Remote actions: restart, locate, learn, diagnose; what came of them, what was learned, and what was told.

use crate::support::{TestApp, actors::acting_for, app::Shop, failed, stage};
use backend::{
    Error,
    flows::operate::module,
    machines::remote,
    modules::{LearnOptions, LearningResultView, ModuleSettings, Progress, RemoteAction, RemoteActionView, Verdict},
};
use protocol::{
    limits::PAYLOAD_MAX_BYTES,
    messages::{
        Action, CoinProfile, Command, Diagnostics, Learn, LearnFailure, LearnStage, Learned, Panic, Reason, ResetCause,
        Spread, Stage,
    },
};

const LEARN: LearnOptions = LearnOptions { coins: 10, confirm: true, test_pulses: 2 };

async fn send(app: &TestApp, remote_action: RemoteAction) -> Result<(), Error> {
    module::order_remote_action(&app.backend, &acting_for(app.shop.operator_id), app.shop.machine_id, remote_action)
        .await
}

fn take(app: &TestApp, word: &str) -> Vec<Command> {
    app.shop.module.take(app, |action| action.as_str() == word)
}

async fn remote_action(app: &TestApp, action: &str) -> RemoteActionView {
    let remote_actions = remote::remote(&app.backend, &acting_for(app.shop.operator_id), app.shop.machine_id)
        .await
        .unwrap()
        .remote_actions;
    remote_actions.into_iter().find(|remote_action| remote_action.action == action).expect("it was ordered")
}

async fn learning_result(app: &TestApp) -> LearningResultView {
    remote::remote(&app.backend, &acting_for(app.shop.operator_id), app.shop.machine_id)
        .await
        .unwrap()
        .learning_result
        .expect("something was learned")
}

async fn judge(app: &TestApp, heard_ms: i64, accept: bool) -> Result<(), Error> {
    let Shop { operator_id, machine_id, .. } = app.shop;
    module::decide_learned(&app.backend, &acting_for(operator_id), machine_id, heard_ms, accept).await
}

#[tokio::test]
async fn each_is_one_command_that_is_answered() {
    let app = TestApp::start().await;
    let module = &app.shop.module;
    for (remote_action_, action, expected) in [
        (RemoteAction::Restart, "reboot", Action::Reboot),
        (RemoteAction::Locate, "locate", Action::Locate),
        (RemoteAction::Diagnose, "diagnose", Action::Diagnose),
        (RemoteAction::Learn(LEARN), "learn", Action::Learn(Learn { coins: 10, confirm: true, test_pulses: 2 })),
        (RemoteAction::StopLearning, "learn", Action::Learn(Learn { coins: 0, confirm: false, test_pulses: 0 })),
    ] {
        send(&app, remote_action_).await.unwrap();
        let commands = take(&app, action);
        let [command] = &commands[..] else { panic!("{commands:?}") };
        assert_eq!((command.action, command.expires_ms - command.issued_ms), (expected, 120_000));
        assert_eq!(remote_action(&app, action).await.state, Progress::Pending);
        app.deliver(&module.ack(&app, command, stage(Stage::Done))).await;
        let view = remote_action(&app, action).await;
        assert_eq!((view.state, view.ordered_ms), (Progress::Done, app.now_ms()));
    }
    app.pass_ms(130_000).await;
    assert!(module.take(&app, |_| true).is_empty(), "what is done is not sent again");
}

#[tokio::test]
async fn a_second_click_is_none_and_a_later_one_is() {
    let app = TestApp::start().await;
    let module = &app.shop.module;
    send(&app, RemoteAction::Restart).await.unwrap();
    send(&app, RemoteAction::Restart).await.unwrap();
    let commands = take(&app, "reboot");
    assert_eq!(commands.len(), 1);
    app.deliver(&module.ack(&app, &commands[0], stage(Stage::Done))).await;
    app.clock.advance(4_999);
    send(&app, RemoteAction::Restart).await.unwrap();
    assert!(take(&app, "reboot").is_empty(), "it has just restarted for that click");
    app.clock.advance(1);
    send(&app, RemoteAction::Restart).await.unwrap();
    assert_eq!(take(&app, "reboot").len(), 1);
    // What failed may be tried again at once.
    send(&app, RemoteAction::Diagnose).await.unwrap();
    let ask = take(&app, "diagnose").remove(0);
    app.deliver(&module.ack(&app, &ask, failed(0, Reason::Busy))).await;
    send(&app, RemoteAction::Diagnose).await.unwrap();
    assert_eq!(take(&app, "diagnose").len(), 1);
}

#[tokio::test]
async fn what_is_not_heard_in_time_expires_and_is_not_done_later() {
    let app = TestApp::start().await;
    let module = &app.shop.module;
    app.deliver(&module.will(&app)).await;
    send(&app, RemoteAction::Restart).await.unwrap();
    app.pass_ms(119_800).await;
    assert_eq!(remote_action(&app, "reboot").await.state, Progress::Pending);
    app.pass_ms(200).await;
    assert_eq!(remote_action(&app, "reboot").await.state, Progress::Expired);
    take(&app, "reboot");
    module.reconnect(true);
    app.deliver(&module.status(&app, |_| ())).await;
    assert!(take(&app, "reboot").is_empty());

    send(&app, RemoteAction::Locate).await.unwrap();
    let locate = take(&app, "locate").remove(0);
    app.deliver(&module.ack(&app, &locate, stage(Stage::Expired))).await;
    assert_eq!(remote_action(&app, "locate").await.state, Progress::Expired);
}

#[tokio::test]
async fn a_module_says_why_not_and_an_old_one_that_it_knows_no_such_thing() {
    let app = TestApp::start().await;
    let module = &app.shop.module;
    send(&app, RemoteAction::Learn(LEARN)).await.unwrap();
    let command = take(&app, "learn").remove(0);
    app.alarms();
    app.deliver(&module.ack(&app, &command, failed(0, Reason::Locked))).await;
    let view = remote_action(&app, "learn").await;
    assert_eq!((view.state, view.reason.as_str()), (Progress::Failed, "locked"));
    assert!(app.alarms().is_empty(), "whoever ordered it sees it");
    send(&app, RemoteAction::Diagnose).await.unwrap();
    let command = take(&app, "diagnose").remove(0);
    app.deliver(&module.ack(&app, &command, failed(0, Reason::Unsupported))).await;
    assert_eq!(app.alarms(), ["the module does not carry out `diagnose`: unsupported"]);
}

#[tokio::test]
async fn learning_out_of_bounds_is_refused() {
    let app = TestApp::start().await;
    for options in [
        LearnOptions { coins: 0, ..LEARN },
        LearnOptions { coins: 9, ..LEARN },
        LearnOptions { coins: 51, ..LEARN },
        LearnOptions { test_pulses: 11, ..LEARN },
    ] {
        let refused = send(&app, RemoteAction::Learn(options)).await;
        assert!(matches!(refused, Err(Error::Invalid { field: "learn", .. })), "{options:?}: {refused:?}");
    }
    assert!(take(&app, "learn").is_empty());
}

fn profile() -> CoinProfile {
    CoinProfile { idle_high: false, width_min_ms: 20, width_max_ms: 90, credit_width_ms: 45, ..CoinProfile::default() }
}

fn learned(stage: LearnStage, coins: u8) -> Learned {
    let spread = Some(Spread { min: 40, median: 45, max: 60 });
    let ended = matches!(stage, LearnStage::Stored | LearnStage::Failed);
    Learned {
        stage,
        command: 1,
        coins,
        coins_asked: 10,
        failure: (stage == LearnStage::Failed).then_some(LearnFailure::Unconfirmed),
        profile: ended.then(profile),
        widths_ms: spread,
        gaps_ms: spread,
        coin_pulses: Some(Spread { min: 1, median: 2, max: 5 }),
        bounce_us: 700,
        noise_edges: 3,
        test_pulses: 4,
        confirmed: (stage == LearnStage::Stored).then_some(true),
    }
}

/// The module says what it learned, under settings of a version.
async fn tells(app: &TestApp, version: u32, learned: Learned) {
    let status = app.shop.module.status(app, |status| {
        status.settings_version = version;
        status.learned = Some(learned);
    });
    app.deliver(&status).await;
}

fn settings_sent(app: &TestApp) -> Vec<(u32, CoinProfile)> {
    let settings = |command: Command| {
        let Action::Settings(settings) = command.action else { unreachable!() };
        (settings.version, settings.profile)
    };
    take(app, "settings").into_iter().map(settings).collect()
}

#[tokio::test]
async fn what_was_learned_is_shown_and_accepted_into_the_settings_once() {
    let app = TestApp::start().await;
    for coins in 0..=10 {
        tells(&app, 0, learned(LearnStage::Sampling, coins)).await;
        let view = learning_result(&app).await;
        assert_eq!((view.stage, view.coins, view.ended, view.acceptable), ("sampling", coins, false, false));
    }
    let heard_ms = learning_result(&app).await.heard_ms;
    assert!(matches!(judge(&app, heard_ms, true).await, Err(Error::Conflict(_))), "it is not over");
    app.clock.advance(1_000);
    tells(&app, 0, learned(LearnStage::Stored, 10)).await;
    let view = learning_result(&app).await;
    assert_eq!((view.stage, view.verdict, view.acceptable), ("stored", Verdict::Open, true));
    assert_eq!((view.widths_ms, view.confirmed, view.by_button), (Some([40, 45, 60]), Some(true), false));
    assert!(matches!(judge(&app, heard_ms, true).await, Err(Error::Conflict(_))), "that is another learning result");

    judge(&app, view.heard_ms, true).await.unwrap();
    judge(&app, view.heard_ms, true).await.unwrap();
    assert_eq!(settings_sent(&app), [(1, profile())]);
    let remote = remote::remote(&app.backend, &acting_for(app.shop.operator_id), app.shop.machine_id).await.unwrap();
    let expected = ModuleSettings { profile: profile(), ..ModuleSettings::default() };
    assert_eq!(remote.settings, expected);
    // Told once more, as when it is asked how it is, it is not put before the operator again.
    tells(&app, 1, learned(LearnStage::Stored, 10)).await;
    assert_eq!(learning_result(&app).await.verdict, Verdict::Accepted);
    assert!(matches!(judge(&app, view.heard_ms, false).await, Err(Error::Conflict(_))));
    tells(&app, 1, learned(LearnStage::Quiet, 0)).await;
    assert_eq!(learning_result(&app).await.verdict, Verdict::Open);
}

#[tokio::test]
async fn what_is_discarded_is_put_back() {
    let app = TestApp::start().await;
    tells(&app, 0, learned(LearnStage::Stored, 10)).await;
    let heard_ms = learning_result(&app).await.heard_ms;
    judge(&app, heard_ms, false).await.unwrap();
    judge(&app, heard_ms, false).await.unwrap();
    let sent = take(&app, "settings");
    let [Command { action: Action::Settings(settings), .. }] = sent[..] else { panic!("{sent:?}") };
    assert_eq!((settings.version, settings.profile), (1, CoinProfile::default()));
    assert_eq!(learning_result(&app).await.verdict, Verdict::Discarded);
    app.deliver(&app.shop.module.ack(&app, &sent[0], stage(Stage::Done))).await;

    // What failed is not in force: nothing is sent. But what was measured may be used.
    tells(&app, 1, learned(LearnStage::Failed, 10)).await;
    let view = learning_result(&app).await;
    assert_eq!((view.failure, view.acceptable), (Some("unconfirmed"), true));
    judge(&app, view.heard_ms, false).await.unwrap();
    assert!(settings_sent(&app).is_empty());
    app.clock.advance(1);
    tells(&app, 1, Learned { profile: None, ..learned(LearnStage::Failed, 10) }).await;
    let view = learning_result(&app).await;
    assert!(!view.acceptable);
    assert!(matches!(judge(&app, view.heard_ms, true).await, Err(Error::Conflict(_))));
}

#[tokio::test]
async fn a_profile_that_no_module_would_take_cannot_be_accepted() {
    let app = TestApp::start().await;
    let crooked = CoinProfile { width_min_ms: 90, width_max_ms: 20, ..profile() };
    tells(&app, 0, Learned { profile: Some(crooked), ..learned(LearnStage::Stored, 10) }).await;
    let view = learning_result(&app).await;
    assert!(!view.acceptable);
    assert!(matches!(judge(&app, view.heard_ms, true).await, Err(Error::Conflict(_))));
    assert!(settings_sent(&app).is_empty());
}

#[tokio::test]
async fn settings_that_are_saved_settle_an_open_learning_result() {
    let app = TestApp::start().await;
    let Shop { operator_id, machine_id, .. } = app.shop;
    let save = async |since_version, settings| {
        let change = backend::flows::operate::module::SettingsChange { since_version, settings };
        module::set_settings(&app.backend, &acting_for(operator_id), machine_id, change).await.unwrap();
    };
    save(0, ModuleSettings::default()).await;
    tells(&app, 1, learned(LearnStage::Stored, 10)).await;
    take(&app, "settings");
    // The same as is wanted already; but it is not what the module works by.
    save(1, ModuleSettings::default()).await;
    assert_eq!(settings_sent(&app), [(2, CoinProfile::default())]);
    assert_eq!(learning_result(&app).await.verdict, Verdict::Discarded);
}

#[tokio::test]
async fn an_old_status_teaches_nothing() {
    let app = TestApp::start().await;
    let module = &app.shop.module;
    let stored = |app: &TestApp| module.status(app, |status| status.learned = Some(learned(LearnStage::Stored, 10)));
    let replayed = stored(&app);
    app.deliver(&replayed).await;
    let heard_ms = learning_result(&app).await.heard_ms;
    judge(&app, heard_ms, true).await.unwrap();
    tells(&app, 0, learned(LearnStage::Quiet, 0)).await;
    app.deliver(&replayed).await;
    assert_eq!(learning_result(&app).await.stage, "quiet");
}

#[tokio::test]
async fn diagnostics_are_kept_as_last_told() {
    let app = TestApp::start().await;
    let module = &app.shop.module;
    let remote = async || {
        remote::remote(&app.backend, &acting_for(app.shop.operator_id), app.shop.machine_id).await.unwrap().diagnostics
    };
    assert!(remote().await.is_none());
    let told = Diagnostics {
        reset_cause: Some(ResetCause::Watchdog),
        panic: Some(Panic { file_hash: 0xdead_beef, line: 57 }),
        uptime_before_s: Some(3_600),
        flash_writes: 12,
        ..Diagnostics::default()
    };
    app.deliver(&module.status(&app, |status| status.diagnostics = Some(told))).await;
    let view = remote().await.unwrap();
    assert_eq!((view.reset_cause, view.panic.as_deref()), (Some("watchdog"), Some("deadbeef:57")));
    assert_eq!((view.uptime_before_s, view.heard_ms), (Some(3_600), app.now_ms()));
    assert!(view.counters.contains(&("flash_writes", 12)) && view.counters.contains(&("sessions", 0)));
    let widest = Diagnostics {
        reset_cause: Some(ResetCause::Unknown(u8::MAX)),
        panic: Some(Panic { file_hash: u32::MAX, line: u32::MAX }),
        uptime_before_s: Some(u32::MAX),
        bad_tags: u32::MAX,
        bad_payloads: u32::MAX,
        flash_failures: u32::MAX,
        flash_writes: u32::MAX,
        sessions: u32::MAX,
        modem_restarts: u32::MAX,
        modem_timeouts: u32::MAX,
        modem_garbage: u32::MAX,
        edges_lost: u32::MAX,
        credits_capped: u32::MAX,
        modem_errors: u32::MAX,
        links_lost: u32::MAX,
    };
    let largest = module.status(&app, |status| status.diagnostics = Some(widest));
    assert!(largest.payload.len() <= PAYLOAD_MAX_BYTES);
    app.deliver(&largest).await;
    let view = remote().await.unwrap();
    assert_eq!(view.reset_cause, Some("unknown"));
    assert!(view.counters.iter().all(|(_, count)| *count == u32::MAX));
    // The next status without any takes nothing away.
    app.deliver(&module.status(&app, |_| ())).await;
    assert!(remote().await.is_some());
}
