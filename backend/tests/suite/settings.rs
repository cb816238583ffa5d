//! Settings: wanted and reported versions, and how a module comes to have what is wanted.

use crate::support::{
    Shop, TestApp,
    actors::{acting_for, system},
    duplicate, failed, stage,
};
use backend::{
    Error,
    flows::operate::{
        machine,
        module::{self, SettingsChange},
    },
    live::LiveKind,
    machines::{RemoteView, remote},
    modules::{ModuleSettings, Progress},
};
use protocol::messages::{Action, CoinProfile, Command, Reason, Settings, Stage};

const DAY_MS: i64 = 24 * 3_600_000;

fn wide() -> ModuleSettings {
    let profile = CoinProfile { credit_width_ms: 100, ..CoinProfile::default() };
    ModuleSettings { profile, status_period_s: 600, sense: true, ..ModuleSettings::default() }
}

fn on(profile: CoinProfile, settings: ModuleSettings) -> ModuleSettings {
    ModuleSettings { profile, ..settings }
}

async fn remote(app: &TestApp) -> RemoteView {
    remote::remote(&app.backend, &acting_for(app.shop.operator_id), app.shop.machine_id).await.unwrap()
}

async fn want(app: &TestApp, since_version: i64, settings: ModuleSettings) -> Result<(), Error> {
    let change = SettingsChange { since_version, settings };
    module::set_settings(&app.backend, &acting_for(app.shop.operator_id), app.shop.machine_id, change).await
}

fn sent(app: &TestApp) -> Vec<(Command, Settings)> {
    let all = app.shop.module.take(app, |action| matches!(action, Action::Settings(_)));
    let settings = |command: Command| {
        let Action::Settings(settings) = command.action else { unreachable!() };
        (command, settings)
    };
    all.into_iter().map(settings).collect()
}

fn only(app: &TestApp) -> (Command, Settings) {
    let mut sent = sent(app);
    assert_eq!(sent.len(), 1, "{sent:?}");
    sent.remove(0)
}

/// The module says what it has in force.
async fn reports(app: &TestApp, version: u32) {
    app.deliver(&app.shop.module.status(app, |status| status.settings_version = version)).await;
}

#[tokio::test]
async fn a_change_is_sent_repeated_and_known_once_the_module_has_it() {
    let app = TestApp::start().await;
    let module = &app.shop.module;
    let view = remote(&app).await;
    assert_eq!((view.settings_standing, view.settings), ("built_in", ModuleSettings::default()));
    app.events();

    want(&app, 0, wide()).await.unwrap();
    assert!(app.events().iter().any(|event| event.what == LiveKind::Module), "pages are told");
    let (command, settings) = only(&app);
    assert_eq!((settings.version, settings.profile.credit_width_ms, settings.sense), (1, 100, true));
    assert_eq!((settings.status_period_s, settings.credit_pulses_per_minute_max), (600, 240));
    assert!(settings.is_valid());
    assert_eq!(command.expires_ms - command.issued_ms, u64::try_from(DAY_MS).unwrap());
    let view = remote(&app).await;
    assert_eq!((view.settings_standing, view.settings), ("waiting", wide()));
    assert_eq!(
        view.remote_actions.iter().map(|e| (e.action, e.state)).collect::<Vec<_>>(),
        [("settings", Progress::Pending)]
    );

    app.pass_ms(1_000).await;
    assert_eq!(only(&app), (command, settings), "repeated like any that counts");
    app.deliver(&module.ack(&app, &command, stage(Stage::Done))).await;
    reports(&app, 1).await;
    let view = remote(&app).await;
    assert_eq!((view.settings_standing, view.remote_actions[0].state), ("in_force", Progress::Done));
    let versions = view.row.module.map(|module| (module.settings_wanted, module.settings_version));
    assert_eq!(versions, Some((1, 1)));
    app.pass_ms(120_000).await;
    reports(&app, 1).await;
    assert!(sent(&app).is_empty());
}

#[tokio::test]
async fn a_newer_change_takes_the_place_of_one_not_heard() {
    let app = TestApp::start().await;
    let module = &app.shop.module;
    want(&app, 0, wide()).await.unwrap();
    let (first, _) = only(&app);
    let second = ModuleSettings { sense: false, ..wide() };
    want(&app, 1, second).await.unwrap();
    let (newest, settings) = only(&app);
    assert_eq!((settings.version, settings.sense, newest.sequence), (2, false, first.sequence + 1));
    app.pass_ms(10_000).await;
    assert!(sent(&app).iter().all(|(command, _)| command.id == newest.id), "the older one is not sent any more");
    // Its word on the older one, late, changes nothing.
    app.deliver(&module.ack(&app, &first, stage(Stage::Done))).await;
    assert_eq!(remote(&app).await.remote_actions[0].state, Progress::Pending);
    app.deliver(&module.ack(&app, &newest, duplicate(Stage::Done, 0))).await;
    assert_eq!(remote(&app).await.remote_actions[0].state, Progress::Done);
}

#[tokio::test]
async fn a_form_counts_once_and_not_over_anothers() {
    let app = TestApp::start().await;
    want(&app, 0, wide()).await.unwrap();
    want(&app, 0, wide()).await.unwrap();
    assert_eq!(only(&app).1.version, 1, "sent twice, saved once");
    let other = on(CoinProfile { credit_gap_ms: 77, ..wide().profile }, wide());
    assert!(matches!(want(&app, 0, other).await, Err(Error::Conflict(_))));
    assert_eq!(remote(&app).await.settings, wide());
    want(&app, 1, other).await.unwrap();
    assert_eq!(remote(&app).await.settings, other);
}

#[tokio::test]
async fn what_no_module_would_take_is_refused_with_its_field() {
    let app = TestApp::start().await;
    let good = ModuleSettings::default();
    for (field, settings) in [
        ("width_min_ms", on(CoinProfile { width_min_ms: 0, ..good.profile }, good)),
        ("width_max_ms", on(CoinProfile { width_max_ms: 15, ..good.profile }, good)),
        ("burst_end_ms", on(CoinProfile { burst_end_ms: 15, ..good.profile }, good)),
        ("credit_gap_ms", on(CoinProfile { credit_gap_ms: 2001, ..good.profile }, good)),
        ("credit_pulses_max", ModuleSettings { credit_pulses_max: 201, ..good }),
        // The shop sells 5 pulses.
        ("price_pulses", ModuleSettings { credit_pulses_max: 4, ..good }),
        ("credit_pulses_per_minute_max", ModuleSettings { credit_pulses_per_minute_max: 49, ..good }),
        ("status_period_s", ModuleSettings { status_period_s: 9, ..good }),
        ("keepalive_s", ModuleSettings { keepalive_s: 271, ..good }),
        ("settle_ms", ModuleSettings { settle_ms: 30_001, ..good }),
    ] {
        let refused = want(&app, 0, settings).await;
        let Err(Error::Invalid { field: named, .. }) = refused else { panic!("{field}: {refused:?}") };
        assert_eq!(named, field);
    }
    assert!(sent(&app).is_empty());
    assert_eq!(remote(&app).await.settings_standing, "built_in");
}

#[tokio::test]
async fn what_expired_while_the_module_was_away_is_sent_when_it_is_back() {
    let app = TestApp::start().await;
    let module = &app.shop.module;
    app.deliver(&module.will(&app)).await;
    want(&app, 0, wide()).await.unwrap();
    let (first, _) = only(&app);
    app.skip_ms(DAY_MS).await;
    app.skip_ms(1_000).await;
    let view = remote(&app).await;
    assert_eq!((view.settings_standing, view.remote_actions[0].state), ("waiting", Progress::Expired));
    sent(&app);

    module.reconnect(true);
    reports(&app, 0).await;
    let (again, settings) = only(&app);
    assert_eq!(settings.version, 1);
    assert!(again.sequence > first.sequence, "the same settings by a new command");
    reports(&app, 0).await;
    let repeats = sent(&app);
    assert!(repeats.iter().all(|(command, _)| command.id == again.id), "one command is enough: {repeats:?}");
    app.deliver(&module.ack(&app, &again, stage(Stage::Done))).await;
    reports(&app, 1).await;
    assert_eq!(remote(&app).await.settings_standing, "in_force");
}

#[tokio::test]
async fn a_module_that_lost_its_flash_gets_its_settings_again() {
    let app = TestApp::start().await;
    let module = &app.shop.module;
    want(&app, 0, wide()).await.unwrap();
    let (command, _) = only(&app);
    // A status that was on its way when it took them asks for nothing.
    app.deliver(&module.ack(&app, &command, stage(Stage::Done))).await;
    reports(&app, 0).await;
    assert!(sent(&app).is_empty());
    reports(&app, 1).await;
    app.clock.advance(60_000);
    module.reconnect(true);
    reports(&app, 0).await;
    let (again, settings) = only(&app);
    assert_eq!((settings.version, settings.sense), (1, true));
    // One that says it took them and never has them is not sent them without end.
    app.deliver(&module.ack(&app, &again, stage(Stage::Done))).await;
    for _ in 0..50 {
        app.clock.advance(1_000);
        reports(&app, 0).await;
    }
    assert!(sent(&app).is_empty());
}

#[tokio::test]
async fn settings_that_are_not_from_here_stay_until_others_are_chosen() {
    let app = TestApp::start().await;
    let module = &app.shop.module;
    reports(&app, 7).await;
    assert!(sent(&app).is_empty());
    assert_eq!(remote(&app).await.settings_standing, "foreign");
    want(&app, 0, wide()).await.unwrap();
    let (command, settings) = only(&app);
    assert_eq!(settings.version, 8, "no number stands for two contents");
    app.deliver(&module.ack(&app, &command, stage(Stage::Done))).await;
    reports(&app, 8).await;
    assert_eq!(remote(&app).await.settings_standing, "in_force");

    // As after the store was put back from a copy: what is wanted here wins, under a number above.
    app.clock.advance(60_000);
    reports(&app, 12).await;
    let (_, settings) = only(&app);
    assert_eq!((settings.version, settings.sense), (13, true));
    assert_eq!(remote(&app).await.row.module.unwrap().settings_wanted, 13);
}

#[tokio::test]
async fn a_module_that_refuses_is_not_asked_again_until_a_person_does_something() {
    let app = TestApp::start().await;
    let module = &app.shop.module;
    want(&app, 0, wide()).await.unwrap();
    let (command, _) = only(&app);
    app.alarms();
    app.deliver(&module.ack(&app, &command, failed(0, Reason::Invalid))).await;
    assert_eq!(app.alarms(), ["the module does not carry out `settings`: invalid"]);
    let view = remote(&app).await;
    assert_eq!((view.settings_standing, view.remote_actions[0].reason.as_str()), ("failed", "invalid"));
    app.pass_ms(100_000).await;
    reports(&app, 0).await;
    assert!(sent(&app).is_empty());
    // Saving the same settings again is a new try.
    want(&app, 1, wide()).await.unwrap();
    assert_eq!(only(&app).1.version, 2);
}

#[tokio::test]
async fn numbers_that_a_module_knows_are_not_given_twice() {
    let app = TestApp::start().await;
    let module = &app.shop.module;
    // The store was put back from a copy: it has forgotten the last commands.
    want(&app, 0, ModuleSettings::default()).await.unwrap();
    let (first, _) = only(&app);
    let known = first.sequence;
    app.deliver(&module.ack(&app, &first, stage(Stage::Done))).await;
    app.deliver(&module.status(&app, |status| status.last_command = known + 41)).await;
    want(&app, 1, wide()).await.unwrap();
    let (command, _) = only(&app);
    assert_eq!(command.sequence, known + 42);
    app.deliver(&module.ack(&app, &command, stage(Stage::Done))).await;
    app.deliver(&module.status(&app, |status| status.last_command = u32::MAX)).await;
    want(&app, 2, ModuleSettings::default()).await.unwrap();
    assert_eq!(only(&app).0.sequence, known + 43, "a claim beyond belief moves nothing");
}

#[tokio::test]
async fn nobody_reaches_anothers_module_and_a_machine_without_one_says_so() {
    let app = TestApp::start().await;
    let other: Shop = app.open_shop("other").await;
    let (mine, theirs) = (app.shop.operator_id, other.machine_id);
    let change = SettingsChange { since_version: 0, settings: wide() };
    let refused = [
        remote::remote(&app.backend, &acting_for(mine), theirs).await.map(drop),
        module::set_settings(&app.backend, &acting_for(mine), theirs, change).await,
        module::order_remote_action(&app.backend, &acting_for(mine), theirs, backend::modules::RemoteAction::Restart)
            .await,
        module::decide_learned(&app.backend, &acting_for(mine), theirs, 0, true).await,
    ];
    for refused in refused {
        assert!(matches!(refused, Err(Error::NotFound("machine"))), "{refused:?}");
    }
    assert!(other.module.take(&app, |_| true).is_empty());

    let bare = backend::flows::operate::machine::NewMachine {
        operator_id: mine,
        module: None,
        name: "Bare".into(),
        site: "Mall".into(),
        coin_value_minor: 0,
        prices: vec![],
    };
    let (machine_id, _) = machine::add_machine(&app.backend, &system(), bare).await.unwrap();
    assert!(remote::remote(&app.backend, &acting_for(mine), machine_id).await.unwrap().row.module.is_none());
    let refused = module::set_settings(&app.backend, &acting_for(mine), machine_id, change).await;
    assert!(matches!(refused, Err(Error::NotFound("module of this machine"))), "{refused:?}");
}
