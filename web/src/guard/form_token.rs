//! The token that a form carries: signed by us, and bound to the session in a member's forms.

use crate::{guard::session_cookie::cookie, navigation::Area};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use hmac::{Hmac, KeyInit, Mac};
use poem::{FromRequest, Request, RequestBody};
use sha2::Sha256;

/// The form field, and the header, that carry the token.
pub(crate) const FIELD: &str = "csrf";
/// How long a form may stay open.
pub(crate) const TOKEN_LIFE_MS: i64 = 12 * 3600 * 1000;

/// What a token is bound to: for a member's forms the session, for all others nothing.
pub(crate) fn binding(request: &Request) -> String {
    match Area::of(request.uri().path()) {
        Area::Operator => cookie(request),
        Area::Consumer | Area::SignIn | Area::Demo | Area::Other => String::new(),
    }
}

/// A form with an expired token, or whose session changed while it was open; with what was typed.
#[derive(Debug, Clone)]
pub(crate) struct ExpiredForm {
    pub(crate) fields: Vec<(String, String)>,
}

/// Whether the form's token has expired. Only for handlers that then show their form again and do nothing else.
pub(crate) struct FormExpired(pub(crate) bool);

impl<'a> FromRequest<'a> for FormExpired {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        Ok(Self(request.extensions().get::<ExpiredForm>().is_some()))
    }
}

/// A token for a form: when it was made, and our signature.
pub(crate) fn token(key: &[u8; 32], binding: &str, now_ms: i64) -> String {
    let made = BASE64.encode(now_ms.to_be_bytes());
    let tag = BASE64.encode(signature(key, binding, now_ms).finalize().into_bytes());
    format!("{made}.{tag}")
}

fn signature(key: &[u8; 32], binding: &str, made_ms: i64) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("an HMAC key has any length");
    mac.update(b"coinwire form\0");
    mac.update(&made_ms.to_be_bytes());
    mac.update(binding.as_bytes());
    mac
}

pub(crate) fn check_token(key: &[u8; 32], binding: &str, token: &str, now_ms: i64) -> Result<(), &'static str> {
    let (made, tag) = token.split_once('.').ok_or("malformed")?;
    let made = BASE64.decode(made).map_err(|_| "malformed")?;
    let made_ms = i64::from_be_bytes(made.try_into().map_err(|_| "malformed")?);
    let tag = BASE64.decode(tag).map_err(|_| "malformed")?;
    // Compares in constant time.
    signature(key, binding, made_ms).verify_slice(&tag).map_err(|_| "not ours, or another session's")?;
    match now_ms.saturating_sub(made_ms) {
        age if age > TOKEN_LIFE_MS => Err("too old"),
        // We made it before the clock was set back; that is no reason to lose what somebody typed.
        age if age < -TOKEN_LIFE_MS => Err("from the future"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [7; 32];
    const NOW_MS: i64 = 1_800_000_000_000;

    #[test]
    fn a_token_holds_for_its_session_and_its_time() {
        let token = super::token(&KEY, "session", NOW_MS);
        assert_eq!(check_token(&KEY, "session", &token, NOW_MS), Ok(()));
        assert_eq!(check_token(&KEY, "session", &token, NOW_MS + TOKEN_LIFE_MS), Ok(()));
        assert_eq!(check_token(&KEY, "session", &token, NOW_MS + TOKEN_LIFE_MS + 1), Err("too old"));
        assert_eq!(check_token(&KEY, "other", &token, NOW_MS), Err("not ours, or another session's"));
        assert_eq!(check_token(&[8; 32], "session", &token, NOW_MS), Err("not ours, or another session's"));
        for broken in ["", ".", "a.b", "AAAA.AAAA", &token[..token.len() - 2], &format!("{token}AA")] {
            assert!(check_token(&KEY, "session", broken, NOW_MS).is_err(), "{broken}");
        }
    }
}
