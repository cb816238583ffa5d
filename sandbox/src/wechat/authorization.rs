//! Who is calling: the `Authorization` header of API v3, over the exact bytes that were received.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use crate::crypto::Verifier;
use crate::wechat::errors::ApiError;

/// How far a request's time may be from the provider's.
pub(crate) const WINDOW_S: i64 = 300;
const SCHEME: &str = "WECHATPAY2-SHA256-RSA2048 ";
const MAX_NONCE_LEN: usize = 32;
/// Nonces remembered; enough for 1,600 requests a second over the whole window, both ways.
const MAX_NONCES: usize = 1_000_000;

/// The five fields of the header, not yet believed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Authorization<'a> {
    pub(crate) mchid: &'a str,
    pub(crate) serial_no: &'a str,
    nonce: &'a str,
    timestamp: &'a str,
    timestamp_s: i64,
    signature: &'a str,
}

impl<'a> Authorization<'a> {
    pub(crate) fn parse(header: &'a str) -> Result<Self, ApiError> {
        let fields = header
            .strip_prefix(SCHEME)
            .ok_or_else(|| ApiError::sign("Authorization must be of the scheme WECHATPAY2-SHA256-RSA2048"))?;
        let mut found = BTreeMap::new();
        for field in fields.split(',') {
            let (name, value) = field
                .trim_matches(' ')
                .split_once('=')
                .and_then(|(name, value)| Some((name, value.strip_prefix('"')?.strip_suffix('"')?)))
                .ok_or_else(|| ApiError::sign("Authorization must hold name=\"value\" pairs between commas"))?;
            if !["mchid", "serial_no", "nonce_str", "timestamp", "signature"].contains(&name) {
                return Err(ApiError::sign("Authorization holds an unknown field"));
            }
            if value.is_empty() || found.insert(name, value).is_some() {
                return Err(ApiError::sign(format!("Authorization holds {name} twice, or empty")));
            }
        }
        let take =
            |name: &str| found.get(name).copied().ok_or_else(|| ApiError::sign(format!("Authorization lacks {name}")));
        let nonce = take("nonce_str")?;
        if nonce.len() > MAX_NONCE_LEN || !nonce.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(ApiError::sign("nonce_str must be at most 32 letters and digits"));
        }
        let timestamp = take("timestamp")?;
        let timestamp_s = match timestamp.parse() {
            Ok(seconds) if timestamp.bytes().all(|byte| byte.is_ascii_digit()) => seconds,
            _ => return Err(ApiError::sign("timestamp must be Unix seconds")),
        };
        Ok(Self {
            mchid: take("mchid")?,
            serial_no: take("serial_no")?,
            nonce,
            timestamp,
            timestamp_s,
            signature: take("signature")?,
        })
    }

    /// Believes the header if time, signature and nonce hold. The nonce comes last, so that no stranger can use one up.
    pub(crate) fn verify(
        &self,
        key: &Verifier,
        request: &SignedRequest<'_>,
        nonces: &Nonces,
        now_s: i64,
    ) -> Result<(), ApiError> {
        if (now_s - self.timestamp_s).abs() > WINDOW_S {
            return Err(ApiError::sign("timestamp is more than 5 minutes off"));
        }
        let mut message =
            format!("{}\n{}\n{}\n{}\n", request.method, request.path_and_query, self.timestamp, self.nonce)
                .into_bytes();
        message.extend_from_slice(request.body);
        message.push(b'\n');
        key.verify(&message, self.signature)
            .map_err(|_| ApiError::sign("签名错误 (the signature does not verify over what was received)"))?;
        if nonces.is_new(self.mchid, self.nonce, self.timestamp_s, now_s) {
            Ok(())
        } else {
            Err(ApiError::sign("nonce_str was used before"))
        }
    }
}

/// The parts of a request that its signature covers.
pub(crate) struct SignedRequest<'a> {
    pub(crate) method: &'a str,
    pub(crate) path_and_query: &'a str,
    pub(crate) body: &'a [u8],
}

/// The nonces seen within the window. They are not kept over a restart.
#[derive(Default)]
pub(crate) struct Nonces(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    until_s: BTreeMap<String, i64>,
    oldest_first: VecDeque<String>,
}

impl Nonces {
    fn is_new(&self, mchid: &str, nonce: &str, timestamp_s: i64, now_s: i64) -> bool {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(oldest) = seen.oldest_first.front() {
            let past = seen.until_s.get(oldest).is_none_or(|until_s| *until_s < now_s);
            if !past && seen.until_s.len() < MAX_NONCES {
                break;
            }
            if let Some(oldest) = seen.oldest_first.pop_front() {
                seen.until_s.remove(&oldest);
            }
        }
        let name = format!("{mchid}/{nonce}");
        if seen.until_s.contains_key(&name) {
            return false;
        }
        seen.until_s.insert(name.clone(), timestamp_s + WINDOW_S);
        seen.oldest_first.push_back(name);
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const GOOD: &str = r#"WECHATPAY2-SHA256-RSA2048 mchid="1900000001",nonce_str="aB1",signature="c2ln",timestamp="1554208460",serial_no="408B""#;

    #[test]
    fn the_fields_may_come_in_any_order() {
        let parsed = Authorization::parse(GOOD).unwrap();
        assert_eq!((parsed.mchid, parsed.serial_no, parsed.timestamp_s), ("1900000001", "408B", 1_554_208_460));
    }

    #[test]
    fn missing_doubled_unknown_and_malformed_fields_are_refused() {
        for bad in [
            "",
            "Bearer x",
            "WECHATPAY2-SHA256-RSA2048 ",
            &GOOD.replace("mchid", "mch_id"),
            &GOOD.replace("nonce_str", "mchid"),
            &GOOD.replace(r#","#, ", ,"),
            &GOOD.replace("aB1", "a-b"),
            &GOOD.replace("aB1", &"a".repeat(33)),
            &GOOD.replace("1554208460", "+155420846"),
            &GOOD.replace("1554208460", "99999999999999999999"),
            &GOOD.replace(r#""408B""#, "408B"),
            &GOOD.replace(r#"serial_no="408B""#, r#"serial_no="""#),
        ] {
            let error = Authorization::parse(bad).unwrap_err();
            assert_eq!((error.status, error.code), (401, "SIGN_ERROR"), "{bad}");
        }
    }

    #[test]
    fn a_nonce_counts_once_until_its_time_is_out_of_the_window() {
        let nonces = Nonces::default();
        assert!(nonces.is_new("m", "a", 1000, 1000));
        assert!(!nonces.is_new("m", "a", 1000, 1299));
        assert!(nonces.is_new("n", "a", 1000, 1299));
        assert!(nonces.is_new("m", "a", 1301, 1301));
    }
}
