//! RSA (PKCS #1 v1.5 with SHA-256) and AES-256-GCM as WeChat Pay uses them, on `aws-lc-rs`, and as much DER as it takes to
//! find a public key in a PEM file. Nothing of it is shared with the product's own client: each must find the
//! other's mistakes.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// Bytes of the AES-GCM nonce; on the wire it is a text of as many ASCII characters.
pub const AEAD_NONCE_LEN: usize = 12;
/// Characters of an API v3 key, which are the 32 bytes of the AES-256 key as they stand.
pub const API_V3_KEY_LEN: usize = 32;

pub(crate) const DER_SEQUENCE: u8 = 0x30;
pub(crate) const DER_INTEGER: u8 = 0x02;
const DER_BIT_STRING: u8 = 0x03;
pub(crate) const DER_CONTEXT_0: u8 = 0xa0;

/// What was wrong with a key, a signature or a ciphertext. It never says anything of a secret's content.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum CryptoError {
    /// The text is no PEM block of the wanted kind.
    #[error("not a PEM block labelled {0}")]
    Pem(&'static str),
    /// The PEM block holds no key of the wanted kind.
    #[error("the key is malformed: {0}")]
    Key(&'static str),
    /// The signature is not base64, or not by this key over this message.
    #[error("the signature does not verify")]
    Signature,
    /// The ciphertext is not base64, or not sealed with this key, nonce and associated data.
    #[error("the ciphertext does not open")]
    Sealed,
    /// The system gave no random bytes, or an operation that cannot fail did.
    #[error("the system's cryptography failed: {0}")]
    System(&'static str),
}

/// A private key that signs with RSA PKCS #1 v1.5 and SHA-256.
pub struct Signer {
    pair: RsaKeyPair,
    random: SystemRandom,
}

impl Signer {
    /// Reads a PKCS #8 private key from PEM.
    ///
    /// # Errors
    /// `Pem` or `Key` when it is not one of at least 2048 bits.
    pub fn from_pkcs8_pem(pem: &str) -> Result<Self, CryptoError> {
        let der = pem_block(pem, "PRIVATE KEY")?;
        let pair = RsaKeyPair::from_pkcs8(&der).map_err(|_| CryptoError::Key("no RSA key in PKCS #8"))?;
        Ok(Self { pair, random: SystemRandom::new() })
    }

    /// Signs `message`; the signature is in base64.
    ///
    /// # Errors
    /// `System` when no random bytes could be had (the signature itself is deterministic; blinding is not).
    pub fn sign(&self, message: &[u8]) -> Result<String, CryptoError> {
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(&RSA_PKCS1_SHA256, &self.random, message, &mut signature)
            .map_err(|_| CryptoError::System("RSA signing"))?;
        Ok(BASE64.encode(signature))
    }
}

/// A public key that verifies RSA PKCS #1 v1.5 signatures with SHA-256.
#[derive(Clone)]
pub struct Verifier {
    pkcs1_der: Vec<u8>,
}

impl Verifier {
    /// Reads a `PUBLIC KEY` block.
    ///
    /// # Errors
    /// `Pem` or `Key` when it is none.
    pub fn from_public_key_pem(pem: &str) -> Result<Self, CryptoError> {
        Self::from_spki(&pem_block(pem, "PUBLIC KEY")?)
    }

    /// Takes the public key out of a `CERTIFICATE` block. The certificate's own validity is not judged here.
    ///
    /// # Errors
    /// `Pem` or `Key` when it holds none.
    pub fn from_certificate_pem(pem: &str) -> Result<Self, CryptoError> {
        let der = pem_block(pem, "CERTIFICATE")?;
        Self::from_spki(certificate_parts(&der)?.1)
    }

    fn from_spki(spki: &[u8]) -> Result<Self, CryptoError> {
        const BAD: CryptoError = CryptoError::Key("no RSA public key");
        let (fields, _) = der_take(spki, DER_SEQUENCE).ok_or(BAD)?;
        let (_algorithm, rest) = der_take(fields, DER_SEQUENCE).ok_or(BAD)?;
        let (bits, _) = der_take(rest, DER_BIT_STRING).ok_or(BAD)?;
        match bits {
            // The first byte counts the unused bits of the last: none, in a whole DER structure.
            [0, key @ ..] if !key.is_empty() => Ok(Self { pkcs1_der: key.to_vec() }),
            _ => Err(BAD),
        }
    }

    /// Verifies a base64 signature over `message`.
    ///
    /// # Errors
    /// `Signature` when it does not verify.
    pub fn verify(&self, message: &[u8], signature_b64: &str) -> Result<(), CryptoError> {
        let signature = BASE64.decode(signature_b64).map_err(|_| CryptoError::Signature)?;
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &self.pkcs1_der)
            .verify(message, &signature)
            .map_err(|_| CryptoError::Signature)
    }
}

/// The serial number of a certificate, upper-case hexadecimal, as WeChat Pay names certificates.
///
/// # Errors
/// `Pem` or `Key` when the text is no certificate.
pub fn certificate_serial(pem: &str) -> Result<String, CryptoError> {
    let der = pem_block(pem, "CERTIFICATE")?;
    let (serial, _) = certificate_parts(&der)?;
    let significant = match serial {
        [0, rest @ ..] if !rest.is_empty() => rest,
        all => all,
    };
    Ok(hex::encode_upper(significant))
}

/// Seals `plaintext` as AEAD_AES_256_GCM; the answer is base64 of ciphertext and tag.
///
/// # Errors
/// `Key` when key or nonce have the wrong length.
pub fn seal(key: &str, nonce: &str, aad: &str, plaintext: &[u8]) -> Result<String, CryptoError> {
    let (key, nonce) = aead_parts(key, nonce)?;
    let mut sealed = plaintext.to_vec();
    key.seal_in_place_append_tag(nonce, Aad::from(aad.as_bytes()), &mut sealed)
        .map_err(|_| CryptoError::System("AES-GCM sealing"))?;
    Ok(BASE64.encode(sealed))
}

/// Opens what [`seal`] made.
///
/// # Errors
/// `Key` when key or nonce have the wrong length, `Sealed` when the ciphertext does not open.
pub fn open(key: &str, nonce: &str, aad: &str, ciphertext_b64: &str) -> Result<Vec<u8>, CryptoError> {
    let (key, nonce) = aead_parts(key, nonce)?;
    let mut sealed = BASE64.decode(ciphertext_b64).map_err(|_| CryptoError::Sealed)?;
    let plain = key.open_in_place(nonce, Aad::from(aad.as_bytes()), &mut sealed).map_err(|_| CryptoError::Sealed)?;
    Ok(plain.to_vec())
}

fn aead_parts(key: &str, nonce: &str) -> Result<(LessSafeKey, Nonce), CryptoError> {
    let key =
        UnboundKey::new(&AES_256_GCM, key.as_bytes()).map_err(|_| CryptoError::Key("an API v3 key has 32 bytes"))?;
    let nonce =
        Nonce::try_assume_unique_for_key(nonce.as_bytes()).map_err(|_| CryptoError::Key("a nonce has 12 bytes"))?;
    Ok((LessSafeKey::new(key), nonce))
}

/// `length` random characters of `alphabet`, from the system's generator.
///
/// # Errors
/// `System` when the system gives no random bytes.
pub fn random_text(alphabet: &[u8], length: usize) -> Result<String, CryptoError> {
    let random = SystemRandom::new();
    // Bytes at or above the largest multiple of the alphabet's size would favour its first characters.
    let fair = 256 - 256 % alphabet.len();
    let mut text = String::with_capacity(length);
    let mut bytes = [0; 64];
    while text.len() < length {
        random.fill(&mut bytes).map_err(|_| CryptoError::System("random bytes"))?;
        let wanted = length - text.len();
        let fair_bytes = bytes.iter().map(|byte| usize::from(*byte)).filter(|byte| *byte < fair);
        text.extend(fair_bytes.take(wanted).map(|byte| char::from(alphabet[byte % alphabet.len()])));
    }
    Ok(text)
}

/// Decimal digits.
pub const DIGITS: &[u8] = b"0123456789";
/// Upper-case hexadecimal digits.
pub const HEX_UPPER: &[u8] = b"0123456789ABCDEF";
/// Letters and digits.
pub const ALPHANUMERIC: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

fn pem_block(pem: &str, label: &'static str) -> Result<Vec<u8>, CryptoError> {
    let begin = format!("-----BEGIN {label}-----");
    let end = format!("-----END {label}-----");
    let (_, rest) = pem.split_once(&begin).ok_or(CryptoError::Pem(label))?;
    let (body, _) = rest.split_once(&end).ok_or(CryptoError::Pem(label))?;
    let compact: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    BASE64.decode(compact).map_err(|_| CryptoError::Pem(label))
}

/// What all readable blocks of that label hold.
pub(crate) fn pem_blocks<'p>(pem: &'p str, label: &'static str) -> impl Iterator<Item = Vec<u8>> + 'p {
    let begin = format!("-----BEGIN {label}-----");
    let starts: Vec<&str> = pem.match_indices(&begin).map(|(place, _)| &pem[place..]).collect();
    starts.into_iter().filter_map(move |block| pem_block(block, label).ok())
}

/// The serial number's bytes and the whole SubjectPublicKeyInfo of a certificate (RFC 5280, section 4.1).
fn certificate_parts(der: &[u8]) -> Result<(&[u8], &[u8]), CryptoError> {
    parse_certificate(der).ok_or(CryptoError::Key("no X.509 certificate"))
}

fn parse_certificate(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (certificate, _) = der_take(der, DER_SEQUENCE)?;
    let (mut rest, _) = der_take(certificate, DER_SEQUENCE)?;
    if let Some((_version, after)) = der_take(rest, DER_CONTEXT_0) {
        rest = after;
    }
    let (serial, mut rest) = der_take(rest, DER_INTEGER)?;
    // signature algorithm, issuer, validity, subject
    for _ in 0..4 {
        rest = der_take(rest, DER_SEQUENCE)?.1;
    }
    Some((serial, rest))
}

/// Takes one element with `tag` off the front: its content, and what follows it.
pub(crate) fn der_take(input: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = input.split_first()?;
    let (&first, rest) = rest.split_first()?;
    if found != tag {
        return None;
    }
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (bytes.iter().fold(0usize, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_sealed_text_opens_only_with_the_same_key_nonce_and_associated_data() {
        let key = "0123456789abcdefghijABCDEFGHIJ!#";
        let sealed = seal(key, "abcdefghijkl", "transaction", "支付成功 100%+".as_bytes()).unwrap();
        assert_eq!(open(key, "abcdefghijkl", "transaction", &sealed).unwrap(), "支付成功 100%+".as_bytes());
        assert_eq!(open(key, "abcdefghijkl", "", &sealed), Err(CryptoError::Sealed));
        assert_eq!(open(key, "abcdefghijkm", "transaction", &sealed), Err(CryptoError::Sealed));
        assert_eq!(open(key, "short", "transaction", &sealed), Err(CryptoError::Key("a nonce has 12 bytes")));
        assert_eq!(open("short", "abcdefghijkl", "", &sealed), Err(CryptoError::Key("an API v3 key has 32 bytes")));
    }

    #[test]
    fn truncated_der_is_an_error_and_no_panic() {
        let der = [0x30, 0x82, 0x01];
        assert!(der_take(&der, DER_SEQUENCE).is_none());
        assert!(parse_certificate(&[0x30, 0x03, 0x30, 0x84, 0xff]).is_none());
        assert!(Verifier::from_public_key_pem("-----BEGIN PUBLIC KEY-----\nMAA=\n-----END PUBLIC KEY-----").is_err());
    }

    #[test]
    fn random_text_keeps_to_its_alphabet_and_length() {
        let text = random_text(DIGITS, 1000).unwrap();
        assert_eq!(text.len(), 1000);
        assert!(text.bytes().all(|byte| DIGITS.contains(&byte)));
    }
}
