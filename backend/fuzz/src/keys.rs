//! Keys, made anew for each process: an input holds no signature, so it means the same with any.

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
    error::Unspecified,
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::{KeyPair as _, RSA_PKCS1_SHA256},
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

/// An RSA key of a merchant or a provider.
pub struct Key(KeyPair);

impl Key {
    /// Makes one.
    pub fn generate() -> Self {
        Self(or_panic(KeyPair::generate(KeySize::Rsa2048)))
    }

    /// The private key as PEM, PKCS #8.
    pub fn private_pem(&self) -> String {
        let der: Pkcs8V1Der<'_> = or_panic(self.0.as_der());
        pem("PRIVATE KEY", der.as_ref())
    }

    /// The public key as PEM.
    pub fn public_pem(&self) -> String {
        let der: PublicKeyX509Der<'_> = or_panic(self.0.public_key().as_der());
        pem("PUBLIC KEY", der.as_ref())
    }

    /// Its signature of a message, in base64.
    pub fn sign(&self, message: &[u8]) -> String {
        let mut signature = vec![0; self.0.public_modulus_len()];
        or_panic(self.0.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature));
        BASE64.encode(signature)
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64.encode(der))
}

/// Cryptography that fails here has no input to blame.
pub fn or_panic<T>(made: Result<T, Unspecified>) -> T {
    made.unwrap_or_else(|_| panic!("the cryptography library failed"))
}
