//! The module's page in every state.

use super::{each, fleet_row, member, module as module_view, templates};
use crate::pages::{
    module::{self, CAUSES, DONE_NOTICES, FAILURES, REASONS, REFUSALS, Replacing, STAGES},
    module_settings::SettingsForm,
};
use backend::{
    machines::RemoteView,
    modules::{DiagnosticsView, LearningResultView, ModuleSettings, Progress, RemoteActionView, Verdict},
};
use protocol::messages::CoinProfile;

const AT_MS: i64 = 1_795_404_636_000;

fn remote_action(action: &'static str, state: Progress, reason: &str) -> RemoteActionView {
    RemoteActionView { action, state, reason: reason.into(), ordered_ms: AT_MS, heard_ms: Some(AT_MS + 900) }
}

fn learning_result(stage: &'static str) -> LearningResultView {
    let ended = ["stored", "failed"].contains(&stage);
    let profile = CoinProfile {
        idle_high: true,
        width_min_ms: 30,
        width_max_ms: 80,
        gap_min_ms: 40,
        burst_end_ms: 250,
        credit_width_ms: 50,
        credit_gap_ms: 60,
    };
    LearningResultView {
        heard_ms: AT_MS,
        stage,
        ended,
        by_button: false,
        coins: if ended { 10 } else { 4 },
        coins_asked: 10,
        failure: (stage == "failed").then_some("unconfirmed"),
        profile: ended.then_some(profile),
        widths_ms: (stage != "quiet").then_some([48, 50, 53]),
        gaps_ms: ended.then_some([58, 60, 66]),
        coin_pulses: ended.then_some([1, 1, 5]),
        bounce_us: 850,
        noise_edges: 2,
        test_pulses: 3,
        confirmed: (stage == "stored").then_some(true),
        verdict: Verdict::Open,
        acceptable: ended,
    }
}

fn diagnostics(cause: Option<&'static str>) -> DiagnosticsView {
    DiagnosticsView {
        heard_ms: AT_MS,
        reset_cause: cause,
        panic: cause.map(|_| "0badcafe:57".into()),
        uptime_before_s: cause.map(|_| 86_400),
        counters: [
            "bad_tags",
            "bad_payloads",
            "flash_failures",
            "flash_writes",
            "sessions",
            "links_lost",
            "modem_restarts",
            "modem_timeouts",
            "modem_errors",
            "modem_garbage",
            "edges_lost",
            "credits_capped",
        ]
        .map(|name| (name, 3))
        .into(),
    }
}

fn remote(standing: &'static str, online: bool) -> RemoteView {
    let mut module = module_view(online);
    (module.settings_version, module.settings_wanted) = match standing {
        "built_in" => (0, 0),
        "foreign" => (7, 0),
        "in_force" => (3, 3),
        _ => (2, 3),
    };
    RemoteView {
        row: fleet_row(1, "Carousel <1>", Some(module)),
        settings: ModuleSettings::default(),
        settings_changed_ms: (standing != "built_in").then_some(AT_MS),
        settings_standing: standing,
        remote_actions: vec![],
        learning_result: None,
        behind: None,
        diagnostics: None,
    }
}

fn render(name: &str, view: &RemoteView, done: Option<&str>, refusal: Option<&str>) -> [String; 2] {
    let form = SettingsForm::of(view);
    let replacing = Replacing { spares: vec!["9876543210".into()], typed: "<typed>".into() };
    each(&templates(), name, "module.html", &module::context(&member(), view, &form, &replacing, done, refusal))
}

#[test]
fn settings_in_every_standing() {
    for standing in ["built_in", "foreign", "in_force", "waiting", "failed"] {
        for online in [true, false] {
            let mut view = remote(standing, online);
            if standing == "failed" {
                view.remote_actions = vec![remote_action("settings", Progress::Failed, "invalid")];
            }
            let html = render(&format!("module-{standing}-{online}"), &view, None, None);
            assert!(html[1].contains(&format!("data-standing=\"{standing}\"")));
            assert!(html[1].contains("Carousel &lt;1&gt;"), "what operators write is escaped");
            assert_eq!(
                html[1].matches("method=\"post\"").count(),
                8,
                "sign out, three remote_actions, settings, learning, access, another module"
            );
        }
    }
}

#[test]
fn a_disabled_module_says_so_and_can_be_enabled() {
    let mut view = remote("in_force", false);
    view.row.module.as_mut().unwrap().disabled_ms = Some(AT_MS);
    let html = render("module-disabled", &view, None, None);
    assert!(html[1].contains("data-disabled") && !html[1].contains(">Offline<"));
    assert!(html[1].contains("cannot connect") && html[1].contains("Enable the module again"));
}

#[test]
fn every_word_of_a_module_has_its_text() {
    let mut view = remote("failed", true);
    for reason in REASONS.into_iter().chain(["", "something_new"]) {
        let actions = ["settings", "lock", "learn", "reboot", "locate", "diagnose"];
        view.remote_actions = actions.map(|action| remote_action(action, Progress::Failed, reason)).into();
        render(&format!("module-reason-{reason}"), &view, None, None);
    }
    view.learning_result =
        Some(LearningResultView { confirmed: Some(false), test_pulses: 0, ..learning_result("stored") });
    assert!(render("module-learning-result-untried", &view, None, None)[1].contains("Not tried"));
    view.remote_actions = [Progress::Pending, Progress::Done, Progress::Failed, Progress::Expired]
        .map(|state| remote_action("reboot", state, "busy"))
        .into();
    let html = render("module-remote-actions", &view, None, None);
    assert!(html[1].contains("It will not be done any more"));
    for stage in STAGES.into_iter().chain(["unknown", "something_new"]) {
        for verdict in [Verdict::Open, Verdict::Accepted, Verdict::Discarded] {
            let open = verdict == Verdict::Open;
            let base = learning_result(stage);
            let acceptable = base.acceptable && open;
            view.learning_result = Some(LearningResultView { verdict, acceptable, ..base });
            let html = render(&format!("module-learning-result-{stage}-{verdict:?}"), &view, None, None);
            let ended = ["stored", "failed"].contains(&stage);
            assert_eq!(html[1].contains("id=\"accept\""), ended && open, "{stage} {verdict:?}");
            assert_eq!(html[1].contains("id=\"discard\""), ended && open, "{stage} {verdict:?}");
            assert_eq!(html[1].contains("id=\"stop\""), !ended, "{stage} {verdict:?}");
        }
    }
    for failure in FAILURES.into_iter().chain(["something_new"]) {
        let bare =
            LearningResultView { profile: None, widths_ms: None, acceptable: false, ..learning_result("failed") };
        view.learning_result = Some(LearningResultView { failure: Some(failure), ..bare });
        let html = render(&format!("module-failure-{failure}"), &view, None, None);
        assert!(!html[1].contains("id=\"accept\"") && html[1].contains("id=\"discard\""));
    }
    for cause in CAUSES.into_iter().map(Some).chain([Some("something_new"), None]) {
        view.diagnostics = Some(diagnostics(cause));
        render(&format!("module-reset-{}", cause.unwrap_or("none")), &view, None, None);
    }
}

#[test]
fn notices_and_refusals() {
    let view = remote("in_force", true);
    for notice in DONE_NOTICES {
        render(&format!("module-done-{notice}"), &view, Some(notice), None);
    }
    for word in REFUSALS {
        let html = render(&format!("module-refused-{word}"), &view, None, Some(word));
        assert_eq!(html[1].matches("role=\"alert\"").count(), 1, "{word}");
        let about_a_field = !["learn", "meanwhile", "other"].contains(&word);
        assert_eq!(html[1].contains("aria-invalid"), about_a_field, "{word}: its fields are marked");
    }
}

#[test]
fn with_everything_and_with_nothing() {
    let mut view = remote("waiting", true);
    view.remote_actions = vec![
        remote_action("settings", Progress::Pending, ""),
        remote_action("lock", Progress::Done, ""),
        remote_action("learn", Progress::Done, ""),
        remote_action("reboot", Progress::Failed, "busy"),
        remote_action("locate", Progress::Expired, ""),
    ];
    view.learning_result = Some(learning_result("stored"));
    view.diagnostics = Some(diagnostics(Some("watchdog")));
    let html = render("module", &view, None, None);
    assert!(html[1].contains("Waiting for the module") && html[1].contains("0badcafe:57"));
    let context = module::state_context(&member(), &view);
    each(&templates(), "module-fragment", "module_state.html", &context);

    view = remote("built_in", true);
    view.settings.sense = true;
    assert!(render("module-fresh", &view, None, None)[1].contains("the sense input tells"));
    view.row.module = None;
    let html = render("module-none", &view, None, None);
    assert!(html[1].contains("No module is wired") && !html[1].contains("/module/settings"));
}
