//! The payer's identity, if a provider must give it before an order: the browser goes to the provider and comes back
//! here.
//!
//! Both steps are bound together by a state in a cookie of this browser. The provider's answer can be used only once: a
//! browser that returns twice at once gets the result of the one exchange, and for one that presses back later nothing is
//! exchanged, and the machine's page shows what is known.

use crate::{
    failure::Failure,
    guard::{limits::limit_key, signed_cookie},
    page::{ClientIp, Page, see_other},
};
use backend::{
    clock::{SystemRandom, random_text},
    flows::{identify_payer, show_domain_file},
    payments::method::Payer,
};
use poem::{
    Response, handler,
    web::cookie::CookieJar,
    web::{Path, Query},
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The cookie that remembers who pays, as a provider said.
const PAYER_COOKIE: &str = "cw_payer";
const PAYER_AGE: Duration = Duration::from_secs(30 * 24 * 3600);
/// The cookie that remembers what a provider is being asked.
const ASKED_COOKIE: &str = "cw_asked";
const ASKED_AGE: Duration = Duration::from_secs(10 * 60);
/// Random characters of a state; the machine's code follows.
const STATE_CHARS: usize = 26;

/// What a provider is being asked.
#[derive(Serialize, Deserialize)]
struct Asked {
    state: String,
    code: String,
    way: String,
}

/// Who pays, as a provider told this browser.
pub(crate) fn payer(page: &Page, jar: &CookieJar) -> Option<Payer> {
    signed_cookie::read(&page.app.config.csrf_key, jar, PAYER_COOKIE)
}

/// Redirects the browser to the provider of a way to pay, to learn who pays; `None` if that is not needed.
pub(crate) async fn ask(page: &Page, jar: &CookieJar, code: &str, way: &str) -> Result<Option<Response>, Failure> {
    let state = format!("{}{code}", random_text(&SystemRandom, STATE_CHARS));
    let Some(url) = identify_payer::identity_url(&page.app.backend, code, way, &state).await? else {
        return Ok(None);
    };
    let asked = Asked { state, code: code.to_owned(), way: way.to_owned() };
    let config = &page.app.config;
    jar.add(signed_cookie::cookie(&config.csrf_key, ASKED_COOKIE, &asked, ASKED_AGE, config.secure_cookies));
    Ok(Some(see_other(&url)))
}

/// `GET /identity`: the browser comes back from a provider.
#[handler]
pub(crate) async fn come_back(
    page: Page,
    ClientIp(ip): ClientIp,
    jar: &CookieJar,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Result<Response, Failure> {
    page.app.limits.scans.check(&limit_key(ip))?;
    let state = parameters.iter().find(|(name, _)| name == "state").map_or("", |(_, value)| value.as_str());
    let asked: Option<Asked> = signed_cookie::read(&page.app.config.csrf_key, jar, ASKED_COOKIE);
    let Some(asked) = asked.filter(|asked| asked.state == state) else {
        return Ok(see_other(&machine_page(state.get(STATE_CHARS..).unwrap_or_default(), None, true)));
    };
    jar.remove(ASKED_COOKIE);
    let (backend, code, way) = (page.app.backend.clone(), asked.code.clone(), asked.way.clone());
    let exchange = async move {
        let told = identify_payer::identify(&backend, &code, &way, &parameters).await;
        told.inspect_err(|error| tracing::warn!(%error, "a payment provider did not say who pays")).ok()
    };
    let payer = page.app.exchanges.once(&asked.state, exchange).await;
    if let Some(payer) = &payer {
        let config = &page.app.config;
        jar.add(signed_cookie::cookie(&config.csrf_key, PAYER_COOKIE, payer, PAYER_AGE, config.secure_cookies));
    }
    Ok(see_other(&machine_page(&asked.code, Some(&asked.way), payer.is_none())))
}

/// `GET /MP_verify_{word}.txt`: proves to WeChat that a service account may send browsers here.
#[handler]
pub(crate) async fn domain_file(
    page: Page,
    ClientIp(ip): ClientIp,
    Path(name): Path<String>,
) -> Result<Response, Failure> {
    page.app.limits.scans.check(&limit_key(ip))?;
    let text = show_domain_file::domain_file(&page.app.backend, &name).await?;
    Ok(Response::builder().content_type("text/plain; charset=utf-8").body(text))
}

/// The machine's page: with the chosen way to pay if it is known, and marked so that it does not ask again by itself if the
/// provider did not say who pays.
fn machine_page(code: &str, way: Option<&str>, untold: bool) -> String {
    if code.is_empty() || !code.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return "/s/".into();
    }
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    if let Some(way) = way {
        query.append_pair("way", way);
    }
    if untold {
        query.append_pair("asked", "1");
    }
    format!("/s/{code}?{}", query.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leads_to_pages_of_ours_only() {
        assert_eq!(machine_page("K3J9", Some("a.b&c"), false), "/s/K3J9?way=a.b%26c");
        assert_eq!(machine_page("K3J9", Some("a.b"), true), "/s/K3J9?way=a.b&asked=1");
        assert_eq!(machine_page("K3J9", None, true), "/s/K3J9?asked=1");
        for odd in ["", "/evil.example", "a/b", "a?b", "é"] {
            assert_eq!(machine_page(odd, None, true), "/s/", "{odd}");
        }
    }
}
