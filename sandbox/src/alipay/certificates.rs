//! Certificate mode: the files that open.alipay.com hands out in place of a public key, and the numbers by which calls and
//! answers name them.

use md5::{Digest, Md5};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, PKCS_RSA_SHA256, SerialNumber, date_time_ymd,
};

use crate::crypto::{
    CryptoError, DER_CONTEXT_0, DER_INTEGER, DER_SEQUENCE, HEX_UPPER, der_take, pem_blocks, random_text,
};

const YEARS: (i32, i32) = (2026, 2036);
/// Hexadecimal digits of a certificate's serial number: as long as the longest of Alipay's roots.
const SERIAL_LEN: usize = 40;
const DER_OBJECT: u8 = 0x06;
const DER_SET: u8 = 0x31;
/// How the identifiers of RSA signatures begin (1.2.840.113549.1.1): only roots that are signed so have a number.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
const FAILED: CryptoError = CryptoError::System("making a certificate");
/// Alipay's file of roots has some that strict readers refuse.
const UNREADABLE: &str = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";

/// What a merchant downloads for an app in certificate mode.
#[derive(Debug, Clone)]
pub struct AlipayCertificates {
    /// The app's own: `appCertPublicKey_<app id>.crt`.
    pub app_cert_pem: String,
    /// `alipayRootCert.crt`: several, not all of which count or can be read.
    pub alipay_root_cert_pem: String,
    /// Alipay's, with its issuer: `alipayCertPublicKey_RSA2.crt`.
    pub alipay_cert_pem: String,
    /// The one to which Alipay changes by [`crate::Sandbox::switch_alipay_key`].
    pub next_alipay_cert_pem: String,
}

/// The files, and their numbers.
pub(crate) struct Certificates {
    pub(crate) files: AlipayCertificates,
    pub(crate) app: String,
    pub(crate) root: String,
    pub(crate) alipay: String,
    pub(crate) next_alipay: String,
}

impl Certificates {
    /// Certificates for the app's key and for Alipay's two. Blocking: a key is made for the roots.
    pub(crate) fn make(app_key_pem: &str, alipay_key_pem: &str, next_key_pem: &str) -> Result<Self, CryptoError> {
        let root_key = KeyPair::generate_for(&PKCS_RSA_SHA256).map_err(|_| FAILED)?;
        let root = params("Sandbox, not Ant: Root Authority R1", true)?;
        let root_pem = root.self_signed(&root_key).map_err(|_| FAILED)?.pem();
        let second = params("Sandbox, not Ant: Root Authority R2", true)?;
        let second_pem = second.self_signed(&root_key).map_err(|_| FAILED)?.pem();
        let other_key = KeyPair::generate().map_err(|_| FAILED)?;
        let other = params("Sandbox, not Ant: Root Authority of another algorithm", true)?;
        let other_pem = other.self_signed(&other_key).map_err(|_| FAILED)?.pem();
        let roots = format!("{other_pem}{root_pem}{UNREADABLE}{second_pem}");

        let issuer = Issuer::from_params(&root, &root_key);
        let issued = |name: &str, key_pem: &str| {
            let key = KeyPair::from_pkcs8_pem_and_sign_algo(key_pem, &PKCS_RSA_SHA256).map_err(|_| FAILED)?;
            let certificate = params(name, false)?.signed_by(&key, &issuer).map_err(|_| FAILED)?;
            Ok::<_, CryptoError>(format!("{}{root_pem}", certificate.pem()))
        };
        let app_pem = issued("An app of the sandbox's", app_key_pem)?;
        let alipay_pem = issued("The sandbox's Alipay", alipay_key_pem)?;
        let next_pem = issued("The sandbox's Alipay, after the change", next_key_pem)?;
        Ok(Self {
            app: number(&app_pem)?,
            root: root_number(&roots),
            alipay: number(&alipay_pem)?,
            next_alipay: number(&next_pem)?,
            files: AlipayCertificates {
                app_cert_pem: app_pem,
                alipay_root_cert_pem: roots,
                alipay_cert_pem: alipay_pem,
                next_alipay_cert_pem: next_pem,
            },
        })
    }
}

fn params(name: &str, is_root: bool) -> Result<CertificateParams, CryptoError> {
    let serial = random_text(b"1234567", 1)? + &random_text(HEX_UPPER, SERIAL_LEN - 1)?;
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CountryName, "CN");
    // The comma is escaped in the text that the number is made of.
    subject.push(DnType::OrganizationName, "Sandbox, not Ant Financial");
    subject.push(DnType::OrganizationalUnitName, "Certification Authority");
    subject.push(DnType::CommonName, name);
    let mut params = CertificateParams::default();
    params.distinguished_name = subject;
    params.serial_number = Some(SerialNumber::from(hex::decode(serial).map_err(|_| FAILED)?));
    params.not_before = date_time_ymd(YEARS.0, 1, 1);
    params.not_after = date_time_ymd(YEARS.1, 1, 1);
    if is_root {
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    }
    Ok(params)
}

/// The number of the first certificate in a file.
fn number(pem: &str) -> Result<String, CryptoError> {
    let first = pem_blocks(pem, "CERTIFICATE").next().and_then(|der| read(&der));
    first.map(|read| read.number).ok_or(CryptoError::Key("no X.509 certificate"))
}

/// The numbers of all roots that count, joined.
fn root_number(pem: &str) -> String {
    let roots = pem_blocks(pem, "CERTIFICATE").filter_map(|der| read(&der));
    let numbers: Vec<String> = roots.filter(|read| read.is_rsa_signed).map(|read| read.number).collect();
    numbers.join("_")
}

struct Read {
    number: String,
    is_rsa_signed: bool,
}

/// What counts of a certificate (RFC 5280, section 4.1): MD5 of its issuer's name and its serial number in decimal.
fn read(der: &[u8]) -> Option<Read> {
    let (certificate, _) = der_take(der, DER_SEQUENCE)?;
    let (mut rest, _) = der_take(certificate, DER_SEQUENCE)?;
    if let Some((_version, after)) = der_take(rest, DER_CONTEXT_0) {
        rest = after;
    }
    let (serial, rest) = der_take(rest, DER_INTEGER)?;
    let (algorithm, rest) = der_take(rest, DER_SEQUENCE)?;
    let (issuer, _) = der_take(rest, DER_SEQUENCE)?;
    let (algorithm, _) = der_take(algorithm, DER_OBJECT)?;
    let text = format!("{}{}", name(issuer)?, decimal(serial));
    Some(Read { number: hex::encode(Md5::digest(text)), is_rsa_signed: algorithm.starts_with(RSA) })
}

/// A number of any length in decimal.
fn decimal(bytes: &[u8]) -> String {
    // The lowest digit first.
    let mut digits = vec![0_u32];
    for byte in bytes {
        let mut carried = u32::from(*byte);
        for digit in &mut digits {
            carried += *digit << 8;
            *digit = carried % 10;
            carried /= 10;
        }
        while carried > 0 {
            digits.push(carried % 10);
            carried /= 10;
        }
    }
    digits.iter().rev().filter_map(|digit| char::from_digit(*digit, 10)).collect()
}

/// A name as RFC 2253 writes it: the last part first.
fn name(mut der: &[u8]) -> Option<String> {
    let mut parts = Vec::new();
    while !der.is_empty() {
        let (part, rest) = der_take(der, DER_SET)?;
        let (pair, _) = der_take(part, DER_SEQUENCE)?;
        let (kind, value) = der_take(pair, DER_OBJECT)?;
        let keyword = match kind {
            [0x55, 4, 3] => "CN",
            [0x55, 4, 6] => "C",
            [0x55, 4, 7] => "L",
            [0x55, 4, 8] => "ST",
            [0x55, 4, 10] => "O",
            [0x55, 4, 11] => "OU",
            _ => return None,
        };
        let (value, _) = der_take(value, *value.first()?)?;
        parts.push(format!("{keyword}={}", escaped(std::str::from_utf8(value).ok()?)));
        der = rest;
    }
    parts.reverse();
    Some(parts.join(","))
}

fn escaped(value: &str) -> String {
    value.chars().fold(String::new(), |mut escaped, c| {
        if ",+\"\\<>;".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
        escaped
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_certificates_have_their_numbers() {
        let vectors: serde_json::Value = serde_json::from_str(include_str!("../../tests/vectors/alipay.json")).unwrap();
        let text = |who: &str, what: &str| vectors["certificates"][who][what].as_str().unwrap().to_owned();
        for who in ["app", "alipay"] {
            assert_eq!(number(&text(who, "pem")).unwrap(), text(who, "sn"), "{who}");
        }
        let root = text("root", "pem");
        assert_eq!(root_number(&root), text("root", "sn"));
        assert_eq!(root_number(&format!("{UNREADABLE}{root}{UNREADABLE}")), text("root", "sn"));
        number(UNREADABLE).unwrap_err();
    }

    #[test]
    fn a_serial_number_of_any_length_is_written_in_decimal() {
        for (bytes, text) in [
            (&[0_u8][..], "0"),
            (&[0, 255], "255"),
            (&[1, 0], "256"),
            (&[255; 16], "340282366920938463463374607431768211455"),
            (&[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "340282366920938463463374607431768211456"),
        ] {
            assert_eq!(decimal(bytes), text);
        }
    }

    #[test]
    fn a_name_is_escaped() {
        assert_eq!(escaped(r#"Sandbox, "a+b"; <c>\"#), r#"Sandbox\, \"a\+b\"\; \<c\>\\"#);
    }
}
