//! The public vectors of WeChat Pay's documents and SDKs, against the sandbox's own cryptography.
#![allow(clippy::unwrap_used)]

use sandbox::crypto::{CryptoError, Verifier, certificate_serial, open, seal};
use serde_json::Value;

fn vectors() -> Value {
    serde_json::from_str(include_str!("vectors/wechat.json")).unwrap()
}

fn text<'a>(vector: &'a Value, name: &str) -> &'a str {
    vector[name].as_str().unwrap_or_else(|| panic!("{name} is missing"))
}

#[test]
fn signatures_verify_over_their_message_and_over_no_other() {
    let vectors = vectors();
    for name in [
        "wechat_official_request",
        "wechat_official_paysign_jsapi",
        "wechat_official_paysign_app",
        "wechat_platform_response_verify",
        "wechat_go_signer",
        "wechat_java_rsa",
    ] {
        let vector = &vectors[name];
        let key = Verifier::from_public_key_pem(text(vector, "public_key_pem")).unwrap();
        let (message, signature) = (text(vector, "message"), text(vector, "signature_b64"));
        assert_eq!(key.verify(message.as_bytes(), signature), Ok(()), "{name}");
        let spoiled = format!("{message}x");
        assert_eq!(key.verify(spoiled.as_bytes(), signature), Err(CryptoError::Signature), "{name}");
        assert_eq!(key.verify(message.as_bytes(), "not base64"), Err(CryptoError::Signature), "{name}");
    }
}

#[test]
fn the_official_request_is_the_message_this_sandbox_builds() {
    let vectors = vectors();
    let vector = &vectors["wechat_official_request"];
    let body = text(vector, "message").split('\n').nth(4).unwrap();
    let built =
        format!("POST\n/v3/pay/transactions/jsapi\n{}\n{}\n{body}\n", vector["timestamp"], text(vector, "nonce"));
    assert_eq!(built, text(vector, "message"));
}

#[test]
fn a_callback_verifies_with_the_key_of_its_certificate() {
    let vectors = vectors();
    let vector = &vectors["wechat_go_notify"];
    let certificate = text(vector, "cert_pem");
    assert_eq!(certificate_serial(certificate).unwrap(), text(vector, "serial"));
    let key = Verifier::from_certificate_pem(certificate).unwrap();
    let message = format!("{}\n{}\n{}\n", vector["timestamp"], text(vector, "nonce"), text(vector, "body"));
    assert_eq!(key.verify(message.as_bytes(), text(vector, "signature_b64")), Ok(()));
    let compact = Verifier::from_public_key_pem(text(&vectors["wechat_go_signer"], "public_key_pem")).unwrap();
    assert_eq!(compact.verify(message.as_bytes(), text(vector, "signature_b64")), Ok(()));
}

#[test]
fn aes_256_gcm_opens_and_seals_as_the_sdk_does() {
    let vectors = vectors();
    let vector = &vectors["wechat_java_aes256gcm"];
    let (key, nonce, aad) = (text(vector, "key"), text(vector, "nonce"), text(vector, "aad"));
    let (ciphertext, plaintext) = (text(vector, "ciphertext_b64"), text(vector, "plaintext"));
    assert_eq!(open(key, nonce, aad, ciphertext).unwrap(), plaintext.as_bytes());
    assert_eq!(seal(key, nonce, aad, plaintext.as_bytes()).unwrap(), ciphertext);
    assert_eq!(open(key, nonce, "other", ciphertext), Err(CryptoError::Sealed));
}
