//! The links on error pages, so that no page is a dead end. Pure; a test covers every route.

use poem::http::StatusCode;
use serde::Serialize;

/// A link on a page: `way-<word>` in the locales.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Link {
    pub(crate) href: String,
    pub(crate) word: &'static str,
}

/// Where somebody was when something went wrong.
pub(crate) struct ErrorOrigin<'a> {
    /// The address asked for: path and query.
    pub(crate) here: &'a str,
    /// Whether it was a GET request, which can be repeated.
    pub(crate) is_get: bool,
    pub(crate) status: StatusCode,
    /// Whether a member is signed in.
    pub(crate) is_member: bool,
}

/// Whose pages an address belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Area {
    Consumer,
    Operator,
    SignIn,
    Demo,
    Other,
}

impl Area {
    pub(crate) fn of(here: &str) -> Self {
        match segments(path_of(here)).first().copied() {
            Some("s" | "sale" | "identity") => Area::Consumer,
            Some("operator" | "sign-out") => Area::Operator,
            Some("sign-in") => Area::SignIn,
            Some("demo") => Area::Demo,
            Some(_) | None => Area::Other,
        }
    }
}

fn segments(path: &str) -> Vec<&str> {
    path.split('/').skip(1).collect()
}

fn path_of(here: &str) -> &str {
    here.split_once('?').map_or(here, |(path, _)| path)
}

/// The page to which an address belongs that is not itself a page (a form, a live stream, a file).
pub(crate) fn page_of(here: &str) -> Option<String> {
    let machine = |id: &str| Some(format!("/operator/machines/{id}"));
    match segments(path_of(here)).as_slice() {
        ["s", code, "order"] => Some(format!("/s/{code}")),
        ["sale", token, _] => Some(format!("/sale/{token}")),
        ["sign-out"] | ["operator", "events"] => Some("/operator".into()),
        ["operator", "sales", _] => Some("/operator/sales".into()),
        ["operator", "connections", ..] if path_of(here) != "/operator/connections" => {
            Some("/operator/connections".into())
        }
        ["operator", "machines", id, "module", _] => machine(id).map(|machine| format!("{machine}/module")),
        ["operator", "machines", _, "module"] => None,
        ["operator", "machines", id, _, ..] => machine(id),
        ["demo", _, ..] => Some("/demo".into()),
        _ => None,
    }
}

/// The links to show, the best one first; never none.
pub(crate) fn next_links(place: &ErrorOrigin<'_>) -> Vec<Link> {
    let mut links = vec![];
    let mut add = |href: &str, word| {
        if links.iter().all(|link: &Link| link.href != href) {
            links.push(Link { href: href.to_owned(), word });
        }
    };
    let is_gone = place.status == StatusCode::NOT_FOUND;
    let again = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
    match page_of(place.here) {
        Some(page) if !is_gone => add(&page, "back"),
        None if place.is_get && (place.status.is_server_error() || again.contains(&place.status)) => {
            add(place.here, "retry");
        }
        Some(_) | None => {}
    }
    match Area::of(place.here) {
        Area::Consumer => {
            add("/s/", "find");
            if place.is_member {
                add("/operator", "fleet");
            }
        }
        Area::Operator => add("/operator", "fleet"),
        Area::SignIn => add("/sign-in", "sign-in"),
        Area::Demo => add("/demo", "demo"),
        Area::Other if place.is_member => add("/operator", "fleet"),
        Area::Other => {
            add("/s/", "find");
            add("/sign-in", "sign-in");
        }
    }
    links
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hrefs(here: &str, status: u16, is_get: bool, is_member: bool) -> Vec<String> {
        let status = StatusCode::from_u16(status).unwrap();
        next_links(&ErrorOrigin { here, is_get, status, is_member }).into_iter().map(|link| link.href).collect()
    }

    #[test]
    fn a_form_address_belongs_to_its_page() {
        for (address, page) in [
            ("/s/CODE/order", "/s/CODE"),
            ("/s/CODE/order?form_key=x", "/s/CODE"),
            ("/sale/TOKEN/events", "/sale/TOKEN"),
            ("/sale/TOKEN/pay", "/sale/TOKEN"),
            ("/sign-out", "/operator"),
            ("/operator/events", "/operator"),
            ("/operator/sales/events?state=paid", "/operator/sales"),
            ("/operator/connections/7/end", "/operator/connections"),
            ("/operator/machines/7/prices/8", "/operator/machines/7"),
            ("/operator/machines/7/active", "/operator/machines/7"),
            ("/operator/machines/7/module/remote-actions", "/operator/machines/7/module"),
            ("/demo/modules/X/coin", "/demo"),
        ] {
            assert_eq!(page_of(address).as_deref(), Some(page), "{address}");
        }
        for page in ["/", "/s/CODE", "/sale/TOKEN", "/operator", "/operator/machines/7", "/operator/machines/7/module"]
        {
            assert_eq!(page_of(page), None, "{page}");
        }
        for page in ["/operator/connections", "/operator/sales", "/sign-in", "/demo", "/nowhere"] {
            assert_eq!(page_of(page), None, "{page}");
        }
    }

    #[test]
    fn every_error_offers_a_way_on() {
        assert_eq!(hrefs("/s/NOPE", 404, true, false), ["/s/"]);
        assert_eq!(hrefs("/s/CODE", 429, true, false), ["/s/CODE", "/s/"]);
        assert_eq!(hrefs("/s/CODE/order", 429, false, false), ["/s/CODE", "/s/"]);
        assert_eq!(hrefs("/operator/machines/7/active", 413, false, true), ["/operator/machines/7", "/operator"]);
        assert_eq!(hrefs("/operator/sales?state=paid", 503, true, true), ["/operator/sales?state=paid", "/operator"]);
        assert_eq!(hrefs("/nowhere", 404, true, false), ["/s/", "/sign-in"]);
        assert_eq!(hrefs("/nowhere", 404, true, true), ["/operator"]);
        assert_eq!(hrefs("/sign-in", 429, false, false), ["/sign-in"]);
    }
}
