//! Secrets at rest: AES-256-GCM with a key that is not in the database.

use crate::{Error, Result, clock::Random};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

/// Seals and opens stored secrets.
pub(crate) struct Seal(LessSafeKey);

impl Seal {
    pub fn new(key: [u8; 32]) -> Self {
        Self(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).expect("the key has the cipher's length")))
    }

    /// Encrypts `plain`; `purpose` binds it to its row, so that rows cannot be exchanged. Nonce first, tag last.
    pub fn seal(&self, random: &dyn Random, purpose: &str, plain: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        random.fill(&mut nonce);
        let mut sealed = plain.to_vec();
        self.0
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(purpose), &mut sealed)
            .expect("a secret is far below the cipher's limit");
        [nonce.as_slice(), &sealed].concat()
    }

    /// Opens what [`Seal::seal`] made for the same purpose.
    pub fn open(&self, purpose: &str, sealed: &[u8]) -> Result<Vec<u8>> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(Error::Sealed)?;
        let mut plain = sealed.to_vec();
        let opened = self
            .0
            .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(purpose), &mut plain)
            .map_err(|_| Error::Sealed)?;
        Ok(opened.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemRandom;

    #[test]
    fn opens_only_for_the_same_key_and_purpose() {
        let seal = Seal::new([7; 32]);
        let sealed = seal.seal(&SystemRandom, "module A", b"secret");
        assert_eq!(seal.open("module A", &sealed).unwrap(), b"secret");
        assert!(matches!(seal.open("module B", &sealed), Err(Error::Sealed)));
        assert!(matches!(Seal::new([8; 32]).open("module A", &sealed), Err(Error::Sealed)));
        assert!(matches!(seal.open("module A", &sealed[..5]), Err(Error::Sealed)));
    }
}
