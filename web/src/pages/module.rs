//! A machine's module: its settings, remote actions, learning result and diagnostics, and whether it may connect.

use crate::{
    failure::Failure,
    guard::{session::Signed, streams::StreamOwner},
    live,
    page::{Page, see_other},
    pages::{
        confirm::{self, Question},
        fleet::PACE,
        member_context::member_context,
        module_settings::SettingsForm,
    },
    rendering::Fragment,
};
use backend::{
    Error,
    access::{operations::Operation, signed_in::Member},
    flows::operate::{
        machine,
        module::{self, SettingsChange},
    },
    ids::MachineId,
    machines::{RemoteView, remote},
    modules::{LearnOptions, RemoteAction, RemoteActionView, registry},
};
use poem::{
    Response, handler,
    http::StatusCode,
    web::{Form, Path, Query},
};
use protocol::{
    ModuleId,
    limits::{LEARN_COINS_MAX, LEARN_COINS_MIN, LEARN_TEST_PULSES_MAX},
};
use serde::{Deserialize, Serialize};
use tera::Context;

/// The word of what was done, for the notice at the top of the page: `module-done-<word>` in the locales.
pub(crate) const DONE_NOTICES: [&str; 11] = [
    "settings",
    "locate",
    "restart",
    "diagnose",
    "learn",
    "stop",
    "accepted",
    "discarded",
    "disabled",
    "enabled",
    "replaced",
];

/// Why the page refuses: `module-refused-<word>` in the locales.
#[cfg(test)]
pub(crate) const REFUSALS: [&str; 14] = [
    "widths",
    "gaps",
    "credit",
    "pulses-max",
    "price-pulses",
    "per-minute",
    "status-period",
    "keepalive",
    "learn",
    "replace",
    "replace-pulses",
    "replace-confirm",
    "meanwhile",
    "other",
];

/// Why a module does not execute a command: `module-reason-<word>`; reasons of a later version are `unknown`.
pub(crate) const REASONS: [&str; 11] = [
    "power_lost",
    "locked",
    "busy",
    "fault",
    "unsupported",
    "too_old",
    "superseded",
    "invalid",
    "machine_silent",
    "flash",
    "slow_sync",
];

/// The stage of learning: `learn-stage-<word>`.
pub(crate) const STAGES: [&str; 5] = ["quiet", "sampling", "confirming", "stored", "failed"];

/// Why it failed: `learn-failure-<word>`.
pub(crate) const FAILURES: [&str; 11] = [
    "no_coins",
    "line_stuck",
    "noise",
    "uneven",
    "unconfirmed",
    "cancelled",
    "restarted",
    "locked",
    "fault",
    "flash",
    "settings",
];

/// Why a module last started: `reset-<word>`.
pub(crate) const CAUSES: [&str; 7] = ["power_on", "brown_out", "reset_pin", "software", "watchdog", "panic", "other"];

/// The word, if there are texts for it.
fn known<'a>(words: &[&'a str], word: &str) -> &'a str {
    words.iter().find(|known| **known == word).copied().unwrap_or("unknown")
}

/// A remote action with a reason that has a text.
#[derive(Serialize)]
struct RemoteActionRow<'a> {
    #[serde(flatten)]
    view: &'a RemoteActionView,
    reason_word: &'static str,
}

/// The variables of the live part.
pub(crate) fn state_context(member: &Member, view: &RemoteView) -> Context {
    let rows: Vec<RemoteActionRow<'_>> = view
        .remote_actions
        .iter()
        .map(|view| RemoteActionRow { view, reason_word: known(&REASONS, &view.reason) })
        .collect();
    let refused = view.remote_actions.iter().find(|remote_action| remote_action.action == "settings");
    let learning_result = view.learning_result.as_ref();
    let mut context = member_context(member);
    context.insert("tab", "fleet");
    context.insert("view", view);
    context.insert("remote_actions", &rows);
    context
        .insert("settings_reason", &refused.map_or("unknown", |remote_action| known(&REASONS, &remote_action.reason)));
    context.insert("learn_stage", &learning_result.map(|learning_result| known(&STAGES, learning_result.stage)));
    context.insert(
        "learn_failure",
        &learning_result.and_then(|learning_result| learning_result.failure).map(|word| known(&FAILURES, word)),
    );
    let cause = view.diagnostics.as_ref().and_then(|told| told.reset_cause);
    context.insert("reset_cause", &cause.map(|word| known(&CAUSES, word)));
    context
}

/// The initial content of the form that wires another module.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Replacing {
    /// The operator's modules that are not wired.
    pub(crate) spares: Vec<String>,
    /// What was typed before.
    pub(crate) typed: String,
}

/// The templates' variables.
pub(crate) fn context(
    member: &Member,
    view: &RemoteView,
    form: &SettingsForm,
    replacing: &Replacing,
    done: Option<&str>,
    refusal: Option<&str>,
) -> Context {
    let mut context = state_context(member, view);
    context.insert("replace", replacing);
    context.insert("form", form);
    context.insert("groups", &form.groups(refusal));
    context.insert("coins_min", &LEARN_COINS_MIN);
    context.insert("coins_max", &LEARN_COINS_MAX);
    context.insert("test_pulses_max", &LEARN_TEST_PULSES_MAX);
    context.insert("done", &done);
    context.insert("refusal", &refusal);
    context
}

fn address(id: MachineId) -> String {
    format!("/operator/machines/{id}/module")
}

/// The address's query.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Asked {
    #[serde(default)]
    done: String,
}

/// `GET /operator/machines/{id}/module`
#[handler]
pub(crate) async fn show(
    page: Page,
    signed: Signed,
    Path(id): Path<MachineId>,
    Query(asked): Query<Asked>,
) -> Result<Response, Failure> {
    let view = remote::remote(&page.app.backend, &signed.actor, id).await?;
    let done = DONE_NOTICES.into_iter().find(|notice| *notice == asked.done);
    let replacing = replacing(&page, &signed, String::new()).await?;
    let context = context(&signed.member, &view, &SettingsForm::of(&view), &replacing, done, None);
    page.at(address(id)).render("module.html", context)
}

/// `GET /operator/machines/{id}/module/events`
#[handler]
pub(crate) async fn events(page: Page, signed: Signed, Path(id): Path<MachineId>) -> Result<Response, Failure> {
    let operator_id = signed.member.operator_id;
    // Checked here, "not found" is an answer; later it would end the stream.
    remote::remote(&page.app.backend, &signed.actor, id).await?;
    let rendering = page.clone();
    live::fragments(
        &page,
        StreamOwner::Member(signed.member.member_id),
        PACE,
        move |event| event.operator_id == operator_id && event.machine_id == Some(id),
        move || {
            let (page, signed) = (rendering.clone(), signed.clone());
            async move {
                signed.check_signed_in(&page.app.backend).await?;
                let view = remote::remote(&page.app.backend, &signed.actor, id).await?;
                let context = state_context(&signed.member, &view);
                Ok(Fragment { html: page.fragment("module_state.html", context)?, last: false })
            }
        },
    )
}

/// `POST /operator/machines/{id}/module/settings`
#[handler]
pub(crate) async fn set_settings(
    page: Page,
    signed: Signed,
    Path(id): Path<MachineId>,
    Form(form): Form<SettingsForm>,
) -> Result<Response, Failure> {
    let settings = match form.parse() {
        Ok(settings) => settings,
        Err(word) => return refuse(page, &signed, id, Some(form), word).await,
    };
    let change = SettingsChange { since_version: form.version, settings };
    let outcome = module::set_settings(&page.app.backend, &signed.actor, id, change).await;
    after(page, &signed, id, Some(form), "settings", outcome).await
}

/// A remote action's form.
#[derive(Debug, Deserialize)]
pub(crate) struct RemoteActionForm {
    remote_action: String,
    /// Whether the person has confirmed, if that is needed.
    #[serde(default)]
    sure: String,
}

/// `POST /operator/machines/{id}/module/remote-actions`
#[handler]
pub(crate) async fn send(
    page: Page,
    signed: Signed,
    Path(id): Path<MachineId>,
    Form(form): Form<RemoteActionForm>,
) -> Result<Response, Failure> {
    signed.actor.check(Operation::OrderRemoteAction)?;
    let (remote_action, notice) = match form.remote_action.as_str() {
        "locate" => (RemoteAction::Locate, "locate"),
        "restart" => (RemoteAction::Restart, "restart"),
        "diagnose" => (RemoteAction::Diagnose, "diagnose"),
        "stop" => (RemoteAction::StopLearning, "stop"),
        _ => return Err(Failure::Malformed("there is no such remote action")),
    };
    if notice == "restart" && !confirm::is_confirmed(&form.sure) {
        return ask(page, &signed, id, "restart", "remote-actions", &[("remote_action", "restart")]).await;
    }
    let outcome = module::order_remote_action(&page.app.backend, &signed.actor, id, remote_action).await;
    after(page, &signed, id, None, notice, outcome).await
}

/// Asks for confirmation before something is done to a module. `form` is the form's address.
async fn ask(
    page: Page,
    signed: &Signed,
    id: MachineId,
    word: &'static str,
    form: &str,
    fields: &[(&str, &str)],
) -> Result<Response, Failure> {
    let view = remote::remote(&page.app.backend, &signed.actor, id).await?;
    let back = address(id);
    let action = format!("{back}/{form}");
    let question = Question { word, about: &view.row.name, action: &action, fields, back: &back };
    confirm::ask(page, &signed.member, "fleet", &question)
}

/// How the coin line shall be learned.
#[derive(Debug, Deserialize)]
pub(crate) struct LearnForm {
    coins: String,
    confirm: bool,
    #[serde(default)]
    test_pulses: String,
}

/// `POST /operator/machines/{id}/module/learn`
#[handler]
pub(crate) async fn learn(
    page: Page,
    signed: Signed,
    Path(id): Path<MachineId>,
    Form(form): Form<LearnForm>,
) -> Result<Response, Failure> {
    let test_pulses = match form.test_pulses.trim() {
        "" => Ok(0),
        number => number.parse(),
    };
    let (Ok(coins), Ok(test_pulses)) = (form.coins.trim().parse(), test_pulses) else {
        return refuse(page, &signed, id, None, "learn").await;
    };
    let remote_action = RemoteAction::Learn(LearnOptions { coins, confirm: form.confirm, test_pulses });
    let outcome = module::order_remote_action(&page.app.backend, &signed.actor, id, remote_action).await;
    after(page, &signed, id, None, "learn", outcome).await
}

/// The operator's decision about what was learned.
#[derive(Debug, Deserialize)]
pub(crate) struct VerdictForm {
    heard_ms: i64,
    accept: bool,
}

/// `POST /operator/machines/{id}/module/learned`
#[handler]
pub(crate) async fn set_verdict(
    page: Page,
    signed: Signed,
    Path(id): Path<MachineId>,
    Form(form): Form<VerdictForm>,
) -> Result<Response, Failure> {
    let outcome = module::decide_learned(&page.app.backend, &signed.actor, id, form.heard_ms, form.accept).await;
    after(page, &signed, id, None, if form.accept { "accepted" } else { "discarded" }, outcome).await
}

/// Whether the module may connect.
#[derive(Debug, Deserialize)]
pub(crate) struct CredentialForm {
    disabled: bool,
    /// Whether the person has confirmed, if that is needed.
    #[serde(default)]
    sure: String,
}

/// `POST /operator/machines/{id}/module/credential`
#[handler]
pub(crate) async fn set_credential(
    page: Page,
    signed: Signed,
    Path(id): Path<MachineId>,
    Form(form): Form<CredentialForm>,
) -> Result<Response, Failure> {
    signed.actor.check(Operation::DisableModule)?;
    if form.disabled && !confirm::is_confirmed(&form.sure) {
        return ask(page, &signed, id, "disable", "credential", &[("disabled", "true")]).await;
    }
    let outcome = module::set_disabled(&page.app.backend, &signed.actor, id, form.disabled).await;
    after(page, &signed, id, None, if form.disabled { "disabled" } else { "enabled" }, outcome).await
}

/// Another module for the machine.
#[derive(Debug, Deserialize)]
pub(crate) struct ReplaceForm {
    /// The module it had when the page was made.
    #[serde(default)]
    was: String,
    module: String,
    #[serde(default)]
    confirmed: bool,
}

/// `POST /operator/machines/{id}/module/replace`
#[handler]
pub(crate) async fn replace(
    page: Page,
    signed: Signed,
    Path(id): Path<MachineId>,
    Form(form): Form<ReplaceForm>,
) -> Result<Response, Failure> {
    signed.actor.check(Operation::ReplaceModule)?;
    let has = remote::remote(&page.app.backend, &signed.actor, id)
        .await?
        .row
        .module
        .map(|module| module.id)
        .unwrap_or_default();
    let word = match ModuleId::parse_typed(&form.module) {
        _ if has != form.was => "meanwhile",
        Err(_) => "replace",
        Ok(_) if !has.is_empty() && !form.confirmed => "replace-confirm",
        Ok(module) => match machine::replace_module(&page.app.backend, &signed.actor, id, Some(module)).await {
            Ok(()) => return Ok(see_other(&format!("{}?done=replaced", address(id)))),
            Err(Error::NotFound("module") | Error::Invalid { field: "module", .. }) => "replace",
            Err(Error::Invalid { field: "module_pulses", .. }) => "replace-pulses",
            Err(Error::Invalid { .. }) => "other",
            Err(error) => return Err(error.into()),
        },
    };
    show_refused(page, &signed, id, None, form.module, word).await
}

async fn replacing(page: &Page, signed: &Signed, typed: String) -> Result<Replacing, Failure> {
    // A member who may not replace the module is not shown the candidates.
    let spares = match signed.actor.may(Operation::ReplaceModule) {
        true => registry::spare_modules(&page.app.backend, &signed.actor, signed.member.operator_id).await?,
        false => vec![],
    };
    Ok(Replacing { spares, typed })
}

/// Redirects to the page with what was done, or shows the page with what was refused.
async fn after(
    page: Page,
    signed: &Signed,
    id: MachineId,
    form: Option<SettingsForm>,
    notice: &str,
    outcome: backend::Result<()>,
) -> Result<Response, Failure> {
    let word = match outcome {
        Ok(()) => return Ok(see_other(&format!("{}?done={notice}", address(id)))),
        Err(Error::Invalid { field, .. }) => match field {
            "width_min_ms" | "width_max_ms" => "widths",
            "gap_min_ms" | "burst_end_ms" => "gaps",
            "credit_width_ms" | "credit_gap_ms" => "credit",
            "credit_pulses_max" => "pulses-max",
            "price_pulses" => "price-pulses",
            "credit_pulses_per_minute_max" => "per-minute",
            "status_period_s" => "status-period",
            "keepalive_s" => "keepalive",
            "settle_ms" => "settle",
            "learn" => "learn",
            _ => "other",
        },
        // The form was based on a state that has changed since; show the current one.
        Err(Error::Conflict(_)) => return refuse(page, signed, id, None, "meanwhile").await,
        Err(error) => return Err(error.into()),
    };
    refuse(page, signed, id, form, word).await
}

/// The page again, with what was typed into its settings.
async fn refuse(
    page: Page,
    signed: &Signed,
    id: MachineId,
    form: Option<SettingsForm>,
    word: &str,
) -> Result<Response, Failure> {
    show_refused(page, signed, id, form, String::new(), word).await
}

async fn show_refused(
    page: Page,
    signed: &Signed,
    id: MachineId,
    form: Option<SettingsForm>,
    module_typed: String,
    word: &str,
) -> Result<Response, Failure> {
    let view = remote::remote(&page.app.backend, &signed.actor, id).await?;
    let form = form.unwrap_or_else(|| SettingsForm::of(&view));
    let replacing = replacing(&page, signed, module_typed).await?;
    let context = context(&signed.member, &view, &form, &replacing, None, Some(word));
    page.at(address(id)).render_as(StatusCode::UNPROCESSABLE_ENTITY, "module.html", context)
}
