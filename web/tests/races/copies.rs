//! The same callback again and again: at once, late, and after all is over.

use crate::support::{
    PRICE_MINOR, Provider, TestApp, failed,
    provider::{always, once},
    with_each_provider,
};
use backend::ids::SaleToken;
use protocol::messages::Reason;
use sandbox::Fault;
use std::collections::BTreeSet;

/// Copies of a callback that arrive at once.
const COPIES: u32 = 200;

with_each_provider!(
    a_callback_200_times_at_once_credits_once,
    callbacks_200_times_at_once_after_the_refund_change_nothing,
    callbacks_of_a_refund_200_times_at_once_book_it_once,
    copies_of_twenty_sales_at_once_credit_each_once,
);

async fn a_callback_200_times_at_once_credits_once(provider: Provider) {
    let app = TestApp::start().await;
    let token = app.order(provider).await;
    app.sandbox().faults().set_duplicates(COPIES);
    once(app.sandbox(), Fault::DuplicateCallback);
    app.pay(provider, &token).await;
    let number = app.number(&token).await;
    app.until("all copies were answered", async || provider.told(app.sandbox(), &number) >= COPIES).await;
    assert_eq!(app.state(&token).await, "paid");
    app.give_credit().await;
    assert_eq!(app.state(&token).await, "credited");
    assert_eq!(app.inbox().await, [("applied".to_owned(), 1)].into());
    app.assert_books().await;
}

/// A sale whose credit failed, and whose money went back.
async fn refunded_sale(app: &TestApp, provider: Provider) -> SaleToken {
    let token = app.paid_sale(provider).await;
    let credit = app.next_credit().await;
    app.deliver(&app.shop.module.ack(app, &credit, failed(0, Reason::Fault))).await;
    app.pass_until_state(&token, "refunded").await;
    token
}

async fn callbacks_200_times_at_once_after_the_refund_change_nothing(provider: Provider) {
    let app = TestApp::start().await;
    let token = refunded_sale(&app, provider).await;
    let number = app.number(&token).await;
    let before = provider.told(app.sandbox(), &number);
    app.sandbox().faults().set_duplicates(COPIES);
    always(app.sandbox(), Fault::DuplicateCallback);
    provider.tell_again(app.sandbox(), &number);
    // Alipay tells of the payment and of its refund.
    let copies = COPIES * if provider == Provider::Alipay { 2 } else { 1 };
    app.until("all copies were answered", async || provider.told(app.sandbox(), &number) >= before + copies).await;
    app.skip_ms(60_000).await;
    assert_eq!(app.state(&token).await, "refunded");
    assert!(app.shop.module.credits(&app).is_empty());
    assert_eq!(provider.refund_calls(app.sandbox()), 1);
    assert_eq!(provider.returned_fen(app.sandbox(), &number), PRICE_MINOR);
    app.assert_books().await;
}

async fn callbacks_of_a_refund_200_times_at_once_book_it_once(provider: Provider) {
    let app = TestApp::start().await;
    let token = app.credited_sale(provider).await;
    let number = app.number(&token).await;
    app.sandbox().faults().set_duplicates(COPIES);
    once(app.sandbox(), Fault::DuplicateCallback);
    provider.refund_in_console(app.sandbox(), &number, 200, true);
    app.until("the refund is booked", async || app.row(&token).await.view.refunded_elsewhere.is_some()).await;
    app.until("a copy was answered, and so all were sent", async || match provider {
        Provider::Wechat => app.sandbox().refunds()[0].callbacks_sent >= COPIES,
        Provider::Alipay => provider.told(app.sandbox(), &number) > COPIES,
    })
    .await;
    app.skip_ms(60_000).await;
    assert_eq!(app.state(&token).await, "credited");
    app.assert_books().await;
}

async fn copies_of_twenty_sales_at_once_credit_each_once(provider: Provider) {
    let app = TestApp::start().await;
    let mut tokens = vec![];
    for _ in 0..20 {
        tokens.push(app.order(provider).await);
    }
    app.sandbox().faults().set_duplicates(COPIES / 20);
    always(app.sandbox(), Fault::DuplicateCallback);
    for token in &tokens {
        app.pay(provider, token).await;
    }
    for token in &tokens {
        app.until_state(token, "paid").await;
    }
    let mut credits = BTreeSet::new();
    app.until("each is sent a credit", async || {
        credits.extend(app.shop.module.credits(&app).iter().map(|credit| credit.id));
        credits.len() == tokens.len()
    })
    .await;
    app.assert_books().await;
}
