//! The account data that a merchant enters, and its check: a wrong field is reported before the account is used.

use super::messages::NamedMerchant;
use super::methods::{H5, JSAPI, NATIVE};
use super::signing::{ApiV3Key, PlatformKeys, Signer, VerifyingKey, same_key_id};
use crate::payments::entered::{AccountError, base_url, identifier, wrong};
use serde::{Deserialize, Serialize};
use std::fmt;
use url::Url;

/// Where the API is.
const API: &str = "https://api.mch.weixin.qq.com";

/// Most platform keys an account may list. A migration needs two certificates and a public key at once.
const MAX_PLATFORM_KEYS: usize = 16;
/// Longest certificate serial number, in hexadecimal digits (X.509 allows 20 bytes; some headroom).
const MAX_SERIAL_DIGITS: usize = 64;
/// Longest PEM text read, in bytes.
const MAX_PEM_BYTES: usize = 16 * 1024;
/// Length of a service account's secret, in characters.
const APP_SECRET_CHARS: usize = 32;
/// Longest word that proves a domain, in characters; real ones have 16.
const MAX_DOMAIN_WORD_CHARS: usize = 64;
/// How the ids of WeChat Pay's public keys begin.
const PUBLIC_KEY_ID_PREFIX: &str = "PUB_KEY_ID_";

/// A merchant account as its owner enters it. Holds secrets: store it encrypted. `Debug` leaves them out.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// Where the API is: `https://api.mch.weixin.qq.com`, or a sandbox.
    pub base_url: String,
    /// The official account or app that is bound to the merchant number.
    pub appid: String,
    /// The merchant number.
    pub mchid: String,
    /// Serial number of the merchant's API certificate, in hexadecimal.
    pub merchant_serial: String,
    /// The private key of that certificate (`apiclient_key.pem`).
    pub merchant_private_key_pem: String,
    /// The 32 character key that callbacks are encrypted with.
    pub api_v3_key: String,
    /// The API v3 key before this one: callbacks of before the change are encrypted with it. Leave it out a day later.
    #[serde(default)]
    pub previous_api_v3_key: Option<String>,
    /// The keys that WeChat Pay may sign with. During a change of keys, the old and the new.
    pub platform_keys: Vec<PlatformKey>,
    /// The secret of the service account `appid`: with it WeChat tells who pays, and people can pay within WeChat.
    #[serde(default)]
    pub app_secret: Option<String>,
    /// In partner mode, the merchant who gets the money. All fields above are the partner's own, and are used for all
    /// its merchants.
    #[serde(default)]
    pub sub_mchid: Option<String>,
    /// In partner mode, whether a share of each payment may go to the platform: WeChat Pay holds the payment back until the
    /// shares are told or it is released.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub profit_sharing: bool,
    /// Which of `jsapi`, `h5` and `native` the merchant has been granted; all if it is not said.
    #[serde(default)]
    pub methods: Option<Vec<String>>,
    /// Where browsers are asked who pays, if it is neither WeChat's own place nor `base_url`: a sandbox that phones reach by
    /// another name.
    #[serde(default)]
    pub authorize_base_url: Option<String>,
    /// The name of the file by which the service account's owner proves that our domain may ask for its payers:
    /// `MP_verify_<word>.txt`, which says that word.
    #[serde(default)]
    pub domain_file: Option<String>,
}

/// A key that WeChat Pay signs answers and callbacks with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlatformKey {
    /// The certificate's serial number in hexadecimal, or the public key's `PUB_KEY_ID_...`.
    pub id: String,
    /// A PEM block: CERTIFICATE or PUBLIC KEY.
    pub pem: String,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key_ids: Vec<&str> = self.platform_keys.iter().map(|key| key.id.as_str()).collect();
        f.debug_struct("Account")
            .field("base_url", &self.base_url)
            .field("appid", &self.appid)
            .field("mchid", &self.mchid)
            .field("merchant_serial", &self.merchant_serial)
            .field("platform_keys", &key_ids)
            .field("sub_mchid", &self.sub_mchid)
            .field("profit_sharing", &self.profit_sharing)
            .field("methods", &self.methods)
            .field("domain_file", &self.domain_file)
            .finish_non_exhaustive()
    }
}

/// A checked account: keys parsed, ids known to be safe in headers and paths.
pub(super) struct Credentials {
    pub base_url: Url,
    /// Where browsers are asked who pays.
    pub authorize_base_url: Url,
    /// Where what they come back with is exchanged.
    pub exchange_base_url: Url,
    pub appid: String,
    pub mchid: String,
    pub signer: Signer,
    /// The one in force, and the one before it while that may still be met.
    pub api_v3_keys: Vec<ApiV3Key>,
    pub platform_keys: PlatformKeys,
    pub app_secret: Option<String>,
    pub sub_mchid: Option<String>,
    pub profit_sharing: bool,
    pub methods: Vec<&'static str>,
    /// The word of the domain's file.
    pub domain_word: Option<String>,
}

impl Credentials {
    /// Checks every field of an account.
    pub fn parse(account: &Account) -> Result<Self, AccountError> {
        let base_url = base_url("base_url", &account.base_url, API)?;
        let (authorize_base_url, exchange_base_url) = identity_hosts(account, &base_url)?;
        identifier("appid", &account.appid)?;
        identifier("mchid", &account.mchid)?;
        let Some(serial) = serial(&account.merchant_serial) else {
            return wrong(
                "merchant_serial",
                "enter the serial number of the merchant API certificate: hexadecimal digits only, \
                 as the merchant platform shows it under API security",
            );
        };
        let Some(signer) = pem_within_limit(&account.merchant_private_key_pem)
            .and_then(|pem| Signer::from_pem(&account.mchid, &serial, pem))
        else {
            return wrong(
                "merchant_private_key_pem",
                "paste the whole of apiclient_key.pem: an RSA private key of at least 2048 bits, \
                 without a passphrase, with its BEGIN and END lines",
            );
        };
        let entered =
            [("api_v3_key", Some(&account.api_v3_key)), ("previous_api_v3_key", account.previous_api_v3_key.as_ref())];
        let mut api_v3_keys = vec![];
        for (field, key) in entered {
            let Some(key) = key else { continue };
            api_v3_keys.push(api_v3_key(field, key)?);
        }
        let platform_keys = platform_keys(&account.platform_keys)?;
        if let Some(secret) = &account.app_secret
            && !is_app_secret(secret)
        {
            return wrong(
                "app_secret",
                format!(
                    "the app secret has {APP_SECRET_CHARS} letters and digits: copy it from the service account's settings \
                     (mp.weixin.qq.com), or leave it out if nobody shall pay within WeChat",
                ),
            );
        }
        if let Some(sub_mchid) = &account.sub_mchid {
            identifier("sub_mchid", sub_mchid)?;
        } else if account.profit_sharing {
            return wrong(
                "profit_sharing",
                "is of partner mode only: leave it out, or add the sub_mchid of whose money it is",
            );
        }
        let methods = methods(account)?;
        let domain_word = account.domain_file.as_deref().map(domain_word).transpose()?;
        Ok(Self {
            base_url,
            authorize_base_url,
            exchange_base_url,
            appid: account.appid.clone(),
            mchid: account.mchid.clone(),
            signer,
            api_v3_keys,
            platform_keys,
            app_secret: account.app_secret.clone(),
            sub_mchid: account.sub_mchid.clone(),
            profit_sharing: account.profit_sharing,
            methods,
            domain_word,
        })
    }

    /// The names in a message that are not this account's: the merchant and, in partner mode, the sub-merchant.
    pub fn foreign_merchant(&self, named: &NamedMerchant) -> Option<(&'static str, String)> {
        let expected = match &self.sub_mchid {
            None => vec![("mchid", &named.mchid, &self.mchid)],
            Some(sub) => vec![("sp_mchid", &named.sp_mchid, &self.mchid), ("sub_mchid", &named.sub_mchid, sub)],
        };
        let other = expected.into_iter().find(|(_, named, ours)| named.as_ref() != Some(ours));
        other.map(|(field, named, _)| (field, named.clone().unwrap_or_default()))
    }
}

/// Where payers are asked who they are, and where that is exchanged: hosts of their own at the real service, and the same as
/// all else in a sandbox.
fn identity_hosts(account: &Account, base_url: &Url) -> Result<(Url, Url), AccountError> {
    const FIELD: &str = "authorize_base_url";
    let is_real = base_url.host_str().is_some_and(|host| host.ends_with(".mch.weixin.qq.com"));
    let host =
        |real: &str| if is_real { Url::parse(real).unwrap_or_else(|_| base_url.clone()) } else { base_url.clone() };
    let authorize = match account.authorize_base_url.as_deref().map(Url::parse) {
        None => host("https://open.weixin.qq.com"),
        Some(Ok(url)) if url.scheme() == "https" || (url.scheme() == "http" && base_url.scheme() == "http") => url,
        Some(_) => {
            return wrong(FIELD, "leave it out: it is needed only for a sandbox that phones reach by another name");
        }
    };
    Ok((authorize, host("https://api.weixin.qq.com")))
}

fn api_v3_key(field: &'static str, key: &str) -> Result<ApiV3Key, AccountError> {
    let advice = format!(
        "the API v3 key has exactly 32 characters, this has {} bytes: copy it again, without blanks, or set a new one on the \
         merchant platform",
        key.len()
    );
    ApiV3Key::new(key.as_bytes()).map_or_else(|| wrong(field, advice), Ok)
}

fn is_app_secret(secret: &str) -> bool {
    secret.len() == APP_SECRET_CHARS && secret.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// The ways to pay that an account offers.
fn methods(account: &Account) -> Result<Vec<&'static str>, AccountError> {
    const FIELD: &str = "methods";
    let known = [JSAPI, H5, NATIVE];
    let Some(granted) = &account.methods else {
        let without_secret = |method: &&str| account.app_secret.is_some() || *method != JSAPI;
        return Ok(known.into_iter().filter(without_secret).collect());
    };
    if let Some(other) = granted.iter().find(|method| !known.contains(&method.as_str())) {
        return wrong(
            FIELD,
            format!("{other:?} is none of jsapi, h5 and native: name those that the merchant was granted"),
        );
    }
    if granted.is_empty() {
        return wrong(FIELD, "name at least one of jsapi, h5 and native, or leave it out to offer them all");
    }
    if account.app_secret.is_none() && granted.iter().any(|method| method == JSAPI) {
        return wrong(
            "app_secret",
            "jsapi needs to know who pays: enter the service account's app secret, or remove jsapi from the methods",
        );
    }
    Ok(known.into_iter().filter(|method| granted.iter().any(|name| name == method)).collect())
}

/// The word in the name of the file that proves the domain.
fn domain_word(file: &str) -> Result<String, AccountError> {
    let word = file.strip_prefix("MP_verify_").and_then(|rest| rest.strip_suffix(".txt")).unwrap_or_default();
    if (1..=MAX_DOMAIN_WORD_CHARS).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Ok(word.to_owned());
    }
    wrong(
        "domain_file",
        "enter the name of the file that mp.weixin.qq.com gives for the web authorisation domain: MP_verify_....txt",
    )
}

/// A certificate's serial number the way WeChat Pay writes it: upper case hexadecimal.
fn serial(text: &str) -> Option<String> {
    let good = (1..=MAX_SERIAL_DIGITS).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
    good.then(|| text.to_ascii_uppercase())
}

fn pem_within_limit(pem: &str) -> Option<&str> {
    (pem.len() <= MAX_PEM_BYTES).then_some(pem)
}

fn platform_keys(entered: &[PlatformKey]) -> Result<PlatformKeys, AccountError> {
    const FIELD: &str = "platform_keys";
    if entered.is_empty() {
        return wrong(
            FIELD,
            "enter at least one: the WeChat Pay public key with its PUB_KEY_ID_..., or the platform certificate; \
             without it no answer of the provider can be believed",
        );
    }
    if entered.len() > MAX_PLATFORM_KEYS {
        return wrong(FIELD, format!("at most {MAX_PLATFORM_KEYS} keys: remove those that WeChat Pay has retired"));
    }
    let mut keys = PlatformKeys::default();
    for (index, key) in entered.iter().enumerate() {
        let (id, verifying) = platform_key(index, key)?;
        if keys.get(&id).is_some() {
            return wrong(format!("{FIELD}[{index}].id"), "this id is listed twice: remove one");
        }
        keys.insert(id, verifying);
    }
    Ok(keys)
}

fn platform_key(index: usize, key: &PlatformKey) -> Result<(String, VerifyingKey), AccountError> {
    let (id_field, pem_field) = (format!("platform_keys[{index}].id"), format!("platform_keys[{index}].pem"));
    let Some((verifying, certificate_serial)) = pem_within_limit(&key.pem).and_then(VerifyingKey::from_pem) else {
        return wrong(
            pem_field,
            "paste one PEM block with its BEGIN and END lines: the WeChat Pay PUBLIC KEY (pub_key.pem) or \
             platform CERTIFICATE, RSA of at least 2048 bits; not the merchant's own certificate or key",
        );
    };
    if let Some(in_certificate) = certificate_serial {
        return match serial(&key.id) {
            Some(id) if same_key_id(&id, &in_certificate) => Ok((id, verifying)),
            _ => wrong(id_field, format!("the certificate's serial number is {in_certificate}: enter that")),
        };
    }
    let digits = key.id.strip_prefix(PUBLIC_KEY_ID_PREFIX).unwrap_or_default();
    let good = (1..=MAX_SERIAL_DIGITS).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_alphanumeric());
    if !good {
        return wrong(
            id_field,
            format!(
                "a public key needs its id, {PUBLIC_KEY_ID_PREFIX}..., which the merchant platform shows beside it"
            ),
        );
    }
    Ok((key.id.clone(), verifying))
}
