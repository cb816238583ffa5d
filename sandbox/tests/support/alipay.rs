//! A merchant with Alipay for the tests: signs calls, verifies answers and takes notices, by itself.
#![allow(dead_code, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use poem::listener::{Acceptor as _, TcpAcceptor};
use poem::{Request, Route, Server, endpoint::make};
use sandbox::crypto::Verifier;
use sandbox::{AlipayAccount, Sandbox};
use serde_json::{Value, json};

use super::until;

pub type Parameters = BTreeMap<String, String>;

pub const NOTIFY: &str = "http://127.0.0.1:9/notify";
pub const BACK: &str = "http://shop.example/sale?token=1";

/// A merchant that signs by itself.
pub struct Shop {
    pub account: AlipayAccount,
    pub key: RsaKeyPair,
    pub http: reqwest::Client,
}

/// An answer, taken apart.
pub struct Answer {
    pub node: String,
    pub content: Value,
    pub is_signed: bool,
    /// The certificate that the answer names.
    pub certificate: Option<String>,
}

impl Answer {
    #[track_caller]
    pub fn refused(&self, code: &str, sub_code: &str) {
        let said = (self.content["code"].as_str(), self.content["sub_code"].as_str());
        assert_eq!(said, (Some(code), Some(sub_code)), "{}", self.content);
    }

    #[track_caller]
    pub fn good(&self) -> &Value {
        assert!(self.is_signed && self.content["code"] == "10000", "{}", self.content);
        &self.content
    }
}

impl Shop {
    pub fn new(sandbox: &Sandbox) -> Self {
        let account = sandbox.alipay();
        let key = RsaKeyPair::from_pkcs8(&super::pem(&account.app_private_key_pem)).unwrap();
        let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        Self { account, key, http: http.build().unwrap() }
    }

    pub fn parameters(&self, method: &str, content: &Value) -> Parameters {
        let now = chrono::Utc::now() + chrono::TimeDelta::hours(8);
        let timestamp = now.format("%Y-%m-%d %H:%M:%S").to_string();
        let content = content.to_string();
        let all = [
            ("app_id", self.account.app_id.as_str()),
            ("method", method),
            ("format", "JSON"),
            ("charset", "utf-8"),
            ("sign_type", "RSA2"),
            ("timestamp", &timestamp),
            ("version", "1.0"),
            ("biz_content", &content),
        ];
        all.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    pub fn sign(&self, parameters: &mut Parameters) {
        parameters.remove("sign");
        let signed = parameters.iter().filter(|(_, value)| !value.is_empty());
        let message = signed.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&");
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature).unwrap();
        parameters.insert("sign".into(), BASE64.encode(signature));
    }

    pub async fn send(&self, parameters: &Parameters) -> Answer {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
        let url = format!("{}/gateway.do?charset=utf-8", self.account.base_url);
        let form = "application/x-www-form-urlencoded;charset=utf-8";
        let response = self.http.post(url).header("Content-Type", form).body(body).send().await.unwrap();
        assert_eq!(response.status(), 200);
        self.read(&response.text().await.unwrap())
    }

    /// Verifies over the text as it came.
    pub fn read(&self, text: &str) -> Answer {
        let whole: Value = serde_json::from_str(text).unwrap();
        let is_node = |name: &&String| !["sign", "alipay_cert_sn"].contains(&name.as_str());
        let node = whole.as_object().unwrap().keys().find(is_node).unwrap().clone();
        let is_signed = whole.get("sign").is_some_and(|sign| {
            let raw = text.strip_prefix(&format!("{{\"{node}\":")).unwrap();
            let end = raw.rfind(",\"alipay_cert_sn\":").or(raw.rfind(",\"sign\":"));
            let raw = &raw[..end.unwrap()];
            self.verifies(raw, sign.as_str().unwrap())
        });
        let certificate = whole["alipay_cert_sn"].as_str().map(str::to_owned);
        Answer { content: whole[&node].clone(), node, is_signed, certificate }
    }

    pub fn verifies(&self, message: &str, sign: &str) -> bool {
        let key = Verifier::from_public_key_pem(&self.account.alipay_public_key_pem).unwrap();
        key.verify(message.as_bytes(), sign).is_ok()
    }

    /// Verifies what Alipay tells in a form or in the parameters of a return.
    pub fn is_told_by_alipay(&self, told: &Parameters) -> bool {
        let signed = told.iter().filter(|(name, _)| !["sign", "sign_type"].contains(&name.as_str()));
        let message = signed.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&");
        self.verifies(&message, &told["sign"])
    }

    pub async fn call(&self, method: &str, content: Value) -> Answer {
        let mut parameters = self.parameters(method, &content);
        self.sign(&mut parameters);
        self.send(&parameters).await
    }

    pub fn order(&self, number: &str, yuan: &str) -> Value {
        let expires = chrono::Utc::now() + chrono::TimeDelta::hours(8) + chrono::TimeDelta::minutes(10);
        json!({
            "out_trade_no": number, "total_amount": yuan, "subject": "摇摇车 3 次 100%",
            "seller_id": self.account.seller_id, "time_expire": expires.format("%Y-%m-%d %H:%M:%S").to_string(),
            "passback_params": "attached",
        })
    }

    /// The address that a browser is sent to.
    pub fn page(&self, order: &Value, notify_url: &str) -> String {
        let mut order = order.clone();
        order["product_code"] = json!("QUICK_WAP_WAY");
        order["quit_url"] = json!("http://shop.example/quit");
        let mut parameters = self.parameters("alipay.trade.wap.pay", &order);
        parameters.insert("notify_url".into(), notify_url.into());
        parameters.insert("return_url".into(), BACK.into());
        self.sign(&mut parameters);
        let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&parameters).finish();
        format!("{}/gateway.do?{query}", self.account.base_url)
    }

    pub async fn code(&self, order: &Value, notify_url: &str) -> String {
        let mut parameters = self.parameters("alipay.trade.precreate", order);
        parameters.insert("notify_url".into(), notify_url.into());
        self.sign(&mut parameters);
        self.send(&parameters).await.good()["qr_code"].as_str().unwrap().to_owned()
    }

    pub async fn query(&self, number: &str) -> Answer {
        self.call("alipay.trade.query", json!({"out_trade_no": number})).await
    }

    pub async fn open(&self, address: &str) -> (u16, String) {
        let response = self.http.get(address).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// Presses a button of the cashier's page; where the browser is sent.
    pub async fn press(&self, html: &str, decision: &str) -> Option<String> {
        let document = scraper::Html::parse_document(html);
        let input = scraper::Selector::parse("input[name=code]").unwrap();
        let code = document.select(&input).next().unwrap().value().attr("value").unwrap().to_owned();
        let body = format!("code={code}&decision={decision}");
        let url = format!("{}/alipay/cashier", self.account.base_url);
        let response = self.http.post(url).body(body).send().await.unwrap();
        response.headers().get("location").map(|back| back.to_str().unwrap().to_owned())
    }
}

pub fn decoded(text: &str) -> Parameters {
    url::form_urlencoded::parse(text.as_bytes()).into_owned().collect()
}

/// The merchant's end of notices: answers the words in turn, and then the last one.
pub struct Desk {
    pub url: String,
    pub taken: Arc<Mutex<Vec<Parameters>>>,
}

impl Desk {
    pub async fn saying(words: &'static [&'static str]) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let acceptor = TcpAcceptor::from_tokio(listener).unwrap();
        let address = acceptor.local_addr().remove(0).as_socket_addr().copied().unwrap();
        let taken = Arc::new(Mutex::new(Vec::new()));
        let seen = taken.clone();
        let app = Route::new().at(
            "/notify",
            make(move |request: Request| {
                let seen = seen.clone();
                async move {
                    let body = request.into_body().into_string().await?;
                    let mut seen = seen.lock().unwrap();
                    seen.push(decoded(&body));
                    Ok::<_, poem::Error>(words[(seen.len() - 1).min(words.len() - 1)])
                }
            }),
        );
        tokio::spawn(Server::new_with_acceptor(acceptor).run(app));
        Self { url: format!("http://{address}/notify"), taken }
    }

    pub async fn wait_for(&self, count: usize) -> Vec<Parameters> {
        until(&format!("{count} notices"), || self.taken.lock().unwrap().len() >= count).await;
        self.taken.lock().unwrap().clone()
    }
}
