//! Two payments by one payer: a second way to pay closes the first order. Two payments of one sale: the sale goes its way,
//! and the second goes back.
//!
//! No page makes a second attempt of one sale; the store and the deciders know of them. So two orders are made, and one of
//! the attempts is put to the other's sale.

use crate::support::{PRICE_MINOR, Provider, TestApp, provider::always, stage, with_each_provider};
use backend::ids::SaleToken;
use protocol::messages::Stage;
use sandbox::Fault;
use sea_orm::ConnectionTrait;

with_each_provider!(
    a_second_way_closes_the_first_before_it_shows,
    an_order_that_is_paid_already_is_shown_instead_of_a_second,
    two_attempts_paid_one_after_the_other_credit_once,
    two_attempts_paid_at_once_in_copies_credit_once,
    two_apps_that_both_pay_credit_once,
);

/// A sale with an attempt at each of two providers. Gives its token, and the numbers of the attempts.
async fn sale_with_two_attempts(app: &TestApp, first: Provider, second: Provider) -> (SaleToken, String, String) {
    let token = app.order(first).await;
    let number = app.number(&token).await;
    let other = app.order(second).await;
    let other_number = app.number(&other).await;
    let sale = |token: &SaleToken| format!("(SELECT id FROM sales WHERE token = '{token}')");
    let put = format!("UPDATE payment_attempts SET sale_id = {} WHERE sale_id = {}", sale(&token), sale(&other));
    app.db.read().execute_unprepared(&put).await.unwrap();
    (token, number, other_number)
}

async fn a_second_way_closes_the_first_before_it_shows(provider: Provider) {
    let app = TestApp::start().await;
    let first = app.order(provider).await;
    let number = app.number(&first).await;
    let second = app.order_instead(provider.other().by_code(), Some(&first)).await.unwrap().token;
    assert_eq!((app.state(&first).await, app.state(&second).await), ("expired", "awaiting_payment"));
    let paid_first = provider.pay(app.sandbox(), &number);
    match provider {
        Provider::Wechat => assert!(paid_first.is_err(), "the order is closed"),
        // Whose code nobody scanned yet: there is nothing to close, and what is paid all the same goes back.
        Provider::Alipay => {
            paid_first.unwrap();
            app.until_state(&first, "paid").await;
            let asked = app.next_credit().await;
            app.deliver(&app.shop.module.ack(&app, &asked, stage(Stage::Expired))).await;
            until_one_is_back(&app, provider, &number).await;
            assert_eq!(app.state(&first).await, "refunded");
        }
    }
    app.pay(provider.other(), &second).await;
    app.until_state(&second, "paid").await;
    app.give_credit().await;
    assert_eq!(app.state(&second).await, "credited");
    app.assert_books().await;
}

async fn an_order_that_is_paid_already_is_shown_instead_of_a_second(provider: Provider) {
    let app = TestApp::start().await;
    let first = app.order(provider).await;
    // The callback never comes: asking before the second order tells.
    always(app.sandbox(), Fault::DropPaymentCallback);
    app.pay(provider, &first).await;
    let shown = app.order_instead(provider.other().by_code(), Some(&first)).await.unwrap().token;
    assert_eq!((shown, app.state(&first).await), (first.clone(), "paid"));
    assert_eq!(provider.other().orders(app.sandbox()), 0, "nothing was ordered beside it");
    app.give_credit().await;
    assert_eq!(app.state(&first).await, "credited");
    app.assert_books().await;
}

async fn two_attempts_paid_one_after_the_other_credit_once(provider: Provider) {
    one_after_the_other(provider, provider).await;
}

async fn two_apps_that_both_pay_credit_once(provider: Provider) {
    one_after_the_other(provider, provider.other()).await;
}

async fn one_after_the_other(first: Provider, second: Provider) {
    let app = TestApp::start().await;
    let (token, number, other_number) = sale_with_two_attempts(&app, first, second).await;
    first.pay(app.sandbox(), &number).unwrap();
    app.until_state(&token, "paid").await;
    second.pay(app.sandbox(), &other_number).unwrap();
    app.until("both callbacks were taken", async || app.inbox().await.values().sum::<usize>() == 2).await;
    app.give_credit().await;
    assert_eq!(app.state(&token).await, "credited");
    until_one_is_back(&app, second, &other_number).await;
    assert_eq!(first.returned_fen(app.sandbox(), &number), 0);
    let view = app.row(&token).await.view;
    assert_eq!((view.state.as_str(), view.refunded), ("credited", None), "its own money stays");
    app.assert_books().await;
}

async fn two_attempts_paid_at_once_in_copies_credit_once(provider: Provider) {
    let app = TestApp::start().await;
    let (token, number, other_number) = sale_with_two_attempts(&app, provider, provider).await;
    app.sandbox().faults().set_duplicates(100);
    always(app.sandbox(), Fault::DuplicateCallback);
    provider.pay(app.sandbox(), &number).unwrap();
    provider.pay(app.sandbox(), &other_number).unwrap();
    for number in [&number, &other_number] {
        app.until("all copies were answered", async || provider.told(app.sandbox(), number) >= 100).await;
    }
    app.sandbox().faults().clear_all();
    app.give_credit().await;
    assert_eq!(app.state(&token).await, "credited");
    let returned_fen = |number: &str| provider.returned_fen(app.sandbox(), number);
    // Whichever came second.
    for _ in 0..60 {
        app.skip_ms(1_000).await;
        if returned_fen(&number) + returned_fen(&other_number) == PRICE_MINOR && app.is_at_rest().await {
            break;
        }
    }
    assert_eq!(returned_fen(&number) + returned_fen(&other_number), PRICE_MINOR);
    assert_eq!(provider.refund_calls(app.sandbox()), 1);
    app.assert_books().await;
}

async fn until_one_is_back(app: &TestApp, provider: Provider, number: &str) {
    for _ in 0..60 {
        if provider.returned_fen(app.sandbox(), number) == PRICE_MINOR && app.is_at_rest().await {
            return;
        }
        app.skip_ms(1_000).await;
    }
    panic!("the second payment did not go back");
}
