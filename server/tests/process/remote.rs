//! A module from afar: the operator's pages over HTTP, the virtual module over MQTT, coins at its machine.

use crate::{
    demo::Demo,
    until,
    visitor::{Page, Visitor},
};
use reqwest::StatusCode;

/// Coins that the module asks for.
const COINS: u8 = 10;
const LEARNINGS_MAX: u64 = 3;

/// The page of the first machine's module.
async fn module_page(member: &Visitor, machine: &str) -> String {
    let fleet = member.get("/operator").await;
    assert_eq!(fleet.texts("#machines li:first-child h3"), [machine]);
    format!("{}/module", fleet.attribute("#machines li:first-child h3 a", "href").expect("its page"))
}

async fn shows(member: &Visitor, path: &str, selector: &str) -> Page {
    until(selector, async || {
        let page = member.get(path).await;
        (!page.texts(selector).is_empty()).then_some(page)
    })
    .await
}

/// Sends a form of the module's page, which leads back to the page.
async fn send(member: &Visitor, path: &str, action: &str, fields: &[(&str, &str)]) {
    let form = member.get(path).await.forms(action).remove(0);
    let form = fields.iter().fold(form, |form, (name, value)| form.with(name, value));
    let answer = member.submit(&form).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.html);
}

/// Has the module learn, and inserts the coins it waits for. Gives the word for how that ended.
async fn learn(member: &Visitor, visitor: &Visitor, path: &str, module: &str) -> String {
    let coins = COINS.to_string();
    send(member, path, "/module/learn", &[("coins", &coins), ("confirm", "false"), ("test_pulses", "")]).await;
    shows(member, path, "[data-stage=sampling]").await;
    for coin in 1..COINS {
        visitor.demo_button(module, "coin").await;
        let what = format!("coin {coin} to be measured");
        until(&what, async || member.get(path).await.attribute(&format!("progress[value='{coin}']"), "value")).await;
    }
    visitor.demo_button(module, "coin").await;
    until("the end of it", async || {
        let stage = member.get(path).await.attribute("[data-stage]", "data-stage")?;
        ["stored", "failed"].contains(&stage.as_str()).then_some(stage)
    })
    .await
}

#[tokio::test]
async fn a_module_learns_coins_and_the_operator_accepts_what_it_learned() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Demo::start(dir.path()).await;
    let (machine, visitor) = (&demo.facts.machines[0], demo.facts.visitor());
    let member = demo.facts.member().await;
    visitor.price_forms(&machine.code).await;
    let path = module_page(&member, &machine.machine).await;
    let before = visitor.machine_pulses(&machine.module).await;

    // The virtual acceptor keeps its widths as well as the tester's machine keeps time: where that is busy, the coins
    // may be too uneven to learn from, and the module says so.
    let mut learnings = 1;
    while learn(&member, &visitor, &path, &machine.module).await != "stored" {
        assert!(learnings < LEARNINGS_MAX, "{:?}", member.get(&path).await.texts("#learning_result ~ p"));
        learnings += 1;
    }
    let page = member.get(&path).await;
    let widths: Vec<u16> =
        page.texts(".spreads tbody tr:first-child td").iter().map(|text| text.parse().unwrap()).collect();
    assert!(widths.iter().all(|width_ms| (40..=200).contains(width_ms)), "the demo's coins are 50 ms wide: {widths:?}");

    send(&member, &path, "/module/learned", &[("accept", "true")]).await;
    let page = shows(&member, &path, "[data-standing=in_force]").await;
    assert!(!page.texts("[data-verdict=accepted]").is_empty());
    let bound = |name: &str| -> u16 { page.attribute(name, "value").unwrap().parse().unwrap() };
    assert!(bound("#width_min_ms") <= widths[0] && widths[2] <= bound("#width_max_ms"));
    assert!(page.attribute("input[name=version]", "value").is_some_and(|version| version == "1"));

    // Coins went to the machine all the while, and do by the new settings; so do credits.
    visitor.demo_button(&machine.module, "coin").await;
    let bought = visitor.buy(&machine.code).await;
    visitor.sale_state(&bought.path, &["credited"]).await;
    let after = before + learnings * u64::from(COINS) + 1 + bought.pulses;
    assert_eq!(visitor.machine_pulses(&machine.module).await, after);
}

#[tokio::test]
async fn a_module_takes_settings_restarts_and_tells_how_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Demo::start(dir.path()).await;
    let (machine, visitor) = (&demo.facts.machines[0], demo.facts.visitor());
    let member = demo.facts.member().await;
    let path = module_page(&member, &machine.machine).await;

    // Chosen while it is away: it gets them when it is back.
    visitor.demo_button(&machine.module, "stop").await;
    shows(&member, &path, ".chip-bad").await;
    let settings = [("idle_high", "true"), ("credit_width_ms", "90")];
    send(&member, &path, "/module/settings", &settings).await;
    shows(&member, &path, "[data-standing=waiting]").await;
    visitor.demo_button(&machine.module, "start").await;
    shows(&member, &path, "[data-standing=in_force]").await;

    for (remote_action, action, shown) in [
        ("locate", "locate", "[data-state=done]"),
        // What it tells comes with its next status: it must not restart before that.
        ("diagnose", "diagnose", "#diagnostics ~ .pairs"),
        ("restart", "reboot", "[data-state=done]"),
    ] {
        send(&member, &path, "/module/remote-actions", &[("remote_action", remote_action)]).await;
        shows(&member, &path, &format!("[data-remote-action={action}][data-state=done]")).await;
        shows(&member, &path, shown).await;
    }
    let rows = member.get(&path).await.texts(".pairs tr");
    assert!(rows.iter().any(|row| row.starts_with("Attempts to connect")), "{rows:?}");
    // It comes back with what it was given.
    visitor.price_forms(&machine.code).await;
    shows(&member, &path, "[data-standing=in_force]").await;
}

#[tokio::test]
async fn a_module_disabled_on_its_page_sells_nothing_until_it_is_enabled() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Demo::start(dir.path()).await;
    let (machine, visitor) = (&demo.facts.machines[0], demo.facts.visitor());
    let member = demo.facts.member().await;
    visitor.price_forms(&machine.code).await;
    let path = module_page(&member, &machine.machine).await;

    send(&member, &path, "/module/credential", &[]).await;
    shows(&member, &path, "[data-disabled]").await;
    assert!(visitor.get(&format!("/s/{}", machine.code)).await.html.contains("Not on sale"));
    let search = format!("/operator/connections?q={}", machine.module);
    until("its connection to end", async || member.get(&search).await.texts("tbody tr").is_empty().then_some(())).await;

    // The same form, the other way round.
    send(&member, &path, "/module/credential", &[]).await;
    shows(&member, &path, ".chip-good").await;
    let bought = visitor.buy(&machine.code).await;
    visitor.sale_state(&bought.path, &["credited"]).await;
}
