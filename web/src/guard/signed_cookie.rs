//! Cookies with our own content, signed so that nobody else can write one.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use hmac::{Hmac, KeyInit, Mac};
use poem::web::cookie::{Cookie, CookieJar, SameSite};
use serde::{Serialize, de::DeserializeOwned};
use sha2::Sha256;
use std::time::Duration;

/// The content of the cookie with that name, if it is one of ours.
pub(crate) fn read<T: DeserializeOwned>(key: &[u8; 32], jar: &CookieJar, name: &str) -> Option<T> {
    let cookie = jar.get(name)?;
    let (value, tag) = cookie.value_str().split_once('.')?;
    let tag = BASE64.decode(tag).ok()?;
    // Compares in constant time.
    signature(key, name, value).verify_slice(&tag).ok()?;
    serde_json::from_slice(&BASE64.decode(value).ok()?).ok()
}

/// A cookie with this content that lives for the given time.
pub(crate) fn cookie(key: &[u8; 32], name: &str, says: &impl Serialize, age: Duration, secure: bool) -> Cookie {
    let value = BASE64.encode(serde_json::to_vec(says).expect("plain structures are written as JSON"));
    let tag = BASE64.encode(signature(key, name, &value).finalize().into_bytes());
    let mut cookie = Cookie::new_with_str(name, format!("{value}.{tag}"));
    cookie.set_path("/");
    cookie.set_http_only(true);
    cookie.set_secure(secure);
    // The browser must send it when a provider redirects back to us.
    cookie.set_same_site(SameSite::Lax);
    cookie.set_max_age(age);
    cookie
}

fn signature(key: &[u8; 32], name: &str, value: &str) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("an HMAC key has any length");
    for part in ["coinwire cookie", name, value] {
        mac.update(part.as_bytes());
        mac.update(b"\0");
    }
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [7; 32];

    fn jar_of(name: &str, value: &str) -> CookieJar {
        let jar = CookieJar::default();
        jar.add(Cookie::new_with_str(name, value));
        jar
    }

    #[test]
    fn a_cookie_is_read_under_its_own_name_and_key_only() {
        let value = cookie(&KEY, "a", &("payer", 7), Duration::from_secs(1), true).value_str().to_owned();
        let read_as = |key, name, value: &str| read::<(String, i32)>(key, &jar_of(name, value), name);
        assert_eq!(read_as(&KEY, "a", &value), Some(("payer".into(), 7)));
        assert_eq!(read_as(&KEY, "b", &value), None);
        assert_eq!(read_as(&[8; 32], "a", &value), None);
        for broken in ["", ".", "a.b", &value[..value.len() - 2], &format!("A{value}")] {
            assert_eq!(read_as(&KEY, "a", broken), None, "{broken}");
        }
    }
}
