//! The public vectors of WeChat Pay's documentation and SDKs (vectors/wechat.json, with their sources).
#![allow(clippy::unwrap_used)]

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use backend::payments::http::client as http_client;
use backend::payments::provider::{CallbackError, Provider, RawCallback};
use backend::payments::wechat::signing::{
    ApiV3Key, Signer, VerifyingKey, pay_sign_message, platform_message, request_message,
};
use backend::payments::wechat::{Account, PlatformKey, WechatPay};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;
use std::sync::Arc;

fn vector(name: &str) -> Value {
    let all: Value = serde_json::from_str(include_str!("vectors/wechat.json")).unwrap();
    all.get(name).unwrap().clone()
}

fn text<'v>(vector: &'v Value, field: &str) -> &'v str {
    vector[field].as_str().unwrap()
}

/// Whether the vector's signature is the vector's key's, of this message; and of no other.
fn assert_signed(vector: &Value, message: &[u8]) {
    let (key, serial) = VerifyingKey::from_pem(text(vector, "public_key_pem")).unwrap();
    assert_eq!(serial, None);
    let signature = text(vector, "signature_b64");
    assert!(key.verify(message, signature));
    assert!(!key.verify(&[message, b"\n"].concat(), signature));
    let mut other = message.to_vec();
    other[0] ^= 1;
    assert!(!key.verify(&other, signature));
    assert!(!key.verify(message, &signature[4..]));
}

/// A merchant's key, made for the test: the vectors' own private keys are not public.
fn merchant_pem() -> String {
    let key = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let der: Pkcs8V1Der<'_> = key.as_der().unwrap();
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", BASE64.encode(der.as_ref()))
}

#[test]
fn official_request() {
    let vector = vector("wechat_official_request");
    let message = text(&vector, "message");
    let body = message.trim_end_matches('\n').rsplit_once('\n').unwrap().1;
    let timestamp_s = vector["timestamp"].as_i64().unwrap();
    let built =
        request_message("POST", "/v3/pay/transactions/jsapi", timestamp_s, text(&vector, "nonce"), body.as_bytes());
    assert_eq!(built, message.as_bytes());
    assert_signed(&vector, &built);
}

#[test]
fn authorization_header_has_the_documented_form() {
    let vector = vector("wechat_official_request");
    let (mchid, serial, nonce) = (text(&vector, "mchid"), text(&vector, "serial_no"), text(&vector, "nonce"));
    let signer = Signer::from_pem(mchid, serial, &merchant_pem()).unwrap();
    let header = signer.authorization("GET", "/v3/certificates", 1_554_208_460, nonce, b"").unwrap();
    let signature = signer.sign(&request_message("GET", "/v3/certificates", 1_554_208_460, nonce, b"")).unwrap();
    assert_eq!(
        header,
        format!(
            "WECHATPAY2-SHA256-RSA2048 mchid=\"1900007291\",nonce_str=\"593BEC0C930BF1AFEB40B4A08C8FB242\",\
             timestamp=\"1554208460\",serial_no=\"408B07E79B8269FEC3D5D3E6AB8ED163A6A380DB\",signature=\"{signature}\""
        )
    );
}

#[test]
fn official_pay_sign() {
    for (name, package) in [
        ("wechat_official_paysign_jsapi", "prepay_id=wx201410272009395522657a690389285100"),
        ("wechat_official_paysign_app", "wx201410272009395522657a690389285100"),
    ] {
        let vector = vector(name);
        let built = pay_sign_message("wx2421b1c4370ec43b", 1_554_208_460, "593BEC0C930BF1AFEB40B4A08C8FB242", package);
        assert_eq!(built, text(&vector, "message").as_bytes());
        assert_signed(&vector, &built);
    }
}

#[test]
fn platform_response() {
    let vector = vector("wechat_platform_response_verify");
    let body = br#"{"code_url":"weixin://wxpay/bizpayurl?pr=JyC91EIz1"}"#;
    let built = platform_message("1722850421", "d824f2e086d3c1df967785d13fcd22ef", body);
    assert_eq!(built, text(&vector, "message").as_bytes());
    assert_signed(&vector, &built);
}

#[test]
fn sdk_signers() {
    for name in ["wechat_go_signer", "wechat_java_rsa"] {
        let vector = vector(name);
        assert_signed(&vector, text(&vector, "message").as_bytes());
    }
}

/// The vector's API v3 key has 16 bytes, which the API does not allow: what can be shown is that its signature, by a
/// certificate, is believed, and that decryption with another key is what fails then.
#[test]
fn sdk_notification_signature() {
    let vector = vector("wechat_go_notify");
    let account = Account {
        base_url: "https://api.mch.weixin.qq.com".into(),
        appid: "054aa7d7a2a54ab5898df65bd96f001c".into(),
        mchid: "1234567890".into(),
        merchant_serial: "408B07E79B8269FEC3D5D3E6AB8ED163A6A380DB".into(),
        merchant_private_key_pem: merchant_pem(),
        api_v3_key: "0123456789abcdefghijklmnopqrstuv".into(),
        platform_keys: vec![PlatformKey {
            id: text(&vector, "serial").to_lowercase(),
            pem: text(&vector, "cert_pem").into(),
        }],
        ..Default::default()
    };
    let make = |account: Account| WechatPay::new(account, http_client().unwrap(), Arc::new(|| 0), Arc::new(|| [0; 16]));
    let mut renamed = account.clone();
    renamed.platform_keys[0].id = "D7CE59D1F522D702".into();
    let error = make(renamed).err().unwrap();
    assert_eq!(error.field, "platform_keys[0].id");
    assert!(error.advice.contains("D7CE59D1F522D701"), "{error}");

    let wechat = make(account).unwrap();
    let timestamp_s = vector["timestamp"].as_i64().unwrap();
    let headers = [
        ("wechatpay-timestamp", timestamp_s.to_string()),
        ("wechatpay-nonce", text(&vector, "nonce").into()),
        ("wechatpay-serial", text(&vector, "serial").into()),
        ("wechatpay-signature", text(&vector, "signature_b64").into()),
    ]
    .map(|(name, value)| (name.to_owned(), value));
    let verify =
        |body: &[u8], now_s: i64| wechat.verify_callback(RawCallback { headers: &headers, body }, now_s * 1000);
    let body = text(&vector, "body");
    assert_eq!(verify(body.as_bytes(), timestamp_s), Err(CallbackError::Decrypt));
    assert_eq!(verify(body.replace("签约", "解约").as_bytes(), timestamp_s), Err(CallbackError::Signature));
    assert_eq!(verify(body.as_bytes(), timestamp_s + 301), Err(CallbackError::Stale { skew_s: 301 }));
}

#[test]
fn sdk_resource() {
    let vector = vector("wechat_java_aes256gcm");
    let key = ApiV3Key::new(text(&vector, "key").as_bytes()).unwrap();
    let (nonce, aad) = (text(&vector, "nonce").as_bytes(), text(&vector, "aad").as_bytes());
    let ciphertext = BASE64.decode(text(&vector, "ciphertext_b64")).unwrap();
    assert_eq!(key.open(nonce, aad, &ciphertext).unwrap(), text(&vector, "plaintext").as_bytes());
    assert_eq!(key.open(nonce, b"", &ciphertext), None);
    assert_eq!(key.open(&nonce[1..], aad, &ciphertext), None);
    assert_eq!(key.open(nonce, aad, &ciphertext[1..]), None);
    assert_eq!(key.open(nonce, aad, b""), None);
    assert!(ApiV3Key::new(b"sixteen bytes...").is_none());
}
