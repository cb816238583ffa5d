//! Administration beside a server that runs: noun first, and in the older form; and that the server notices.

use crate::{
    coinwire::{Ended, demo_store_command, run, run_with_input},
    demo::Demo,
    mosquitto::Subscriber,
    until,
};
use reqwest::StatusCode;
use serde_json::Value;
use std::path::Path;

fn with_input(dir: &Path, words: &[&str], input: &str) -> Ended {
    run_with_input(&mut demo_store_command(dir, words), input)
}

/// Does it, and gives what was printed.
fn succeeds(dir: &Path, words: &[&str], input: &str) -> String {
    let ended = with_input(dir, words, input);
    assert!(ended.success, "{words:?}: {ended:?}");
    ended.stdout
}

fn lists(dir: &Path, words: &[&str]) -> Value {
    serde_json::from_str(&succeeds(dir, &[words, &["--json"]].concat(), "")).unwrap()
}

/// Is refused, and gives why.
fn fails(dir: &Path, words: &[&str], input: &str) -> String {
    let ended = with_input(dir, words, input);
    assert!(!ended.success && !ended.stderr.contains("panicked"), "{words:?}: {ended:?}");
    ended.stderr
}

#[tokio::test]
async fn another_password_signs_a_member_out_everywhere_within_moments() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Demo::start(dir.path()).await;
    let login = demo.facts.operator.clone();
    let signed_in = demo.facts.member().await;
    let email = login.email.as_str();
    for (words, password) in [
        (vec!["member", "set-password", "sunny", email], "another password"),
        // The older form, for a member that exists already.
        (vec!["add", "member", "1", email], "yet another password"),
    ] {
        let (signed_in, old) = match password {
            "another password" => (signed_in.clone(), login.password.as_str()),
            _ => (demo.facts.visitor().sign_in(email, "another password").await.unwrap(), "another password"),
        };
        let mut reader = Subscriber::start(demo.facts.mqtt_address(), Some((email, old)), "5", "v1/sunny/#").await;
        let stream = signed_in.listen("/operator/events").await;
        let told = succeeds(dir.path(), &words, password);
        assert!(told.starts_with("member "), "{told}");
        assert_eq!(signed_in.get("/operator").await.status, StatusCode::SEE_OTHER, "at once");
        let said = stream.text().await.unwrap();
        assert!(said.contains("event: reload"), "the live page ends: {said}");
        reader.ended().await;
        assert!(demo.facts.visitor().sign_in(email, old).await.is_none());
        assert!(demo.facts.visitor().sign_in(email, password).await.is_some());
    }
    let removed = demo.facts.visitor().sign_in(email, "yet another password").await.unwrap();
    let stream = removed.listen("/operator/sales/events").await;
    succeeds(dir.path(), &["member", "remove", "sunny", email], "");
    assert!(stream.text().await.unwrap().contains("event: reload"));
    assert_eq!(removed.get("/operator").await.status, StatusCode::SEE_OTHER);
    assert_eq!(lists(dir.path(), &["member", "list", "1"]), Value::Array(vec![]));
    let refused = fails(dir.path(), &["member", "set-password", "sunny", email], "a good password");
    assert!(refused.contains("coinwire member list"), "{refused}");
}

#[tokio::test]
async fn everything_that_is_added_can_be_listed_and_changed_beside_a_server_that_runs() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Demo::start(dir.path()).await;
    let dir = dir.path();
    assert_eq!(
        succeeds(dir, &["operator", "add", "berlin", "Berlin Rides", "--currency", "EUR"], "").trim(),
        "operator 2"
    );
    succeeds(dir, &["operator", "set", "berlin", "--name", "Berlin & Potsdam", "--time-zone", "europe/madrid"], "");
    let operators = lists(dir, &["operator", "list"]);
    assert_eq!(
        (&operators[1]["name"], &operators[1]["time_zone"]),
        (&"Berlin & Potsdam".into(), &"Europe/Madrid".into())
    );
    assert!(succeeds(dir, &["operator", "takings", "berlin", "--period", "month"], "").contains("0.00 EUR"));
    let zone = fails(dir, &["operator", "set", "2", "--time-zone", "Berlin"], "");
    assert!(zone.contains("Europe/Berlin"), "{zone}");
    let currency = fails(dir, &["operator", "add", "usa", "Rides", "--currency", "USD"], "");
    assert!(currency.contains("CNY, EUR"), "{currency}");

    assert_eq!(
        succeeds(dir, &["member", "add", "berlin", "ops@berlin.example"], "a good password\n").trim(),
        "member 2"
    );
    assert_eq!(lists(dir, &["member", "list", "berlin"])[0]["email"], "ops@berlin.example");
    succeeds(dir, &["integrator", "set-password", "berlin"], "a good password");
    assert_eq!(lists(dir, &["integrator", "list"])[1]["has_integrator"], true);
    succeeds(dir, &["manufacturer", "add", "boards", "Boards"], "");
    succeeds(dir, &["manufacturer", "set-tool-password", "1"], "a good password");
    assert_eq!(lists(dir, &["manufacturer", "list"])[0]["has_tool"], true);

    let printed = succeeds(dir, &["module", "add", "--operator", "berlin", "--manufacturer", "1"], "");
    let module = printed.lines().next().unwrap().strip_prefix("id ").unwrap();
    let known = ["module", "add", "--existing", "0000000007"];
    let listed = succeeds(dir, &known, &"ab".repeat(32));
    assert!(listed.contains(&"ab".repeat(32)), "{listed}");
    assert!(fails(dir, &known, "short").contains("64 hexadecimal digits"));

    let machine = ["machine", "add", "berlin", "Rocket", "Zoo", "--module", module, "--price", "Ride, long,200,2"];
    let code = succeeds(dir, &machine, "").lines().nth(1).unwrap().strip_prefix("code ").unwrap().to_owned();
    succeeds(dir, &["machine", "set", &code, "--name", "Rocket 2", "--coin-value-minor", "50"], "");
    let page = demo.facts.visitor().get(&format!("/s/{code}")).await;
    assert_eq!(page.texts("h1"), ["Rocket 2"], "the server shows it at once");
    succeeds(dir, &["price", "add", &code, "Day", "900", "9"], "");
    let prices = lists(dir, &["price", "list", &code]);
    let number = |index: usize| prices[index]["id"].to_string();
    succeeds(dir, &["price", "set", &number(0), "--label", "Short ride"], "");
    succeeds(dir, &["price", "order", &code, &number(1), &number(0)], "");
    let table = succeeds(dir, &["price", "list", &code], "");
    assert!(table.lines().nth(1).unwrap().contains("Day") && table.contains("Short ride"), "{table}");
    succeeds(dir, &["price", "remove", &number(1)], "");
    succeeds(dir, &["machine", "set", &code, "--on-sale", "false"], "");
    succeeds(dir, &["machine", "retire", &code], "");
    assert_eq!(demo.facts.visitor().get(&format!("/s/{code}")).await.texts(".status"), ["Out of service"]);
    let spare = lists(dir, &["module", "list", "--operator", "berlin", "--spare"]);
    assert_eq!((&spare[0]["id"], spare.as_array().unwrap().len()), (&module.into(), 1));
    succeeds(dir, &["machine", "bring-back", &code], "");
    succeeds(dir, &["machine", "replace-module", &code, module], "");
    assert_eq!(lists(dir, &["machine", "list", "berlin"])[0]["module"], module);
    assert!(lists(dir, &["merchant", "list"])[0]["callbacks"].as_str().unwrap().contains("/callbacks/wechat/"));
    assert!(fails(dir, &["machine", "retire", "NOSUCHCODE"], "").contains("coinwire machine list"));
    assert!(fails(dir, &["machine", "set", &code], "").contains("nothing to change"));
}

#[tokio::test]
async fn a_broken_module_is_replaced_and_the_code_on_the_machine_goes_on_working() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Demo::start(dir.path()).await;
    let (machine, other) = (&demo.facts.machines[0], &demo.facts.machines[1]);
    let visitor = demo.facts.visitor();
    visitor.price_forms(&machine.code).await;
    // Its broken module goes; that of another machine takes its place.
    succeeds(dir.path(), &["machine", "replace-module", &other.code, "--none"], "");
    succeeds(dir.path(), &["machine", "replace-module", &machine.code, &other.module], "");
    let bought = visitor.buy(&machine.code).await;
    assert_eq!(visitor.sale_state(&bought.path, &["credited", "refunded"]).await, "credited");
    until("its pulses at the other module", async || {
        (visitor.machine_pulses(&other.module).await == bought.pulses).then_some(())
    })
    .await;

    // And back again by the operator's page, which asks first.
    let owner = demo.facts.member().await;
    let path =
        format!("/operator/machines/{}/module", lists(dir.path(), &["machine", "list", "sunny"])[0]["machine_id"]);
    let page = owner.get(&path).await;
    let form = page.forms("/module/replace").remove(0).with("module", &machine.module.to_lowercase());
    let asked = owner.submit(&form.clone().with("confirmed", "false")).await;
    assert_eq!(asked.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(asked.texts("[role=alert]")[0].contains("Tick the box"), "{}", asked.html);
    assert_eq!(owner.submit(&form.with("confirmed", "true")).await.status, StatusCode::SEE_OTHER);
    assert_eq!(owner.get(&path).await.texts("[data-part=module] code"), [machine.module.as_str()]);
}

#[test]
fn help_is_noun_first_and_leads_from_noun_to_verb() {
    let help = run(&["--help"]).stdout;
    for noun in ["operator", "member", "machine", "module", "price", "merchant", "integrator", "manufacturer", "sale"] {
        assert!(help.contains(&format!("\n  {noun} ")), "{noun} is not in: {help}");
        let verbs = run(&[noun, "--help"]);
        assert!(verbs.success && verbs.stdout.contains("\n  list "), "{noun}: {}", verbs.stdout);
        assert!(verbs.stdout.contains("--config"), "{noun}");
        assert!(!run(&[noun]).success, "{noun} alone is not enough");
    }
    assert!(!help.contains("\n  add "), "the older form works, and is not taught: {help}");
    assert!(run(&["operator", "add", "--help"]).stdout.contains("--time-zone"));
}
