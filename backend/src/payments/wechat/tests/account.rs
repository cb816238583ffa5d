//! An account that can not work is told so, field by field, and keeps its secrets.

use super::*;
use crate::payments::provider::Provider;

const URL: &str = "https://api.mch.weixin.qq.com";

fn wrong_field(change: impl FnOnce(&mut Account)) -> String {
    let mut account = account(URL);
    change(&mut account);
    let secrets = [
        account.api_v3_key.clone(),
        account.merchant_private_key_pem.clone(),
        account.app_secret.clone().unwrap_or_default(),
        account.previous_api_v3_key.clone().unwrap_or_default(),
    ];
    let error = wechat_of(account).err().expect("the account is wrong");
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        assert!(!error.to_string().contains(secret), "an error quotes a secret");
    }
    assert!(error.advice.len() > 20, "{error} gives no advice");
    error.field
}

#[test]
fn a_good_account_is_taken() {
    assert!(wechat_of(account(URL)).is_ok());
    assert!(wechat_of(account("http://127.0.0.1:8090")).is_ok(), "a sandbox on this machine");
    assert!(wechat_of(account("http://[::1]:8090")).is_ok());
    assert!(wechat_of(account("http://localhost:8090/")).is_ok());
}

#[test]
fn each_wrong_field_is_named() {
    for bad in ["", "api.mch.weixin.qq.com", "http://api.mch.weixin.qq.com", "ftp://127.0.0.1", "mailto:a@b"] {
        assert_eq!(wrong_field(|a| a.base_url = bad.into()), "base_url", "{bad}");
    }
    for bad in ["/v3", "/?a=1", "/#a"] {
        assert_eq!(wrong_field(|a| a.base_url = format!("{URL}{bad}")), "base_url", "{bad}");
    }
    assert_eq!(wrong_field(|a| a.base_url = "https://user:pass@api.mch.weixin.qq.com".into()), "base_url");
    assert_eq!(wrong_field(|a| a.appid = "wx 1".into()), "appid");
    assert_eq!(wrong_field(|a| a.mchid = "1900\"\r\nX: 1".into()), "mchid");
    assert_eq!(wrong_field(|a| a.mchid = "1".repeat(33)), "mchid");
    assert_eq!(wrong_field(|a| a.merchant_serial = "not hexadecimal".into()), "merchant_serial");
    assert_eq!(wrong_field(|a| a.merchant_private_key_pem = String::new()), "merchant_private_key_pem");
    assert_eq!(
        wrong_field(|a| a.merchant_private_key_pem = public_pem(&keys().merchant)),
        "merchant_private_key_pem",
        "a public key is no private key"
    );
    assert_eq!(wrong_field(|a| a.merchant_private_key_pem.truncate(200)), "merchant_private_key_pem");
    assert_eq!(wrong_field(|a| a.api_v3_key = "short".into()), "api_v3_key");
    assert_eq!(wrong_field(|a| a.platform_keys.clear()), "platform_keys");
    assert_eq!(wrong_field(|a| a.platform_keys[0].id = "0A1B".into()), "platform_keys[0].id");
    assert_eq!(wrong_field(|a| a.platform_keys[0].id = "PUB_KEY_ID_1\r\n".into()), "platform_keys[0].id");
    assert_eq!(
        wrong_field(|a| a.platform_keys[0].pem = private_pem(&keys().platform)),
        "platform_keys[0].pem",
        "a private key does not belong here"
    );
    assert_eq!(wrong_field(|a| a.platform_keys.push(a.platform_keys[0].clone())), "platform_keys[1].id");
    let many = |a: &mut Account| a.platform_keys = vec![a.platform_keys[0].clone(); 17];
    assert_eq!(wrong_field(many), "platform_keys");
}

#[test]
fn debug_shows_no_secret_and_serde_keeps_all() {
    let account = account(URL);
    let shown = format!("{account:?}");
    assert!(shown.contains(MCHID) && shown.contains(PLATFORM_KEY_ID));
    assert!(!shown.contains(API_V3_KEY) && !shown.contains("PRIVATE KEY"));
    let kept: Account = serde_json::from_str(&serde_json::to_string(&account).unwrap()).unwrap();
    assert_eq!(kept.merchant_private_key_pem, account.merchant_private_key_pem);
    assert_eq!(kept.api_v3_key, account.api_v3_key);
    assert_eq!(kept.platform_keys, account.platform_keys);
}

#[test]
fn what_paying_within_wechat_needs_is_checked() {
    let secret = || Some("0123456789abcdef0123456789abcdef".to_owned());
    assert_eq!(wrong_field(|a| a.app_secret = Some("0123456789abcdef 123456789abcde".into())), "app_secret");
    assert_eq!(wrong_field(|a| a.previous_api_v3_key = Some("too short".into())), "previous_api_v3_key");
    assert_eq!(wrong_field(|a| a.methods = Some(vec!["jsapi".into()])), "app_secret");
    assert_eq!(wrong_field(|a| a.methods = Some(vec![])), "methods");
    assert_eq!(wrong_field(|a| a.methods = Some(vec!["h5".into(), "H5".into()])), "methods");
    assert_eq!(wrong_field(|a| (a.app_secret, a.sub_mchid) = (secret(), Some("1900&x=1".into()))), "sub_mchid");
    for bad in ["", "MP_verify_.txt", "MP_verify_a/b.txt", "verify_abc.txt", "MP_verify_abc.html"] {
        assert_eq!(wrong_field(|a| a.domain_file = Some(bad.into())), "domain_file", "{bad}");
    }
    let shown = Account { app_secret: secret(), ..account(URL) };
    assert!(!format!("{shown:?}").contains(&secret().unwrap()), "Debug shows a secret");
    let file = wechat_of(Account { domain_file: Some("MP_verify_a1B2.txt".into()), ..account(URL) });
    let file = file.unwrap().profile().domain_file.clone().unwrap();
    assert_eq!((file.name.as_str(), file.text.as_str()), ("MP_verify_a1B2.txt", "a1B2"));
    assert_eq!(wechat_of(account(URL)).unwrap().profile().domain_file, None);
    // A file of an account from before these fields.
    let mut old = serde_json::to_value(account(URL)).unwrap();
    for field in ["app_secret", "sub_mchid", "methods", "domain_file"] {
        old.as_object_mut().unwrap().remove(field);
    }
    let old: Account = serde_json::from_value(old).unwrap();
    assert_eq!(wechat_of(old).unwrap().profile().identity, wechat_of(account(URL)).unwrap().profile().identity);
}
