//! Tests against a provider made here: its own keys, its own sealing, its own tiny HTTP server.

#![allow(clippy::unwrap_used)]

mod account;
mod bill;
mod callback;
mod client;
mod orders;
mod server;

use super::*;
use crate::payments::http::{MAX_RESPONSE_BYTES, NOT_SENT};
use crate::payments::{
    entered::AccountError,
    http::{CALL_TIMEOUT, client as http_client},
};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use std::sync::{Arc, OnceLock};

/// The time it is in these tests: 2026-11-23T12:00:00+08:00.
const NOW_S: i64 = 1_795_406_400;
const NOW_MS: i64 = NOW_S * 1000;
const APPID: &str = "wxd678efh567hg6787";
const MCHID: &str = "1900007291";
const MERCHANT_SERIAL: &str = "408B07E79B8269FEC3D5D3E6AB8ED163A6A380DB";
const API_V3_KEY: &str = "0123456789abcdefghijklmnopqrstuv";
const PLATFORM_KEY_ID: &str = "PUB_KEY_ID_0119000072912026112300000001";
const STRANGER_KEY_ID: &str = "PUB_KEY_ID_0119000099992026112300000002";
const NONCE: [u8; 16] = [0x5a; 16];

/// RSA keys, made once for all tests.
struct Keys {
    merchant: KeyPair,
    platform: KeyPair,
    stranger: KeyPair,
}

fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| {
        let make = || KeyPair::generate(KeySize::Rsa2048).unwrap();
        Keys { merchant: make(), platform: make(), stranger: make() }
    })
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = BASE64.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn private_pem(key: &KeyPair) -> String {
    let der: Pkcs8V1Der<'_> = key.as_der().unwrap();
    pem("PRIVATE KEY", der.as_ref())
}

fn public_pem(key: &KeyPair) -> String {
    let der: PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
    pem("PUBLIC KEY", der.as_ref())
}

fn account(base_url: &str) -> Account {
    Account {
        base_url: base_url.into(),
        appid: APPID.into(),
        mchid: MCHID.into(),
        merchant_serial: MERCHANT_SERIAL.into(),
        merchant_private_key_pem: private_pem(&keys().merchant),
        api_v3_key: API_V3_KEY.into(),
        platform_keys: vec![PlatformKey { id: PLATFORM_KEY_ID.into(), pem: public_pem(&keys().platform) }],
        ..Default::default()
    }
}

fn wechat_of(account: Account) -> Result<WechatPay, AccountError> {
    WechatPay::new(account, http_client().unwrap(), Arc::new(|| NOW_MS), Arc::new(|| NONCE))
}

fn wechat(base_url: &str) -> WechatPay {
    wechat_of(account(base_url)).unwrap()
}

fn sign(key: &KeyPair, message: &[u8]) -> String {
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &aws_lc_rs::rand::SystemRandom::new(), message, &mut signature).unwrap();
    BASE64.encode(signature)
}

/// What the platform puts beside a body: the four headers, lower case.
fn platform_headers(key: &KeyPair, key_id: &str, timestamp_s: i64, body: &[u8]) -> Vec<(String, String)> {
    let nonce = "EcZ9Cmy4Xyx1i6RlJQzLcCyEqDa26NBz";
    let message = [format!("{timestamp_s}\n{nonce}\n").as_bytes(), body, b"\n"].concat();
    [
        ("wechatpay-timestamp", timestamp_s.to_string()),
        ("wechatpay-nonce", nonce.to_owned()),
        ("wechatpay-serial", key_id.to_owned()),
        ("wechatpay-signature", sign(key, &message)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

/// A sealed resource, the tag appended, in base64.
fn seal(key: &str, nonce: &str, associated_data: &str, plaintext: &[u8]) -> String {
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_bytes()).unwrap());
    let nonce = Nonce::try_assume_unique_for_key(nonce.as_bytes()).unwrap();
    let mut buffer = plaintext.to_vec();
    key.seal_in_place_append_tag(nonce, Aad::from(associated_data.as_bytes()), &mut buffer).unwrap();
    BASE64.encode(buffer)
}
