//! Every page in every state and both languages, rendered from views made by hand.
//!
//! With `COINWIRE_RENDER_DIR` set, the pages are also written there, to be looked at.

mod module;

use super::{confirm, connections, demo, fleet, machine, module::STAGES, resend, sale, sales, scan, sign_in};
use crate::{
    config::{MqttConnection, MqttParty},
    demo::{DemoControl, DemoLearning, DemoModule, DemoPanel},
    error_page,
    failure::{ERROR_WORDS, ErrorWords, Failure, chain},
    guard::form_token::ExpiredForm,
    locale::Language,
    navigation::ErrorOrigin,
    page::Look,
    templates::Templates,
};
use async_trait::async_trait;
use backend::{
    access::{role::Role, signed_in::Member},
    ids::{MachineId, MemberId, OperatorId, PriceId, SaleToken},
    machines::{
        fault_names,
        shapes::{FleetRow, MachineView, ModuleView, PulseRow},
    },
    money::{Currency, Money, PaidMoney},
    payments::{
        DisputeStanding,
        method::{Handoff, HandoffKind, Invocation, PayerApp},
    },
    sales::{
        SaleState,
        readiness::Readiness,
        shapes::{PriceView, SaleRow, SaleView, ScanView, WayView},
        state::SaleReason,
        takings::Takings,
    },
};
use poem::http::StatusCode;
use std::{collections::BTreeSet, fs, path::Path, sync::Arc};
use tera::Context;

/// The whole scan page: HTML and style sheet.
const SCAN_PAGE_BYTES: usize = 30 * 1024;

fn look(language: Language) -> Look {
    Look {
        language,
        request_id: "REQUEST".into(),
        csrf: "TOKEN".into(),
        here: "/here?a=1".into(),
        demo: true,
        mqtt: true,
        time_zone: None,
    }
}

/// Renders in both languages, checks what holds for all pages, and keeps a copy to look at if asked.
fn each(templates: &Templates, name: &str, template: &str, context: &Context) -> [String; 2] {
    Language::ALL.map(|language| {
        let html =
            look(language).html(templates, template, context.clone()).map_err(|failure: Failure| chain(&failure));
        let html = html.unwrap_or_else(|error| panic!("{name} in {language:?}: {error}"));
        assert!(!html.contains("style=") && !html.contains("onclick") && !html.contains("<script>"), "{name}: inline");
        if html.contains("<html") {
            assert!(html.contains(&format!("<html lang=\"{}\">", language.html())), "{name}");
            assert_eq!(html.matches("<h1").count(), 1, "{name}: one main heading");
            assert_eq!(html.matches("<main").count(), 1, "{name}");
            assert!(html.contains("/here?a=1&amp;lang="), "{name}: the other language keeps the query");
        }
        let forms = html.matches("method=\"post\"").count();
        assert_eq!(html.matches("name=\"csrf\" value=\"TOKEN\"").count(), forms, "{name}: each form carries the token");
        if let Ok(folder) = std::env::var("COINWIRE_RENDER_DIR") {
            keep(Path::new(&folder), templates, &format!("{name}-{}", language.code()), &html);
        }
        html
    })
}

fn keep(folder: &Path, templates: &Templates, name: &str, html: &str) {
    fs::create_dir_all(folder.join("static")).unwrap();
    for file in ["app.css", "live.js"] {
        let path = templates.asset_path(file).unwrap();
        let asset = templates.asset(path.trim_start_matches("/static/")).unwrap();
        fs::write(folder.join(path.trim_start_matches('/')), &asset.bytes).unwrap();
    }
    fs::write(folder.join(format!("{name}.html")), html.replace("\"/static/", "\"static/")).unwrap();
}

fn templates() -> Templates {
    Templates::load().unwrap_or_else(|error| panic!("{}", chain(&error)))
}

fn price(id: i64, label: &str, amount_minor: i64, pulses: i32) -> PriceView {
    let amount = Money::new(amount_minor, Currency::Cny);
    PriceView { id: PriceId(id), label: label.into(), amount, pulses }
}

fn way(provider: &str, handoff: HandoffKind) -> WayView {
    WayView { word: format!("{provider}.way"), provider: provider.into(), handoff, payer_scope: None }
}

fn scan_view(readiness: Readiness) -> ScanView {
    ScanView {
        code: "K3J9".into(),
        machine: "Carousel <3>".into(),
        site: "East Gate Mall, ground floor".into(),
        operator: "Sunny Rides".into(),
        contact: "400-123 4567".into(),
        readiness,
        ways: vec![way("wechat", HandoffKind::Redirect)],
        apps: vec![PayerApp::Wechat, PayerApp::Browser],
        prices: vec![
            price(1, "One ride", 100, 1),
            price(2, "Three rides", 250, 3),
            price(3, "Whole afternoon", 5000, 60),
        ],
    }
}

fn scan_context(view: &ScanView, notice: Option<scan::Notice>, form_key: &str) -> tera::Context {
    scan::context(view, view.ways.first(), notice, form_key)
}

fn sale_view(state: &'static str) -> SaleView {
    let given = match state {
        "credited" => 3,
        "crediting" => 1,
        _ => 0,
    };
    let has_refund = matches!(state, "refund_pending" | "refunded");
    SaleView {
        token: SaleToken("7QK2M9XW4T".into()),
        state: SaleState::parse(state).unwrap(),
        reason: if has_refund { SaleReason::ModuleSilent } else { SaleReason::None },
        at_rest: matches!(state, "credited" | "expired" | "refunded" | "review" | "settled"),
        code: "K3J9".into(),
        machine: "Carousel".into(),
        site: "East Gate Mall".into(),
        label: "Three rides".into(),
        operator: "Sunny Rides".into(),
        contact: "help@sunny.example".into(),
        asking_s: (state == "created").then_some(10),
        amount: yuan(250),
        pulses: 3,
        pulses_given: given,
        refunded: has_refund.then(|| paid(250)),
        refunded_elsewhere: None,
        dispute: DisputeStanding::None,
        handoff: (state == "awaiting_payment")
            .then(|| Handoff::Redirect { url: "https://pay.example/?a=1&b=2".into() }),
        served_and_refunded: false,
        created_ms: 1_795_404_636_000,
    }
}

fn sale_row(state: &'static str) -> SaleRow {
    let mut view = sale_view(state);
    view.token = SaleToken(format!("7QK2M9XW4T{state}"));
    SaleRow {
        finished_ms: view.at_rest.then_some(1_795_404_699_000),
        view,
        machine_id: MachineId(1),
        out_trade_no: Some("CW7QK2M9XW4T01".into()),
        provider_txn_id: (state == "credited").then(|| "4200001234202611230000000001".into()),
    }
}

fn member() -> Member {
    Member {
        member_id: MemberId(1),
        operator_id: OperatorId(1),
        role: Role::Owner,
        currency: Currency::Cny,
        operator: "Sunny Rides".into(),
        slug: "sunny".into(),
        email: "owner@example.com".into(),
        time_zone: "Asia/Shanghai".into(),
        fingerprint: "0123456789abcdef".into(),
    }
}

fn module(online: bool) -> ModuleView {
    ModuleView {
        id: "0123456789".into(),
        online,
        seen_ms: Some(1_795_404_636_000),
        firmware: "0.1.0".into(),
        signal_csq: Some(21),
        supply_mv: Some(4980),
        faults: if online {
            vec![]
        } else {
            vec!["coin_line_stuck", "flash", "machine_silent", "supply_low", "bad_signatures"]
        },
        locked: !online,
        disabled_ms: None,
        boot: 4,
        coin_pulses: 1234,
        credit_pulses: 567,
        settings_version: 2,
        settings_wanted: 2,
    }
}

fn fleet_row(machine: i64, name: &str, module: Option<ModuleView>) -> FleetRow {
    FleetRow {
        machine_id: MachineId(machine),
        code: format!("CODE{machine}"),
        name: name.into(),
        site: "East Gate Mall".into(),
        retired_ms: None,
        active: machine != 3,
        module,
        sales_today: Some(12),
        mobile_today: Some(yuan(3600)),
        coins_today: 48,
    }
}

fn fleet_rows() -> Vec<FleetRow> {
    let mut fresh = module(false);
    (fresh.seen_ms, fresh.signal_csq, fresh.supply_mv, fresh.firmware) = (None, None, None, String::new());
    fresh.faults.clear();
    fresh.locked = false;
    vec![
        fleet_row(1, "Carousel", Some(module(true))),
        fleet_row(2, "Shoe shiner", Some(module(false))),
        fleet_row(3, "Air pump", Some(fresh)),
        fleet_row(4, "Game cabinet", None),
    ]
}

fn yuan(amount_minor: i64) -> Money {
    Money::new(amount_minor, Currency::Cny)
}

fn paid(amount_minor: i64) -> PaidMoney {
    PaidMoney { amount_minor, currency: "CNY".into() }
}

fn takings() -> Takings {
    Takings { sales: 36, mobile: yuan(10_800), coins: yuan(4_800), total: yuan(15_600), refunded: yuan(250) }
}

fn machine_view(module: Option<ModuleView>, is_empty: bool) -> MachineView {
    let pulse = |n: i32| PulseRow { at_ms: 1_795_404_636_000, pulses: n, total: 1000, width_ms: 50, gap_ms: 60 };
    MachineView {
        row: fleet_row(1, "Carousel", module),
        coin_value: yuan(100),
        prices: if is_empty { vec![] } else { vec![price(1, "One ride", 100, 1), price(2, "Three rides", 250, 3)] },
        pulses: if is_empty { vec![] } else { (1..6).map(pulse).collect() },
    }
}

#[test]
fn scan_page_in_every_state() {
    use Readiness as R;
    let templates = templates();
    let css = templates.asset_path("app.css").unwrap();
    let css_bytes = templates.asset(css.trim_start_matches("/static/")).unwrap().bytes.len();
    for readiness in
        [R::Ready, R::Offline, R::NoAnswer, R::Fault, R::Locked, R::Busy, R::Closed, R::ProviderSilent, R::OtherApp]
    {
        let context = scan_context(&scan_view(readiness), None, "FORMKEY");
        for html in each(&templates, &format!("scan-{}", readiness.as_str()), "scan.html", &context) {
            assert_eq!(html.matches("/s/K3J9/order").count(), if readiness == R::Ready { 3 } else { 0 });
            assert!(html.contains("Carousel &lt;3&gt;"), "what operators write is escaped");
            assert!(!html.contains("<script"), "the scan page needs none");
            assert!(html.len() + css_bytes <= SCAN_PAGE_BYTES, "{} + {css_bytes}", html.len());
        }
    }
    let notice = scan_context(&scan_view(R::Ready), Some(scan::Notice::PriceChanged), "FORMKEY");
    assert!(each(&templates, "scan-changed", "scan.html", &notice)[1].contains("The price has changed"));
    let notice = scan_context(&scan_view(R::Ready), Some(scan::Notice::FormExpired), "FORMKEY");
    assert!(each(&templates, "scan-lay-open", "scan.html", &notice)[1].contains("open for a long time"));
    // Ready, but nothing to buy: the page shows a reason, not an empty list.
    let nothing = ScanView { prices: vec![], ..scan_view(R::Ready) };
    let html = each(&templates, "scan-nothing", "scan.html", &scan_context(&nothing, None, "FORMKEY"));
    assert!(html[1].contains("Not on sale") && !html[1].contains("<ul class=\"prices\">"));
}

#[test]
fn sale_page_in_every_state() {
    let templates = templates();
    for state in SaleState::ALL.map(SaleState::as_str) {
        let view = sale_view(state);
        let context = sale::context(&view).unwrap();
        for html in each(&templates, &format!("sale-{state}"), "sale.html", &context) {
            assert_eq!(html.contains("http-equiv=\"refresh\""), !view.at_rest, "{state}");
            // While the provider is asked, the page waits at an address of its own and moves on.
            assert_eq!(html.contains("0;url=/sale/7QK2M9XW4T/pay"), state == "created", "{state}");
            assert_eq!(html.contains("data-events="), !view.at_rest && state != "created", "{state}");
            assert!(html.contains("mailto:help@sunny.example"), "{state}: whom to turn to");
            let can_choose = !["created", "paid", "crediting"].contains(&state);
            let main = html.split("<main").nth(1).unwrap().split("</main>").next().unwrap();
            assert_eq!(main.contains("href=\"/s/K3J9\""), can_choose, "{state}: back to the prices");
            assert_eq!(html.contains("class=\"receipt\""), view.at_rest && state != "expired", "{state}");
            assert_eq!(html.contains("https://pay.example/?a=1&amp;b=2"), state == "awaiting_payment", "{state}");
        }
        each(&templates, &format!("fragment-{state}"), "sale_state.html", &context);
    }
    let [_, waiting] =
        each(&templates, "sale-awaiting_payment", "sale.html", &sale::context(&sale_view("awaiting_payment")).unwrap());
    assert!(!waiting.to_lowercase().contains("fail"), "an unknown outcome is never called a failure");
    let asking = each(&templates, "sale-created", "sale.html", &sale::context(&sale_view("created")).unwrap());
    assert!(asking[0].contains("最多需要 10 秒") && asking[1].contains("at most 10 seconds"), "the longest wait");
}

#[test]
fn a_payer_is_handed_over_as_the_provider_wants_it() {
    let templates = templates();
    let call = Invocation {
        bridge: "Bridge".into(),
        function: "call".into(),
        action: "pay".into(),
        parameters: [("package".into(), "a=\"b\"&<c>".into())].into(),
    };
    let shown = |handoff| {
        let view = SaleView { handoff: Some(handoff), ..sale_view("awaiting_payment") };
        each(&templates, "sale-handed-over", "sale.html", &sale::context(&view).unwrap())
    };
    for html in shown(Handoff::Invoke(call)) {
        assert!(html.contains("&quot;package&quot;:&quot;a=\\&quot;b\\&quot;&amp;&lt;c&gt;&quot;"), "{html}");
        assert!(html.contains("/static/pay.") && html.contains("<noscript><p"), "{html}");
    }
    for html in shown(Handoff::Code { text: "kiosk:1".into() }) {
        assert!(
            html.contains("<svg") && !html.contains("/static/pay.") && !html.contains("rel=\"external\""),
            "{html}"
        );
    }
    // Nothing is as long as that in a code.
    let endless =
        SaleView { handoff: Some(Handoff::Code { text: "x".repeat(5_000) }), ..sale_view("awaiting_payment") };
    assert!(sale::context(&endless).is_err());
}

#[test]
fn a_provider_that_does_not_take_the_order_is_told_of_at_once() {
    let templates = templates();
    for (state, reason) in
        [("created", SaleReason::ProviderSilent), ("created", SaleReason::None), ("expired", SaleReason::OrderRefused)]
    {
        let view = SaleView { asking_s: None, reason, ..sale_view(state) };
        let html = each(
            &templates,
            &format!("sale-not-taken-{}", reason.as_str()),
            "sale.html",
            &sale::context(&view).unwrap(),
        );
        assert!(html[1].contains("No money was taken") && html[1].contains("Choose again"), "{state} {reason:?}");
        assert!(!html[1].contains("0;url="), "nothing more is waited for");
    }
}

#[test]
fn whom_to_turn_to_is_said_with_and_without_a_contact() {
    let templates = templates();
    for contact in ["", "the kiosk <b> at gate 4"] {
        let view = SaleView { contact: contact.into(), ..sale_view("review") };
        let html =
            each(&templates, &format!("sale-contact-{}", contact.len()), "sale.html", &sale::context(&view).unwrap());
        assert_eq!(html[1].contains("Contact Sunny Rides: the kiosk"), !contact.is_empty());
        assert_eq!(html[1].contains("Ask Sunny Rides"), contact.is_empty());
        assert!(!html[1].contains("<b>") && !html[1].contains("mailto:"));
        let view = ScanView { contact: contact.into(), ..scan_view(Readiness::Ready) };
        each(&templates, &format!("scan-contact-{}", contact.len()), "scan.html", &scan_context(&view, None, "KEY"));
    }
}

#[test]
fn sale_page_says_why() {
    let templates = templates();
    for reason in SaleReason::all() {
        let view = SaleView { reason, served_and_refunded: true, ..sale_view("refunded") };
        let html =
            each(&templates, &format!("sale-reason-{}", reason.as_str()), "sale.html", &sale::context(&view).unwrap());
        assert!(html[1].contains("You owe nothing"));
    }
}

/// Pages have texts; the programs' words for reasons are on no page, in either language.
#[test]
fn reasons_are_words_on_every_page() {
    let templates = templates();
    for reason in SaleReason::all().filter(|reason| *reason != SaleReason::None) {
        let mut row = sale_row("refunded");
        row.view.reason = reason;
        let reason = reason.as_str();
        let payers = each(&templates, "reason", "sale.html", &sale::context(&row.view).unwrap());
        let listed = sales::context(&member(), &fleet_rows(), &[row], &sales::Shown::default());
        let operators = each(&templates, "reason-listed", "sales.html", &listed);
        for html in payers.iter().chain(&operators) {
            let is_shown = html.contains(&format!(">{reason}<")) || (reason.contains('_') && html.contains(reason));
            assert!(!is_shown, "{reason} is shown as it is");
        }
    }
    let faults = fault_names(i64::MAX);
    let faulty = ModuleView { faults: faults.clone(), ..module(true) };
    let fleet = fleet::context(&member(), &[fleet_row(1, "Carousel", Some(faulty))], Some(&takings()), &[]);
    for html in each(&templates, "faults", "fleet.html", &fleet) {
        assert!(faults.iter().all(|fault| !html.contains(&format!(">{fault}<"))), "{faults:?}");
    }
}

#[test]
fn what_happened_at_the_provider_has_words() {
    let templates = templates();
    for dispute in [DisputeStanding::Opened, DisputeStanding::Won, DisputeStanding::Lost] {
        let view = SaleView { refunded_elsewhere: Some(paid(100)), dispute, ..sale_view("credited") };
        let html = each(&templates, &format!("sale-dispute-{dispute:?}"), "sale.html", &sale::context(&view).unwrap());
        assert!(html[0].contains("商家已退回您付款中的 ¥1.00"));
        assert!(html[1].contains("The operator has returned ¥1.00 of your payment."));
        let row = SaleRow { view, ..sale_row("credited") };
        let shown = sales::Shown::default();
        let context = sales::context(&member(), &fleet_rows(), &[row], &shown);
        let html = each(&templates, &format!("sales-dispute-{dispute:?}"), "sales.html", &context);
        assert!(html[1].contains("Refunded by hand") && html[1].contains("ispute"));
    }
}

#[test]
fn every_state_has_its_steps() {
    for state in SaleState::ALL {
        assert!(!sale::Said::State(state).steps().is_empty(), "{state:?}");
    }
    assert!(sale::Said::State(SaleState::Credited).steps().iter().all(|step| step.mark == "done"));
    assert!(sale::Said::State(SaleState::Refunded).steps().iter().any(|step| step.mark == "failed"));
}

#[test]
fn operator_pages_full_and_empty() {
    let templates = templates();
    let rows: Vec<SaleRow> = SaleState::ALL.map(SaleState::as_str).map(sale_row).into();
    let full = fleet::context(&member(), &fleet_rows(), Some(&takings()), &rows);
    let html = each(&templates, "fleet", "fleet.html", &full);
    assert!(html[1].contains("1 of 4 online"));
    each(&templates, "fleet-fragment", "fleet_state.html", &full);
    let empty = fleet::context(&member(), &[], Some(&takings()), &[]);
    assert!(each(&templates, "fleet-empty", "fleet.html", &empty)[1].contains("No machines yet"));

    let shown = sales::Shown {
        state: Some(SaleState::Paid),
        machine_id: Some(MachineId(2)),
        before: Some(SaleToken("X".into())),
    };
    let mut lossy = rows.clone();
    lossy[0].view.served_and_refunded = true;
    lossy[0].view.reason = SaleReason::ModuleSilent;
    let html = each(&templates, "sales", "sales.html", &sales::context(&member(), &fleet_rows(), &lossy, &shown));
    assert!(html[1].contains("<option value=\"paid\" selected>") && html[1].contains("<option value=\"2\" selected>"));
    assert!(html[1].contains("/operator/sales?state=paid&amp;machine=2\""));
    let page: Vec<SaleRow> = (0..50).map(|_| sale_row("credited")).collect();
    let newest = sales::context(&member(), &fleet_rows(), &page, &sales::Shown::default());
    assert!(
        each(&templates, "sales-full", "sales.html", &newest)[1].contains("/operator/sales?before=7QK2M9XW4Tcredited")
    );
    let empty = sales::context(&member(), &[], &[], &sales::Shown::default());
    assert!(each(&templates, "sales-empty", "sales.html", &empty)[1].contains("No sales yet"));
    let none = sales::context(&member(), &[], &[], &shown);
    assert!(each(&templates, "sales-none", "sales.html", &none)[1].contains("No sales match"));
}

#[test]
fn machine_page_full_empty_and_refusing() {
    let templates = templates();
    let url = "https://pay.example/s/CODE1";
    let page = |view: &MachineView, done: Option<&str>, refusal: Option<&machine::Refusal>| {
        machine::context(&member(), view, url, done, refusal).unwrap()
    };
    let full = machine_view(Some(module(true)), false);
    let html = each(&templates, "machine", "machine.html", &page(&full, None, None));
    assert!(html[1].contains("<svg") && html[1].contains(url) && html[1].contains("value=\"2.50\""));
    for (name, view) in
        [("machine-offline", machine_view(Some(module(false)), false)), ("machine-no-module", machine_view(None, true))]
    {
        each(&templates, name, "machine.html", &page(&view, None, None));
    }
    for notice in machine::DONE_NOTICES {
        each(&templates, &format!("machine-done-{notice}"), "machine.html", &page(&full, Some(notice), None));
    }
    let typed = serde_json::json!({ "label": "Typed", "amount": "one", "pulses": "x" });
    for word in ["label", "amount", "pulses", "meanwhile", "other"] {
        for price_id in [None, Some(2)] {
            let typed = price_id.map(|_| serde_json::from_value(typed.clone()).unwrap());
            let refusal = machine::Refusal { price_id: price_id.map(PriceId), word, typed };
            let html = each(
                &templates,
                &format!("machine-refused-{word}"),
                "machine.html",
                &page(&full, None, Some(&refusal)),
            );
            assert_eq!(html[1].matches("role=\"alert\"").count(), 1, "{word}");
            assert_eq!(html[1].contains("value=\"one\""), price_id.is_some(), "{word}: what was typed is kept");
        }
    }
}

#[test]
fn sign_in_and_error_pages() {
    let templates = templates();
    for notice in [None, Some("wrong"), Some("again"), Some("lay-open")] {
        let name = format!("sign-in-{}", notice.unwrap_or("plain"));
        each(&templates, &name, "sign_in.html", &sign_in::context("a@example.com", "/operator", notice));
    }
    for word in ERROR_WORDS {
        let words = ErrorWords { status: StatusCode::NOT_FOUND, word, retry_after_s: Some(7) };
        for here in ["/s/K3J9", "/sale/X", "/operator/machines/1/active", "/sign-in", "/demo/x", "/nowhere"] {
            let place = ErrorOrigin { here, is_get: true, status: words.status, is_member: false };
            let mut context = error_page::context(&words, &place);
            let pages = each(&templates, &format!("error-{word}"), "error.html", &context);
            context.extend(crate::pages::member_context::member_context(&member()));
            context.insert("tab", "");
            let operators = each(&templates, &format!("operator-error-{word}"), "operator_error.html", &context);
            for html in pages.iter().chain(&operators) {
                assert!(html.contains("REQUEST"), "the request id helps to find it in the log");
                let main = html.split("<main").nth(1).unwrap();
                assert!(main.contains("<a class=\"button") || main.contains("<form"), "{word} at {here} ends nowhere");
            }
            assert!(operators[1].contains("href=\"/operator/sales\""), "a member keeps the navigation");
        }
    }
}

#[test]
fn pages_that_ask_that_wait_and_that_send_again() {
    let templates = templates();
    for word in ["restart", "disable", "disconnect"] {
        let fields = [("remote_action", word)];
        let question = confirm::Question { word, about: "Carousel <1>", action: "/do", fields: &fields, back: "/back" };
        let html = each(
            &templates,
            &format!("confirm-{word}"),
            "confirm.html",
            &confirm::context(&member(), "fleet", &question),
        );
        assert!(html[1].contains("Carousel &lt;1&gt;") && html[1].contains("href=\"/back\""));
        assert!(html[1].contains("name=\"sure\" value=\"yes\""));
    }
    each(&templates, "find", "find.html", &Context::new());
    let mut context = Context::new();
    context.insert("next", "/s/K3J9/order?form_key=KEY-1");
    context.insert("machine_page", "/s/K3J9");
    context.insert("longest_s", &12);
    let html = each(&templates, "order-wait", "order_wait.html", &context);
    assert!(html[0].contains("最多需要 12 秒") && html[1].contains("at most 12 seconds"));
    assert!(html[1].contains("content=\"0;url=/s/K3J9/order?form_key=KEY-1\""));
    let typed = [("csrf", "OLD"), ("label", "Two <rides>"), ("amount", "1.50"), ("password", "secret-typed")];
    let expired_form = ExpiredForm { fields: typed.map(|(name, value)| (name.into(), value.into())).into() };
    for (template, member) in [("resend.html", None), ("operator_resend.html", Some(member()))] {
        let context =
            resend::context(member.as_ref(), "/operator/machines/1/prices/1", "/operator/machines/1", &expired_form);
        for html in each(&templates, template.trim_end_matches(".html"), template, &context) {
            assert!(html.contains("value=\"Two &lt;rides&gt;\"") && html.contains("<dd>1.50</dd>"));
            assert!(!html.contains("secret-typed") && !html.contains("OLD"));
        }
    }
}

struct NoControl;

#[async_trait]
impl DemoControl for NoControl {
    fn modules(&self) -> Vec<DemoModule> {
        vec![]
    }
    async fn stop(&self, _: &str) {}
    async fn start(&self, _: &str) {}
    async fn coin(&self, _: &str) {}
    async fn teach(&self, _: &str) {}
}

#[test]
fn demo_page() {
    let templates = templates();
    let panel = DemoPanel {
        control: Arc::new(NoControl),
        operator_email: "owner@demo.example".into(),
        operator_password: "secret".into(),
        mqtt_url: "mqtt://127.0.0.1:1883".into(),
        integrator_username: "i-demo".into(),
        integrator_password: "secret".into(),
        integrator_topics: "v1/demo/#".into(),
        sandbox_url: "http://127.0.0.1:8090".into(),
    };
    let one = |on: bool, pulses: u64| DemoModule {
        id: format!("01234567{pulses:02}"),
        machine: "Carousel".into(),
        code: "K3J9".into(),
        on,
        pulses,
        learning_result: None,
    };
    let html =
        each(&templates, "demo", "demo.html", &demo::context(&panel, &[one(true, 1), one(false, 12), one(true, 0)]));
    assert!(html[1].contains("mosquitto_sub -h 127.0.0.1 -p 1883 -u i-demo"));
    let taught = |stage: &'static str, ended: bool| {
        let learning_result = Some(DemoLearning { stage, ended, coins: 3, coins_asked: 10 });
        DemoModule { learning_result, ..one(true, 5) }
    };
    let stages: Vec<_> =
        STAGES.into_iter().map(|stage| taught(stage, stage == "stored" || stage == "failed")).collect();
    let html = each(&templates, "demo-taught", "demo.html", &demo::context(&panel, &stages));
    assert!(html[0].contains("已投 3 枚，共 10 枚") && html[1].contains("3 of 10 coins"));
    assert_eq!(html[1].matches("/teach\"").count(), 2, "again once it is over");
    each(&templates, "demo-empty", "demo.html", &demo::context(&panel, &[]));
}

fn keys(texts: &str) -> Vec<&str> {
    let lines = texts.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()));
    lines.filter_map(|line| line.split_once(" =")).map(|(key, _)| key).collect()
}

#[test]
fn both_languages_have_the_same_texts_once() {
    let (zh, en) = (keys(include_str!("../../locales/zh.ftl")), keys(include_str!("../../locales/en.ftl")));
    assert_eq!(zh, en);
    assert_eq!(en.len(), en.iter().collect::<BTreeSet<_>>().len(), "a key is there twice");
    assert!(en.len() > 150, "the keys are found at all");
}

/// Keys named in templates as `t(k="key"` or `t(k="start-" ~ ..`: each is there, and each text is used.
#[test]
fn templates_and_texts_fit() {
    let known: BTreeSet<&str> = keys(include_str!("../../locales/en.ftl")).into_iter().collect();
    let mut used = BTreeSet::from(["language-code"]);
    let folders = ["templates", "demo"].map(|folder| Path::new(env!("CARGO_MANIFEST_DIR")).join(folder));
    for file in folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap()) {
        let path = file.unwrap().path();
        let template = fs::read_to_string(&path).unwrap();
        for named in template.split("t(k=\"").skip(1) {
            let (key, rest) = named.split_once('"').unwrap();
            if rest.trim_start().starts_with('~') {
                let fitting: Vec<&&str> = known.iter().filter(|known| known.starts_with(key)).collect();
                assert!(!fitting.is_empty(), "{}: no text starts with {key}", path.display());
                used.extend(fitting);
            } else {
                let known = known.get(key).unwrap_or_else(|| panic!("{}: there is no text {key}", path.display()));
                used.insert(known);
            }
        }
    }
    let unused: Vec<_> = known.difference(&used).collect();
    assert!(unused.is_empty(), "texts that no template names: {unused:?}");
}

#[test]
fn connections_page_shows_what_one_may_see() {
    let templates = templates();
    let connection = |number: u64, party: MqttParty, client_id: &str| MqttConnection {
        number,
        party,
        client_id: client_id.into(),
        peer: ([203, 0, 113, 7], 40_000 + number as u16).into(),
        version: "5",
        connected_ms: 1_795_404_600_000 + number as i64,
        heard_ms: 1_795_404_636_000,
        round_trip: (number % 2 == 1).then(|| std::time::Duration::from_millis(310)),
    };
    let own = fleet_rows().into_iter().find_map(|row| row.module).unwrap().id;
    let all = || {
        vec![
            connection(1, MqttParty::Module(own.clone()), &own),
            connection(2, MqttParty::Module("ZZZZZZZZZZ".into()), "ZZZZZZZZZZ"),
            connection(3, MqttParty::Integrator("sunny".into()), "dash<board>"),
            connection(4, MqttParty::Integrator("rival".into()), "theirs"),
            connection(5, MqttParty::Member("sunny".into()), "phone"),
            connection(6, MqttParty::Backend, "backend"),
            connection(7, MqttParty::Manufacturer("boards".into()), "bench"),
        ]
    };
    let page = |is_admin: bool, query: &str, done: Option<&str>| {
        let asked: connections::Asked =
            serde_json::from_value(serde_json::json!({ "q": query, "done": done })).unwrap();
        let seen = connections::rows(all(), &fleet_rows(), &member(), is_admin, query);
        let proxy = [10, 0, 0, 7].into();
        connections::context(&member(), seen, &asked, is_admin.then_some(&proxy))
    };
    let html = each(&templates, "connections", "connections.html", &page(false, "", None));
    assert_eq!(html[1].matches("<tr id=").count(), 3, "its own module, program and member");
    assert!(html[1].contains("dash&lt;board&gt;") && html[1].contains("310 ms") && !html[1].contains("theirs"));
    let html = each(&templates, "connections-admin", "connections.html", &page(true, "", Some("ended")));
    assert_eq!(html[1].matches("<tr id=").count(), 7);
    assert!(html[1].contains("The connection was ended"));
    assert!(html.iter().all(|html| html.contains("10.0.0.7")), "a proxy that nobody named");
    let html = each(&templates, "connections-search", "connections.html", &page(true, "THEIRS", Some("nonsense")));
    assert_eq!(html[1].matches("<tr id=").count(), 1);
    each(&templates, "connections-gone", "connections.html", &page(true, "", Some("gone")));
    let html = each(&templates, "connections-none", "connections.html", &page(false, "nobody", None));
    assert!(html[1].contains("Nobody is connected"));
    let crowd = (0..500).map(|number| connection(number, MqttParty::Backend, "backend")).collect();
    let seen = connections::rows(crowd, &[], &member(), true, "");
    assert_eq!((seen.0.len(), seen.1), (200, 500));
    let context = connections::context(&member(), seen, &connections::Asked::default(), None);
    let html = each(&templates, "connections-fragment", "connections_state.html", &context);
    assert!(html[1].contains("500 connections") && html[1].contains("300 not shown"));
}
