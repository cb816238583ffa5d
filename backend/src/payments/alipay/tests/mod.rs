//! Tests by the public vectors, and against a gateway made here: its own keys, its own tiny HTTP server.

#![allow(clippy::unwrap_used)]

mod account;
mod callback;
mod client;
mod messages;
mod server;
mod vectors;

use super::*;
use crate::payments::http::{MAX_RESPONSE_BYTES, NOT_SENT};
use crate::payments::{entered::AccountError, http::client as http_client};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use std::sync::{Arc, OnceLock};

/// The time it is in these tests: 2026-11-23 12:00:00 in China.
const NOW_MS: i64 = 1_795_406_400_000;
const APP_ID: &str = "2021000122671080";
const SELLER_ID: &str = "2088531891668739";
const OP_APP_ID: &str = "2021000199999999";

/// RSA keys, made once for all tests.
struct Keys {
    app: KeyPair,
    alipay: KeyPair,
    next: KeyPair,
    stranger: KeyPair,
}

fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| {
        let make = || KeyPair::generate(KeySize::Rsa2048).unwrap();
        Keys { app: make(), alipay: make(), next: make(), stranger: make() }
    })
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = BASE64.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn private_der(key: &KeyPair) -> Vec<u8> {
    let der: Pkcs8V1Der<'_> = key.as_der().unwrap();
    der.as_ref().to_vec()
}

fn private_pem(key: &KeyPair) -> String {
    pem("PRIVATE KEY", &private_der(key))
}

fn public_der(key: &KeyPair) -> Vec<u8> {
    let der: PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
    der.as_ref().to_vec()
}

fn public_pem(key: &KeyPair) -> String {
    pem("PUBLIC KEY", &public_der(key))
}

/// A certificate of a key, signed by itself.
fn certificate_pem(key: &KeyPair) -> String {
    let der = rustls_pki_types::PrivatePkcs8KeyDer::from(private_der(key));
    let key = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&der, &rcgen::PKCS_RSA_SHA256).unwrap();
    rcgen::CertificateParams::new(vec![]).unwrap().self_signed(&key).unwrap().pem()
}

fn account(base_url: &str) -> Account {
    Account {
        base_url: base_url.into(),
        auth_url: "https://openauth.alipay.com".into(),
        app_id: APP_ID.into(),
        seller_id: SELLER_ID.into(),
        app_private_key_pem: private_pem(&keys().app),
        alipay_public_keys: vec![public_pem(&keys().alipay), BASE64.encode(public_der(&keys().next))],
        app_cert_pem: None,
        alipay_root_cert_pem: None,
        alipay_certs_pem: vec![],
        op_app_id: Some(OP_APP_ID.into()),
    }
}

/// An account in certificate mode.
fn certified(base_url: &str) -> Account {
    Account {
        alipay_public_keys: vec![],
        app_cert_pem: Some(certificate_pem(&keys().app)),
        alipay_root_cert_pem: Some(vectors::roots()),
        alipay_certs_pem: vec![certificate_pem(&keys().alipay), certificate_pem(&keys().next)],
        ..account(base_url)
    }
}

fn alipay_of(account: &Account) -> Result<Alipay, AccountError> {
    Alipay::new(account, http_client().unwrap(), Arc::new(|| NOW_MS))
}

fn alipay(base_url: &str) -> Alipay {
    alipay_of(&account(base_url)).unwrap()
}

fn sign(key: &KeyPair, message: &[u8]) -> String {
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &aws_lc_rs::rand::SystemRandom::new(), message, &mut signature).unwrap();
    BASE64.encode(signature)
}
