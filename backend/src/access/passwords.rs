//! Passwords of people and programs: stored as Argon2id hashes, verified by a few threads of their own.
//!
//! Each hash takes a processor and 19 MiB for a while, and anybody can trigger one by guessing. So only a few are
//! computed at a time, only a few wait, and the hashing threads reuse their memory. (With a new allocation for each
//! hash, much of the memory was never returned to the system.)

use crate::{Error, Result};
use argon2::{
    Algorithm, Argon2, Block, Params, Version,
    password_hash::{PasswordHash, Salt},
};
use aws_lc_rs::{constant_time::verify_slices_are_equal, digest};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};
use tokio::sync::oneshot;

/// Hashes computed at a time.
const WORKER_THREADS: usize = 2;

/// How many may wait: work for some seconds. Beyond that, callers are told to try again.
const QUEUE_MAX: usize = 32;

/// Shortest password that is accepted.
const CHARS_MIN: usize = 10;

/// Argon2id, off the async threads.
pub(crate) async fn hash(password: &str) -> Result<String> {
    if password.chars().count() < CHARS_MIN {
        return Err(Error::invalid("password", format!("must have at least {CHARS_MIN} characters")));
    }
    let password = password.to_owned();
    run_on_worker(move |_| password_auth::generate_hash(password)).await
}

/// Distinguishes passwords without revealing them: the first bytes of the digest of the salted hash.
pub(crate) fn fingerprint(hash: &str) -> String {
    let digest = digest::digest(&digest::SHA256, hash.as_bytes());
    hex::encode(&digest.as_ref()[..8])
}

/// Whether a password matches a hash. Without a hash it is compared with a dummy hash, so that both take equally long.
pub(crate) async fn verify(password: &str, hash: Option<String>) -> Result<bool> {
    static DUMMY_HASH: OnceLock<String> = OnceLock::new();
    let password = password.to_owned();
    run_on_worker(move |memory| {
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| DUMMY_HASH.get_or_init(|| password_auth::generate_hash("nobody")).clone());
        matches_hash(password.as_bytes(), &hash, memory).unwrap_or(false) && known
    })
    .await
}

/// Whether a hash belongs to a password; an error if the hash is malformed.
fn matches_hash(password: &[u8], hash: &str, memory: &mut Memory) -> argon2::password_hash::Result<bool> {
    let hash = PasswordHash::new(hash)?;
    let version = hash.version.map(Version::try_from).transpose()?.unwrap_or_default();
    let argon2 = Argon2::new(Algorithm::try_from(hash.algorithm)?, version, Params::try_from(&hash)?);
    let (Some(salt), Some(expected)) = (hash.salt, hash.hash) else { return Ok(false) };
    let mut salt_bytes = [0; Salt::MAX_LENGTH];
    let salt = salt.decode_b64(&mut salt_bytes)?;
    let mut output = vec![0; expected.len()];
    memory.resize(memory.len().max(argon2.params().block_count()), Block::new());
    argon2.hash_password_into_with_memory(password, salt, &mut output, memory)?;
    Ok(verify_slices_are_equal(&output, expected.as_bytes()).is_ok())
}

/// The memory a thread computes in.
type Memory = Vec<Block>;

type Work = Box<dyn FnOnce(&mut Memory) + Send>;

/// Lets one of the hashing threads compute something.
async fn run_on_worker<T: Send + 'static>(work: impl FnOnce(&mut Memory) -> T + Send + 'static) -> Result<T> {
    static QUEUE: OnceLock<SyncSender<Work>> = OnceLock::new();
    let busy = || Error::Busy("a password to be checked");
    let (answer, answered) = oneshot::channel();
    let work = Box::new(move |memory: &mut Memory| {
        // The caller is gone and needs no answer.
        if !answer.is_closed() {
            let _ = answer.send(work(memory));
        }
    });
    QUEUE.get_or_init(start).try_send(work).map_err(|_| {
        metrics::counter!("coinwire_password_checks_refused_total").increment(1);
        busy()
    })?;
    answered.await.map_err(|_| busy())
}

/// Starts the threads. If none starts, all work is refused.
fn start() -> SyncSender<Work> {
    let (queue, waiting) = sync_channel(QUEUE_MAX);
    let waiting = Arc::new(Mutex::new(waiting));
    for number in 0..WORKER_THREADS {
        let waiting = waiting.clone();
        let started = thread::Builder::new().name(format!("passwords-{number}")).spawn(move || worker_loop(&waiting));
        if let Err(error) = started {
            tracing::error!(%error, "cannot start a thread for passwords");
        }
    }
    queue
}

fn worker_loop(waiting: &Mutex<Receiver<Work>>) {
    let mut memory = Memory::new();
    loop {
        let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(work) = next else { return };
        // The thread continues; the waiting caller notices that its channel ended.
        let _ = catch_unwind(AssertUnwindSafe(|| work(&mut memory)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[tokio::test]
    async fn a_flood_of_guesses_is_refused_and_the_next_is_heard_once_there_is_room() {
        let hash = hash("correct horse battery").await.unwrap();
        // All threads are held up, and all places in the queue are taken.
        let mut held = vec![];
        let mut open = vec![];
        for _ in 0..WORKER_THREADS {
            let (opened, wait) = mpsc::channel::<()>();
            let (began, begun) = oneshot::channel();
            held.push(tokio::spawn(run_on_worker(move |_| {
                let _ = began.send(());
                let _ = wait.recv();
            })));
            begun.await.unwrap();
            open.push(opened);
        }
        let guess = || Box::pin(verify("a guess of many", Some(hash.clone())));
        let mut waiting = vec![];
        for _ in 0..QUEUE_MAX {
            let mut guess = guess();
            assert!(futures_util::poll!(&mut guess).is_pending());
            waiting.push(guess);
        }
        for _ in 0..10 {
            assert!(matches!(guess().await, Err(Error::Busy(_))));
        }
        drop(open);
        for guess in waiting {
            assert!(!guess.await.unwrap());
        }
        for held in held {
            held.await.unwrap().unwrap();
        }
        assert!(verify("correct horse battery", Some(hash.clone())).await.unwrap());
        assert!(!verify("correct horse battery", None).await.unwrap());
        // A panic in one computation does not end the thread.
        for _ in 0..2 * WORKER_THREADS {
            assert!(run_on_worker::<()>(|_| panic!("the test wants it")).await.is_err());
        }
        assert!(verify("correct horse battery", Some(hash)).await.unwrap());
    }

    #[test]
    fn verifies_what_was_hashed_and_nothing_else() {
        let hash = password_auth::generate_hash("correct horse battery");
        let mut memory = Memory::new();
        for _ in 0..2 {
            assert!(matches_hash(b"correct horse battery", &hash, &mut memory).unwrap());
            assert!(!matches_hash(b"correct horse batterz", &hash, &mut memory).unwrap());
            assert!(password_auth::verify_password("correct horse battery", &hash).is_ok());
        }
        // The test vector of the Argon2 reference implementation, with less memory than another used before.
        let other = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
        assert!(matches_hash(b"password", other, &mut memory).unwrap());
        for broken in ["", "x", "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ", "$argon2id$v=1$m=1$c29tZXNhbHQ$AAAA"] {
            assert!(!matches_hash(b"password", broken, &mut memory).unwrap_or(false), "{broken}");
        }
    }
}
