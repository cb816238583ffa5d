//! Merchant accounts that are changed beside a running server, and providers that do not answer.

use crate::{
    coinwire::{demo_store_command, run_with_input},
    demo::Demo,
    until,
};
use serde_json::{Value, json};
use std::{fs, path::Path};
use tokio::net::TcpListener;

/// Orders that wait to be paid while the provider falls silent.
const OPEN_ORDERS: usize = 12;

/// Stores the demo's merchant account again, with another address.
fn move_account(dir: &Path, base_url: &str) {
    let known = fs::read_to_string(dir.join("sandbox/wechat-merchant-0.json")).unwrap();
    let known: Value = serde_json::from_str(&known).unwrap();
    let account = json!({
        "base_url": base_url,
        "appid": known["appid"],
        "mchid": known["mchid"],
        "merchant_serial": known["merchant_serial"],
        "merchant_private_key_pem": known["merchant_private_key_pem"],
        "api_v3_key": known["api_v3_key"],
        "platform_keys": [{ "id": known["platform_public_key_id"], "pem": known["platform_public_key_pem"] }],
    });
    let file = dir.join("account.json");
    fs::write(&file, account.to_string()).unwrap();
    let added =
        run_with_input(&mut demo_store_command(dir, &["add", "merchant", "1", "wechat", file.to_str().unwrap()]), "");
    assert!(added.success, "{added:?}");
}

/// Switches the demo's other account off, which would take the orders that this one cannot.
fn only_wechat(dir: &Path) {
    let off = run_with_input(&mut demo_store_command(dir, &["merchant", "disable", "2"]), "");
    assert!(off.success, "{off:?}");
}

/// The account is moved to an address that takes connections and never answers, while orders wait to be paid: the
/// running server goes there with its next call, and the command of a paid sale is sent again in its time nevertheless.
#[tokio::test]
async fn a_changed_account_is_used_at_once_and_its_silence_holds_up_no_command() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Demo::start(dir.path()).await;
    only_wechat(dir.path());
    let visitor = demo.facts.visitor();
    let [machine, other] = &demo.facts.machines[..] else { panic!("two machines") };
    for _ in 0..OPEN_ORDERS {
        until("an order", async || visitor.try_order(&other.code).await.unwrap()).await;
    }
    let payment = until("an order", async || visitor.try_order(&machine.code).await.unwrap()).await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    move_account(dir.path(), &format!("http://{}", silent.local_addr().unwrap()));
    let mut kept = vec![];
    until("calls at the new address", async || {
        kept.push(silent.accept().await.unwrap());
        (kept.len() >= OPEN_ORDERS / 2).then_some(())
    })
    .await;

    visitor.demo_button(&machine.module, "stop").await;
    let before = visitor.metric("coinwire_commands_resent_total").await;
    let path = visitor.approve(&payment).await;
    visitor.sale_state(&path, &["refund_pending"]).await;
    let resent = visitor.metric("coinwire_commands_resent_total").await - before;
    // At 1, 3, 7, 15 and 23 seconds; a machine that is busy with other things may be late for the last.
    assert!(resent >= 4.0, "sent again {resent} times in 30 s");

    // Orders are refused at once, with the reason.
    until("the scan page to say so", async || {
        let page = visitor.get(&format!("/s/{}", other.code)).await;
        (page.texts(".status") == ["Payment not possible"]).then_some(())
    })
    .await;
    assert!(visitor.metric("coinwire_provider_breaker_open").await > 0.0);
}
