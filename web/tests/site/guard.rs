//! Form tokens, sessions, limits, headers, errors, languages.

use crate::{
    serving::StuckBroker,
    support::{EMAIL, FakeDemo, PASSWORD, Site, open_shop, panel, system},
};
use backend::{
    access::sign_in,
    ids::{MachineId, PriceId},
    machines::fleet,
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use web::{ProxyHeader, TrustedProxies, WebConfig};

/// Every address that only members may see, with the method it takes.
fn members_addresses(machine_id: MachineId, price_id: PriceId) -> Vec<(&'static str, String)> {
    let machine = format!("/operator/machines/{machine_id}");
    vec![
        ("GET", "/operator".into()),
        ("GET", "/operator/events".into()),
        ("GET", "/operator/sales".into()),
        ("GET", "/operator/sales/events".into()),
        ("GET", machine.clone()),
        ("GET", format!("{machine}/events")),
        ("GET", format!("{machine}/qr.svg")),
        ("POST", format!("{machine}/active")),
        ("POST", format!("{machine}/locked")),
        ("POST", format!("{machine}/prices/{price_id}")),
    ]
}

#[tokio::test]
async fn strangers_are_sent_to_sign_in() {
    let site = Site::open().await;
    for cookie in [None, Some("not-a-session")] {
        let browser = site.browser();
        if let Some(cookie) = cookie {
            browser.set_cookie("cw_session", cookie);
        }
        let page = browser.get("/sign-in").await;
        for (method, path) in members_addresses(site.shop.machine_id, site.shop.price_id) {
            let answer = match method {
                "GET" => browser.get(&path).await,
                _ => {
                    browser
                        .post(&path, &page, &[("on", "true"), ("label", "x"), ("amount", "1"), ("pulses", "1")])
                        .await
                }
            };
            if path.ends_with("/events") {
                assert_eq!(answer.status, 401, "{path}");
            } else {
                assert_eq!(answer.status, 303, "{path}");
                assert!(answer.location().starts_with("/sign-in?"), "{path}: {}", answer.location());
            }
        }
        let to = browser.get("/operator/sales?state=paid").await;
        assert_eq!(to.location(), "/sign-in?next=%2Foperator%2Fsales%3Fstate%3Dpaid");
        let form = browser.get(to.location()).await;
        assert!(form.all("[role=alert]")[0].contains("sign in"));
        assert_eq!(form.attributes("input[name=next]", "value"), ["/operator/sales?state=paid"]);
    }
    assert!(fleet::machine(&site.backend, &system(), site.shop.machine_id).await.unwrap().row.active);
}

#[tokio::test]
async fn members_do_not_see_what_is_anothers() {
    let site = Site::open().await;
    let other = open_shop(&site.backend, &site.field, "other").await;
    let browser = site.operator().await;
    let page = browser.get("/operator").await;
    for (method, path) in members_addresses(other.machine_id, other.price_id) {
        if !path.contains("/machines/") {
            continue;
        }
        let answer = match method {
            "GET" => browser.get(&path).await,
            _ => browser.post(&path, &page, &[("on", "false"), ("label", "x"), ("amount", "1"), ("pulses", "1")]).await,
        };
        assert_eq!(answer.status, 404, "{path}");
    }
    assert!(!page.text.contains(&format!("machine-{}", other.machine_id)));
    assert!(fleet::machine(&site.backend, &system(), other.machine_id).await.unwrap().row.active);
}

#[tokio::test]
async fn forms_from_elsewhere_do_nothing() {
    let site = Site::open().await;
    let browser = site.operator().await;
    let page = browser.get("/operator").await;
    let path = format!("/operator/machines/{}/active", site.shop.machine_id);
    let token = page.csrf();
    let anonymous = site.browser().get("/sign-in").await.csrf();
    let off = ("on", "false");
    for (headers, fields) in [
        (vec![], vec![off]),
        (vec![], vec![off, ("csrf", "")]),
        (vec![], vec![off, ("csrf", "AAAAAAAAAAA.AAAA")]),
        (vec![], vec![off, ("csrf", &anonymous)]),
        (vec![("sec-fetch-site", "cross-site")], vec![off, ("csrf", &token)]),
        (vec![("sec-fetch-site", "same-site")], vec![off, ("csrf", &token)]),
        (vec![("origin", "https://evil.example")], vec![off, ("csrf", &token)]),
        (vec![("origin", "null")], vec![off, ("csrf", &token)]),
    ] {
        let answer = browser.post_plain(&path, &headers, &fields).await;
        assert_eq!(answer.status, 403, "{headers:?} {fields:?}");
        let heading = if headers.is_empty() { "Please press once more" } else { "Not sent from our page" };
        assert_eq!(answer.all("h1"), [heading]);
    }
    let actor = system();
    let machine = || fleet::machine(&site.backend, &actor, site.shop.machine_id);
    assert!(machine().await.unwrap().row.active);
    for headers in [vec![("origin", "http://pay.example")], vec![("sec-fetch-site", "same-origin")]] {
        let answer = browser.post_plain(&path, &headers, &[off, ("csrf", &token)]).await;
        assert_eq!(answer.status, 303);
    }
    assert!(!machine().await.unwrap().row.active);
    let long = browser.post_plain(&path, &[], &[("csrf", &token), ("x", &"y".repeat(20_000))]).await;
    assert_eq!((long.status, long.all("h1")), (413, vec!["That is too long".into()]));
}

#[tokio::test]
async fn signing_in_and_out() {
    let site = Site::open().await;
    let browser = site.browser();
    browser.set_cookie("cw_session", "chosen-by-somebody-else");
    let page = browser.get("/sign-in").await;
    for (email, password) in [(EMAIL, "wrong password"), ("nobody@example.com", PASSWORD), ("", "")] {
        let answer = browser.post("/sign-in", &page, &[("email", email), ("password", password)]).await;
        assert_eq!(answer.status, 401);
        assert!(answer.all("[role=alert]")[0].contains("wrong"));
        assert!(!answer.text.contains(password) || password.is_empty(), "a password is never shown");
    }
    let fields = [("email", EMAIL), ("password", PASSWORD), ("next", "https://evil.example")];
    let answer = browser.post("/sign-in", &page, &fields).await;
    assert_eq!((answer.status, answer.location()), (303, "/operator"));
    let cookie = answer.header("set-cookie").to_owned();
    for wanted in ["cw_session=", "HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=43200"] {
        assert!(cookie.contains(wanted), "{wanted} in {cookie}");
    }
    let session = browser.cookie("cw_session").unwrap();
    assert_ne!(session, "chosen-by-somebody-else");
    assert!(sign_in::load_session(&site.backend, &session).await.unwrap().is_none(), "stored under its hash only");
    let home = browser.get("/operator").await;
    assert_eq!(home.status, 200);
    let mut live = browser.stream("/operator/events").await;
    live.until("event: fragment").await;

    let out = browser.post("/sign-out", &home, &[]).await;
    assert_eq!((out.status, out.location()), (303, "/sign-in"));
    // A copy of the cookie is worth nothing, and an open stream ends.
    browser.set_cookie("cw_session", &session);
    assert_eq!(browser.get("/operator").await.status, 303);
    live.until("event: reload").await;
}

#[tokio::test]
async fn cookies_are_for_https_where_the_site_is() {
    let site = Site::open_with(|config| {
        config.public_url = "https://pay.example".into();
        config.secure_cookies = true;
    })
    .await;
    let browser = site.browser();
    let page = browser.get("/sign-in?lang=zh").await;
    assert!(page.header("set-cookie").contains("Secure"));
    assert!(page.header("strict-transport-security").contains("max-age=31536000"));
    let answer = browser.post("/sign-in", &page, &[("email", EMAIL), ("password", PASSWORD)]).await;
    assert!(answer.header("set-cookie").contains("Secure"));
}

/// One proxy before the site, which tells who asks.
fn behind_a_proxy(config: &mut WebConfig) {
    config.proxies = TrustedProxies::these(&["127.0.0.1".into()], ProxyHeader::Either).unwrap();
}

#[tokio::test]
async fn too_much_is_told_when_to_come_back() {
    let site = Site::open_with(|config| {
        config.limits.scans_per_minute = 3;
        config.limits.orders_per_minute = 1;
        config.limits.sign_ins_per_minute = 2;
        behind_a_proxy(config);
    })
    .await;
    let browser = site.browser();
    let path = format!("/s/{}", site.shop.code);
    let page = browser.get(&path).await;
    assert_eq!(browser.submit(&page, 0).await.status, 303);
    let again = browser.submit(&page, 1).await;
    assert_eq!((again.status, again.all("h1")), (429, vec!["Too many requests".into()]));
    assert!((1..=61).contains(&again.header("retry-after").parse::<u64>().unwrap()));
    for _ in 0..2 {
        assert_eq!(browser.get(&path).await.status, 200);
    }
    assert_eq!(browser.get(&path).await.status, 429);
    // The next address is another's, however the proxy writes it.
    for other in ["203.0.113.9", "203.0.113.10:51234", "[2001:db8::7]:51234"] {
        assert_eq!(browser.get_with(&path, &[("x-forwarded-for", other)]).await.status, 200, "{other}");
    }

    let form = browser.get("/sign-in").await;
    for (email, status) in [(EMAIL, 401), ("other@example.com", 401), (EMAIL, 429)] {
        let answer = browser.post("/sign-in", &form, &[("email", email), ("password", "wrong password")]).await;
        assert_eq!(answer.status, status, "{email}");
    }
}

#[tokio::test]
async fn a_visitors_address_that_cannot_be_read_is_refused_and_a_payment_is_taken_all_the_same() {
    let site = Site::open_with(behind_a_proxy).await;
    let browser = site.browser();
    let scan = format!("/s/{}", site.shop.code);
    for header in ["x-forwarded-for", "forwarded"] {
        let refused = browser.get_with(&scan, &[(header, "for=unknown")]).await;
        assert_eq!((refused.status, refused.has("h1")), (400, true), "{header}");
    }
    assert_eq!(browser.get_with(&scan, &[("forwarded", "for=\"203.0.113.9:5\"")]).await.status, 200);
    assert_eq!(browser.get(&scan).await.status, 200, "the proxy's own request");
    site.order().await;
    let order = site.field.last_order();
    let callback = format!("/callbacks/wechat/{}", site.shop.account);
    let headers = [("x-test-signature", "good"), ("x-forwarded-for", "unknown")];
    let taken = browser.raw_post(&callback, &headers, site.field.paid_callback(&order)).await;
    assert_eq!(taken.status, 204, "a provider's word does not hang on its address");
}

#[tokio::test]
async fn a_proxy_that_nobody_named_is_told_to_who_runs_the_server() {
    let site = Site::open_with(|config| {
        config.mqtt = Some(Arc::new(StuckBroker));
        config.admins = vec![EMAIL.into()];
    })
    .await;
    let admin = site.operator().await;
    let notice = async || admin.get("/operator/connections").await.all("[role=alert]");
    assert!(notice().await.is_empty());
    site.browser().get_with("/healthz", &[("x-forwarded-for", "203.0.113.9")]).await;
    let notice = notice().await;
    assert!(notice[0].contains("trusted_proxies = [\"127.0.0.1\"]"), "{notice:?}");
}

#[tokio::test]
async fn whoever_guesses_at_a_members_password_does_not_keep_the_member_out() {
    let site = Site::open_with(|config| {
        config.limits.sign_ins_per_minute = 3;
        config.limits.sign_ins_per_email_per_minute = 1;
        behind_a_proxy(config);
    })
    .await;
    let browser = site.browser();
    let page = browser.get("/sign-in").await;
    let token = page.csrf();
    let attempt = async |from: &str, password: &str| {
        let fields = [("csrf", token.as_str()), ("email", EMAIL), ("password", password)];
        site.browser().post_plain("/sign-in", &[("x-forwarded-for", from)], &fields).await.status
    };
    assert_eq!(attempt("203.0.113.1", "a stranger's guess").await, 401);
    let begun = Instant::now();
    let late = async {
        assert_eq!(attempt("203.0.113.2", "a stranger's guess").await, 401);
        begun.elapsed()
    };
    let right = async {
        assert_eq!(attempt("203.0.113.7", PASSWORD).await, 303);
        begun.elapsed()
    };
    let (late, _) = tokio::join!(late, right);
    assert!(late >= Duration::from_secs(3), "a failure is answered late: {late:?}");
    // Behind the same gateway: others there use up what the address has, and the member is known.
    for _ in 0..2 {
        let fields = [("csrf", token.as_str()), ("email", "x@example.com"), ("password", "a guess")];
        site.browser().post_plain("/sign-in", &[("x-forwarded-for", "203.0.113.7")], &fields).await;
    }
    let fields = [("csrf", token.as_str()), ("email", "y@example.com"), ("password", "a guess")];
    let others = site.browser().post_plain("/sign-in", &[("x-forwarded-for", "203.0.113.7")], &fields).await;
    assert_eq!(others.status, 429);
    assert_eq!(attempt("203.0.113.7", PASSWORD).await, 303);
}

#[tokio::test]
async fn live_streams_are_counted() {
    let site = Site::open_with(|config| {
        config.limits.live_streams = 2;
        config.limits.live_streams_per_sale = 1;
        behind_a_proxy(config);
    })
    .await;
    let browser = site.browser();
    let events = format!("/sale/{}/events", site.order().await);
    let mut live = browser.stream(&events).await;
    live.until("event: fragment").await;
    let refused = browser.get_with(&events, &[("x-forwarded-for", "203.0.113.9")]).await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, "5"), "one sale has one");
    let operator = site.operator().await;
    let mut fleet = operator.stream("/operator/events").await;
    fleet.until("event: fragment").await;
    let refused = operator.get("/operator/sales/events").await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, "5"), "all live streams are taken");
    // Closing one makes room.
    drop((live, fleet));
    while browser.get_head(&events).await != 200 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn all_who_watch_a_sale_see_it_move() {
    let site = Site::open().await;
    let events = format!("/sale/{}/events", site.order().await);
    let (one, another) = (site.browser(), site.browser());
    let mut chinese = site.browser();
    chinese.language = "zh".into();
    let mut watching = [one.stream(&events).await, another.stream(&events).await, chinese.stream(&events).await];
    for live in &mut watching {
        live.until("data-state=\"awaiting_payment\"").await;
    }
    site.pay().await;
    for live in &mut watching {
        live.until("event: end").await;
        assert!(live.text.contains("data-state=\"credited\""), "{}", live.text);
    }
    assert_eq!(watching[0].text, watching[1].text);
    assert_ne!(watching[0].text, watching[2].text, "each in its language");
    // Who comes when all is over sees so too.
    one.stream(&events).await.until("event: end").await;
}

#[tokio::test]
async fn answers_are_compressed_and_tell_nothing_by_their_length() {
    let site = Site::open_with(|config| config.metrics = Some(Arc::new(|| "up 1\n".repeat(1000)))).await;
    let browser = site.browser();
    let plain = browser.get("/sign-in").await;
    let style = plain.attributes("link[rel=stylesheet]", "href").remove(0);
    for path in [style.as_str(), "/metrics"] {
        let whole = browser.get(path).await;
        assert_eq!((whole.header("content-encoding"), whole.header("vary")), ("", "accept-encoding"), "{path}");
        let packed = browser.get_bytes(path, &[("accept-encoding", "gzip, br")]).await;
        assert_eq!(packed.0, "gzip", "{path}");
        assert!(packed.1.len() < whole.text.len() / 2, "{path}");
    }
    assert_eq!(browser.get_bytes("/healthz", &[("accept-encoding", "gzip")]).await.0, "", "too short to gain anything");
    // The one secret on page after page is never the same: nothing is learned by trying.
    let (mut tokens, mut tries) = (std::collections::HashSet::new(), 0);
    while tokens.len() < 3 {
        tokens.insert(browser.get("/sign-in").await.csrf());
        tries += 1;
        assert!(tries < 1000, "the form token does not change: {tokens:?}");
    }
}

#[tokio::test]
async fn every_answer_carries_its_headers() {
    let site = Site::open().await;
    let browser = site.browser();
    for path in ["/", "/sign-in", "/nowhere", "/healthz", "/operator", "/s/NOPE"] {
        let answer = browser.get(path).await;
        let policy = answer.header("content-security-policy");
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{path}");
        assert!(!policy.contains("unsafe"), "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("referrer-policy"), "strict-origin-when-cross-origin", "{path}");
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
        assert_eq!(answer.header("x-request-id").len(), 12, "{path}");
        assert_eq!(answer.header("strict-transport-security"), "", "{path}: not over plain http");
    }
    let one = browser.get("/healthz").await;
    let two = browser.get("/healthz").await;
    assert_ne!(one.header("x-request-id"), two.header("x-request-id"));
}

#[tokio::test]
async fn errors_are_pages_in_both_languages() {
    let demo = Arc::new(FakeDemo::default());
    let site = Site::open_with(|config| config.demo = Some(panel(demo.clone()))).await;
    let mut browser = site.browser();
    let page = browser.get("/demo").await;
    for (language, words) in
        [("en", ["Not this way", "Something went wrong on our side"]), ("zh", ["请求方式不正确", "我们这边出了问题"])]
    {
        browser.language = language.into();
        let method = browser.raw_post("/demo", &[("x-csrf-token", &page.csrf())], "").await;
        assert_eq!((method.status, method.all("h1")), (405, vec![words[0].into()]));
        // Starting panics in this demo.
        let panicked = browser.post("/demo/modules/0123456789/start", &page, &[]).await;
        assert_eq!((panicked.status, panicked.all("h1")), (500, vec![words[1].into()]));
        assert!(panicked.text.contains(panicked.header("x-request-id")));
        assert!(!panicked.text.contains("the test wants"), "what happened inside is for the log");
    }
}

#[tokio::test]
async fn the_language_is_the_browsers_until_one_is_picked() {
    let site = Site::open().await;
    let mut browser = site.browser();
    for (accepted, language) in [
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh-CN"),
        ("zh-TW", "zh-CN"),
        ("zh-Hans-CN", "zh-CN"),
        ("en-GB,en;q=0.9,zh;q=0.1", "en"),
        ("fr;q=0.3,zh;q=0.2", "zh-CN"),
        ("de", "en"),
        ("", "en"),
        (";;;q=x,,", "en"),
    ] {
        browser.language = accepted.into();
        let page = browser.get("/sign-in").await;
        assert_eq!(page.attributes("html", "lang"), [language], "{accepted:?}");
    }
    browser.language = "en".into();
    let picked = browser.get("/sign-in?lang=zh").await;
    assert_eq!(picked.attributes("html", "lang"), ["zh-CN"]);
    assert_eq!(browser.get("/sign-in").await.attributes("html", "lang"), ["zh-CN"], "it is remembered");
    assert_eq!(browser.get("/sign-in?lang=xx").await.attributes("html", "lang"), ["zh-CN"]);
    assert_eq!(browser.get("/sign-in?lang=en").await.attributes("html", "lang"), ["en"]);
}
