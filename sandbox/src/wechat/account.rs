//! A merchant's account with the provider: its keys on both sides, as the provider's console would hand them out.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_RSA_SHA256, SerialNumber, date_time_ymd};
use serde::{Deserialize, Serialize};

use crate::StartError;
use crate::crypto::{self, ALPHANUMERIC, API_V3_KEY_LEN, CryptoError, DIGITS, HEX_UPPER, Signer, Verifier};
use crate::faults::hash;

/// Hexadecimal digits of a certificate's serial number.
const SERIAL_LEN: usize = 40;
const CERTIFICATE_YEARS: (i32, i32) = (2026, 2036);

/// What a merchant gets from the provider's console, and nothing more.
#[derive(Clone)]
pub struct Merchant {
    /// The app the merchant's orders are made for, `wx` and 16 characters.
    pub appid: String,
    /// The app's secret, with which a code of OAuth is exchanged: 32 hexadecimal digits.
    pub app_secret: String,
    /// The merchant's number, ten digits.
    pub mchid: String,
    /// The serial number of the merchant's API certificate, upper-case hexadecimal.
    pub merchant_serial: String,
    /// The private key of that certificate, PKCS #8 in PEM.
    pub merchant_private_key_pem: String,
    /// The API v3 key: 32 characters.
    pub api_v3_key: String,
    /// The provider's keys with their names: a platform certificate (`CERTIFICATE`, named by its serial number) and a
    /// public key (`PUBLIC KEY`, named `PUB_KEY_ID_..`). Either may sign; both are to be accepted.
    pub platform_keys: Vec<(String, String)>,
}

impl std::fmt::Debug for Merchant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Merchant")
            .field("appid", &self.appid)
            .field("mchid", &self.mchid)
            .field("merchant_serial", &self.merchant_serial)
            .finish_non_exhaustive()
    }
}

#[derive(Serialize, Deserialize)]
struct Secrets {
    appid: String,
    /// Empty in a file from before apps had secrets.
    #[serde(default)]
    app_secret: String,
    mchid: String,
    merchant_serial: String,
    merchant_private_key_pem: String,
    merchant_public_key_pem: String,
    api_v3_key: String,
    platform_certificate_pem: String,
    platform_certificate_key_pem: String,
    platform_public_key_id: String,
    platform_public_key_pem: String,
    platform_public_key_key_pem: String,
}

/// One merchant, with the keys ready to use.
pub(crate) struct Account {
    secrets: Secrets,
    pub(crate) merchant_verifier: Verifier,
    certificate_serial: String,
    certificate_signer: Signer,
    public_key_signer: Signer,
    signs_with_certificate: AtomicBool,
}

impl Account {
    /// Reads the account from `dir`, or makes it (and writes it there). The first account has number 0. Blocking: three
    /// RSA keys are made.
    pub(crate) fn load_or_create(dir: Option<&Path>, seed: u64, number: u32) -> Result<Self, StartError> {
        let Some(path) = dir.map(|dir| file_of(dir, number)) else {
            return Ok(Self::ready(Secrets::create(seed, number)?)?);
        };
        if path.exists() {
            let text = std::fs::read(&path).map_err(|source| StartError::Data { path: path.clone(), source })?;
            let mut secrets: Secrets = serde_json::from_slice(&text)
                .map_err(|error| StartError::Malformed { path: path.clone(), line: error.line() })?;
            if secrets.app_secret.is_empty() {
                secrets.app_secret = app_secret(seed, number);
                write_private(&path, &secrets).map_err(|source| StartError::Data { path, source })?;
            }
            return Ok(Self::ready(secrets)?);
        }
        let secrets = Secrets::create(seed, number)?;
        write_private(&path, &secrets).map_err(|source| StartError::Data { path, source })?;
        Ok(Self::ready(secrets)?)
    }

    /// Whether `dir` holds that account.
    pub(crate) fn is_in(dir: &Path, number: u32) -> bool {
        file_of(dir, number).exists()
    }

    fn ready(secrets: Secrets) -> Result<Self, CryptoError> {
        Ok(Self {
            merchant_verifier: Verifier::from_public_key_pem(&secrets.merchant_public_key_pem)?,
            certificate_serial: crypto::certificate_serial(&secrets.platform_certificate_pem)?,
            certificate_signer: Signer::from_pkcs8_pem(&secrets.platform_certificate_key_pem)?,
            public_key_signer: Signer::from_pkcs8_pem(&secrets.platform_public_key_key_pem)?,
            signs_with_certificate: AtomicBool::new(false),
            secrets,
        })
    }

    pub(crate) fn appid(&self) -> &str {
        &self.secrets.appid
    }

    pub(crate) fn app_secret(&self) -> &str {
        &self.secrets.app_secret
    }

    pub(crate) fn mchid(&self) -> &str {
        &self.secrets.mchid
    }

    pub(crate) fn merchant_serial(&self) -> &str {
        &self.secrets.merchant_serial
    }

    pub(crate) fn api_v3_key(&self) -> &str {
        &self.secrets.api_v3_key
    }

    pub(crate) fn certificate(&self) -> (&str, &str) {
        (&self.certificate_serial, &self.secrets.platform_certificate_pem)
    }

    pub(crate) fn merchant(&self) -> Merchant {
        let secrets = &self.secrets;
        Merchant {
            appid: secrets.appid.clone(),
            app_secret: secrets.app_secret.clone(),
            mchid: secrets.mchid.clone(),
            merchant_serial: secrets.merchant_serial.clone(),
            merchant_private_key_pem: secrets.merchant_private_key_pem.clone(),
            api_v3_key: secrets.api_v3_key.clone(),
            platform_keys: vec![
                (self.certificate_serial.clone(), secrets.platform_certificate_pem.clone()),
                (secrets.platform_public_key_id.clone(), secrets.platform_public_key_pem.clone()),
            ],
        }
    }

    /// The platform key that signs at present, and its name.
    pub(crate) fn signing_key(&self) -> (&str, &Signer) {
        if self.signs_with_certificate.load(Ordering::Relaxed) {
            (&self.certificate_serial, &self.certificate_signer)
        } else {
            (&self.secrets.platform_public_key_id, &self.public_key_signer)
        }
    }

    /// The platform key of that name.
    pub(crate) fn platform_key(&self, name: &str) -> Option<(&str, &Signer)> {
        if name == self.certificate_serial {
            Some((&self.certificate_serial, &self.certificate_signer))
        } else if name == self.secrets.platform_public_key_id {
            Some((&self.secrets.platform_public_key_id, &self.public_key_signer))
        } else {
            None
        }
    }

    /// Makes the platform key of that name the signing one; false if there is none.
    pub(crate) fn select_signing_key(&self, name: &str) -> bool {
        if self.platform_key(name).is_none() {
            return false;
        }
        self.signs_with_certificate.store(name == self.certificate_serial, Ordering::Relaxed);
        true
    }

    /// Changes to the other platform key.
    pub(crate) fn rotate_signing_key(&self) {
        self.signs_with_certificate.fetch_xor(true, Ordering::Relaxed);
    }
}

fn file_of(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("wechat-merchant-{number}.json"))
}

impl Secrets {
    fn create(seed: u64, number: u32) -> Result<Self, CryptoError> {
        let names = hash(seed, &format!("merchant {number}"));
        let mchid = format!("19{:08}", names % 100_000_000);
        let keys = std::thread::scope(|scope| {
            let makers = [(); 3].map(|()| scope.spawn(|| KeyPair::generate_for(&PKCS_RSA_SHA256)));
            makers.map(|maker| match maker.join() {
                Ok(Ok(key)) => Ok(key),
                _ => Err(CryptoError::System("RSA key generation")),
            })
        });
        let [merchant_key, certificate_key, public_key] = keys;
        let (merchant_key, certificate_key, public_key) = (merchant_key?, certificate_key?, public_key?);
        Ok(Self {
            appid: format!("wx{names:016x}"),
            app_secret: app_secret(seed, number),
            merchant_serial: random_serial()?,
            merchant_private_key_pem: merchant_key.serialize_pem(),
            merchant_public_key_pem: merchant_key.public_key_pem(),
            api_v3_key: crypto::random_text(ALPHANUMERIC, API_V3_KEY_LEN)?,
            platform_certificate_pem: platform_certificate(&certificate_key)?,
            platform_certificate_key_pem: certificate_key.serialize_pem(),
            platform_public_key_id: format!("PUB_KEY_ID_01{mchid}{}", crypto::random_text(DIGITS, 16)?),
            platform_public_key_pem: public_key.public_key_pem(),
            platform_public_key_key_pem: public_key.serialize_pem(),
            mchid,
        })
    }
}

/// By the seed, as the appid is: an account that was stored before gets the same one at each start.
fn app_secret(seed: u64, number: u32) -> String {
    let half = |which: u32| hash(seed, &format!("app secret {number}, half {which}"));
    format!("{:016x}{:016x}", half(0), half(1))
}

fn platform_certificate(key: &KeyPair) -> Result<String, CryptoError> {
    const FAILED: CryptoError = CryptoError::System("making a certificate");
    let serial = random_serial()?;
    let bytes = hex::decode(serial).map_err(|_| FAILED)?;
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "Sandbox, not Tenpay.com");
    name.push(DnType::CommonName, "Payment provider sandbox platform certificate");
    let mut params = CertificateParams::default();
    params.distinguished_name = name;
    params.serial_number = Some(SerialNumber::from(bytes));
    params.not_before = date_time_ymd(CERTIFICATE_YEARS.0, 1, 1);
    params.not_after = date_time_ymd(CERTIFICATE_YEARS.1, 1, 1);
    Ok(params.self_signed(key).map_err(|_| FAILED)?.pem())
}

/// A serial number that DER writes without a sign byte, and with all its digits: its first digit is 1 to 7.
fn random_serial() -> Result<String, CryptoError> {
    let first = crypto::random_text(b"1234567", 1)?;
    Ok(first + &crypto::random_text(HEX_UPPER, SERIAL_LEN - 1)?)
}

/// Writes to a new file that only its owner may read, whole or not at all.
pub(crate) fn write_private(path: &Path, secrets: &impl Serialize) -> std::io::Result<()> {
    let part = path.with_extension("part");
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&part)?;
    file.write_all(&serde_json::to_vec_pretty(secrets)?)?;
    file.sync_all()?;
    std::fs::rename(&part, path)
}
