//! An account that can not work is told so, field by field, and keeps its secrets.

use super::*;
use crate::payments::{
    method::{HandoffKind, PayerApp},
    provider::Provider,
};

const URL: &str = "https://openapi.alipay.com";

#[track_caller]
fn wrong_field_of(mut account: Account, change: impl FnOnce(&mut Account)) -> String {
    change(&mut account);
    let secret = account.app_private_key_pem.clone();
    let error = alipay_of(&account).err().expect("the account is wrong");
    assert!(secret.is_empty() || !error.to_string().contains(&secret), "an error quotes a secret");
    assert!(error.advice.len() > 20, "{error} gives no advice");
    error.field
}

#[track_caller]
fn wrong_field(change: impl FnOnce(&mut Account)) -> String {
    wrong_field_of(account(URL), change)
}

#[test]
fn a_good_account_is_taken() {
    assert!(alipay_of(&account(URL)).is_ok());
    assert!(alipay_of(&account("http://127.0.0.1:8090")).is_ok(), "a sandbox on this machine");
    assert!(alipay_of(&certified(URL)).is_ok());
    // Keys as Alipay's tools show them: base64 alone, in lines or not.
    let mut bare = account(URL);
    bare.app_private_key_pem = BASE64.encode(private_der(&keys().app));
    assert!(alipay_of(&bare).is_ok());
    bare.app_private_key_pem.insert(64, '\n');
    assert!(alipay_of(&bare).is_ok());
}

#[test]
fn old_private_keys_are_read_too() {
    // PKCS#1 is what is within PKCS#8: behind 26 bytes that name the algorithm, for keys of this length.
    let pkcs1 = private_der(&keys().app)[26..].to_vec();
    for text in [pem("RSA PRIVATE KEY", &pkcs1), BASE64.encode(&pkcs1)] {
        assert!(alipay_of(&Account { app_private_key_pem: text, ..account(URL) }).is_ok());
    }
}

#[test]
fn each_wrong_field_is_named() {
    for bad in ["", "openapi.alipay.com", "http://openapi.alipay.com", "https://openapi.alipay.com/gateway.do"] {
        assert_eq!(wrong_field(|a| a.base_url = bad.into()), "base_url", "{bad}");
        assert_eq!(wrong_field(|a| a.auth_url = bad.into()), "auth_url", "{bad}");
    }
    assert_eq!(wrong_field(|a| a.app_id = "20 21".into()), "app_id");
    assert_eq!(wrong_field(|a| a.op_app_id = Some("&x=1".into())), "op_app_id");
    for bad in ["", "2088", "20885318916687390", "1088531891668739", "208853189166873x"] {
        assert_eq!(wrong_field(|a| a.seller_id = bad.into()), "seller_id", "{bad}");
    }
    assert_eq!(wrong_field(|a| a.app_private_key_pem = String::new()), "app_private_key_pem");
    assert_eq!(wrong_field(|a| a.app_private_key_pem = public_pem(&keys().app)), "app_private_key_pem");
    assert_eq!(wrong_field(|a| a.app_private_key_pem.truncate(200)), "app_private_key_pem");
    assert_eq!(wrong_field(|a| a.app_private_key_pem = "A".repeat(20_000)), "app_private_key_pem");
    assert_eq!(wrong_field(|a| a.alipay_public_keys.clear()), "alipay_public_keys");
    assert_eq!(wrong_field(|a| a.alipay_public_keys = vec![String::new(); 9]), "alipay_public_keys");
    assert_eq!(wrong_field(|a| a.alipay_public_keys[1] = "x".into()), "alipay_public_keys[1]");
    assert_eq!(
        wrong_field(|a| a.alipay_public_keys[0] = private_pem(&keys().alipay)),
        "alipay_public_keys[0]",
        "a private key does not belong here"
    );
    assert_eq!(
        wrong_field(|a| a.alipay_public_keys[0] = public_pem(&keys().app)),
        "alipay_public_keys[0]",
        "nor does the app's own"
    );
}

#[test]
fn each_wrong_certificate_is_named() {
    let wrong_field = |change: &dyn Fn(&mut Account)| wrong_field_of(certified(URL), change);
    assert_eq!(wrong_field(&|a| a.alipay_public_keys = account(URL).alipay_public_keys), "alipay_public_keys");
    assert_eq!(wrong_field(&|a| a.app_cert_pem = None), "app_cert_pem");
    assert_eq!(wrong_field(&|a| a.app_cert_pem = Some(certificate_pem(&keys().stranger))), "app_cert_pem");
    assert_eq!(wrong_field(&|a| a.app_cert_pem = Some(public_pem(&keys().app))), "app_cert_pem");
    assert_eq!(wrong_field(&|a| a.alipay_root_cert_pem = None), "alipay_root_cert_pem");
    assert_eq!(wrong_field(&|a| a.alipay_root_cert_pem = Some("x".into())), "alipay_root_cert_pem");
    assert_eq!(wrong_field(&|a| a.alipay_certs_pem.clear()), "alipay_certs_pem");
    assert_eq!(wrong_field(&|a| a.alipay_certs_pem[1] = public_pem(&keys().alipay)), "alipay_certs_pem[1]");
    assert_eq!(wrong_field(&|a| a.alipay_certs_pem[1] = certificate_pem(&keys().app)), "alipay_certs_pem[1]");
}

#[test]
fn an_account_is_read_from_what_is_entered() {
    let entered = serde_json::json!({
        "base_url": URL, "app_id": APP_ID, "seller_id": SELLER_ID, "app_private_key_pem": private_pem(&keys().app),
        "alipay_public_keys": [public_pem(&keys().alipay)],
    });
    let account: Account = serde_json::from_value(entered.clone()).unwrap();
    assert_eq!(account.auth_url, "https://openauth.alipay.com");
    assert!(alipay_of(&account).is_ok());
    let mut odd = entered;
    odd["alipay_public_key"] = "one too few".into();
    let error = serde_json::from_value::<Account>(odd).unwrap_err();
    assert!(error.to_string().contains("alipay_public_key"), "{error}");
}

#[test]
fn debug_shows_no_secret_and_serde_keeps_all() {
    let account = certified(URL);
    let shown = format!("{account:?}");
    assert!(shown.contains(APP_ID) && shown.contains(SELLER_ID));
    assert!(!shown.contains("PRIVATE KEY"));
    let kept: Account = serde_json::from_str(&serde_json::to_string(&account).unwrap()).unwrap();
    assert_eq!(kept.app_private_key_pem, account.app_private_key_pem);
    assert_eq!(kept.alipay_certs_pem, account.alipay_certs_pem);
}

#[test]
fn the_profile_says_where_each_method_works() {
    let with_mini_app = alipay(URL);
    let profile = with_mini_app.profile();
    assert_eq!(profile.identity, format!("{SELLER_ID} {APP_ID}"));
    let words: Vec<_> = profile.methods.iter().map(|m| (m.word, m.apps, m.handoff, m.payer_scope.as_deref())).collect();
    let expected = [
        ("wap", &[PayerApp::Browser, PayerApp::Alipay][..], HandoffKind::Redirect, None),
        ("code", &[PayerApp::Browser], HandoffKind::Code, None),
        ("bridge", &[PayerApp::Alipay], HandoffKind::Invoke, Some(APP_ID)),
    ];
    assert_eq!(words, expected);
    let without = alipay_of(&Account { op_app_id: None, ..account(URL) }).unwrap();
    let words: Vec<_> = without.profile().methods.iter().map(|m| m.word).collect();
    assert_eq!(words, ["wap", "code"]);
}
