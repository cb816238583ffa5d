//! The cryptography of API v3: what is signed, by whom, and how a callback's resource is opened.
//!
//! RSA PKCS#1 v1.5 with SHA-256 both ways, AES-256-GCM for resources. No I/O, no clock.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::{ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustls_pki_types::pem::{PemObject, SectionKind};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use webpki::EndEntityCert;

/// How far from our clock a signed time stamp may be, either way, in seconds (five minutes by the documentation).
pub const MAX_SKEW_S: i64 = 300;
/// The algorithm's name in the `Authorization` header.
const AUTHORIZATION_SCHEME: &str = "WECHATPAY2-SHA256-RSA2048";
/// How the signatures begin with which WeChat Pay probes whether a merchant verifies.
const PROBE_PREFIX: &str = "WECHATPAY/SIGNTEST/";
/// Longest time stamp header, in digits.
const MAX_TIMESTAMP_DIGITS: usize = 12;
/// Longest nonce and serial headers, in bytes.
const MAX_HEADER_BYTES: usize = 128;
/// Longest signature header, in bytes: an 8192 bit signature in base64 has 1368.
const MAX_SIGNATURE_BYTES: usize = 2048;

/// The bytes that a request's signature covers. `path_and_query` and `body` are those sent, byte for byte.
pub fn request_message(method: &str, path_and_query: &str, timestamp_s: i64, nonce: &str, body: &[u8]) -> Vec<u8> {
    let mut message = format!("{method}\n{path_and_query}\n{timestamp_s}\n{nonce}\n").into_bytes();
    message.extend_from_slice(body);
    message.push(b'\n');
    message
}

/// The bytes that the signature of an answer or a callback covers. `timestamp` is the header as it came.
pub fn platform_message(timestamp: &str, nonce: &str, body: &[u8]) -> Vec<u8> {
    let mut message = format!("{timestamp}\n{nonce}\n").into_bytes();
    message.extend_from_slice(body);
    message.push(b'\n');
    message
}

/// The bytes that `paySign` covers when a client calls up the payment. `package` is `prepay_id=...` within WeChat
/// (JSAPI) and the bare prepay id in apps.
pub fn pay_sign_message(appid: &str, timestamp_s: i64, nonce: &str, package: &str) -> Vec<u8> {
    format!("{appid}\n{timestamp_s}\n{nonce}\n{package}\n").into_bytes()
}

/// Signs for a merchant.
pub struct Signer {
    mchid: String,
    serial: String,
    key: KeyPair,
}

impl Signer {
    /// Reads an RSA private key (PKCS#8 or PKCS#1 PEM). `None`: there is none of at least 2048 bits in it.
    pub fn from_pem(mchid: &str, serial: &str, pem: &str) -> Option<Self> {
        #[expect(clippy::wildcard_enum_match_arm, reason = "any other kind of key is not RSA")]
        let key = match PrivateKeyDer::from_pem_slice(pem.as_bytes()).ok()? {
            PrivateKeyDer::Pkcs8(der) => KeyPair::from_pkcs8(der.secret_pkcs8_der()).ok()?,
            PrivateKeyDer::Pkcs1(der) => KeyPair::from_der(der.secret_pkcs1_der()).ok()?,
            _ => return None,
        };
        Some(Self { mchid: mchid.to_owned(), serial: serial.to_owned(), key })
    }

    /// The signature of a message in base64. `None`: the cryptographic library failed.
    pub fn sign(&self, message: &[u8]) -> Option<String> {
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).ok()?;
        Some(BASE64.encode(signature))
    }

    /// The `Authorization` header of a request. `None`: the cryptographic library failed.
    pub fn authorization(
        &self,
        method: &str,
        path_and_query: &str,
        timestamp_s: i64,
        nonce: &str,
        body: &[u8],
    ) -> Option<String> {
        let signature = self.sign(&request_message(method, path_and_query, timestamp_s, nonce, body))?;
        let (mchid, serial) = (&self.mchid, &self.serial);
        Some(format!(
            "{AUTHORIZATION_SCHEME} mchid=\"{mchid}\",nonce_str=\"{nonce}\",timestamp=\"{timestamp_s}\",\
             serial_no=\"{serial}\",signature=\"{signature}\""
        ))
    }
}

/// A public key that WeChat Pay signs with.
pub struct VerifyingKey(ParsedPublicKey);

impl VerifyingKey {
    /// Reads a PEM text of one CERTIFICATE or PUBLIC KEY block; of a certificate also its serial number in upper
    /// case hexadecimal. `None`: it is something else, or not RSA of at least 2048 bits.
    ///
    /// A certificate's validity and issuer are not looked at: the merchant vouches for the key by entering it.
    pub fn from_pem(pem: &str) -> Option<(Self, Option<String>)> {
        let mut sections = <(SectionKind, Vec<u8>)>::pem_slice_iter(pem.as_bytes());
        let (kind, der) = sections.next()?.ok()?;
        if sections.next().is_some() {
            return None;
        }
        #[expect(clippy::wildcard_enum_match_arm, reason = "no other section holds a public key")]
        match kind {
            SectionKind::PublicKey => Some((Self::from_spki(&der)?, None)),
            SectionKind::Certificate => {
                let der = CertificateDer::from(der);
                let certificate = EndEntityCert::try_from(&der).ok()?;
                let key = Self::from_spki(&certificate.subject_public_key_info())?;
                let serial: String = certificate.serial().iter().map(|byte| format!("{byte:02X}")).collect();
                Some((key, Some(serial.trim_start_matches('0').to_owned())))
            }
            _ => None,
        }
    }

    fn from_spki(der: &[u8]) -> Option<Self> {
        ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, der).ok().map(Self)
    }

    /// Whether a base64 signature is this key's, of this message.
    pub fn verify(&self, message: &[u8], signature_base64: &str) -> bool {
        BASE64.decode(signature_base64).is_ok_and(|signature| self.0.verify_sig(message, &signature).is_ok())
    }
}

/// The keys that WeChat Pay may sign with, by id, in the order the merchant gave.
#[derive(Default)]
pub struct PlatformKeys(Vec<(String, VerifyingKey)>);

impl PlatformKeys {
    /// Adds a key.
    pub fn insert(&mut self, id: String, key: VerifyingKey) {
        self.0.push((id, key));
    }

    /// The key of that id, as [`same_key_id`] has it.
    pub fn get(&self, id: &str) -> Option<&VerifyingKey> {
        self.0.iter().find(|(known, _)| same_key_id(known, id)).map(|(_, key)| key)
    }

    /// The id of the first public key, as opposed to certificate: WeChat Pay is told to sign with it.
    pub fn public_key_id(&self) -> Option<&str> {
        self.0.iter().map(|(id, _)| id.as_str()).find(|id| id.starts_with("PUB_KEY_ID_"))
    }
}

/// Whether two key ids mean the same key. Serial numbers are hexadecimal, which some tools write in lower case and
/// others without the leading zero.
pub fn same_key_id(a: &str, b: &str) -> bool {
    a.trim_start_matches('0').eq_ignore_ascii_case(b.trim_start_matches('0'))
}

/// Why an answer or a callback is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureFault {
    /// A header is missing or not of its form.
    #[error("header {0} is missing or malformed")]
    Header(&'static str),
    /// A probe of the provider's.
    #[error("it is a signature probe")]
    Probe,
    /// Signed too long ago, or in the future.
    #[error("it was signed {skew_s} s away from our clock")]
    Stale {
        /// Seconds between its time stamp and our clock; positive: in the past.
        skew_s: i64,
    },
    /// Signed with a key that the account does not list.
    #[error("it is signed with key {0:?}, which the account does not list")]
    UnknownKey(String),
    /// The signature does not fit.
    #[error("the signature does not match")]
    Mismatch,
}

/// Checks that a body was signed by WeChat Pay about now: headers, probe, age, key, signature, in this order.
/// `header` finds a header by its lower case name; `now_ms` is unix milliseconds.
///
/// # Errors
/// The first of them that is not right.
pub fn verify_platform_signature<'h>(
    keys: &PlatformKeys,
    header: impl Fn(&str) -> Option<&'h str>,
    body: &[u8],
    now_ms: i64,
) -> Result<(), SignatureFault> {
    let require = |name: &'static str, limit: usize| {
        header(name)
            .filter(|value| (1..=limit).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_graphic()))
            .ok_or(SignatureFault::Header(name))
    };
    let timestamp = require("wechatpay-timestamp", MAX_TIMESTAMP_DIGITS)?;
    let nonce = require("wechatpay-nonce", MAX_HEADER_BYTES)?;
    let serial = require("wechatpay-serial", MAX_HEADER_BYTES)?;
    let signature = require("wechatpay-signature", MAX_SIGNATURE_BYTES)?;
    let timestamp_s = Some(timestamp)
        .filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))
        .and_then(|digits| digits.parse::<i64>().ok())
        .ok_or(SignatureFault::Header("wechatpay-timestamp"))?;
    if signature.starts_with(PROBE_PREFIX) {
        return Err(SignatureFault::Probe);
    }
    let skew_s = now_ms.div_euclid(1000).saturating_sub(timestamp_s);
    if skew_s.unsigned_abs() > MAX_SKEW_S.unsigned_abs() {
        return Err(SignatureFault::Stale { skew_s });
    }
    let key = keys.get(serial).ok_or_else(|| SignatureFault::UnknownKey(serial.to_owned()))?;
    if key.verify(&platform_message(timestamp, nonce, body), signature) {
        Ok(())
    } else {
        Err(SignatureFault::Mismatch)
    }
}

/// The merchant's API v3 key, which opens the encrypted part of callbacks.
pub struct ApiV3Key(LessSafeKey);

impl ApiV3Key {
    /// Takes the key's 32 bytes. `None`: there are not 32.
    pub fn new(key: &[u8]) -> Option<Self> {
        UnboundKey::new(&AES_256_GCM, key).ok().map(|key| Self(LessSafeKey::new(key)))
    }

    /// Opens a ciphertext that has its tag appended. `None`: it was not sealed with this key, nonce and associated
    /// data, or the nonce has not [`RESOURCE_NONCE_BYTES`].
    pub fn open(&self, nonce: &[u8], associated_data: &[u8], ciphertext: &[u8]) -> Option<Vec<u8>> {
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut buffer = ciphertext.to_vec();
        let length = self.0.open_in_place(nonce, Aad::from(associated_data), &mut buffer).ok()?.len();
        buffer.truncate(length);
        Some(buffer)
    }
}

/// Length of a resource's nonce, in bytes.
pub const RESOURCE_NONCE_BYTES: usize = NONCE_LEN;

/// Reads standard base64.
pub(super) fn base64_decode(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text).ok()
}
