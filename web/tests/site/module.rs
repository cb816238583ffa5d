//! The page of a machine's module.

use crate::support::{Browser, Site, system};
use backend::{
    flows::operate::{machine, register_module},
    machines::remote,
};
use protocol::messages::{CoinProfile, Diagnostics, LearnStage, Learned, ResetCause, Spread};

fn path(site: &Site) -> String {
    format!("/operator/machines/{}/module", site.shop.machine_id)
}

/// The settings form as it stands on the page, changed.
fn settings<'a>(page: &crate::support::Answer, changed: &[(&'a str, &'a str)]) -> Vec<(String, String)> {
    let mut fields: Vec<(String, String)> = page
        .attributes("form.settings[action$=settings] input:not([type=checkbox])", "name")
        .into_iter()
        .zip(page.attributes("form.settings[action$=settings] input:not([type=checkbox])", "value"))
        .collect();
    fields.push(("idle_high".into(), "true".into()));
    for (name, value) in changed {
        fields.retain(|(known, _)| known != name);
        fields.push(((*name).into(), (*value).into()));
    }
    fields
}

async fn post(browser: &Browser, path: &str, fields: &[(String, String)]) -> crate::support::Answer {
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    browser.post_plain(path, &[], &fields).await
}

#[tokio::test]
async fn settings_are_chosen_sent_and_shown_in_force() {
    let site = Site::open().await;
    let browser = site.operator().await;
    let path = path(&site);
    let machine = browser.get(&format!("/operator/machines/{}", site.shop.machine_id)).await;
    assert!(machine.attributes("a.button", "href").contains(&path), "the machine's page leads there");
    let page = browser.get(&path).await;
    assert_eq!(page.attributes("[data-standing]", "data-standing"), ["built_in"]);
    let mut live = browser.stream(&page.attributes("[data-events]", "data-events")[0]).await;
    live.until("data-standing=\"built_in\"").await;

    let form = settings(&page, &[("credit_width_ms", " 80 "), ("sense", "true")]);
    let saved = post(&browser, &format!("{path}/settings"), &form).await;
    assert_eq!((saved.status, saved.location()), (303, format!("{path}?done=settings").as_str()));
    // The module says that it took them; its status follows.
    live.until("data-remote-action=\"settings\" data-state=\"done\"").await;
    live.until("data-standing=\"waiting\"").await;
    site.field.tell(&site.shop.module, |status| status.settings_version = 1).await;
    live.until("data-standing=\"in_force\"").await;
    let page = browser.get(saved.location()).await;
    assert_eq!(page.all(".notice"), ["The settings are saved. The module gets them as soon as it can be reached."]);
    assert_eq!(page.attributes("#credit_width_ms", "value"), ["80"]);
    assert_eq!(page.attributes("input[name=sense][checked]", "value"), ["true"]);

    // The form from before is too old for another change, and is the same change when it is sent again.
    let again = post(&browser, &format!("{path}/settings"), &form).await;
    assert_eq!(again.status, 303);
    let late = settings(&page, &[("version", "0"), ("credit_gap_ms", "70")]);
    let late = post(&browser, &format!("{path}/settings"), &late).await;
    assert_eq!(late.status, 422);
    assert!(late.all("[role=alert]")[0].contains("changed meanwhile"));
    assert_eq!(late.attributes("#credit_gap_ms", "value"), ["50"], "the form shows what is");
}

#[tokio::test]
async fn bad_settings_are_refused_and_stay_in_the_form() {
    let site = Site::open().await;
    let browser = site.operator().await;
    let path = path(&site);
    let page = browser.get(&path).await;
    for (name, value, word) in [
        ("width_min_ms", "", "Pulse widths"),
        ("width_max_ms", "2001", "Pulse widths"),
        ("width_min_ms", "900", "Pulse widths"),
        ("gap_min_ms", "300", "Gaps"),
        ("burst_end_ms", "1.5", "Gaps"),
        ("credit_width_ms", "-1", "credit pulses"),
        ("credit_pulses_max", "201", "most pulses of one credit"),
        ("credit_pulses_max", "2", "A price of this machine"),
        ("credit_pulses_per_minute_max", "70000", "per minute"),
        ("status_period_s", "9", "between reports"),
        ("keepalive_s", "29", "sign of life"),
        ("settle_ms", "99", "settle after power-on"),
    ] {
        let answer = post(&browser, &format!("{path}/settings"), &settings(&page, &[(name, value)])).await;
        assert_eq!(answer.status, 422, "{name} {value}");
        let alert = &answer.all("[role=alert]")[0];
        assert!(alert.contains(word), "{alert} about {word}");
        assert_eq!(answer.attributes(&format!("#{name}"), "value"), [value], "what was typed is there");
        assert_eq!(answer.attributes(&format!("#{name}"), "aria-invalid"), ["true"]);
    }
    assert_eq!(browser.get(&path).await.attributes("[data-standing]", "data-standing"), ["built_in"]);
    let mut torn = settings(&page, &[]);
    torn.retain(|(name, _)| name != "burst_end_ms");
    assert_eq!(post(&browser, &format!("{path}/settings"), &torn).await.status, 400);
}

#[tokio::test]
async fn remote_actions_are_buttons_and_their_end_is_shown() {
    let site = Site::open().await;
    let browser = site.operator().await;
    let path = path(&site);
    let page = browser.get(&path).await;
    assert!(page.text.contains("No commands yet."));
    let mut live = browser.stream(&format!("{path}/events")).await;
    for (remote_action, action) in
        [("locate", "locate"), ("restart", "reboot"), ("diagnose", "diagnose"), ("stop", "learn")]
    {
        let answer = browser
            .post(&format!("{path}/remote-actions"), &page, &[("remote_action", remote_action), ("sure", "yes")])
            .await;
        assert_eq!(answer.location(), format!("{path}?done={remote_action}"));
        live.until(&format!("data-remote-action=\"{action}\" data-state=\"done\"")).await;
        assert_eq!(browser.get(answer.location()).await.all(".notice").len(), 1);
    }
    assert_eq!(
        browser.post(&format!("{path}/remote-actions"), &page, &[("remote_action", "explode")]).await.status,
        400
    );
    site.field.disconnect(&site.shop.module).await;
    live.until("The module is not connected. Commands are dropped").await;
    browser.post(&format!("{path}/learn"), &page, &[("coins", "12"), ("confirm", "false")]).await;
    live.until("data-remote-action=\"learn\" data-state=\"pending\"").await;
}

#[tokio::test]
async fn what_was_learned_is_watched_and_accepted_with_one_click() {
    let site = Site::open().await;
    let browser = site.operator().await;
    let path = path(&site);
    let page = browser.get(&path).await;
    for (coins, pulses) in [("9", ""), ("51", ""), ("ten", ""), ("10", "11"), ("10", "x")] {
        let form = [("coins", coins), ("confirm", "true"), ("test_pulses", pulses)];
        let answer = browser.post(&format!("{path}/learn"), &page, &form).await;
        assert_eq!(answer.status, 422, "{coins} {pulses}");
        assert!(answer.all("[role=alert]")[0].contains("10 to 50 coins"));
    }
    let begun = browser.post(&format!("{path}/learn"), &page, &[("coins", "10"), ("confirm", "true")]).await;
    assert_eq!(begun.location(), format!("{path}?done=learn"));
    let mut live = browser.stream(&format!("{path}/events")).await;
    let spread = Some(Spread { min: 48, median: 50, max: 53 });
    let profile = CoinProfile { width_min_ms: 33, width_max_ms: 77, ..CoinProfile::default() };
    let learned = Learned {
        stage: LearnStage::Sampling,
        command: 1,
        coins: 4,
        coins_asked: 10,
        failure: None,
        profile: None,
        widths_ms: spread,
        gaps_ms: None,
        coin_pulses: None,
        bounce_us: 0,
        noise_edges: 0,
        test_pulses: 0,
        confirmed: None,
    };
    site.field.tell(&site.shop.module, |status| status.learned = Some(learned)).await;
    live.until("4 of 10 coins are measured").await;
    let stored =
        Learned { stage: LearnStage::Stored, coins: 10, profile: Some(profile), coin_pulses: spread, ..learned };
    site.field.tell(&site.shop.module, |status| status.learned = Some(stored)).await;
    live.until("id=\"accept\"").await;
    let page = browser.get(&path).await;
    assert_eq!(page.all(".spreads tbody tr:first-child td"), ["48", "50", "53"]);

    let heard_ms = page.attributes("input[name=heard_ms]", "value");
    let accept = [("heard_ms", heard_ms[0].as_str()), ("accept", "true")];
    let answer = browser.post(&format!("{path}/learned"), &page, &accept).await;
    assert_eq!(answer.location(), format!("{path}?done=accepted"));
    live.until("data-verdict=\"accepted\"").await;
    let page = browser.get(answer.location()).await;
    assert_eq!(page.attributes("#width_min_ms", "value"), ["33"], "it is in the settings");
    assert!(!page.has("#accept"));
    let discard = [("heard_ms", heard_ms[0].as_str()), ("accept", "false")];
    let late = browser.post(&format!("{path}/learned"), &page, &discard).await;
    assert_eq!(late.status, 422);
    assert!(late.all("[role=alert]")[0].contains("changed meanwhile"));
}

#[tokio::test]
async fn diagnostics_are_a_table() {
    let site = Site::open().await;
    let browser = site.operator().await;
    let page = browser.get(&path(&site)).await;
    assert!(page.text.contains("The module was not asked yet."));
    let told = Diagnostics { reset_cause: Some(ResetCause::Watchdog), flash_writes: 77, ..Diagnostics::default() };
    site.field.tell(&site.shop.module, |status| status.diagnostics = Some(told)).await;
    let page = browser.get(&path(&site)).await;
    let rows = page.all(".pairs tr");
    assert!(rows.iter().any(|row| row.contains("Writes to memory") && row.contains("77")), "{rows:?}");
    assert!(rows.iter().any(|row| row.contains("Firmware hung")), "{rows:?}");
}

#[tokio::test]
async fn anothers_module_and_a_stranger_get_nothing() {
    let site = Site::open().await;
    let other = crate::support::open_shop(&site.backend, &site.field, "other").await;
    let browser = site.operator().await;
    let page = browser.get(&path(&site)).await;
    let theirs = format!("/operator/machines/{}/module", other.machine_id);
    assert_eq!(browser.get(&theirs).await.status, 404);
    assert_eq!(browser.get(&format!("{theirs}/events")).await.status, 404);
    let form = settings(&page, &[]);
    assert_eq!(post(&browser, &format!("{theirs}/settings"), &form).await.status, 404);
    let remote_action = [("remote_action", "restart")];
    assert_eq!(browser.post(&format!("{theirs}/remote-actions"), &page, &remote_action).await.status, 404);
    let learn = [("coins", "10"), ("confirm", "false")];
    assert_eq!(browser.post(&format!("{theirs}/learn"), &page, &learn).await.status, 404);
    let judge = [("heard_ms", "1"), ("accept", "true")];
    assert_eq!(browser.post(&format!("{theirs}/learned"), &page, &judge).await.status, 404);

    let mine = path(&site);
    assert_eq!(
        browser.post_plain(&format!("{mine}/remote-actions"), &[], &remote_action).await.status,
        403,
        "no token"
    );
    let stranger = site.browser();
    assert_eq!(stranger.get(&mine).await.status, 303, "signs in first");
    let refused =
        stranger.post(&format!("{mine}/remote-actions"), &stranger.get("/sign-in").await, &remote_action).await;
    assert_ne!(refused.status, 200);
    assert!(remote::remote(&site.backend, &system(), site.shop.machine_id).await.unwrap().remote_actions.is_empty());
}

#[tokio::test]
async fn a_broken_module_is_replaced_once_the_operator_says_so() {
    let site = Site::open().await;
    let browser = site.operator().await;
    let path = path(&site);
    let spare = register_module::provision_module(&site.backend, &system(), None).await.unwrap();
    register_module::assign_module(&site.backend, &system(), spare.id, site.shop.operator_id).await.unwrap();
    let page = browser.get(&path).await;
    assert_eq!(page.attributes("#spare-modules option", "value"), [spare.id.to_string()], "it can be chosen");
    let (old, new, way) = (site.shop.module.clone(), spare.id.to_string(), format!("{path}/replace"));
    let replace = async |fields: &[(&str, &str)]| browser.post(&way, &page, fields).await;
    for (fields, word) in [
        (vec![("was", old.as_str()), ("module", new.as_str())], "Tick the box"),
        (vec![("was", "0123456789"), ("module", new.as_str()), ("confirmed", "true")], "changed meanwhile"),
        (vec![("was", old.as_str()), ("module", "0123456789"), ("confirmed", "true")], "cannot be wired here"),
        (vec![("was", old.as_str()), ("module", "no id"), ("confirmed", "true")], "cannot be wired here"),
    ] {
        let answer = replace(&fields).await;
        assert_eq!(answer.status, 422, "{fields:?}");
        let alert = &answer.all("[role=alert]")[0];
        assert!(alert.contains(word), "{alert} about {word}");
        assert_eq!(answer.attributes("#new-module", "value"), [fields[1].1], "what was typed is kept");
    }
    let done = replace(&[("was", &old), ("module", &new.to_lowercase()), ("confirmed", "true")]).await;
    assert_eq!((done.status, done.location()), (303, format!("{path}?done=replaced").as_str()));
    let page = browser.get(done.location()).await;
    assert_eq!(page.all("[data-part=module] code"), [new]);
    assert!(page.all(".notice")[0].contains("new module is wired"));
    // A retired machine has no form, and its scan page says what it is.
    machine::retire_machine(&site.backend, &system(), site.shop.machine_id).await.unwrap();
    assert!(browser.get(&path).await.attributes("form[action$=replace]", "action").is_empty());
    let scan = site.browser().get(&format!("/s/{}", site.shop.code)).await;
    assert_eq!(scan.all("[role=status]"), ["Out of service"]);
    assert!(scan.attributes("form[action$=order]", "action").is_empty());
    assert!(browser.get("/operator").await.all(".chip").contains(&"Retired".to_owned()));
}
