//! WeChat Pay's callbacks. The first line of an input is
//! - `stranger`: headers, an empty line, and a body follow, as anybody may send them;
//! - `body`: what follows is the body, signed by the platform;
//! - else the event's type, such as `TRANSACTION.SUCCESS`: what follows is sealed for the merchant, and signed.

use crate::{
    believed,
    keys::{Key, or_panic},
    open, parts, refused,
};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use backend::payments::provider::{CallbackError, Provider, RawCallback};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::json;
use std::sync::{Arc, LazyLock};

const API_V3_KEY: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";
const PLATFORM_KEY_ID: &str = "PUB_KEY_ID_0119000072912026112300000001";
const RESOURCE_NONCE: &[u8; 12] = b"fdasflkja484";
const NONCE: &str = "EcZ9Cmy4Xyx1i6RlJQzLcCyEqDa26NBz";

struct Fixture {
    platform: Key,
    client: Arc<dyn Provider>,
}

static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| {
    let platform = Key::generate();
    let config = json!({
        "base_url": "https://api.mch.weixin.qq.com",
        "appid": "wxd678efh567hg6787",
        "mchid": "1900007291",
        "merchant_serial": "408B07E79B8269FEC3D5D3E6AB8ED163A6A380DB",
        "merchant_private_key_pem": Key::generate().private_pem(),
        "api_v3_key": String::from_utf8_lossy(API_V3_KEY),
        "platform_keys": [{"id": PLATFORM_KEY_ID, "pem": platform.public_pem()}],
    });
    Fixture { client: open("wechat", &config), platform }
});

/// Takes an input.
pub fn take(input: &[u8]) {
    match parts(input) {
        (b"stranger", rest) => as_stranger(rest),
        (b"body", body) => as_platform(body),
        (event_type, plaintext) => as_platform(&notification(event_type, plaintext)),
    }
}

fn as_stranger(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
    let headers: Vec<(String, String)> = head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    refused(&*FIXTURE.client, RawCallback { headers: &headers, body: body.as_bytes() });
}

fn as_platform(body: &[u8]) {
    let timestamp_s = crate::NOW_MS / 1000;
    let message = [format!("{timestamp_s}\n{NONCE}\n").as_bytes(), body, b"\n"].concat();
    let headers = [
        ("wechatpay-timestamp", timestamp_s.to_string()),
        ("wechatpay-nonce", NONCE.to_owned()),
        ("wechatpay-serial", PLATFORM_KEY_ID.to_owned()),
        ("wechatpay-signature", FIXTURE.platform.sign(&message)),
    ]
    .map(|(name, value)| (name.to_owned(), value));
    // A body that is made here as a whole is not sealed with the merchant's key.
    let may_fail = |error: &CallbackError| *error == CallbackError::Decrypt;
    believed(&*FIXTURE.client, RawCallback { headers: &headers, body }, may_fail);
}

fn notification(event_type: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let key = LessSafeKey::new(or_panic(UnboundKey::new(&AES_256_GCM, API_V3_KEY)));
    let mut sealed = plaintext.to_vec();
    let nonce = Nonce::assume_unique_for_key(*RESOURCE_NONCE);
    or_panic(key.seal_in_place_append_tag(nonce, Aad::from(b"transaction"), &mut sealed));
    let notification = json!({
        "id": "EV-2026112300000001",
        "create_time": "2026-11-23T12:00:00+08:00",
        "resource_type": "encrypt-resource",
        "event_type": String::from_utf8_lossy(event_type),
        "summary": "made here",
        "resource": {
            "algorithm": "AEAD_AES_256_GCM",
            "ciphertext": BASE64.encode(sealed),
            "associated_data": "transaction",
            "original_type": "transaction",
            "nonce": String::from_utf8_lossy(RESOURCE_NONCE),
        },
    });
    notification.to_string().into_bytes()
}
