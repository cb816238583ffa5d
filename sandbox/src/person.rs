//! Who a browser's person is, and the codes by which a merchant is told: what both providers have in common. A cookie of the
//! sandbox makes a browser one person. A code works once, and for minutes.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use poem::http::{StatusCode, header};
use poem::{Request, Response};

use crate::crypto::{ALPHANUMERIC, CryptoError, random_text};

const CODE_LIFE_MS: i64 = 5 * 60 * 1000;
/// How long a code is known after it was made, so that a used one is not called an unknown one.
const CODE_KNOWN_MS: i64 = 60 * 60 * 1000;
/// Codes known at once; the oldest make room.
const MAX_CODES: usize = 100_000;

const COOKIE: &str = "sandbox_person";
const PERSON_LEN: usize = 32;
const COOKIE_LIFE_S: u32 = 365 * 24 * 3600;

/// The codes, oldest first. They are not kept over a restart.
#[derive(Default)]
pub(crate) struct Codes(VecDeque<Code>);

pub(crate) struct Code {
    pub(crate) code: String,
    /// The app that may exchange it.
    pub(crate) app: String,
    /// Whom it stands for.
    pub(crate) payer: String,
    pub(crate) made_ms: i64,
    pub(crate) used: bool,
}

/// Why a code names nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CodeError {
    /// Unknown, expired, or of another app.
    Invalid,
    Used,
}

impl Codes {
    pub(crate) fn add(&mut self, code: Code) {
        let forgotten_ms = code.made_ms - CODE_KNOWN_MS;
        while self.0.front().is_some_and(|oldest| oldest.made_ms < forgotten_ms) || self.0.len() >= MAX_CODES {
            self.0.pop_front();
        }
        self.0.push_back(code);
    }

    /// Whom a code stands for; it is used up by this. Another app's call does not use it up.
    pub(crate) fn take(&mut self, code: &str, app: &str, now_ms: i64) -> Result<String, CodeError> {
        let found = self.0.iter_mut().rev().find(|one| one.code == code && one.app == app);
        let found = found.ok_or(CodeError::Invalid)?;
        if found.used {
            return Err(CodeError::Used);
        }
        if now_ms >= found.made_ms + CODE_LIFE_MS {
            return Err(CodeError::Invalid);
        }
        found.used = true;
        Ok(found.payer.clone())
    }
}

/// Where browsers may be sent back to. Empty: anywhere.
#[derive(Default)]
pub(crate) struct Domains(Mutex<Vec<String>>);

impl Domains {
    pub(crate) fn set(&self, domains: &[&str]) {
        *lock(&self.0) = domains.iter().map(|&domain| domain.to_owned()).collect();
    }

    pub(crate) fn allows(&self, domain: &str) -> bool {
        let domains = lock(&self.0);
        domains.is_empty() || domains.iter().any(|one| one == domain)
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Plain data, valid at every step: a panic elsewhere does not spoil it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A name for a person who was not here before.
pub(crate) fn new_person() -> Result<String, CryptoError> {
    random_text(ALPHANUMERIC, PERSON_LEN)
}

/// The person whose browser this is, if it was here before.
pub(crate) fn person_of(request: &Request) -> Option<String> {
    let cookies = request.headers().get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let (_, person) = pairs.find(|(name, _)| *name == COOKIE)?;
    (person.len() == PERSON_LEN && person.bytes().all(|byte| byte.is_ascii_alphanumeric())).then(|| person.to_owned())
}

/// Sends a browser back to the merchant, and remembers whose it is.
pub(crate) fn sent_back(address: String, person: &str) -> Response {
    Response::builder()
        .status(StatusCode::FOUND)
        .header(header::LOCATION, address)
        .header(header::SET_COOKIE, cookie(person))
        .header(header::CACHE_CONTROL, "no-store")
        .finish()
}

/// The cookie by which a browser is known again.
fn cookie(person: &str) -> String {
    format!("{COOKIE}={person}; Path=/; Max-Age={COOKIE_LIFE_S}; HttpOnly; SameSite=Lax")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(name: &str, made_ms: i64) -> Code {
        Code { code: name.to_owned(), app: "wx1".to_owned(), payer: format!("o{name}"), made_ms, used: false }
    }

    #[test]
    fn a_code_works_once_for_its_app_within_five_minutes() {
        let mut codes = Codes::default();
        codes.add(code("a", 1000));
        codes.add(code("b", 1000));
        assert_eq!(codes.take("a", "wx2", 1000), Err(CodeError::Invalid), "another app's");
        assert_eq!(codes.take("c", "wx1", 1000), Err(CodeError::Invalid));
        assert_eq!(codes.take("a", "wx1", 1000 + CODE_LIFE_MS - 1), Ok("oa".to_owned()));
        assert_eq!(codes.take("a", "wx1", 1000 + CODE_LIFE_MS - 1), Err(CodeError::Used));
        assert_eq!(codes.take("a", "wx1", 1000 + CODE_LIFE_MS), Err(CodeError::Used), "used rather than expired");
        assert_eq!(codes.take("b", "wx1", 1000 + CODE_LIFE_MS), Err(CodeError::Invalid), "expired");
        codes.add(code("d", 1001 + CODE_KNOWN_MS));
        assert_eq!(codes.take("a", "wx1", 1001 + CODE_KNOWN_MS), Err(CodeError::Invalid), "forgotten");
    }
}
