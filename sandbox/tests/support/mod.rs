//! A merchant for the tests: signs requests, verifies answers and takes callbacks, on `aws-lc-rs` and by itself.
#![allow(dead_code, clippy::unwrap_used)]

pub mod alipay;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aws_lc_rs::aead;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use poem::listener::{Acceptor as _, TcpAcceptor};
use poem::{Request, Response, Route, Server, endpoint::make};
use sandbox::{Config, Merchant, Sandbox};
use serde_json::{Value, json};

/// How long a condition may take to come true.
const WAIT_TIMEOUT: Duration = Duration::from_secs(20);

pub fn config() -> Config {
    Config { listen: "127.0.0.1:0".parse().unwrap(), public_host: None, data_dir: None, speed: 1000.0, seed: 1 }
}

pub fn now_s() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < WAIT_TIMEOUT, "not within {WAIT_TIMEOUT:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What a bridge's script asks from a page of the merchant's, and what it is told.
pub async fn ask_bridge(http: &reqwest::Client, address: &str, parameters: &Value, cookie: Option<&str>) -> Value {
    let mut request = http
        .post(address)
        .header("Origin", "https://shop.example")
        .header("Content-Type", "application/json")
        .body(parameters.to_string());
    if let Some(cookie) = cookie {
        request = request.header("Cookie", cookie);
    }
    let answer = request.send().await.unwrap();
    assert_eq!(answer.headers()["access-control-allow-origin"], "https://shop.example");
    assert_eq!(answer.headers()["access-control-allow-credentials"], "true");
    serde_json::from_str(&answer.text().await.unwrap()).unwrap()
}

/// The merchant's side of the API.
pub struct Client {
    pub merchant: Merchant,
    pub base_url: String,
    pub http: reqwest::Client,
    key: RsaKeyPair,
}

/// What is signed and sent; a test spoils a part of it.
pub struct Draft {
    pub method: &'static str,
    pub path: String,
    pub body: String,
    pub scheme: &'static str,
    pub mchid: String,
    pub serial: String,
    pub nonce: String,
    pub timestamp: i64,
    /// Sent in place of the signature made.
    pub signature: Option<String>,
    /// Sent in place of the body signed.
    pub body_sent: Option<String>,
    pub headers: Vec<(&'static str, Option<String>)>,
}

pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("{} {}", self.status, self.text))
    }

    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    #[track_caller]
    pub fn refused(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.code().as_str()), (status, code), "{}", self.text);
    }
}

impl Client {
    pub fn new(sandbox: &Sandbox) -> Self {
        Self::of(sandbox.merchant(), sandbox)
    }

    pub fn of(merchant: Merchant, sandbox: &Sandbox) -> Self {
        let key = RsaKeyPair::from_pkcs8(&pem(&merchant.merchant_private_key_pem)).unwrap();
        let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        Self { merchant, base_url: sandbox.base_url().to_owned(), http: http.build().unwrap(), key }
    }

    pub fn draft(&self, method: &'static str, path: &str, body: String) -> Draft {
        static NONCE: AtomicU64 = AtomicU64::new(0);
        let mut headers =
            vec![("User-Agent", Some("merchant".to_owned())), ("Accept", Some("application/json".to_owned()))];
        if !body.is_empty() {
            headers.push(("Content-Type", Some("application/json".to_owned())));
        }
        Draft {
            method,
            path: path.to_owned(),
            body,
            scheme: "WECHATPAY2-SHA256-RSA2048",
            mchid: self.merchant.mchid.clone(),
            serial: self.merchant.merchant_serial.clone(),
            nonce: format!("nonce{}", NONCE.fetch_add(1, Ordering::Relaxed)),
            timestamp: now_s(),
            signature: None,
            body_sent: None,
            headers,
        }
    }

    /// A signature by the merchant's API certificate.
    pub fn sign(&self, message: &str) -> String {
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature).unwrap();
        BASE64.encode(signature)
    }

    pub fn request(&self, draft: &Draft) -> reqwest::RequestBuilder {
        let message =
            format!("{}\n{}\n{}\n{}\n{}\n", draft.method, draft.path, draft.timestamp, draft.nonce, draft.body);
        let signature = draft.signature.clone().unwrap_or_else(|| self.sign(&message));
        let authorization = format!(
            r#"{} mchid="{}",nonce_str="{}",timestamp="{}",serial_no="{}",signature="{signature}""#,
            draft.scheme, draft.mchid, draft.nonce, draft.timestamp, draft.serial
        );
        let mut request = self
            .http
            .request(draft.method.parse().unwrap(), format!("{}{}", self.base_url, draft.path))
            .header("Authorization", authorization)
            .body(draft.body_sent.clone().unwrap_or_else(|| draft.body.clone()));
        for (name, value) in &draft.headers {
            if let Some(value) = value {
                request = request.header(*name, value);
            }
        }
        request
    }

    pub async fn send(&self, draft: &Draft) -> Answer {
        let response = self.request(draft).send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Answer { status, headers, text: response.text().await.unwrap() }
    }

    /// Sends, and verifies the signature of an answer that succeeded.
    pub async fn call(&self, method: &'static str, path: &str, body: Option<Value>) -> Answer {
        let body = body.map_or_else(String::new, |body| body.to_string());
        let answer = self.send(&self.draft(method, path, body)).await;
        if answer.status < 300 {
            self.verify_answer(&answer);
        }
        answer
    }

    pub fn verify_answer(&self, answer: &Answer) {
        assert!(self.answer_verifies(answer), "the answer's signature does not verify: {}", answer.text);
    }

    pub fn answer_verifies(&self, answer: &Answer) -> bool {
        let message = format!(
            "{}\n{}\n{}\n",
            answer.header("wechatpay-timestamp"),
            answer.header("wechatpay-nonce"),
            answer.text
        );
        verifies(&self.merchant, answer.header("wechatpay-serial"), &message, answer.header("wechatpay-signature"))
    }

    pub fn order(&self, out_trade_no: &str, total_fen: i64, notify_url: &str) -> Value {
        json!({
            "appid": self.merchant.appid, "mchid": self.merchant.mchid, "description": "摇摇车 3 次 100%",
            "out_trade_no": out_trade_no, "notify_url": notify_url, "time_expire": rfc3339(now_s() + 600),
            "amount": {"total": total_fen, "currency": "CNY"},
            "scene_info": {"payer_client_ip": "203.0.113.7", "h5_info": {"type": "Wap"}},
        })
    }

    pub async fn create(&self, order: &Value) -> Answer {
        self.call("POST", "/v3/pay/transactions/h5", Some(order.clone())).await
    }

    pub async fn query(&self, out_trade_no: &str) -> Answer {
        let path = format!("/v3/pay/transactions/out-trade-no/{out_trade_no}?mchid={}", self.merchant.mchid);
        self.call("GET", &path, None).await
    }

    pub async fn close(&self, out_trade_no: &str) -> Answer {
        let path = format!("/v3/pay/transactions/out-trade-no/{out_trade_no}/close");
        self.call("POST", &path, Some(json!({"mchid": self.merchant.mchid}))).await
    }

    pub fn refund(&self, out_trade_no: &str, out_refund_no: &str, refund_fen: i64, total_fen: i64) -> Value {
        json!({
            "out_trade_no": out_trade_no, "out_refund_no": out_refund_no, "reason": "机器离线",
            "amount": {"refund": refund_fen, "total": total_fen, "currency": "CNY"},
        })
    }

    pub async fn ask_refund(&self, refund: &Value) -> Answer {
        self.call("POST", "/v3/refund/domestic/refunds", Some(refund.clone())).await
    }

    pub async fn query_refund(&self, out_refund_no: &str) -> Answer {
        self.call("GET", &format!("/v3/refund/domestic/refunds/{out_refund_no}"), None).await
    }
}

/// Unix seconds as `2018-06-08T10:34:56+00:00`.
pub fn rfc3339(unix_s: i64) -> String {
    chrono::DateTime::from_timestamp(unix_s, 0).unwrap().to_rfc3339_opts(chrono::SecondsFormat::Secs, false)
}

pub fn pem(text: &str) -> Vec<u8> {
    let body: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
    BASE64.decode(body).unwrap()
}

/// Verifies with the merchant's copy of the platform key of that name.
pub fn verifies(merchant: &Merchant, serial: &str, message: &str, signature: &str) -> bool {
    let Some((_, key)) = merchant.platform_keys.iter().find(|(name, _)| name == serial) else { return false };
    let key = if key.contains("CERTIFICATE") {
        sandbox::crypto::Verifier::from_certificate_pem(key)
    } else {
        sandbox::crypto::Verifier::from_public_key_pem(key)
    };
    key.unwrap().verify(message.as_bytes(), signature).is_ok()
}

/// One callback as it came.
#[derive(Clone, Debug)]
pub struct Callback {
    pub at: Instant,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Callback {
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(found, _)| found == name).map_or("", |(_, value)| value)
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub fn verifies(&self, merchant: &Merchant) -> bool {
        let message =
            format!("{}\n{}\n{}\n", self.header("wechatpay-timestamp"), self.header("wechatpay-nonce"), self.body);
        verifies(merchant, self.header("wechatpay-serial"), &message, self.header("wechatpay-signature"))
    }

    /// What was sealed into it.
    pub fn open(&self, merchant: &Merchant) -> Value {
        let body = self.json();
        let resource = &body["resource"];
        let text = |name: &str| resource[name].as_str().unwrap();
        assert_eq!(text("algorithm"), "AEAD_AES_256_GCM");
        let key = aead::UnboundKey::new(&aead::AES_256_GCM, merchant.api_v3_key.as_bytes()).unwrap();
        let nonce = aead::Nonce::try_assume_unique_for_key(text("nonce").as_bytes()).unwrap();
        let mut sealed = BASE64.decode(text("ciphertext")).unwrap();
        let plain = aead::LessSafeKey::new(key)
            .open_in_place(nonce, aead::Aad::from(text("associated_data").as_bytes()), &mut sealed)
            .unwrap();
        serde_json::from_slice(plain).unwrap()
    }
}

type Decider = Box<dyn Fn(&Callback, usize) -> u16 + Send + Sync>;

/// The merchant's end of callbacks.
pub struct Receiver {
    pub url: String,
    taken: Arc<Mutex<Vec<Callback>>>,
}

impl Receiver {
    /// Answers every callback with `status`.
    pub async fn answering(status: u16) -> Self {
        Self::deciding(Box::new(move |_, _| status)).await
    }

    /// Answers what `decide` says of the callback and of the number of those before it.
    pub async fn deciding(decide: Decider) -> Self {
        Self::start(decide, 1).await
    }

    /// Answers no callback until `count` of them wait for their answers at once.
    pub async fn answering_together(status: u16, count: usize) -> Self {
        Self::start(Box::new(move |_, _| status), count).await
    }

    async fn start(decide: Decider, together: usize) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let acceptor = TcpAcceptor::from_tokio(listener).unwrap();
        let address = acceptor.local_addr().remove(0).as_socket_addr().copied().unwrap();
        let taken = Arc::new(Mutex::new(Vec::new()));
        let (seen, decide) = (taken.clone(), Arc::new(decide));
        let barrier = Arc::new(tokio::sync::Barrier::new(together));
        let app = Route::new().at(
            "/notify",
            make(move |request: Request| {
                let (seen, decide, barrier) = (seen.clone(), decide.clone(), barrier.clone());
                async move {
                    let answer = take(request, &seen, &decide).await;
                    barrier.wait().await;
                    answer
                }
            }),
        );
        tokio::spawn(Server::new_with_acceptor(acceptor).run(app));
        Self { url: format!("http://{address}/notify"), taken }
    }

    pub fn taken(&self) -> Vec<Callback> {
        self.taken.lock().unwrap().clone()
    }

    pub fn count(&self) -> usize {
        self.taken.lock().unwrap().len()
    }

    pub async fn wait_for(&self, count: usize) -> Vec<Callback> {
        until(&format!("{count} callbacks"), || self.count() >= count).await;
        self.taken()
    }
}

async fn take(request: Request, seen: &Mutex<Vec<Callback>>, decide: &Decider) -> poem::Result<Response> {
    let (parts, body) = request.into_parts();
    let headers =
        parts.headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    let callback = Callback { at: Instant::now(), headers, body: body.into_string().await.unwrap() };
    let before = {
        let mut seen = seen.lock().unwrap();
        seen.push(callback.clone());
        seen.len() - 1
    };
    let status = decide(&callback, before);
    let status = poem::http::StatusCode::from_u16(status).unwrap();
    Ok(Response::builder().status(status).body(if status.is_success() {
        ""
    } else {
        r#"{"code":"FAIL","message":"x"}"#
    }))
}
