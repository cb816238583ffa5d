//! Secrets at rest: AES-256-GCM with a key that is not in the database.

use crate::{Error, Result, clock::Random, db::Db};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use sea_orm::{ConnectionTrait, Statement};
use sea_orm_migration::SchemaManager;

/// Whether a key opens the sealed values of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyCheck {
    /// Nothing is sealed yet: any key will do.
    NothingSealed,
    /// The key opens it.
    Opens,
    /// Something is sealed, and there is no key.
    Missing,
    /// Something is sealed, and the key does not open it.
    Wrong,
}

/// Tries a key on a sealed value of a store, which need not be migrated. To be called before a key is created, and
/// before anything is sealed with it.
///
/// # Errors
/// `Store`.
pub async fn check_key(db: &Db, key: Option<[u8; 32]>) -> Result<KeyCheck> {
    let Some((purpose, sealed)) = anything_sealed(db).await? else { return Ok(KeyCheck::NothingSealed) };
    let Some(key) = key else { return Ok(KeyCheck::Missing) };
    Ok(if Seal::new(key).open(&purpose, &sealed).is_ok() { KeyCheck::Opens } else { KeyCheck::Wrong })
}

/// A sealed value and what it was sealed for.
async fn anything_sealed(db: &Db) -> Result<Option<(String, Vec<u8>)>> {
    let manager = SchemaManager::new(db.read());
    for (table, query, prefix) in [
        ("modules", "SELECT id, secret_sealed FROM modules LIMIT 1", "module "),
        ("merchant_accounts", "SELECT token, config_sealed FROM merchant_accounts LIMIT 1", "merchant account "),
    ] {
        if !manager.has_table(table).await? {
            continue;
        }
        let statement = Statement::from_string(db.read().get_database_backend(), query);
        if let Some(row) = db.read().query_one_raw(statement).await? {
            let name: String = row.try_get_by_index(0)?;
            return Ok(Some((format!("{prefix}{name}"), row.try_get_by_index(1)?)));
        }
    }
    Ok(None)
}

/// Seals and opens stored secrets.
pub(crate) struct Seal(LessSafeKey);

impl Seal {
    pub fn new(key: [u8; 32]) -> Self {
        Self(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).expect("the key has the cipher's length")))
    }

    /// Encrypts `plain`. `purpose` binds it to its row, so that values cannot be exchanged between rows. Nonce first,
    /// tag last.
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
    ///
    /// # Errors
    /// `Sealed` if it was sealed with another key or for another purpose, or is damaged.
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
