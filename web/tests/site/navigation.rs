//! No page ends nowhere: every route is walked with wrong input, and every refusal leads on.

use crate::support::{Answer, Browser, FakeDemo, Site, panel};
use std::sync::Arc;

/// The routes as they are written down, so that a new one is walked too.
fn routes() -> Vec<String> {
    let mut prefix = "";
    let mut routes = vec![];
    for line in include_str!("../../src/app.rs").lines() {
        if line.contains("fn operator(") {
            prefix = "/operator";
        }
        if let Some((path, _)) = line.trim().strip_prefix(".at(\"").and_then(|rest| rest.split_once('"')) {
            routes.push(if path == "/" && !prefix.is_empty() { prefix.to_owned() } else { format!("{prefix}{path}") });
        }
    }
    routes
}

/// The addresses of a route: with what is not there, with what makes no sense, and with what is there.
fn addresses(route: &str, real: &[(&str, String)]) -> Vec<String> {
    let filled = |fill: &dyn Fn(&str) -> String| {
        let parts = route.split('/').map(|part| part.strip_prefix(':').map_or_else(|| part.to_owned(), fill));
        parts.collect::<Vec<_>>().join("/")
    };
    let known = |name: &str| {
        let found = real.iter().find(|(known, _)| *known == name);
        found.map_or_else(|| "1".to_owned(), |(_, value)| value.clone())
    };
    let mut all =
        vec![filled(&|_| "999999".into()), filled(&|_| "NOPE".into()), filled(&|_| "%FF".into()), filled(&known)];
    all.dedup();
    all
}

/// What programs read, not people.
fn is_for_programs(path: &str) -> bool {
    path.starts_with("/callbacks/")
        || path.ends_with("/events")
        || ["/healthz", "/readyz", "/metrics", "/mqtt"].contains(&path)
}

async fn leads_on(browser: &Browser, answer: &Answer, what: &str) {
    if answer.status < 400 {
        return;
    }
    let path = what.split(' ').nth(1).unwrap();
    if !answer.header("content-type").starts_with("text/html") {
        assert!(is_for_programs(path), "{what}: {} {}", answer.status, answer.text);
        return;
    }
    assert_eq!(answer.all("h1").len(), 1, "{what}: says what happened");
    if answer.has("main form") {
        return;
    }
    let links = answer.attributes("main a[href]", "href");
    for link in &links {
        if browser.get(link).await.status < 400 {
            return;
        }
    }
    panic!("{what} is a dead end: {} {links:?}", answer.status);
}

const NONSENSE: [(&str, &str); 8] = [
    ("price_id", "x"),
    ("amount_minor", "1e9"),
    ("on", "maybe"),
    ("remote_action", "explode"),
    ("label", ""),
    ("coins", "-1"),
    ("disabled", "perhaps"),
    ("heard_ms", "now"),
];

#[tokio::test]
async fn every_refusal_of_every_route_leads_on() {
    let demo = Arc::new(FakeDemo::default());
    let site = Site::open_with(|config| config.demo = Some(panel(demo))).await;
    let token = site.order().await;
    let real = [
        ("code", site.shop.code.clone()),
        ("token", token),
        ("id", site.shop.machine_id.to_string()),
        ("price", site.shop.price_id.to_string()),
    ];
    let routes = routes();
    assert!(routes.len() > 30 && routes.iter().any(|route| route == "/operator/sales"), "{routes:?}");
    for is_member in [false, true] {
        let browser = if is_member { site.operator().await } else { site.browser() };
        let (own, others) = (browser.get("/operator").await.csrf(), browser.get("/sign-in").await.csrf());
        for path in routes.iter().flat_map(|route| addresses(route, &real)) {
            let csrf = if path.starts_with("/operator") { own.as_str() } else { others.as_str() };
            let mut answers = vec![("GET", browser.get(&path).await)];
            // Whoever signs out is no member any more.
            if path != "/sign-out" {
                let with_token: Vec<(&str, &str)> = [("csrf", csrf)].into_iter().chain(NONSENSE).collect();
                answers.push(("POST", browser.post_plain(&path, &[], &NONSENSE).await));
                answers.push(("POST", browser.post_plain(&path, &[], &with_token).await));
                answers.push(("POST", browser.post_plain(&path, &[("origin", "https://evil.example")], &[]).await));
                answers.push(("POST", browser.post_plain(&path, &[], &[("x", &"y".repeat(20_000))]).await));
            }
            for (method, answer) in &answers {
                let what = format!("{method} {path} as {}", if is_member { "member" } else { "stranger" });
                leads_on(&browser, answer, &what).await;
                if is_member && path.starts_with("/operator/") && answer.header("content-type").starts_with("text/html")
                {
                    assert!(
                        answer.has("nav a[href=\"/operator/sales\"]"),
                        "{what}: a member stays in the operator's pages"
                    );
                }
            }
        }
    }
}

#[tokio::test]
async fn a_forms_address_opened_anew_leads_to_its_page() {
    let site = Site::open().await;
    let browser = site.operator().await;
    let machine = format!("/operator/machines/{}", site.shop.machine_id);
    for (address, page) in [
        (format!("/s/{}/order", site.shop.code), format!("/s/{}", site.shop.code)),
        (format!("{machine}/active"), machine.clone()),
        (format!("{machine}/prices/{}", site.shop.price_id), machine.clone()),
        (format!("{machine}/module/remote-actions"), format!("{machine}/module")),
        ("/sign-out".into(), "/operator".into()),
    ] {
        let answer = browser.get(&address).await;
        assert_eq!((answer.status, answer.location()), (303, page.as_str()), "{address}");
    }
}

#[tokio::test]
async fn a_member_keeps_the_navigation_wherever_an_error_happens() {
    let site = Site::open().await;
    let browser = site.operator().await;
    for (path, status) in [("/nowhere", 404), ("/operator/nowhere", 404), ("/operator/machines/999999", 404)] {
        let answer = browser.get(path).await;
        assert_eq!(answer.status, status, "{path}");
        assert!(answer.has("nav a[href=\"/operator\"]"), "{path}");
    }
    let long = browser.post_plain("/operator/machines/1/active", &[], &[("x", &"y".repeat(20_000))]).await;
    assert!(long.status == 413 && long.has("nav a[href=\"/operator\"]"));
    // A consumer's page stays one, and has a way back for the member.
    let scan = browser.get("/s/NOPE").await;
    assert!(!scan.has("nav") && scan.has("form[action=\"/s/\"]"));
    assert!(!site.browser().get("/nowhere").await.has("nav"));
}

#[tokio::test]
async fn a_rate_limited_visitor_is_told_when_to_retry_and_where() {
    let site = Site::open_with(|config| config.limits.scans_per_minute = 1).await;
    let mut browser = site.browser();
    let path = format!("/s/{}", site.shop.code);
    browser.get(&path).await;
    for (language, words) in [("en", "Please wait"), ("zh", "请等待")] {
        browser.language = language.into();
        let answer = browser.get(&path).await;
        assert_eq!(answer.status, 429);
        assert!(answer.text.contains(words), "{language}");
        assert_eq!(answer.attributes("main a.button", "href")[0], path);
    }
}

#[tokio::test]
async fn a_machine_is_found_by_the_code_that_is_typed() {
    let site = Site::open().await;
    let browser = site.browser();
    for address in ["/s", "/s/", "/s/?code="] {
        assert_eq!(browser.get(address).await.attributes("main form", "action"), ["/s/"], "{address}");
    }
    let typed = browser.get(&format!("/s/?code=+{}+", site.shop.code.to_lowercase())).await;
    assert_eq!(typed.location(), format!("/s/{}", site.shop.code));
}
