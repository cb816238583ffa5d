//! What people decide about sales: money given back by hand, reviews settled. Exactly once, and the books follow.

use crate::support::{
    Call, Shop, TestApp,
    actors::{acting_for, system},
    app::{PRICE_MINOR, PRICE_PULSES},
    done, failed,
};
use backend::{
    Error,
    flows::operate::sale::{self, ManualActionRequest},
    ids::SaleToken,
    jobs,
    payments::provider::RefundState,
    sales::{ManualAction, Settlement, actions, shapes::SaleRow, takings},
};
use protocol::messages::{Command, Reason};

/// Another amount than the shop asks.
const OTHER_MINOR: i64 = 400;

fn request(token: &SaleToken, key: &str, act: ManualAction) -> ManualActionRequest {
    let (token, key) = (token.clone(), key.to_owned());
    ManualActionRequest { token, key, act, reason: "the ride stuck".into(), decided_by: None }
}

fn refund(amount_minor: Option<i64>) -> ManualAction {
    ManualAction::Refund { amount_minor }
}

async fn act(app: &TestApp, token: &SaleToken, key: &str, act: ManualAction) -> Result<SaleRow, Error> {
    sale::perform_manual_action(&app.backend, &acting_for(app.shop.operator_id), request(token, key, act)).await
}

/// A sale that was paid and credited.
async fn credited(app: &TestApp) -> (SaleToken, Command) {
    let token = app.paid_sale().await;
    let credit = app.shop.module.credit(app);
    app.deliver(&app.shop.module.ack(app, &credit, done(PRICE_PULSES))).await;
    assert_eq!(app.state(&token).await, "credited");
    (token, credit)
}

#[tokio::test]
async fn a_refund_by_hand_that_is_stuck_is_tried_again_when_the_person_says_so() {
    let app = TestApp::start().await;
    let (token, _) = credited(&app).await;
    app.bank.refunds_become([RefundState::Abnormal, RefundState::Done]);
    act(&app, &token, "first", refund(None)).await.unwrap();
    app.pass_ms(5_000).await;
    assert_eq!(app.number_of("SELECT COUNT(*) FROM refunds WHERE state = 'stuck'").await, 1);
    let numbers = app.bank.called(Call::Refund);
    // The person acted at the provider.
    app.bank.move_refund(&numbers[0], RefundState::Done);
    act(&app, &token, "again", refund(None)).await.unwrap();
    app.pass_ms(5_000).await;
    assert_eq!(app.number_of("SELECT COUNT(*) FROM refunds WHERE state = 'done'").await, 1);
    assert_eq!(app.bank.called(Call::Refund), numbers, "asked about, not asked for again");
    assert!(act(&app, &token, "more", refund(None)).await.is_err(), "nothing is left");
    app.assert_books().await;
}

/// A sale whose payment has another amount than asked.
async fn paid_wrong(app: &TestApp, amount_minor: i64) -> SaleToken {
    let token = app.order().await;
    let number = app.number(&token).await;
    let what = app.bank.pay_other(&number, amount_minor, app.now_ms());
    app.callback(&app.notice(&number, what)).await.unwrap();
    assert_eq!(app.state(&token).await, "review");
    token
}

#[tokio::test]
async fn a_credited_sale_is_given_back_in_parts_once_each_and_never_more_than_was_paid() {
    let app = TestApp::start().await;
    let (token, credit) = credited(&app).await;
    for _ in 0..3 {
        let row = act(&app, &token, "first", refund(Some(200))).await.unwrap();
        assert_eq!((row.view.state.as_str(), row.view.served_and_refunded), ("credited", false));
    }
    jobs::run_due(&app.backend).await.unwrap();
    let asked = app.bank.refunds().remove(0).request;
    assert_eq!((asked.refund_minor, asked.total_minor), (200, PRICE_MINOR));
    assert!(asked.reason.contains("by the operator") && asked.reason.len() <= 80, "{}", asked.reason);
    let refused = act(&app, &token, "too much", refund(Some(301))).await;
    assert!(matches!(refused, Err(Error::Invalid { field: "sale", .. })), "{refused:?}");
    let refused = act(&app, &token, "first", refund(Some(100))).await;
    assert!(matches!(refused, Err(Error::Invalid { field: "key", .. })), "the key was another request's");

    let row = act(&app, &token, "rest", refund(None)).await.unwrap();
    assert!(row.view.served_and_refunded, "it was served, and all of the money is back");
    // A late repeat of the module's word changes nothing, before the refund went out and after.
    app.deliver(&app.shop.module.ack(&app, &credit, done(PRICE_PULSES))).await;
    app.pass_ms(2_000).await;
    app.deliver(&app.shop.module.ack(&app, &credit, done(PRICE_PULSES))).await;
    assert_eq!(app.bank.refunds().len(), 2);
    assert_eq!((app.state(&token).await, app.bank.net_minor()), ("credited", 0));
    app.assert_books().await;
    assert_eq!(app.books().await["loss"], i128::from(PRICE_MINOR));
    let takings = takings::takings_today(&app.backend, &system(), app.shop.operator_id).await.unwrap();
    assert_eq!((takings.mobile.decimal().as_str(), takings.refunded.decimal().as_str()), ("0.00", "5.00"));
    let refused = act(&app, &token, "more", refund(None)).await;
    assert!(matches!(refused, Err(Error::Invalid { field: "sale", .. })));
    let actions = actions::sale_actions(&app.backend, &system(), &token).await.unwrap();
    let told: Vec<_> = actions.iter().map(|row| (row.action.as_str(), row.amount_minor, row.by.as_str())).collect();
    assert_eq!(told, [("refund", 200, "owner@example.org"), ("refund", 300, "owner@example.org")]);
    assert_eq!(actions[0].reason, "the ride stuck");
}

#[tokio::test]
async fn only_whose_sale_it_is_and_with_a_reason_and_not_while_it_is_under_way() {
    let app = TestApp::start().await;
    let token = app.paid_sale().await;
    let refused = act(&app, &token, "k", refund(None)).await;
    assert!(matches!(refused, Err(Error::Invalid { field: "sale", .. })), "its credit is on its way");
    let credit = app.shop.module.credit(&app);
    app.deliver(&app.shop.module.ack(&app, &credit, done(PRICE_PULSES))).await;
    let Shop { operator_id: eve, .. } = app.open_shop("eve").await;
    let others = sale::perform_manual_action(&app.backend, &acting_for(eve), request(&token, "k", refund(None))).await;
    assert!(matches!(others, Err(Error::NotFound("sale"))));
    for reason in ["", "  ", &"x".repeat(181)] {
        let without = ManualActionRequest { reason: reason.into(), ..request(&token, "k", refund(None)) };
        let refused = sale::perform_manual_action(&app.backend, &system(), without).await;
        assert!(matches!(refused, Err(Error::Invalid { field: "reason", .. })));
    }
    let refused = act(&app, &token, "k", ManualAction::Settle(Settlement::Keep)).await;
    assert!(matches!(refused, Err(Error::Invalid { field: "sale", .. })), "it is not in review");
    jobs::run_due(&app.backend).await.unwrap();
    assert!(
        app.bank.refunds().is_empty()
            && actions::sale_actions(&app.backend, &system(), &token).await.unwrap().is_empty()
    );
}

#[tokio::test]
async fn a_payment_of_another_amount_is_credited_refunded_or_kept() {
    let app = TestApp::start().await;
    // Credited: it is the sale's own from then on.
    let token = paid_wrong(&app, OTHER_MINOR).await;
    for _ in 0..2 {
        act(&app, &token, "k", ManualAction::Settle(Settlement::Credit)).await.unwrap();
    }
    let credit = app.shop.module.credit(&app);
    app.deliver(&app.shop.module.ack(&app, &credit, done(PRICE_PULSES))).await;
    assert_eq!(app.state(&token).await, "credited");
    // Refunded: what was paid goes back.
    let token = paid_wrong(&app, OTHER_MINOR).await;
    act(&app, &token, "k", ManualAction::Settle(Settlement::Refund)).await.unwrap();
    app.pass_ms(2_000).await;
    assert_eq!(app.state(&token).await, "refunded");
    // Kept: the operator has the money, and nothing is owed.
    let token = paid_wrong(&app, OTHER_MINOR).await;
    let row = act(&app, &token, "k", ManualAction::Settle(Settlement::Keep)).await.unwrap();
    assert_eq!((row.view.state.as_str(), row.view.at_rest), ("settled", true));
    let books = app.books().await;
    assert_eq!(books["suspense"], 0, "{books:?}");
    assert_eq!(books["operator_payable"], -i128::from(2 * OTHER_MINOR));
    app.assert_books().await;
    assert_eq!(app.bank.refunds().len(), 1);
    // What was settled can be given back later.
    act(&app, &token, "later", refund(None)).await.unwrap();
    app.pass_ms(2_000).await;
    assert_eq!(app.state(&token).await, "settled");
    assert_eq!(app.bank.net_minor(), OTHER_MINOR);
    app.assert_books().await;
}

#[tokio::test]
async fn a_stuck_refund_is_asked_about_again_or_given_up() {
    let app = TestApp::start().await;
    let stuck = async || {
        let token = app.paid_sale().await;
        let credit = app.shop.module.credit(&app);
        app.deliver(&app.shop.module.ack(&app, &credit, failed(0, Reason::Fault))).await;
        app.bank.refunds_become([RefundState::Abnormal]);
        jobs::run_due(&app.backend).await.unwrap();
        assert_eq!(app.state(&token).await, "review");
        (token, app.bank.called(Call::Refund).pop().unwrap())
    };
    let (token, number) = stuck().await;
    let refused = act(&app, &token, "credit", ManualAction::Settle(Settlement::Credit)).await;
    assert!(matches!(refused, Err(Error::Invalid { field: "sale", .. })));
    // Somebody acted in the provider's console meanwhile.
    app.bank.move_refund(&number, RefundState::Done);
    act(&app, &token, "again", ManualAction::Settle(Settlement::Refund)).await.unwrap();
    app.pass_ms(2_000).await;
    assert_eq!(app.state(&token).await, "refunded");
    app.assert_books().await;

    let (token, _) = stuck().await;
    act(&app, &token, "keep", ManualAction::Settle(Settlement::Keep)).await.unwrap();
    assert_eq!(app.state(&token).await, "settled");
    app.pass_ms(20_000).await;
    let books = app.books().await;
    assert_eq!((books["refund_clearing"], books["operator_payable"]), (0, -i128::from(PRICE_MINOR)));
}
