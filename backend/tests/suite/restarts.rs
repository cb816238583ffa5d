//! A backend that ends at any moment: another one on the same store goes on where it stopped.

use crate::support::{
    Call, Fault, TestApp, What,
    app::{PRICE_MINOR, PRICE_PULSES, SECRET_KEY, callback_to},
    done,
};
use backend::{flows::place_order, jobs, payments::provider::RefundState};

#[tokio::test]
async fn goes_on_with_commands() {
    let mut app = TestApp::start().await;
    let token = app.paid_sale().await;
    let credit = app.shop.module.credit(&app);
    app.clock.advance(1_000);
    app.restart().await;
    jobs::run_due(&app.backend).await.unwrap();
    let again = app.shop.module.credit(&app);
    assert_eq!(again, credit, "the same command, as it was");
    app.deliver(&app.shop.module.ack(&app, &again, done(PRICE_PULSES))).await;
    assert_eq!(app.state(&token).await, "credited");
    app.paid_sale().await;
    assert!(app.shop.module.credit(&app).sequence > credit.sequence, "numbering goes on");
    app.assert_books().await;
}

#[tokio::test]
async fn goes_on_with_what_expired_while_it_was_away() {
    let mut app = TestApp::start().await;
    let token = app.paid_sale().await;
    app.clock.advance(3_600_000);
    app.restart().await;
    jobs::run_due(&app.backend).await.unwrap();
    assert_eq!(app.state(&token).await, "paid", "its module may come back and say that it gave it");
    app.pass_ms(10 * 60_000).await;
    assert_eq!(app.state(&token).await, "refunded");
    assert_eq!(app.bank.refunds().len(), 1);
    app.assert_books().await;
}

#[tokio::test]
async fn goes_on_with_refunds_under_the_same_number() {
    let mut app = TestApp::start().await;
    let token = app.paid_sale().await;
    app.bank.fault(Call::Refund, [Fault::LostCall]);
    app.pass_ms(30_000).await;
    assert_eq!(app.state(&token).await, "refund_pending");
    app.restart().await;
    app.pass_ms(5_000).await;
    assert_eq!(app.state(&token).await, "refunded");
    let numbers = app.bank.called(Call::Refund);
    assert_eq!((numbers.len(), &numbers[0]), (2, &numbers[1]));
    assert_eq!(app.bank.refunds().len(), 1);
    app.assert_books().await;
}

#[tokio::test]
async fn goes_on_with_a_refund_that_is_under_way() {
    let mut app = TestApp::start().await;
    let token = app.paid_sale().await;
    app.bank.refunds_become([RefundState::Processing]);
    app.pass_ms(30_000).await;
    let number = app.bank.called(Call::Refund)[0].clone();
    app.restart().await;
    app.bank.move_refund(&number, RefundState::Done);
    app.pass_ms(5_000).await;
    assert_eq!(app.state(&token).await, "refunded");
    assert_eq!(app.bank.called(Call::Refund).len(), 1);
    app.assert_books().await;
}

#[tokio::test]
async fn goes_on_with_payments_that_it_was_not_told_of() {
    let mut app = TestApp::start().await;
    let token = app.order().await;
    app.pay(&token).await;
    app.restart().await;
    app.pass_ms(3_200).await;
    assert_eq!(app.state(&token).await, "paid");
    app.shop.module.credit(&app);
}

#[tokio::test]
async fn ended_between_commit_and_provider_the_order_ends_unpaid_or_is_found() {
    let mut app = TestApp::start().await;
    app.make_ready(&app.shop).await;
    let form = app.form(&app.shop);
    app.bank.fault(Call::Create, [Fault::Held]);
    {
        // The call goes out, and the server dies before the answer.
        let order = place_order::order(&app.backend, form.clone());
        tokio::select! {
            _ = order => panic!("it is held"),
            () = app.bank.holds() => {}
        }
    }
    app.restart().await;
    let token = app.only_token().await;
    assert_eq!(app.state(&token).await, "created");
    assert_eq!(place_order::order(&app.backend, form).await.unwrap().token, token, "the form is known");
    app.pass_ms(7 * 60_000).await;
    assert_eq!(app.state(&token).await, "expired");
    assert!(app.bank.refunds().is_empty());
}

#[tokio::test]
async fn ended_in_a_callback_it_is_all_or_nothing() {
    let app = TestApp::start().await;
    let token = app.order().await;
    let callback = app.pay(&token).await;
    // The server dies after each so many steps of working on the callback, and the provider sends it again. On MySQL that
    // leaves connections behind with half an answer, which must not be used again, nor be missed.
    for polls in 1..200 {
        let mut work = Box::pin(app.callback(&callback));
        let mut finished = false;
        for _ in 0..polls {
            if futures_util::poll!(&mut work).is_ready() {
                finished = true;
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(work);
        // In one statement, for the commit may still be on its way into the store.
        let traces = "SELECT (SELECT COUNT(*) FROM sales WHERE state = 'paid') \
             + (SELECT COUNT(*) FROM callback_inbox) * 10 \
             + (SELECT COUNT(*) FROM commands) * 100 \
             + (SELECT COUNT(*) FROM ledger_txns) * 1000";
        let traces = app.number_of(traces).await;
        assert!([0, 1111].contains(&traces), "{traces}");
        if finished {
            break;
        }
    }
    app.callback(&callback).await.unwrap();
    assert_eq!(app.state(&token).await, "paid");
    app.pass_ms(1_000).await;
    assert!(!app.shop.module.credits(&app).is_empty(), "what was committed and not sent is sent");
    app.assert_books().await;
}

#[tokio::test]
async fn two_on_one_store_do_everything_once() {
    let app = TestApp::start().await;
    let second = app.another(SECRET_KEY);
    let token = app.order().await;
    let callback = app.pay(&token).await;
    let (one, two) = tokio::join!(app.callback(&callback), callback_to(&second, &app.shop.account_token, &callback));
    one.unwrap();
    two.unwrap();
    app.shop.module.credit(&app);
    for _ in 0..200 {
        app.clock.advance(200);
        let (one, two) = tokio::join!(jobs::run_due(&app.backend), jobs::run_due(&second));
        one.unwrap();
        two.unwrap();
    }
    assert_eq!(app.state(&token).await, "refunded");
    assert_eq!(app.bank.called(Call::Refund).len(), 1);
    // Sent first by the one that took the callback, and five times again by either.
    assert_eq!(app.shop.module.credits(&app).len(), 5);
    let number = app.number(&token).await;
    let what = What::Paid {
        txn: format!("T{number}"),
        amount_minor: PRICE_MINOR,
        paid_at_ms: app.now_ms(),
        attach: String::new(),
    };
    callback_to(&second, &app.shop.account_token, &app.notice(&number, what)).await.unwrap();
    app.assert_books().await;
}
