//! Orders within WeChat, by a code, and a partner's: what is sent, and how the payer gets there.

use super::client::{TRADE, check_signature, payment, refund, refund_answer, refund_numbers, refused_with, trade};
use super::server::{Server, signed};
use super::*;
use crate::payments::method::{Handoff, HandoffKind, Invocation, Payer, PayerApp};
use crate::payments::provider::{CloseOutcome, PaymentRequest, Provider, ProviderError, TradeState};
use serde_json::{Value, json};

const OPENID: &str = "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o";
const SECRET: &str = "0123456789abcdef0123456789abcdef";
const SUB_MCHID: &str = "1900000109";
const PREPAY_ID: &str = "wx201410272009395522657a690389285100";

fn with_secret(base_url: &str) -> WechatPay {
    wechat_of(Account { app_secret: Some(SECRET.into()), ..account(base_url) }).unwrap()
}

fn partner(base_url: &str) -> WechatPay {
    let sub_mchid = Some(SUB_MCHID.into());
    wechat_of(Account { app_secret: Some(SECRET.into()), sub_mchid, ..account(base_url) }).unwrap()
}

fn jsapi() -> PaymentRequest {
    let payer = Some(Payer { scope: APPID.into(), id: OPENID.into() });
    PaymentRequest { method: "jsapi".into(), payer, ..payment() }
}

async fn prepaid() -> Server {
    Server::start(signed(200, &json!({ "prepay_id": PREPAY_ID }).to_string())).await
}

fn call(handoff: Handoff) -> Invocation {
    let Handoff::Invoke(call) = handoff else { panic!("{handoff:?}") };
    call
}

#[test]
fn an_account_offers_what_it_was_granted() {
    let methods = |account: Account| -> Vec<&'static str> {
        wechat_of(account).unwrap().profile().methods.iter().map(|method| method.word).collect()
    };
    let url = "https://api.mch.weixin.qq.com";
    assert_eq!(methods(account(url)), ["h5", "native"], "nobody says who pays");
    let secret = Some(SECRET.to_owned());
    assert_eq!(methods(Account { app_secret: secret.clone(), ..account(url) }), ["jsapi", "h5", "native"]);
    let granted = Some(vec!["native".to_owned(), "jsapi".to_owned()]);
    let account = Account { app_secret: secret, methods: granted, ..account(url) };
    assert_eq!(methods(account.clone()), ["jsapi", "native"]);
    let wechat = wechat_of(account).unwrap();
    let jsapi = &wechat.profile().methods[0];
    assert_eq!((jsapi.apps, jsapi.handoff), (&[PayerApp::Wechat][..], HandoffKind::Invoke));
    assert_eq!(jsapi.payer_scope.as_deref(), Some(APPID));
}

#[tokio::test]
async fn within_wechat_the_order_names_the_payer_and_the_page_calls() {
    let mut server = prepaid().await;
    let wechat = with_secret(&server.url);
    let created = wechat.create(&jsapi()).await.unwrap();
    let request = server.request().await;
    assert_eq!(request.target, "/v3/pay/transactions/jsapi");
    let expected = json!({
        "appid": APPID, "mchid": MCHID, "description": "摇摇车 3 分钟", "out_trade_no": TRADE,
        "time_expire": "2026-11-23T12:05:00+08:00", "notify_url": "https://pay.example.com/callbacks/wechat/1",
        "amount": {"total": 100, "currency": "CNY"}, "payer": {"openid": OPENID}, "attach": "mark",
    });
    assert_eq!(check_signature(&request), expected);
    let stored = call(created.handoff.clone());
    assert_eq!(stored.parameters, [("package".to_owned(), format!("prepay_id={PREPAY_ID}"))].into());

    // It is signed again for each view.
    for wall_ms in [NOW_MS, NOW_MS + 90_000] {
        let shown = call(wechat.renew(created.handoff.clone(), wall_ms));
        assert_eq!((shown.bridge.as_str(), shown.function.as_str()), ("WeixinJSBridge", "invoke"));
        assert_eq!(shown.action, "getBrandWCPayRequest");
        let value = |name: &str| shown.parameters[name].clone();
        assert_eq!((value("appId"), value("signType")), (APPID.to_owned(), "RSA".to_owned()));
        assert_eq!(value("timeStamp"), (wall_ms / 1000).to_string());
        let message = format!("{APPID}\n{}\n{}\nprepay_id={PREPAY_ID}\n", value("timeStamp"), value("nonceStr"));
        let (key, _) = signing::VerifyingKey::from_pem(&public_pem(&keys().merchant)).unwrap();
        assert!(key.verify(message.as_bytes(), &value("paySign")));
        assert_eq!(shown.parameters.len(), 6);
    }
    let redirect = Handoff::Redirect { url: "https://a.example/".into() };
    assert_eq!(wechat.renew(redirect.clone(), NOW_MS), redirect);
}

#[tokio::test]
async fn without_its_own_payer_no_order_is_sent() {
    let server = prepaid().await;
    let wechat = with_secret(&server.url);
    let others = Payer { scope: "wx0000000000000000".into(), id: OPENID.into() };
    let odd = Payer { scope: APPID.into(), id: "a b\"".into() };
    for payer in [None, Some(others), Some(odd)] {
        refused_with(wechat.create(&PaymentRequest { payer, ..jsapi() }).await, NOT_SENT);
    }
    assert_eq!(server.waiting(), 0);
    for prepay_id in ["", "a b", &"a".repeat(257)] {
        let server = Server::start(signed(200, &json!({ "prepay_id": prepay_id }).to_string())).await;
        let answer = with_secret(&server.url).create(&jsapi()).await;
        assert!(matches!(answer, Err(ProviderError::Unknown(_))), "{answer:?}");
    }
}

#[tokio::test]
async fn a_code_is_shown_as_it_came() {
    let text = "weixin://wxpay/bizpayurl?pr=p4lpSuKzz";
    let mut server = Server::start(signed(200, &json!({ "code_url": text }).to_string())).await;
    let native = PaymentRequest { method: "native".into(), ..payment() };
    let created = wechat(&server.url).create(&native).await.unwrap();
    assert_eq!(created.handoff, Handoff::Code { text: text.into() });
    let request = server.request().await;
    assert_eq!(request.target, "/v3/pay/transactions/native");
    let body = check_signature(&request);
    assert!(body.get("scene_info").is_none() && body.get("payer").is_none());
    let server = Server::start(signed(200, &json!({ "code_url": "https://evil.example" }).to_string())).await;
    let odd = wechat(&server.url).create(&native).await;
    assert!(matches!(odd, Err(ProviderError::Unknown(_))), "{odd:?}");
}

fn partner_trade() -> Value {
    json!({
        "sp_appid": APPID, "sp_mchid": MCHID, "sub_mchid": SUB_MCHID, "out_trade_no": TRADE, "trade_state": "SUCCESS",
        "transaction_id": "4200001", "success_time": "2026-11-23T12:00:00+08:00", "attach": "mark",
        "payer": {"sp_openid": OPENID}, "amount": {"total": 100, "payer_total": 80, "currency": "CNY"},
    })
}

#[tokio::test]
async fn a_partner_asks_for_its_merchant() {
    let mut server = prepaid().await;
    partner(&server.url).create(&jsapi()).await.unwrap();
    let request = server.request().await;
    assert_eq!(request.target, "/v3/pay/partner/transactions/jsapi");
    let body = check_signature(&request);
    let parties = (&body["sp_appid"], &body["sp_mchid"], &body["sub_mchid"]);
    assert_eq!(parties, (&json!(APPID), &json!(MCHID), &json!(SUB_MCHID)));
    assert_eq!(body["payer"], json!({ "sp_openid": OPENID }));
    assert!(["appid", "mchid", "settle_info"].iter().all(|field| body.get(field).is_none()), "{body}");

    let mut server = prepaid().await;
    let sharing = Account { sub_mchid: Some(SUB_MCHID.into()), profit_sharing: true, ..account(&server.url) };
    let with_secret = Account { app_secret: Some(SECRET.into()), ..sharing };
    wechat_of(with_secret).unwrap().create(&jsapi()).await.unwrap();
    assert_eq!(check_signature(&server.request().await)["settle_info"], json!({ "profit_sharing": true }));
    let alone = wechat_of(Account { profit_sharing: true, ..account(&server.url) });
    assert!(alone.is_err_and(|error| error.field == "profit_sharing"));

    let mut server = Server::start(signed(200, &partner_trade().to_string())).await;
    let state = partner(&server.url).query(&trade(TRADE)).await.unwrap();
    assert!(matches!(state, TradeState::Paid(paid) if paid.amount.amount_minor == 100));
    let target = format!("/v3/pay/partner/transactions/out-trade-no/{TRADE}?sp_mchid={MCHID}&sub_mchid={SUB_MCHID}");
    assert_eq!(server.request().await.target, target);

    let mut server = Server::start(signed(204, "")).await;
    assert_eq!(partner(&server.url).close(&trade(TRADE)).await.unwrap(), CloseOutcome::Closed);
    let request = server.request().await;
    assert_eq!(request.target, format!("/v3/pay/partner/transactions/out-trade-no/{TRADE}/close"));
    assert_eq!(check_signature(&request), json!({ "sp_mchid": MCHID, "sub_mchid": SUB_MCHID }));

    let mut server = Server::start(signed(200, &refund_answer("SUCCESS").to_string())).await;
    partner(&server.url).refund(&refund()).await.unwrap();
    assert_eq!(check_signature(&server.request().await)["sub_mchid"], SUB_MCHID);
    partner(&server.url).query_refund(&refund_numbers("R-1@a")).await.unwrap();
    assert_eq!(server.request().await.target, format!("/v3/refund/domestic/refunds/R-1@a?sub_mchid={SUB_MCHID}"));
}

#[tokio::test]
async fn another_merchants_trade_is_not_believed() {
    for (field, other) in [("sub_mchid", "1900000110"), ("sp_mchid", "1900000001"), ("sp_appid", "wx0000000000000000")]
    {
        let mut answer = partner_trade();
        answer[field] = json!(other);
        let server = Server::start(signed(200, &answer.to_string())).await;
        let state = partner(&server.url).query(&trade(TRADE)).await;
        assert!(matches!(state, Err(ProviderError::Untrusted(_))), "{field}: {state:?}");
    }
    // Nor a partner's by one with an account of its own.
    let server = Server::start(signed(200, &partner_trade().to_string())).await;
    let state = with_secret(&server.url).query(&trade(TRADE)).await;
    assert!(matches!(state, Err(ProviderError::Untrusted(_))), "{state:?}");
}

#[test]
fn the_payer_is_asked_for_at_wechats_own_hosts() {
    let real = with_secret("https://api.mch.weixin.qq.com");
    let method = real.profile().methods[0].clone();
    let url = real.identity_url(&method, "https://pay.example.com/identity", "state1K3J9").unwrap();
    assert_eq!(
        url,
        format!(
            "https://open.weixin.qq.com/connect/oauth2/authorize?appid={APPID}\
             &redirect_uri=https%3A%2F%2Fpay.example.com%2Fidentity&response_type=code&scope=snsapi_base\
             &state=state1K3J9#wechat_redirect"
        )
    );
    let h5 = real.profile().methods[1].clone();
    assert_eq!(real.identity_url(&h5, "https://pay.example.com/identity", "s"), None);
}

#[tokio::test]
async fn a_code_is_exchanged_for_an_openid() {
    let answer = json!({"access_token": "A", "expires_in": 7200, "openid": OPENID, "scope": "snsapi_base"});
    let mut server = Server::start(super::server::plain(200, &answer.to_string())).await;
    let wechat = with_secret(&server.url);
    let method = wechat.profile().methods[0].clone();
    let back = [("code".to_owned(), "0a1B".to_owned()), ("state".to_owned(), "s".to_owned())];
    let payer = wechat.exchange_identity(&method, &back).await.unwrap();
    assert_eq!(payer, Payer { scope: APPID.into(), id: OPENID.into() });
    let asked = server.request().await;
    assert_eq!(
        asked.target,
        format!("/sns/oauth2/access_token?appid={APPID}&secret={SECRET}&code=0a1B&grant_type=authorization_code")
    );
    assert!(asked.header("authorization").is_none());
    refused_with(wechat.exchange_identity(&method, &[]).await, "NO_CODE");

    // Nothing listens there: the error does not quote the address, which has the secret.
    drop(server);
    let error = wechat.exchange_identity(&method, &back).await.unwrap_err();
    assert!(!error.to_string().contains(SECRET), "{error}");
}

/// The public examples (../../../tests/vectors/wechat.json).
#[test]
fn oauth_answers_mean_what_is_documented() {
    let all: Value = serde_json::from_str(include_str!("../../../../tests/vectors/wechat.json")).unwrap();
    let cases = all["wechat_oauth_answers"]["cases"].as_array().unwrap();
    assert!(cases.len() >= 8);
    for case in cases {
        let (body, meaning) = (case["body"].as_str().unwrap(), case["meaning"].as_str().unwrap());
        let answer = identity::openid(body.as_bytes());
        match meaning {
            "openid" => assert_eq!(answer.unwrap(), OPENID),
            "busy" => assert!(matches!(answer, Err(ProviderError::Busy(_))), "{body}"),
            _ => assert!(matches!(answer, Err(ProviderError::Refused { .. })), "{body}"),
        }
    }
    for odd in ["", "{}", "[]", "{\"openid\":\"\"}", "{\"openid\":\"a b\"}", "{\"errcode\":\"x\"}"] {
        assert!(matches!(identity::openid(odd.as_bytes()), Err(ProviderError::Unknown(_))), "{odd}");
    }
}
