//! What providers send.

use crate::support::Site;
use backend::ids::SaleToken;
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
    let sale = backend::flows::show_sale::sale(&site.backend, &SaleToken(token.clone())).await.unwrap();
    assert!(["paid", "crediting", "credited"].contains(&sale.state.as_str()), "{:?}", sale.state);
}

#[tokio::test]
async fn what_is_too_large_or_too_slow_is_not_waited_for() {
    let site = Site::open().await;
    let path = format!("/callbacks/wechat/{}", site.shop.account);
    let large = site.browser().raw_post(&path, &[], vec![b'x'; 10 * 1024 * 1024]).await;
    assert_eq!(refusal(&large), (413, "FAIL".into()));
    let never = futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>();
    let slow = site.browser().raw_post(&path, &[], poem::Body::from_bytes_stream(never)).await;
    assert_eq!(refusal(&slow), (408, "FAIL".into()));
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
    let elsewhere = browser.raw_post("/callbacks/wechat/nobody", &[("x-test-signature", "good")], body).await;
    assert_eq!(refusal(&elsewhere), (404, "FAIL".into()));
    let long = browser.raw_post(&path, &[("x-test-signature", "good")], "x".repeat(64 * 1024 + 1)).await;
    assert_eq!(refusal(&long), (413, "FAIL".into()));
    assert_eq!(browser.get(&path).await.status, 405);
    assert_eq!(
        backend::flows::show_sale::sale(&site.backend, &SaleToken(token.clone())).await.unwrap().state.as_str(),
        "awaiting_payment"
    );
}

#[tokio::test]
async fn what_is_authentic_and_not_understood_is_acknowledged() {
    let site = Site::open().await;
    let path = format!("/callbacks/wechat/{}", site.shop.account);
    for _ in 0..2 {
        let answer = site.browser().raw_post(&path, &[("x-test-signature", "good")], "{").await;
        assert_eq!(answer.status, 204, "{}", answer.text);
    }
}

#[tokio::test]
async fn a_refund_made_at_the_provider_is_told_on_both_pages_in_both_languages() {
    let site = Site::open().await;
    let token = site.order().await;
    site.pay().await;
    let order = site.field.last_order();
    let path = format!("/callbacks/wechat/{}", site.shop.account);
    let body = site.field.refunded_callback(&order, 40);
    let told = site.browser().raw_post(&path, &[("x-test-signature", "good")], body).await;
    assert_eq!(told.status, 204, "{}", told.text);

    let mut consumer = site.browser();
    let page = consumer.get(&format!("/sale/{token}")).await;
    assert!(page.text.contains("The operator has returned ¥0.40 of your payment."), "{}", page.text);
    consumer.language = "zh-CN,zh;q=0.9".into();
    assert!(consumer.get(&format!("/sale/{token}")).await.text.contains("商家已退回您付款中的 ¥0.40。"));
    let mut operator = site.operator().await;
    let page = operator.get("/operator/sales").await;
    assert!(page.text.contains("Refunded by hand") && page.text.contains("Returned by the operator"), "{}", page.text);
    assert!(page.text.contains("¥0.40"));
    operator.language = "zh-CN,zh;q=0.9".into();
    assert!(operator.get("/operator/sales").await.text.contains("商户平台退款"));
    assert!(operator.get("/operator").await.text.contains("¥0.60"), "the takings follow");
}
