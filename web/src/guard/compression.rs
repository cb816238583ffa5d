//! Answers are compressed where that saves something.
//!
//! A page holds text that its visitor sent (a search, an address typed into a form) next to secrets, and the compressed
//! length reveals whether they are alike (the BREACH attack). This is harmless here: the only secret that is in many
//! pages is the form token, and it differs in each page, since its signature includes the time. A page with another
//! secret (a password shown once) must say `cache-control: no-transform`.

use flate2::{Compression, write::GzEncoder};
use poem::{
    Endpoint, IntoResponse, Request, Response,
    error::InternalServerError,
    http::{HeaderMap, HeaderValue, header},
};
use std::{io::Write, sync::Arc};

/// Shorter answers fit into one or two packets without compression.
const LEAST_BYTES: usize = 1024;
/// Types of answers that are wholly in memory and not already compressed by their format. Event streams are not
/// compressed: each event must be sent at once.
const KINDS: [&str; 6] =
    ["text/html", "text/css", "text/plain", "text/javascript", "application/json", "image/svg+xml"];

/// The middleware around everything.
pub(crate) async fn compress<E: Endpoint>(inner: Arc<E>, request: Request) -> poem::Result<Response> {
    let takes_gzip = takes_gzip(&request);
    compressed(inner.call(request).await?.into_response(), takes_gzip).await
}

/// Whether the visitor accepts gzip.
fn takes_gzip(request: &Request) -> bool {
    let offers = request.headers().get_all(header::ACCEPT_ENCODING);
    let mut offers = offers.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    offers.any(|offer| {
        let mut parts = offer.split(';').map(str::trim);
        let is_gzip = parts.next().is_some_and(|coding| coding.eq_ignore_ascii_case("gzip"));
        let refused = parts.any(|part| {
            part.strip_prefix("q=").is_some_and(|weight| weight.parse::<f32>().is_ok_and(|weight| weight == 0.0))
        });
        is_gzip && !refused
    })
}

/// Compresses an answer for a visitor that accepts gzip.
async fn compressed(mut response: Response, takes_gzip: bool) -> poem::Result<Response> {
    let kind = response.content_type().and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
    if !KINDS.contains(&kind) || response.headers().contains_key(header::CONTENT_ENCODING) {
        return Ok(response);
    }
    response.headers_mut().append(header::VARY, HeaderValue::from_static("accept-encoding"));
    if !takes_gzip || is_as_it_is(response.headers()) {
        return Ok(response);
    }
    let bytes = response.take_body().into_bytes().await.map_err(InternalServerError)?;
    if bytes.len() < LEAST_BYTES {
        response.set_body(bytes);
        return Ok(response);
    }
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 3), Compression::fast());
    encoder.write_all(&bytes).map_err(InternalServerError)?;
    response.set_body(encoder.finish().map_err(InternalServerError)?);
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    Ok(response)
}

/// Whether it must not be changed (RFC 9111, section 5.2.2.6).
fn is_as_it_is(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    values.any(|value| value.split(',').any(|word| word.trim().eq_ignore_ascii_case("no-transform")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    async fn sent(kind: &str, body: &str, offer: &str) -> (Option<String>, Vec<u8>) {
        let request = Request::builder().header("accept-encoding", offer).finish();
        let response = Response::builder().content_type(kind).body(body.to_owned());
        let response = compressed(response, takes_gzip(&request)).await.unwrap();
        let coding = response.headers().get("content-encoding").map(|value| value.to_str().unwrap().to_owned());
        (coding, response.into_body().into_vec().await.unwrap())
    }

    #[tokio::test]
    async fn what_is_long_text_is_compressed_for_who_takes_it() {
        let long = "Coinwire ".repeat(500);
        for offer in ["gzip", "br;q=1.0, GZIP;q=0.5, *;q=0.1", "deflate, gzip"] {
            let (coding, bytes) = sent("text/html; charset=utf-8", &long, offer).await;
            assert_eq!(coding.as_deref(), Some("gzip"), "{offer}");
            assert!(bytes.len() < long.len() / 3);
            let mut text = String::new();
            flate2::read::GzDecoder::new(bytes.as_slice()).read_to_string(&mut text).unwrap();
            assert_eq!(text, long);
        }
        for (kind, body, offer) in [
            ("text/html", long.as_str(), ""),
            ("text/html", &long, "br, gzip;q=0"),
            ("text/html", "short", "gzip"),
            ("image/png", &long, "gzip"),
            ("text/event-stream", &long, "gzip"),
        ] {
            assert_eq!(sent(kind, body, offer).await, (None, body.as_bytes().to_vec()), "{kind} {offer}");
        }
    }

    #[tokio::test]
    async fn what_must_stay_as_it_is_stays() {
        let long = "secret ".repeat(500);
        let response = Response::builder().content_type("text/html").header("cache-control", "no-store, no-transform");
        let response = compressed(response.body(long.clone()), true).await.unwrap();
        assert!(!response.headers().contains_key("content-encoding"));
        assert_eq!(response.headers()["vary"], "accept-encoding");
        assert_eq!(response.into_body().into_string().await.unwrap(), long);
    }
}
