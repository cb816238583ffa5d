//! The merchant's app with Alipay: what open.alipay.com hands out, and the keys of both sides.

use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use rcgen::{KeyPair, PKCS_RSA_SHA256};
use serde::{Deserialize, Serialize};

use crate::StartError;
use crate::alipay::certificates::{AlipayCertificates, Certificates};
use crate::crypto::{CryptoError, Signer, Verifier};
use crate::faults::hash;
use crate::wechat::account::write_private;

const FILE: &str = "alipay-app.json";

/// What a merchant enters of its app with Alipay, and nothing more.
#[derive(Clone)]
pub struct AlipayAccount {
    /// Where the gateway is, for the merchant's server and for payers' browsers: what stands for
    /// `https://openapi.alipay.com`.
    pub base_url: String,
    /// Where a payer's browser goes so that Alipay says who it is: what stands for `https://openauth.alipay.com`.
    pub auth_url: String,
    /// The app: 16 digits that begin with 2021.
    pub app_id: String,
    /// The merchant's mini app, on whose behalf payments within Alipay are made.
    pub op_app_id: String,
    /// The merchant: 16 digits that begin with 2088.
    pub seller_id: String,
    /// The app's private key, PKCS #8 in PEM.
    pub app_private_key_pem: String,
    /// The key that Alipay signs with, a `PUBLIC KEY` in PEM.
    pub alipay_public_key_pem: String,
}

impl std::fmt::Debug for AlipayAccount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AlipayAccount")
            .field("base_url", &self.base_url)
            .field("app_id", &self.app_id)
            .field("seller_id", &self.seller_id)
            .finish_non_exhaustive()
    }
}

#[derive(Serialize, Deserialize)]
struct Secrets {
    app_id: String,
    seller_id: String,
    app_private_key_pem: String,
    app_public_key_pem: String,
    alipay_private_key_pem: String,
    alipay_public_key_pem: String,
}

/// The app, with the keys ready to use.
pub(crate) struct Account {
    secrets: Secrets,
    op_app_id: String,
    pub(crate) app_verifier: Verifier,
    alipay_signer: Signer,
    /// The key that Alipay changes to, once somebody asks for it.
    next: OnceLock<NextKey>,
    is_switched: AtomicBool,
    /// In certificate mode, once somebody asks for it.
    certificates: OnceLock<Certificates>,
    /// Signs what Alipay did not: the app's key is one that is none of Alipay's.
    pub(crate) other_signer: Signer,
}

struct NextKey {
    signer: Signer,
    private_key_pem: String,
    public_key_pem: String,
}

impl NextKey {
    fn make() -> Result<Self, CryptoError> {
        let made = KeyPair::generate_for(&PKCS_RSA_SHA256).map_err(|_| CryptoError::System("RSA key generation"))?;
        let private_key_pem = made.serialize_pem();
        let signer = Signer::from_pkcs8_pem(&private_key_pem)?;
        Ok(Self { signer, private_key_pem, public_key_pem: made.public_key_pem() })
    }
}

impl Account {
    /// What Alipay signs with now.
    pub(crate) fn alipay_signer(&self) -> &Signer {
        let next = self.next.get().filter(|_| self.is_switched.load(Ordering::Relaxed));
        next.map_or(&self.alipay_signer, |next| &next.signer)
    }

    /// The key that Alipay changes to. Blocking, the first time.
    fn next(&self) -> Result<&NextKey, CryptoError> {
        made_once(&self.next, NextKey::make)
    }

    /// The public key that Alipay changes to. Blocking, the first time.
    pub(crate) fn next_public_key_pem(&self) -> Result<String, CryptoError> {
        Ok(self.next()?.public_key_pem.clone())
    }

    /// Puts the app into certificate mode, as a person does at open.alipay.com. Blocking, the first time.
    pub(crate) fn enter_certificate_mode(&self) -> Result<AlipayCertificates, CryptoError> {
        let made = made_once(&self.certificates, || {
            let secrets = &self.secrets;
            let next = &self.next()?.private_key_pem;
            Certificates::make(&secrets.app_private_key_pem, &secrets.alipay_private_key_pem, next)
        });
        Ok(made?.files.clone())
    }

    /// What calls must name, if the app is in certificate mode.
    pub(crate) fn certificates(&self) -> Option<&Certificates> {
        self.certificates.get()
    }

    /// The number of the certificate that Alipay signs with now, in certificate mode.
    pub(crate) fn alipay_certificate(&self) -> Option<&str> {
        let is_switched = self.is_switched.load(Ordering::Relaxed);
        self.certificates.get().map(|known| if is_switched { &*known.next_alipay } else { &*known.alipay })
    }

    /// Alipay signs with its next key from now on.
    pub(crate) fn switch_key(&self) -> Result<(), CryptoError> {
        self.next()?;
        self.is_switched.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Reads the app from `dir`, or makes it (and writes it there). Blocking: two RSA keys are made.
    pub(crate) fn load_or_create(dir: Option<&Path>, seed: u64) -> Result<Self, StartError> {
        let Some(path) = dir.map(|dir| dir.join(FILE)) else {
            return Ok(Self::ready(Secrets::create(seed)?, seed)?);
        };
        if path.exists() {
            let text = std::fs::read(&path).map_err(|source| StartError::Data { path: path.clone(), source })?;
            let secrets = serde_json::from_slice(&text)
                .map_err(|error| StartError::Malformed { path: path.clone(), line: error.line() })?;
            return Ok(Self::ready(secrets, seed)?);
        }
        let secrets = Secrets::create(seed)?;
        write_private(&path, &secrets).map_err(|source| StartError::Data { path, source })?;
        Ok(Self::ready(secrets, seed)?)
    }

    fn ready(secrets: Secrets, seed: u64) -> Result<Self, CryptoError> {
        Ok(Self {
            app_verifier: Verifier::from_public_key_pem(&secrets.app_public_key_pem)?,
            alipay_signer: Signer::from_pkcs8_pem(&secrets.alipay_private_key_pem)?,
            other_signer: Signer::from_pkcs8_pem(&secrets.app_private_key_pem)?,
            next: OnceLock::new(),
            is_switched: AtomicBool::new(false),
            certificates: OnceLock::new(),
            // By the seed, as the app's number is: a file from before has none.
            op_app_id: format!("2021{:012}", digits(seed, "alipay mini app")),
            secrets,
        })
    }

    pub(crate) fn op_app_id(&self) -> &str {
        &self.op_app_id
    }

    pub(crate) fn app_id(&self) -> &str {
        &self.secrets.app_id
    }

    pub(crate) fn seller_id(&self) -> &str {
        &self.secrets.seller_id
    }

    pub(crate) fn handed_out(&self, base_url: &str, auth_url: &str) -> AlipayAccount {
        let secrets = &self.secrets;
        AlipayAccount {
            base_url: base_url.to_owned(),
            auth_url: auth_url.to_owned(),
            op_app_id: self.op_app_id.clone(),
            app_id: secrets.app_id.clone(),
            seller_id: secrets.seller_id.clone(),
            app_private_key_pem: secrets.app_private_key_pem.clone(),
            alipay_public_key_pem: secrets.alipay_public_key_pem.clone(),
        }
    }
}

/// What a cell holds, made if need be. Of two that are made at once, the first counts.
fn made_once<T>(cell: &OnceLock<T>, make: impl FnOnce() -> Result<T, CryptoError>) -> Result<&T, CryptoError> {
    if cell.get().is_none() {
        let _ = cell.set(make()?);
    }
    cell.get().ok_or(CryptoError::System("what was just made"))
}

/// Twelve digits.
fn digits(seed: u64, what: &str) -> u64 {
    hash(seed, what) % 1_000_000_000_000
}

impl Secrets {
    fn create(seed: u64) -> Result<Self, CryptoError> {
        let keys = std::thread::scope(|scope| {
            let makers = [(); 2].map(|()| scope.spawn(|| KeyPair::generate_for(&PKCS_RSA_SHA256)));
            makers.map(|maker| match maker.join() {
                Ok(Ok(key)) => Ok(key),
                _ => Err(CryptoError::System("RSA key generation")),
            })
        });
        let [app_key, alipay_key] = keys;
        let (app_key, alipay_key) = (app_key?, alipay_key?);
        Ok(Self {
            app_id: format!("2021{:012}", digits(seed, "alipay app")),
            seller_id: format!("2088{:012}", digits(seed, "alipay seller")),
            app_private_key_pem: app_key.serialize_pem(),
            app_public_key_pem: app_key.public_key_pem(),
            alipay_private_key_pem: alipay_key.serialize_pem(),
            alipay_public_key_pem: alipay_key.public_key_pem(),
        })
    }
}
