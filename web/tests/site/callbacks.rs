//! What providers send.

use crate::support::Site;
use serde_json::Value;

fn refusal(answer: &crate::support::Answer) -> (u16, String) {
    let body: Value = serde_json::from_str(&answer.text).unwrap();
    assert_eq!(answer.header("content-type"), "application/json");
    assert!(body["message"].as_str().is_some_and(|message| !message.is_empty()));
    (answer.status, body["code"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_good_one_is_taken_as_often_as_it_comes() {
    let site = Site::open().await;
    let token = site.order().await;
    for _ in 0..3 {
        assert_eq!(site.pay().await.status, 204);
    }
    let sale = site.backend.sale(&token).await.unwrap();
    assert!(["paid", "crediting", "credited"].contains(&sale.state), "{}", sale.state);
}

#[tokio::test]
async fn what_is_not_believed_gets_a_failure_as_json() {
    let site = Site::open().await;
    let token = site.order().await;
    let body = site.field.paid_callback(&site.field.last_order());
    let browser = site.browser();
    let path = format!("/callbacks/wechat/{}", site.shop.account);
    let forged = browser.raw_post(&path, &[("x-test-signature", "bad")], body.clone()).await;
    assert_eq!(refusal(&forged), (401, "FAIL".into()));
    let unsigned = browser.raw_post(&path, &[], body.clone()).await;
    assert_eq!(refusal(&unsigned), (401, "FAIL".into()));
    let nonsense = browser.raw_post(&path, &[("x-test-signature", "good")], "{").await;
    assert_eq!(refusal(&nonsense), (401, "FAIL".into()));
    let elsewhere = browser.raw_post("/callbacks/wechat/nobody", &[("x-test-signature", "good")], body).await;
    assert_eq!(refusal(&elsewhere), (404, "FAIL".into()));
    let long = browser.raw_post(&path, &[("x-test-signature", "good")], "x".repeat(64 * 1024 + 1)).await;
    assert_eq!(refusal(&long), (413, "FAIL".into()));
    assert_eq!(browser.get(&path).await.status, 405);
    assert_eq!(site.backend.sale(&token).await.unwrap().state, "awaiting_payment");
}
