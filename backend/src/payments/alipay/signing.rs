//! The cryptography of the gateway: what is signed, by whom, and the numbers of certificates.
//!
//! RSA PKCS#1 v1.5 with SHA-256 both ways, whatever a message says of itself. No I/O, no clock.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::{ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use md5::{Digest, Md5};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::{PemObject, SectionKind};
use x509_parser::x509::{AttributeTypeAndValue, RelativeDistinguishedName, X509Name};

/// The algorithm's name in requests and notices.
pub const SIGN_TYPE: &str = "RSA2";
/// How a text begins that is PEM; without that, keys are entered as bare base64, which is how Alipay shows them.
const PEM_BEGIN: &str = "-----BEGIN";
/// How the identifiers of RSA signature algorithms begin. Only roots that are signed so are numbered.
const RSA_SIGNED: &str = "1.2.840.113549.1.1.";

/// The text that a request's signature covers: sorted, without what is empty, not encoded.
pub fn request_message<'p>(parameters: impl IntoIterator<Item = (&'p str, &'p str)>) -> String {
    joined(parameters.into_iter().filter(|(name, value)| *name != "sign" && !value.is_empty()))
}

/// The text that a notice's signature covers: sorted and decoded, with what is empty, without the signature and its type.
pub fn notice_message<'p>(parameters: impl IntoIterator<Item = (&'p str, &'p str)>) -> String {
    joined(parameters.into_iter().filter(|(name, _)| !["sign", "sign_type"].contains(name)))
}

fn joined<'p>(parameters: impl Iterator<Item = (&'p str, &'p str)>) -> String {
    let mut parameters: Vec<_> = parameters.collect();
    parameters.sort_unstable();
    let pairs: Vec<String> = parameters.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("&")
}

/// Signs for an app.
pub struct AppKey(KeyPair);

impl AppKey {
    /// Reads an RSA private key: PEM or bare base64, PKCS#8 or PKCS#1. `None`: there is none of at least 2048 bits in it.
    pub fn from_text(text: &str) -> Option<Self> {
        if !text.contains(PEM_BEGIN) {
            let der = bare_base64(text)?;
            return KeyPair::from_pkcs8(&der).or_else(|_| KeyPair::from_der(&der)).ok().map(Self);
        }
        #[expect(clippy::wildcard_enum_match_arm, reason = "any other kind of key is not RSA")]
        let key = match PrivateKeyDer::from_pem_slice(text.as_bytes()).ok()? {
            PrivateKeyDer::Pkcs8(der) => KeyPair::from_pkcs8(der.secret_pkcs8_der()).ok()?,
            PrivateKeyDer::Pkcs1(der) => KeyPair::from_der(der.secret_pkcs1_der()).ok()?,
            _ => return None,
        };
        Some(Self(key))
    }

    /// The signature of a message in base64. `None`: the cryptographic library failed.
    pub fn sign(&self, message: &[u8]) -> Option<String> {
        let mut signature = vec![0; self.0.public_modulus_len()];
        self.0.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).ok()?;
        Some(BASE64.encode(signature))
    }

    /// Whether a public key is the one that belongs to this key.
    pub fn is_of(&self, public: &PublicKey) -> bool {
        let message = b"whose key is it";
        self.sign(message).is_some_and(|signature| public.verify(message, &signature))
    }
}

/// A public key: one that Alipay signs with, or the app's own.
pub struct PublicKey(ParsedPublicKey);

impl PublicKey {
    /// Reads an RSA public key: one PEM block PUBLIC KEY, or bare base64. `None`: it is something else, or has less than
    /// 2048 bits.
    pub fn from_text(text: &str) -> Option<Self> {
        if !text.contains(PEM_BEGIN) {
            return Self::from_spki(&bare_base64(text)?);
        }
        let mut sections = sections(text);
        match (sections.next()?.ok()?, sections.next()) {
            ((SectionKind::PublicKey, der), None) => Self::from_spki(&der),
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

/// A certificate, as far as the gateway goes by it.
pub struct Certificate {
    /// The number by which requests and answers name it.
    pub number: String,
    /// Its key.
    pub key: PublicKey,
}

impl Certificate {
    /// Reads the first certificate of a PEM text (the rest of a chain file are its issuers). `None`: there is none, or it
    /// is not RSA of at least 2048 bits.
    ///
    /// Its validity and issuer are not looked at: the merchant vouches for it by entering it.
    pub fn from_pem(text: &str) -> Option<Self> {
        let der = sections(text).flatten().find(|(kind, _)| *kind == SectionKind::Certificate)?.1;
        let (_, certificate) = x509_parser::parse_x509_certificate(&der).ok()?;
        let number = number(certificate.issuer(), &certificate.tbs_certificate.serial.to_string())?;
        Some(Self { number, key: PublicKey::from_spki(certificate.public_key().raw)? })
    }
}

/// The number of Alipay's root certificates in a PEM text: of those that are signed by RSA, joined. Others (of the Chinese
/// SM2, which parsers do not know) are passed over, as Alipay does. `None`: there is none that counts.
pub fn root_number(text: &str) -> Option<String> {
    let numbers: Vec<String> = sections(text)
        .flatten()
        .filter(|(kind, _)| *kind == SectionKind::Certificate)
        .filter_map(|(_, der)| {
            let (_, root) = x509_parser::parse_x509_certificate(&der).ok()?;
            let is_counted = root.signature_algorithm.algorithm.to_id_string().starts_with(RSA_SIGNED);
            if is_counted { number(root.issuer(), &root.tbs_certificate.serial.to_string()) } else { None }
        })
        .collect();
    (!numbers.is_empty()).then(|| numbers.join("_"))
}

/// MD5 of the issuer and the serial number in decimal: a name among few certificates, where MD5 does no harm.
fn number(issuer: &X509Name<'_>, serial: &str) -> Option<String> {
    let message = format!("{}{serial}", rfc2253(issuer)?);
    Some(hex::encode(Md5::digest(message.as_bytes())))
}

/// A name as RFC 2253 writes it: the last part first. `None`: it has a value that is no text.
fn rfc2253(name: &X509Name<'_>) -> Option<String> {
    let mut parts: Vec<String> = name.iter_rdn().map(part).collect::<Option<_>>()?;
    parts.reverse();
    Some(parts.join(","))
}

fn part(part: &RelativeDistinguishedName<'_>) -> Option<String> {
    let values: Vec<String> = part.iter().map(attribute).collect::<Option<_>>()?;
    Some(values.join("+"))
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> Option<String> {
    let value = escaped(attribute.as_str().ok()?);
    let id = attribute.attr_type().to_id_string();
    let keyword = match id.as_str() {
        "2.5.4.3" => "CN",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "STREET",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "0.9.2342.19200300.100.1.1" => "UID",
        "0.9.2342.19200300.100.1.25" => "DC",
        // Its form depends on who writes it, and none of Alipay's issuers has one.
        _ => return None,
    };
    Some(format!("{keyword}={value}"))
}

fn escaped(value: &str) -> String {
    let last = value.chars().count().saturating_sub(1);
    let mut text = String::new();
    for (index, character) in value.chars().enumerate() {
        let is_special = ",+\"\\<>;".contains(character)
            || (index == 0 && "# ".contains(character))
            || (index == last && character == ' ');
        if is_special {
            text.push('\\');
        }
        text.push(character);
    }
    text
}

fn sections(text: &str) -> impl Iterator<Item = Result<(SectionKind, Vec<u8>), rustls_pki_types::pem::Error>> {
    <(SectionKind, Vec<u8>)>::pem_slice_iter(text.as_bytes())
}

/// Base64 that may be broken into lines.
fn bare_base64(text: &str) -> Option<Vec<u8>> {
    let text: String = text.split_ascii_whitespace().collect();
    BASE64.decode(text).ok().filter(|der| !der.is_empty())
}
