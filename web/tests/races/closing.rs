//! The end of an order: the payer pays while we close, and after.

use crate::support::{
    PRICE_MINOR, Provider, TestApp,
    provider::{Standing, always, once},
    stage, with_each_provider,
};
use backend::ids::SaleToken;
use protocol::messages::Stage;
use sandbox::{Fault, FaultFrequency};

/// Past the end of an order by our clock, when it is closed.
const TO_CLOSING_MS: i64 = 5 * 60_000 + 31_000;

with_each_provider!(
    what_nobody_pays_is_closed_at_the_provider,
    paid_in_the_moment_of_closing_is_credited,
    a_payer_at_the_password_is_waited_for_and_credited,
    busy_at_closing_is_asked_about_and_closed_later,
    a_payment_after_the_closing_goes_back_as_late,
    a_payment_after_the_end_goes_back_as_late,
    a_credit_that_was_given_for_a_late_payment_stays,
);

/// An order whose payer has scanned, and then looks away: from then on Alipay has a trade, too.
async fn scanned_order(app: &TestApp, provider: Provider) -> SaleToken {
    let token = app.order(provider).await;
    if provider == Provider::Alipay {
        app.sandbox().decline_alipay(&app.number(&token).await).unwrap();
    }
    token
}

/// Our time passes and the provider's does not, so that it has not ended the order by itself when we close it.
async fn pass_here_alone(app: &TestApp, ms: i64) {
    app.clock.step_wall(-ms);
    app.clock.advance(ms);
    backend::jobs::run_due(&app.backend).await.unwrap();
}

async fn what_nobody_pays_is_closed_at_the_provider(provider: Provider) {
    let app = TestApp::start().await;
    let token = scanned_order(&app, provider).await;
    pass_here_alone(&app, TO_CLOSING_MS).await;
    assert_eq!(app.state_and_reason(&token).await, ("expired", "not_paid"));
    assert_eq!(app.standing(provider, &token).await, Standing::Closed);
    provider.pay(app.sandbox(), &app.number(&token).await).unwrap_err();
    app.assert_books().await;
}

async fn paid_in_the_moment_of_closing_is_credited(provider: Provider) {
    let app = TestApp::start().await;
    always(app.sandbox(), Fault::DropCallback);
    let token = scanned_order(&app, provider).await;
    once(app.sandbox(), Fault::PaidBeforeClose);
    pass_here_alone(&app, TO_CLOSING_MS).await;
    assert_eq!(provider.closings(app.sandbox()), 1);
    assert_eq!(app.state(&token).await, "awaiting_payment", "a refusal to close says nothing yet");
    pass_here_alone(&app, 61_000).await;
    assert_eq!(app.state(&token).await, "paid");
    app.give_credit().await;
    assert_eq!(app.state(&token).await, "credited");
    app.assert_books().await;
}

async fn a_payer_at_the_password_is_waited_for_and_credited(provider: Provider) {
    let app = TestApp::start().await;
    let token = scanned_order(&app, provider).await;
    once(app.sandbox(), Fault::CloseBusy);
    pass_here_alone(&app, TO_CLOSING_MS).await;
    assert_eq!(provider.closings(app.sandbox()), 1);
    assert_eq!(app.state(&token).await, "awaiting_payment");
    app.pay(provider, &token).await;
    app.until_state(&token, "paid").await;
    app.give_credit().await;
    assert_eq!(app.state(&token).await, "credited");
    app.assert_books().await;
}

async fn busy_at_closing_is_asked_about_and_closed_later(provider: Provider) {
    let app = TestApp::start().await;
    let token = scanned_order(&app, provider).await;
    app.sandbox().faults().set(Fault::CloseBusy, FaultFrequency::Times(3));
    pass_here_alone(&app, TO_CLOSING_MS).await;
    for _ in 0..2 {
        assert_eq!(app.state(&token).await, "awaiting_payment");
        pass_here_alone(&app, 61_000).await;
    }
    assert_eq!((provider.closings(app.sandbox()), app.state(&token).await), (3, "awaiting_payment"));
    pass_here_alone(&app, 61_000).await;
    assert_eq!(app.state_and_reason(&token).await, ("expired", "not_paid"));
    assert_eq!(app.standing(provider, &token).await, Standing::Closed);
}

/// The payer of a sale that is over pays all the same; the module, which is asked, gave nothing.
async fn late_payment_goes_back(app: &TestApp, provider: Provider, token: &SaleToken) {
    assert_eq!(app.state(token).await, "expired");
    once(app.sandbox(), Fault::PaidAfterClose);
    app.pay(provider, token).await;
    app.until_state(token, "paid").await;
    assert_eq!(app.state_and_reason(token).await, ("paid", "late"));
    let asked = app.next_credit().await;
    assert!(asked.expires_ms < u64::try_from(app.now_ms()).unwrap(), "nobody waits for this credit: it is a question");
    app.deliver(&app.shop.module.ack(app, &asked, stage(Stage::Expired))).await;
    app.pass_until_state(token, "refunded").await;
    assert_eq!(app.state_and_reason(token).await, ("refunded", "late"));
    assert_eq!(provider.refund_calls(app.sandbox()), 1);
    assert_eq!(provider.returned_fen(app.sandbox(), &app.number(token).await), PRICE_MINOR);
    app.assert_books().await;
}

async fn a_payment_after_the_closing_goes_back_as_late(provider: Provider) {
    let app = TestApp::start().await;
    let token = scanned_order(&app, provider).await;
    pass_here_alone(&app, TO_CLOSING_MS).await;
    assert_eq!(app.standing(provider, &token).await, Standing::Closed);
    late_payment_goes_back(&app, provider, &token).await;
}

async fn a_payment_after_the_end_goes_back_as_late(provider: Provider) {
    let app = TestApp::start().await;
    let token = app.order(provider).await;
    app.skip_ms(TO_CLOSING_MS).await;
    late_payment_goes_back(&app, provider, &token).await;
}

async fn a_credit_that_was_given_for_a_late_payment_stays(provider: Provider) {
    let app = TestApp::start().await;
    let token = app.order(provider).await;
    app.skip_ms(TO_CLOSING_MS).await;
    once(app.sandbox(), Fault::PaidAfterClose);
    app.pay(provider, &token).await;
    app.until_state(&token, "paid").await;
    // The store may have forgotten it: the module says that it gave it long ago.
    app.give_credit().await;
    assert_eq!(app.state(&token).await, "credited");
    app.skip_ms(60_000).await;
    assert_eq!(provider.refund_calls(app.sandbox()), 0);
    app.assert_books().await;
}
