//! Passwords of people and programs: stored as Argon2id hashes, verified off the async threads.

use crate::{Error, Result};
use aws_lc_rs::digest;
use std::{
    num::NonZeroUsize,
    sync::{Arc, OnceLock},
};
use tokio::sync::Semaphore;

/// Shortest password that is taken.
const CHARS_MIN: usize = 10;

/// Argon2id, off the async threads.
pub(crate) async fn hash(password: &str) -> Result<String> {
    if password.chars().count() < CHARS_MIN {
        return Err(Error::invalid("password", format!("must have at least {CHARS_MIN} characters")));
    }
    let password = password.to_owned();
    let hash = tokio::task::spawn_blocking(move || password_auth::generate_hash(password)).await;
    hash.map_err(|_| Error::invalid("password", "could not be hashed; try again"))
}

/// Tells one password from another, and nothing of it: the first bytes of the digest of its salted hash.
pub(crate) fn fingerprint(hash: &str) -> String {
    let digest = digest::digest(&digest::SHA256, hash.as_bytes());
    digest.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Verifies off the async threads, no more at a time than there are processors: each takes one, and 19 MiB. Without a
/// hash against one that fits nothing, so that both take as long.
pub(crate) async fn verify(password: &str, hash: Option<String>) -> bool {
    static NOBODYS: OnceLock<String> = OnceLock::new();
    static AT_A_TIME: OnceLock<Arc<Semaphore>> = OnceLock::new();
    let at_a_time = AT_A_TIME
        .get_or_init(|| Arc::new(Semaphore::new(std::thread::available_parallelism().map_or(1, NonZeroUsize::get))));
    let Ok(permit) = at_a_time.clone().acquire_owned().await else { return false };
    let password = password.to_owned();
    tokio::task::spawn_blocking(move || {
        // Held until it is done, though nobody may wait for it any more.
        let _permit = permit;
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| NOBODYS.get_or_init(|| password_auth::generate_hash("nobody")).clone());
        password_auth::verify_password(password, &hash).is_ok() && known
    })
    .await
    .unwrap_or(false)
}
