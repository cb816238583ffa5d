//! What a merchant enters, and its check: a wrong field is named before the account is used.

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
/// How the ids of WeChat Pay's public keys begin.
const PUBLIC_KEY_ID_PREFIX: &str = "PUB_KEY_ID_";

/// A merchant account as its owner enters it. Holds secrets: store it encrypted. `Debug` leaves them out.
#[derive(Clone, Serialize, Deserialize)]
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
    /// The keys that WeChat Pay may sign with. During a change of keys, the old and the new.
    pub platform_keys: Vec<PlatformKey>,
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
            .finish_non_exhaustive()
    }
}

/// A checked account: keys parsed, ids known to be safe in headers and paths.
pub(super) struct Credentials {
    pub base_url: Url,
    pub appid: String,
    pub mchid: String,
    pub signer: Signer,
    pub api_v3_key: ApiV3Key,
    pub platform_keys: PlatformKeys,
}

impl Credentials {
    /// Checks every field of an account.
    pub fn parse(account: &Account) -> Result<Self, AccountError> {
        let base_url = base_url("base_url", &account.base_url, API)?;
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
        let Some(api_v3_key) = ApiV3Key::new(account.api_v3_key.as_bytes()) else {
            return wrong(
                "api_v3_key",
                format!(
                    "the API v3 key has exactly 32 characters, this has {} bytes: \
                     copy it again, without blanks, or set a new one on the merchant platform",
                    account.api_v3_key.len()
                ),
            );
        };
        let platform_keys = platform_keys(&account.platform_keys)?;
        Ok(Self {
            base_url,
            appid: account.appid.clone(),
            mchid: account.mchid.clone(),
            signer,
            api_v3_key,
            platform_keys,
        })
    }
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
