//! The order that a browser made last: whoever orders at the same machine once more, without having paid, leaves it.

use crate::{guard::signed_cookie, page::Page};
use backend::ids::SaleToken;
use poem::web::cookie::CookieJar;
use std::time::Duration;

const COOKIE: &str = "cw_order";
/// Longer than an order can be paid.
const AGE: Duration = Duration::from_secs(3600);

/// The sale's token, if this browser ordered lately.
pub(crate) fn read(page: &Page, jar: &CookieJar) -> Option<SaleToken> {
    signed_cookie::read(&page.app.config.csrf_key, jar, COOKIE)
}

/// Remembers an order.
pub(crate) fn keep(page: &Page, jar: &CookieJar, token: &SaleToken) {
    let config = &page.app.config;
    jar.add(signed_cookie::cookie(&config.csrf_key, COOKIE, token, AGE, config.secure_cookies));
}
