//! A provider of quite another shape goes the same way: form-encoded, answered by a word, with references of its own, not to
//! be asked by our numbers, and some of its methods want to know who pays.

use crate::support::{
    Call, TestApp,
    actors::system,
    app::{PRICE_MINOR, PRICE_PULSES},
    done, failed, kiosk, paid as paid_text,
    store::rows,
};
use backend::{
    Error,
    flows::{
        identify_payer,
        operate::merchant,
        place_order::{self, Checkout, OrderRequest},
        show_sale,
        take_callback::{self, CallbackFailure, Rejected},
    },
    ids::SaleToken,
    payments::{
        accounts,
        method::{Handoff, Payer, PayerApp},
        provider::CallbackAnswer,
    },
    sales::readiness::Readiness,
};
use fake_providers::bank::Callback;
use protocol::messages::Reason;

/// The shop's account at the kiosk.
pub fn kiosk_config() -> kiosk::Config {
    kiosk::Config {
        shop: "shop of acme".into(),
        app: "app of acme".into(),
        key: "key of acme".into(),
        has_statements: true,
    }
}

/// An application whose shop has an account at the kiosk too; gives its token.
pub async fn app_with_kiosk() -> (TestApp, String) {
    let app = TestApp::start().await;
    let token =
        merchant::set_merchant_account(&app.backend, &system(), app.shop.operator_id, "kiosk", &kiosk_config().json())
            .await
            .unwrap();
    (app, token)
}

/// Somebody orders by one of the kiosk's methods, in an app.
async fn try_order(app: &TestApp, method: &str, seen_in: PayerApp, payer: Option<Payer>) -> Result<Checkout, Error> {
    app.make_ready(&app.shop).await;
    let way = Some(format!("kiosk.{method}"));
    place_order::order(&app.backend, OrderRequest { app: seen_in, way, payer, ..app.form(&app.shop) }).await
}

async fn order(app: &TestApp) -> SaleToken {
    try_order(app, "checkout", PayerApp::Browser, None).await.unwrap().token
}

async fn told(app: &TestApp, token: &str, callback: &Callback) -> Result<CallbackAnswer, Rejected> {
    take_callback::callback(&app.backend, "kiosk", token, callback.raw()).await
}

/// A sale that was paid at the kiosk; gives its token and our number.
async fn paid(app: &TestApp, account: &str) -> (SaleToken, String) {
    let token = order(app).await;
    let number = app.number(&token).await;
    let callback = app.kiosk.pay(&kiosk_config(), &number, app.now_ms());
    assert_eq!(told(app, account, &callback).await.unwrap().body, "thanks");
    assert_eq!(app.state(&token).await, "paid");
    (token, number)
}

#[tokio::test]
async fn a_sale_goes_its_way_and_the_answer_is_a_word() {
    let (app, account) = app_with_kiosk().await;
    let checkout = try_order(&app, "checkout", PayerApp::Browser, None).await.unwrap();
    let number = app.number(&checkout.token).await;
    assert_eq!(checkout.next, format!("https://kiosk.test/pay/{}", app.kiosk.reference(&number)));
    let callback = app.kiosk.pay(&kiosk_config(), &number, app.now_ms());
    for _ in 0..2 {
        let thanks = CallbackAnswer { status: 200, content_type: "text/plain", body: "thanks".into() };
        assert_eq!(told(&app, &account, &callback).await.unwrap(), thanks);
    }
    let credit = app.shop.module.credit(&app);
    app.deliver(&app.shop.module.ack(&app, &credit, done(PRICE_PULSES))).await;
    assert_eq!(app.state(&checkout.token).await, "credited");
    let kept = rows(app.db.read(), "SELECT headers FROM callback_inbox").await;
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].try_get::<String>("", "headers").unwrap(), "kiosk-request-id: request of ke_1");
    app.assert_books().await;
}

#[tokio::test]
async fn what_is_not_believed_is_answered_in_the_providers_manner() {
    let (app, account) = app_with_kiosk().await;
    let token = order(&app).await;
    let number = app.number(&token).await;
    let genuine = app.kiosk.pay(&kiosk_config(), &number, app.now_ms());
    let mut forged = genuine.clone();
    forged.body = String::from_utf8(forged.body).unwrap().replace("amount=500", "amount=501").into_bytes();
    let refused = told(&app, &account, &forged).await.unwrap_err();
    assert!(matches!(refused.cause, CallbackFailure::Untrusted(_)), "{refused:?}");
    assert_eq!((refused.answer.status, refused.answer.body.as_str()), (200, "pardon"));
    // At the address of another provider there is no such account.
    for (provider, token) in [("bank", account.as_str()), ("wechat", &account), ("kiosk", &app.shop.account_token)] {
        let refused = take_callback::callback(&app.backend, provider, token, genuine.raw()).await.unwrap_err();
        assert!(matches!(refused.cause, CallbackFailure::NoAccount), "{provider}");
        assert_eq!(refused.answer.status, 404);
    }
    assert_eq!(app.number_of("SELECT COUNT(*) FROM callback_inbox").await, 0);
    assert_eq!(app.state(&token).await, "awaiting_payment");
}

#[tokio::test]
async fn of_what_a_callback_says_only_what_concerns_us_is_kept() {
    let (app, account) = app_with_kiosk().await;
    app.events();
    let newspaper = app.kiosk.event(&kiosk_config(), "newspaper", &[("title", "Today")]);
    let novelty = app.kiosk.event(&kiosk_config(), "raffle", &[("prize", "a bicycle + pump")]);
    let foreign = kiosk::Config { shop: "another shop".into(), ..kiosk_config() };
    let foreign = app.kiosk.event(&foreign, "paid", &[("our", "S1")]);
    for callback in [&newspaper, &novelty, &foreign, &novelty, &foreign] {
        assert_eq!(told(&app, &account, callback).await.unwrap().body, "thanks");
    }
    let kept = rows(app.db.read(), "SELECT event_id, outcome FROM callback_inbox ORDER BY id").await;
    let kept: Vec<(String, String)> =
        kept.iter().map(|row| (row.try_get_by_index(0).unwrap(), row.try_get_by_index(1).unwrap())).collect();
    assert_eq!(kept, [("ke_2".into(), "not_understood".into()), ("ke_3".into(), "foreign".into())]);
    assert_eq!(app.alarms().len(), 2, "a repeat alarms nobody");
}

#[tokio::test]
async fn an_order_whose_answer_was_lost_is_repeated_to_learn_its_reference_and_closed_by_it() {
    let (app, _) = app_with_kiosk().await;
    app.kiosk.leave_unanswered(Call::Create);
    assert!(matches!(try_order(&app, "checkout", PayerApp::Browser, None).await, Err(Error::Provider(_))));
    let number = app.number(&app.only_token().await).await;
    app.pass_ms(20_000).await;
    assert_eq!(app.kiosk.called(Call::Create), [&*number, &*number], "the same order, and no third time");
    let reference = app.kiosk.reference(&number);
    let asked = app.kiosk.called(Call::Query);
    assert!(!asked.is_empty() && asked.iter().all(|number| *number == reference), "{asked:?}");
    app.pass_ms(6 * 60_000).await;
    assert!(app.kiosk.is_closed(&number));
    assert_eq!(app.number_of("SELECT COUNT(*) FROM payment_attempts WHERE state = 'closed'").await, 1);
    assert_eq!(app.number_of("SELECT COUNT(*) FROM payment_attempts WHERE request IS NULL").await, 1);
}

#[tokio::test]
async fn an_order_that_the_provider_takes_no_more_is_over_when_its_time_is() {
    let (app, account) = app_with_kiosk().await;
    app.kiosk.leave_unanswered(Call::Create);
    assert!(try_order(&app, "checkout", PayerApp::Browser, None).await.is_err());
    // Nothing is left to repeat it with.
    sea_orm::ConnectionTrait::execute_unprepared(app.db.read(), "UPDATE payment_attempts SET request = NULL")
        .await
        .unwrap();
    app.pass_ms(6 * 60_000).await;
    assert_eq!(app.number_of("SELECT COUNT(*) FROM payment_attempts WHERE state = 'closed'").await, 1);
    // Paid after all, it is served.
    let token = app.only_token().await;
    let number = app.number(&token).await;
    let callback = app.kiosk.pay(&kiosk_config(), &number, app.now_ms());
    told(&app, &account, &callback).await.unwrap();
    assert_eq!(app.state(&token).await, "paid");
    app.shop.module.credit(&app);
    app.assert_books().await;
}

#[tokio::test]
async fn a_payment_that_nobody_told_of_is_found_by_its_reference() {
    let (app, _) = app_with_kiosk().await;
    let token = order(&app).await;
    let number = app.number(&token).await;
    let _lost = app.kiosk.pay(&kiosk_config(), &number, app.now_ms());
    app.skip_ms(20_000).await;
    assert_eq!(app.state(&token).await, "paid");
    app.shop.module.credit(&app);
    app.assert_books().await;
}

#[tokio::test]
async fn a_refund_is_done_at_once_and_its_lost_answer_makes_no_second_one() {
    let (app, account) = app_with_kiosk().await;
    let (token, _) = paid(&app, &account).await;
    app.kiosk.leave_unanswered(Call::Refund);
    let credit = app.shop.module.credit(&app);
    app.deliver(&app.shop.module.ack(&app, &credit, failed(0, Reason::Fault))).await;
    app.pass_ms(20_000).await;
    assert_eq!(app.state(&token).await, "refunded");
    assert_eq!(app.kiosk.called(Call::Refund).len(), 2);
    assert_eq!(app.kiosk.refunds().len(), 1);
    let reference = rows(app.db.read(), "SELECT reference FROM refunds").await;
    assert_eq!(reference[0].try_get_by_index::<String>(0).unwrap(), "kr_1");
    app.assert_books().await;
}

#[tokio::test]
async fn refunds_and_disputes_are_known_by_the_providers_own_numbers() {
    let (app, account) = app_with_kiosk().await;
    let (token, number) = paid(&app, &account).await;
    let credit = app.shop.module.credit(&app);
    app.deliver(&app.shop.module.ack(&app, &credit, done(PRICE_PULSES))).await;
    let back = app.kiosk.refund_at_counter(&kiosk_config(), &number, 200, app.now_ms());
    told(&app, &account, &back).await.unwrap();
    assert_eq!(paid_text(&app.row(&token).await.view.refunded_elsewhere).as_deref(), Some("2.00"));
    app.assert_books().await;
    let dispute = app.kiosk.dispute(&kiosk_config(), &number, PRICE_MINOR - 200);
    told(&app, &account, &dispute).await.unwrap();
    assert_eq!(app.row(&token).await.view.dispute.as_str(), "opened");
    app.assert_books().await;
}

#[tokio::test]
async fn a_statement_that_names_payments_by_the_providers_numbers_is_understood() {
    let (app, account) = app_with_kiosk().await;
    let (token, number) = paid(&app, &account).await;
    let credit = app.shop.module.credit(&app);
    app.deliver(&app.shop.module.ack(&app, &credit, done(PRICE_PULSES))).await;
    let _nobody_tells = app.kiosk.refund_at_counter(&kiosk_config(), &number, 200, app.now_ms());
    for _ in 0..16 {
        app.skip_ms(3 * 3_600_000).await;
    }
    assert_eq!(paid_text(&app.row(&token).await.view.refunded_elsewhere).as_deref(), Some("2.00"));
    assert_eq!(app.number_of("SELECT COUNT(*) FROM callback_inbox WHERE outcome = 'orphan'").await, 0);
    app.assert_books().await;
}

#[tokio::test]
async fn a_provider_without_statements_is_asked_for_none_until_it_has_them() {
    let app = TestApp::start().await;
    for has_statements in [false, true] {
        let config = kiosk::Config { has_statements, ..kiosk_config() }.json();
        let operator_id = app.shop.operator_id;
        merchant::set_merchant_account(&app.backend, &system(), operator_id, "kiosk", &config).await.unwrap();
        for _ in 0..16 {
            app.skip_ms(3 * 3_600_000).await;
        }
        assert_eq!(!app.kiosk.called(Call::Statement).is_empty(), has_statements);
    }
}

#[tokio::test]
async fn ways_to_pay_are_those_that_work_where_the_payer_is() {
    let (app, _) = app_with_kiosk().await;
    let words = async |seen_in| {
        let view = backend::flows::scan_machine::scan(&app.backend, &app.shop.code, seen_in).await.unwrap();
        view.ways.into_iter().map(|way| way.word).collect::<Vec<_>>()
    };
    app.make_ready(&app.shop).await;
    assert_eq!(words(PayerApp::Browser).await, ["bank.page", "kiosk.checkout", "kiosk.code"]);
    assert_eq!(words(PayerApp::Alipay).await, ["kiosk.app", "bank.page"], "within the app comes first");
    assert_eq!(words(PayerApp::Wechat).await, ["bank.page"]);
    // One that does not work here is not taken.
    let elsewhere = try_order(&app, "code", PayerApp::Wechat, None).await;
    assert!(matches!(elsewhere, Err(Error::Conflict("the way to pay"))), "{elsewhere:?}");

    // Without the bank nothing works in WeChat: the page says where it does, and the machine is not asked for nothing.
    let accounts = accounts::merchant_accounts(&app.backend, &system(), Some(app.shop.operator_id)).await.unwrap();
    merchant::switch_account(&app.backend, &system(), accounts[0].account_id, false).await.unwrap();
    app.skip_ms(60_000).await;
    let probes = app.shop.module.probes(&app).len();
    let view = backend::flows::scan_machine::scan(&app.backend, &app.shop.code, PayerApp::Wechat).await.unwrap();
    assert_eq!((view.readiness, view.ways.len()), (Readiness::OtherApp, 0));
    assert_eq!(view.apps, [PayerApp::Alipay, PayerApp::Browser]);
    let form = OrderRequest { app: PayerApp::Wechat, ..app.form(&app.shop) };
    let refused = place_order::order(&app.backend, form).await;
    assert!(matches!(refused, Err(Error::NotReady(Readiness::OtherApp))), "{refused:?}");
    assert_eq!(app.shop.module.probes(&app).len(), probes);
}

#[tokio::test]
async fn a_code_is_shown_on_the_sales_page() {
    let (app, _) = app_with_kiosk().await;
    let checkout = try_order(&app, "code", PayerApp::Browser, None).await.unwrap();
    assert_eq!(checkout.next, format!("https://coinwire.test/sale/{}", checkout.token));
    let reference = app.kiosk.reference(&app.number(&checkout.token).await);
    let shown = show_sale::sale(&app.backend, &checkout.token).await.unwrap().handoff;
    assert_eq!(shown, Some(Handoff::Code { text: format!("kiosk:{reference}") }));
}

#[tokio::test]
async fn who_pays_is_known_before_the_order_and_the_call_is_signed_anew_at_each_view() {
    let (app, account) = app_with_kiosk().await;
    let way = "kiosk.app";
    let nobody = try_order(&app, "app", PayerApp::Alipay, None).await;
    assert!(matches!(nobody, Err(Error::PayerUnknown)), "{nobody:?}");
    let of_another_app = Payer { scope: "another app".into(), id: "p".into() };
    let stranger = try_order(&app, "app", PayerApp::Alipay, Some(of_another_app)).await;
    assert!(matches!(stranger, Err(Error::PayerUnknown)), "{stranger:?}");
    assert!(app.kiosk.called(Call::Create).is_empty());

    let none = identify_payer::identity_url(&app.backend, &app.shop.code, "kiosk.checkout", "state").await.unwrap();
    assert_eq!(none, None, "a method that does not ask");
    let url = identify_payer::identity_url(&app.backend, &app.shop.code, way, "state").await.unwrap().unwrap();
    let back = app.kiosk.say_who(&url, "payer 7");
    let (path, query) = back.split_once('?').unwrap();
    assert_eq!(path, "https://coinwire.test/identity");
    let parameters: Vec<(String, String)> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let payer = identify_payer::identify(&app.backend, &app.shop.code, way, &parameters).await.unwrap();
    assert_eq!(payer, Payer { scope: kiosk_config().app, id: "payer 7".into() });
    let twice = identify_payer::identify(&app.backend, &app.shop.code, way, &parameters).await;
    assert!(matches!(twice, Err(Error::Provider(_))), "a code is used once: {twice:?}");

    let token = try_order(&app, "app", PayerApp::Alipay, Some(payer.clone())).await.unwrap().token;
    let number = app.number(&token).await;
    assert_eq!(app.kiosk.request(&number).payer, Some(payer));
    let shown = async || match show_sale::sale(&app.backend, &token).await.unwrap().handoff {
        Some(Handoff::Invoke(call)) => call,
        other => panic!("{other:?}"),
    };
    let first = shown().await;
    assert_eq!((first.bridge.as_str(), first.parameters["order"].as_str()), ("KioskBridge", "ko_1"));
    assert_eq!(shown().await.parameters, first.parameters, "the page is not to change each time it is looked at");
    app.clock.advance(60_000);
    let second = shown().await;
    assert_ne!(first.parameters["sum"], second.parameters["sum"]);
    // Once it is paid, who paid is forgotten.
    let callback = app.kiosk.pay(&kiosk_config(), &number, app.now_ms());
    told(&app, &account, &callback).await.unwrap();
    let open = "SELECT COUNT(*) FROM payment_attempts WHERE request IS NOT NULL OR handoff IS NOT NULL";
    assert_eq!(app.number_of(open).await, 0);
}

#[tokio::test]
async fn an_identity_that_a_method_does_not_ask_for_goes_no_further() {
    let (app, _) = app_with_kiosk().await;
    let payer = Some(Payer { scope: kiosk_config().app, id: "payer 7".into() });
    let token = try_order(&app, "checkout", PayerApp::Browser, payer).await.unwrap().token;
    assert_eq!(app.kiosk.request(&app.number(&token).await).payer, None);
}
