//! An account that can not work is told so, field by field, and keeps its secrets.

use super::*;

const URL: &str = "https://api.mch.weixin.qq.com";

fn wrong_field(change: impl FnOnce(&mut Account)) -> String {
    let mut account = account(URL);
    change(&mut account);
    let secrets = [account.api_v3_key.clone(), account.merchant_private_key_pem.clone()];
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
