//! What providers report, in every order it can come.

use crate::support::{
    Call, Fault, TestApp, What,
    app::{PRICE_MINOR, PRICE_PULSES, callback_to},
    done,
};
use backend::{
    flows::{place_order, take_callback::CallbackFailure},
    payments::provider::CallbackError,
};
use fake_providers::notice::{Callback, Notice};

#[tokio::test]
async fn a_repeat_changes_nothing_and_is_acknowledged() {
    let app = TestApp::start().await;
    let token = app.order().await;
    let callback = app.pay(&token).await;
    for _ in 0..3 {
        app.callback(&callback).await.unwrap();
    }
    // The same fact under a new event's number.
    let number = app.number(&token).await;
    let what = What::Paid {
        txn: format!("T{number}"),
        amount_minor: PRICE_MINOR,
        paid_at_ms: app.now_ms(),
        attach: String::new(),
    };
    app.callback(&app.notice(&number, what)).await.unwrap();

    app.shop.module.credit(&app);
    assert_eq!(app.state(&token).await, "paid");
    assert_eq!(app.number_of("SELECT COUNT(*) FROM callback_inbox").await, 2);
    app.assert_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fifty_at_once_are_one() {
    let app = std::sync::Arc::new(TestApp::start().await);
    let token = app.order().await;
    let callback = app.pay(&token).await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let (app, callback) = (app.clone(), callback.clone());
        tasks.spawn(async move { app.callback(&callback).await });
    }
    while let Some(outcome) = tasks.join_next().await {
        outcome.unwrap().unwrap();
    }
    app.shop.module.credit(&app);
    assert_eq!(app.number_of("SELECT COUNT(*) FROM callback_inbox").await, 1);
    assert_eq!(app.number_of("SELECT COUNT(*) FROM commands").await, 1);
    app.assert_books().await;
}

#[tokio::test]
async fn before_the_answer_to_the_order_stands() {
    let app = TestApp::start().await;
    app.make_ready(&app.shop).await;
    app.bank.fault(Call::Create, [Fault::Held]);
    let faster = async {
        app.bank.holds().await;
        let token = app.only_token().await;
        assert_eq!(app.state(&token).await, "created");
        app.callback(&app.pay(&token).await).await.unwrap();
        assert_eq!(app.state(&token).await, "paid");
        app.bank.release();
    };
    let (checkout, ()) = tokio::join!(place_order::order(&app.backend, app.form(&app.shop)), faster);
    let token = checkout.unwrap().token;
    assert_eq!(app.state(&token).await, "paid", "the late answer undoes nothing");
    let credit = app.shop.module.credit(&app);
    app.deliver(&app.shop.module.ack(&app, &credit, done(PRICE_PULSES))).await;
    assert_eq!(app.state(&token).await, "credited");
    app.skip_ms(3_600_000).await;
    assert!(app.bank.called(Call::Query).is_empty(), "what is paid is not asked about");
    app.assert_books().await;
}

#[tokio::test]
async fn after_the_refund_changes_nothing() {
    let app = TestApp::start().await;
    let token = app.order().await;
    let callback = app.pay(&token).await;
    app.callback(&callback).await.unwrap();
    app.pass_ms(31_000).await;
    assert_eq!(app.state(&token).await, "refunded");
    app.callback(&callback).await.unwrap();
    let number = app.number(&token).await;
    let what = What::Paid {
        txn: format!("T{number}"),
        amount_minor: PRICE_MINOR,
        paid_at_ms: app.now_ms(),
        attach: String::new(),
    };
    app.callback(&app.notice(&number, what)).await.unwrap();
    app.callback(&app.notice(&number, What::Closed)).await.unwrap();
    app.pass_ms(5_000).await;
    assert_eq!(app.state(&token).await, "refunded");
    assert_eq!(app.bank.refunds().len(), 1);
    app.assert_books().await;
}

#[tokio::test]
async fn with_another_amount_are_put_before_a_person() {
    let app = TestApp::start().await;
    let token = app.order().await;
    let number = app.number(&token).await;
    app.events();
    let what =
        What::Paid { txn: "T1".into(), amount_minor: PRICE_MINOR - 1, paid_at_ms: app.now_ms(), attach: String::new() };
    app.callback(&app.notice(&number, what)).await.unwrap();
    let row = app.row(&token).await;
    assert_eq!((row.view.state.as_str(), row.view.reason.as_str()), ("review", "wrong_amount"));
    assert_eq!(app.alarms().len(), 1);
    let books = app.books().await;
    assert_eq!(books["suspense"], -i128::from(PRICE_MINOR - 1));
    assert_eq!(books["provider_clearing"], i128::from(PRICE_MINOR - 1));
    app.pass_ms(40_000).await;
    assert!(app.shop.module.credits(&app).is_empty());
    assert!(app.bank.refunds().is_empty());
    assert_eq!(app.state(&token).await, "review");
}

#[tokio::test]
async fn of_another_merchant_are_kept_acknowledged_and_credit_nothing() {
    let app = TestApp::start().await;
    let token = app.order().await;
    let number = app.number(&token).await;
    app.events();
    let what =
        What::Paid { txn: "T1".into(), amount_minor: PRICE_MINOR, paid_at_ms: app.now_ms(), attach: String::new() };
    let foreign = app.bank.notice("somebody else", &number, what).signed(&app.shop.account.key);
    app.callback(&foreign).await.unwrap();
    app.callback(&foreign).await.unwrap();
    assert_eq!(app.state(&token).await, "awaiting_payment");
    assert_eq!(app.number_of("SELECT COUNT(*) FROM callback_inbox WHERE outcome = 'foreign'").await, 1);
    assert_eq!(app.alarms().len(), 1, "a repeat alarms nobody");
    assert!(app.shop.module.credits(&app).is_empty());
    app.assert_books().await;
}

#[tokio::test]
async fn for_one_operator_pay_nothing_of_another() {
    let app = TestApp::start().await;
    let other = app.open_shop("other").await;
    let token = app.order().await;
    let number = app.number(&token).await;
    // The other merchant's provider account, rightly signed, names this operator's number.
    let what =
        What::Paid { txn: "T1".into(), amount_minor: PRICE_MINOR, paid_at_ms: app.now_ms(), attach: String::new() };
    let notice = app.bank.notice(&other.account.merchant, &number, what);
    callback_to(&app.backend, &other.account_token, &notice.signed(&other.account.key)).await.unwrap();
    assert_eq!(app.state(&token).await, "awaiting_payment");
    // And with the other's signature on this account's address it is not believed at all.
    let refused = callback_to(&app.backend, &app.shop.account_token, &notice.signed(&other.account.key)).await;
    assert!(matches!(refused, Err(CallbackFailure::Untrusted(CallbackError::Signature))));
    assert!(app.shop.module.credits(&app).is_empty());
}

#[tokio::test]
async fn of_a_number_we_never_gave_are_kept_as_orphans() {
    let app = TestApp::start().await;
    app.events();
    let what =
        What::Paid { txn: "T1".into(), amount_minor: PRICE_MINOR, paid_at_ms: app.now_ms(), attach: String::new() };
    app.callback(&app.notice("SNOBODYKNOWS", what)).await.unwrap();
    app.callback(&app.notice("RNOBODYKNOWS", What::RefundDone)).await.unwrap();
    assert_eq!(app.number_of("SELECT COUNT(*) FROM callback_inbox WHERE outcome = 'orphan'").await, 2);
    let alarms = app.alarms();
    assert!(alarms[0].contains("SNOBODYKNOWS") && alarms[1].contains("RNOBODYKNOWS"), "{alarms:?}");
    assert!(app.books().await.is_empty());
}

#[tokio::test]
async fn that_are_not_believed_leave_no_trace() {
    let app = TestApp::start().await;
    let token = app.order().await;
    let genuine = app.pay(&token).await;

    let mut forged = genuine.clone();
    forged.body = String::from_utf8(forged.body).unwrap().replace("500", "501").into_bytes();
    assert!(matches!(app.callback(&forged).await, Err(CallbackFailure::Untrusted(CallbackError::Signature))));
    let mut unsigned = genuine.clone();
    unsigned.headers.clear();
    assert!(matches!(app.callback(&unsigned).await, Err(CallbackFailure::Untrusted(CallbackError::Header(_)))));
    let mut garbage = genuine.clone();
    garbage.body = b"{".to_vec();
    assert!(matches!(app.callback(&garbage).await, Err(CallbackFailure::Untrusted(CallbackError::Signature))));
    assert!(matches!(callback_to(&app.backend, "no such token", &genuine).await, Err(CallbackFailure::NoAccount)));
    assert_eq!(app.number_of("SELECT COUNT(*) FROM callback_inbox").await, 0);
    assert_eq!(app.state(&token).await, "awaiting_payment");

    // A forgery that was first does not keep the genuine one out.
    app.callback(&genuine).await.unwrap();
    assert_eq!(app.state(&token).await, "paid");
}

#[tokio::test]
async fn keep_what_a_dispute_needs() {
    let app = TestApp::start().await;
    let token = app.order().await;
    let callback = app.pay(&token).await;
    app.callback(&callback).await.unwrap();
    let sql = "SELECT body, plaintext, outcome, received_ms FROM callback_inbox";
    let rows = crate::support::store::rows(app.db.read(), sql).await;
    assert_eq!(rows[0].try_get::<Vec<u8>>("", "body").unwrap(), callback.body);
    assert_eq!(rows[0].try_get::<String>("", "plaintext").unwrap().into_bytes(), callback.body);
    assert_eq!(rows[0].try_get::<String>("", "outcome").unwrap(), "applied");
    assert_eq!(rows[0].try_get::<i64>("", "received_ms").unwrap(), app.now_ms());
}

#[tokio::test]
async fn in_an_unexpected_currency_are_kept_and_put_before_a_person() {
    let app = TestApp::start().await;
    let token = app.order().await;
    let number = app.number(&token).await;
    app.events();
    let what = What::PaidUnknownCurrency { amount_minor: PRICE_MINOR, currency: "USD".into() };
    app.callback(&app.notice(&number, what)).await.unwrap();
    let row = app.row(&token).await;
    assert_eq!((row.view.state.as_str(), row.view.reason.as_str()), ("review", "wrong_amount"));
    assert_eq!(app.alarms().len(), 1);
    assert_eq!(app.number_of("SELECT COUNT(*) FROM ledger_entries WHERE currency = 'USD'").await, 2);
    assert_eq!(app.books().await["suspense"], -i128::from(PRICE_MINOR));
    app.pass_ms(40_000).await;
    assert!(app.shop.module.credits(&app).is_empty());
}

#[tokio::test]
async fn that_are_authentic_and_not_understood_are_kept_and_acknowledged() {
    let app = TestApp::start().await;
    let token = app.order().await;
    let number = app.number(&token).await;
    app.events();
    let novelty = app.notice(&number, What::Novelty);
    for _ in 0..3 {
        app.callback(&novelty).await.unwrap();
    }
    assert_eq!(app.number_of("SELECT COUNT(*) FROM callback_inbox WHERE outcome = 'not_understood'").await, 1);
    assert_eq!(app.alarms().len(), 1, "a repeat alarms nobody");
    assert_eq!(app.state(&token).await, "awaiting_payment");
    // Sent once more to a server that understands it.
    let mut understood = app.bank.notice(&app.shop.account.merchant, &number, app.bank.pay(&number, app.now_ms()));
    understood.event = event_of(&novelty);
    let understood = understood.signed(&app.shop.account.key);
    for _ in 0..3 {
        app.callback(&understood).await.unwrap();
    }
    assert_eq!(app.state(&token).await, "paid");
    assert_eq!(app.number_of("SELECT COUNT(*) FROM callback_inbox WHERE outcome = 'applied'").await, 1);
}

/// The id of an event, as a callback has it.
fn event_of(callback: &Callback) -> String {
    let notice: Notice = serde_json::from_slice(&callback.body).unwrap();
    notice.event
}
