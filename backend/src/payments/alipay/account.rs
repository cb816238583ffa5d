//! The account data that a merchant enters, and its check: a wrong field is reported before the account is used.

use super::signing::{AppKey, Certificate, PublicKey, root_number};
use crate::payments::entered::{AccountError, base_url, identifier, wrong};
use serde::{Deserialize, Serialize};
use std::fmt;
use url::Url;

/// Where the gateway is.
const GATEWAY: &str = "https://openapi.alipay.com";
/// The default address at which Alipay says who pays.
const AUTH: &str = "https://openauth.alipay.com";
/// Most Alipay keys an account may list: two during a change of keys, and some reserve.
const MAX_ALIPAY_KEYS: usize = 8;
/// Longest text of a key or a certificate read, in bytes.
const MAX_KEY_BYTES: usize = 16 * 1024;
/// Longest file of root certificates read, in bytes; Alipay's has about 5 KiB.
const MAX_ROOTS_BYTES: usize = 128 * 1024;

/// A merchant account as its owner enters it. Holds secrets: store it encrypted. `Debug` leaves them out.
///
/// Alipay's answers are verified with its public keys or, in certificate mode, with its certificates. An app uses one
/// of the two, as chosen at open.alipay.com.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// Where the gateway is: `https://openapi.alipay.com`, or a sandbox.
    pub base_url: String,
    /// Where browsers go so that Alipay says who pays.
    #[serde(default = "auth_url")]
    pub auth_url: String,
    /// The app at open.alipay.com.
    pub app_id: String,
    /// The merchant that is paid: 16 digits that begin with 2088.
    pub seller_id: String,
    /// The app's private key, as PEM or bare base64.
    pub app_private_key_pem: String,
    /// The keys that Alipay signs with, as PEM or bare base64. During a change of keys, the old and the new.
    #[serde(default)]
    pub alipay_public_keys: Vec<String>,
    /// Certificate mode: the app's certificate (`appCertPublicKey_<app id>.crt`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_cert_pem: Option<String>,
    /// Certificate mode: Alipay's root certificates (`alipayRootCert.crt`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alipay_root_cert_pem: Option<String>,
    /// Certificate mode: the certificates that Alipay signs with (`alipayCertPublicKey_RSA2.crt`). During a change, the old
    /// and the new.
    #[serde(default)]
    pub alipay_certs_pem: Vec<String>,
    /// The mini app on whose behalf payments within Alipay are made. Without one, they are made by a page of Alipay's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub op_app_id: Option<String>,
}

fn auth_url() -> String {
    AUTH.into()
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("base_url", &self.base_url)
            .field("app_id", &self.app_id)
            .field("seller_id", &self.seller_id)
            .field("op_app_id", &self.op_app_id)
            .finish_non_exhaustive()
    }
}

/// A checked account: keys parsed, ids known to be safe in addresses.
pub(super) struct Credentials {
    pub base_url: Url,
    pub auth_url: Url,
    pub app_id: String,
    pub seller_id: String,
    pub op_app_id: Option<String>,
    pub app_key: AppKey,
    /// The numbers of the app's certificate and of the roots, in certificate mode.
    pub certificates: Option<CertificateNumbers>,
    pub alipay_keys: AlipayKeys,
}

/// What a request names in certificate mode.
pub(super) struct CertificateNumbers {
    pub app: String,
    pub root: String,
}

/// The keys that Alipay may sign with.
pub(super) struct AlipayKeys(Vec<Key>);

struct Key {
    /// Its certificate's number, in certificate mode.
    certificate: Option<String>,
    key: PublicKey,
}

impl AlipayKeys {
    /// Whether one of them signed a message.
    pub fn verify(&self, message: &[u8], signature_base64: &str) -> bool {
        self.0.iter().any(|known| known.key.verify(message, signature_base64))
    }

    /// Whether a certificate named in a message is not one of the account's, because Alipay uses another one by now.
    pub fn lacks(&self, certificate: &str) -> bool {
        !self.0.iter().any(|known| known.certificate.as_deref() == Some(certificate))
    }
}

impl Credentials {
    /// Checks every field of an account.
    pub fn parse(account: &Account) -> Result<Self, AccountError> {
        let gateway = base_url("base_url", &account.base_url, GATEWAY)?;
        let auth_url = base_url("auth_url", &account.auth_url, AUTH)?;
        identifier("app_id", &account.app_id)?;
        let is_seller = account.seller_id.len() == 16
            && account.seller_id.starts_with("2088")
            && account.seller_id.bytes().all(|b| b.is_ascii_digit());
        if !is_seller {
            return wrong(
                "seller_id",
                "enter the merchant's PID: 16 digits that begin with 2088, as b.alipay.com shows it",
            );
        }
        if let Some(op_app_id) = &account.op_app_id {
            identifier("op_app_id", op_app_id)?;
        }
        let within = |text: &str| text.len() <= MAX_KEY_BYTES;
        let app_key = Some(&*account.app_private_key_pem).filter(|text| within(text)).and_then(AppKey::from_text);
        let Some(app_key) = app_key else {
            return wrong(
                "app_private_key_pem",
                "paste the app's private key: RSA of at least 2048 bits, as PEM with its BEGIN and END lines or as the \
                 base64 text that Alipay's key tool shows",
            );
        };
        let is_certificates = account.app_cert_pem.is_some()
            || account.alipay_root_cert_pem.is_some()
            || !account.alipay_certs_pem.is_empty();
        let (certificates, keys) = match (is_certificates, account.alipay_public_keys.is_empty()) {
            (true, false) => {
                return wrong(
                    "alipay_public_keys",
                    "enter either these or the certificates, as the app is set at open.alipay.com under signing: \
                     an app has one of the two",
                );
            }
            (true, true) => (Some(certificate_numbers(account, &app_key)?), alipay_certificates(account, &app_key)?),
            (false, _) => (None, public_keys(account, &app_key)?),
        };
        Ok(Self {
            base_url: gateway,
            auth_url,
            app_id: account.app_id.clone(),
            seller_id: account.seller_id.clone(),
            op_app_id: account.op_app_id.clone(),
            app_key,
            certificates,
            alipay_keys: AlipayKeys(keys),
        })
    }
}

fn count(field: &str, entered: &[String]) -> Result<(), AccountError> {
    if entered.is_empty() {
        return wrong(field, "enter at least one: without it no answer of Alipay's can be believed");
    }
    if entered.len() > MAX_ALIPAY_KEYS {
        return wrong(field, format!("at most {MAX_ALIPAY_KEYS}: remove those that Alipay has retired"));
    }
    Ok(())
}

fn public_keys(account: &Account, app_key: &AppKey) -> Result<Vec<Key>, AccountError> {
    const FIELD: &str = "alipay_public_keys";
    count(FIELD, &account.alipay_public_keys)?;
    let mut keys = vec![];
    for (index, text) in account.alipay_public_keys.iter().enumerate() {
        let field = format!("{FIELD}[{index}]");
        let Some(key) = Some(&**text).filter(|text| text.len() <= MAX_KEY_BYTES).and_then(PublicKey::from_text) else {
            return wrong(
                field,
                "paste Alipay's public key: RSA of at least 2048 bits, as PEM or as the base64 text that \
                 open.alipay.com shows once the app's own public key is set there",
            );
        };
        not_own(field, &key, app_key)?;
        keys.push(Key { certificate: None, key });
    }
    Ok(keys)
}

fn alipay_certificates(account: &Account, app_key: &AppKey) -> Result<Vec<Key>, AccountError> {
    const FIELD: &str = "alipay_certs_pem";
    count(FIELD, &account.alipay_certs_pem)?;
    let mut keys = vec![];
    for (index, text) in account.alipay_certs_pem.iter().enumerate() {
        let field = format!("{FIELD}[{index}]");
        let Some(certificate) = certificate(text) else {
            return wrong(field, "paste the whole of alipayCertPublicKey_RSA2.crt, from open.alipay.com");
        };
        not_own(field, &certificate.key, app_key)?;
        keys.push(Key { certificate: Some(certificate.number), key: certificate.key });
    }
    Ok(keys)
}

/// A key entered as Alipay's must not be the app's own; otherwise we would accept only our own signatures.
fn not_own(field: String, key: &PublicKey, app_key: &AppKey) -> Result<(), AccountError> {
    if app_key.is_of(key) {
        return wrong(field, "this is the app's own key: enter the one that open.alipay.com shows as Alipay's");
    }
    Ok(())
}

fn certificate_numbers(account: &Account, app_key: &AppKey) -> Result<CertificateNumbers, AccountError> {
    let Some(app) = account.app_cert_pem.as_deref().and_then(certificate) else {
        return wrong("app_cert_pem", "paste the whole of appCertPublicKey_<app id>.crt, from open.alipay.com");
    };
    if !app_key.is_of(&app.key) {
        return wrong(
            "app_cert_pem",
            "this certificate does not belong to app_private_key_pem: enter the one that was made with that key",
        );
    }
    let roots = account.alipay_root_cert_pem.as_deref().filter(|text| text.len() <= MAX_ROOTS_BYTES);
    let Some(root) = roots.and_then(root_number) else {
        return wrong("alipay_root_cert_pem", "paste the whole of alipayRootCert.crt, from open.alipay.com");
    };
    Ok(CertificateNumbers { app: app.number, root })
}

fn certificate(text: &str) -> Option<Certificate> {
    Some(text).filter(|text| text.len() <= MAX_KEY_BYTES).and_then(Certificate::from_pem)
}
