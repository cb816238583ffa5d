//! A module's acks of a credit, in every possible order, and from other modules.

use crate::support::{
    TestApp,
    actors::{acting_for, system},
    app::{PRICE_MINOR, PRICE_PULSES},
    done, duplicate, failed, stage,
};
use backend::{flows::operate::machine, machines::fleet};
use protocol::messages::{Action, Reason, Stage};

#[tokio::test]
async fn a_lost_done_is_asked_for_again_and_credits() {
    let app = TestApp::start().await;
    let module = &app.shop.module;
    let token = app.paid_sale().await;
    let credit = module.credit(&app);
    // `received` and `done` are lost on the way.
    app.pass_ms(1_000).await;
    assert_eq!(module.credit(&app), credit);
    app.deliver(&module.ack(&app, &credit, duplicate(Stage::Done, PRICE_PULSES))).await;
    let row = app.row(&token).await;
    assert_eq!((row.view.state.as_str(), row.view.pulses_given), ("credited", 5));
    app.pass_ms(60_000).await;
    assert!(app.bank.refunds().is_empty());
    app.assert_books().await;
}

#[tokio::test]
async fn done_past_expiry_credits_within_the_grace() {
    let app = TestApp::start().await;
    let token = app.paid_sale().await;
    let credit = app.shop.module.credit(&app);
    app.pass_ms(29_000).await;
    app.deliver(&app.shop.module.ack(&app, &credit, duplicate(Stage::Done, PRICE_PULSES))).await;
    assert_eq!(app.state(&token).await, "credited");
    app.pass_ms(60_000).await;
    assert!(app.bank.refunds().is_empty());
}

#[tokio::test]
async fn a_duplicate_stands_for_its_first_word() {
    for (first, reason, state) in [
        (Stage::Received, None, "crediting"),
        (Stage::Done, None, "credited"),
        (Stage::Failed, Some(Reason::PowerLost), "refund_pending"),
        (Stage::Expired, None, "refund_pending"),
        (Stage::Unknown(99), None, "paid"),
    ] {
        let app = TestApp::start().await;
        let token = app.paid_sale().await;
        let credit = app.shop.module.credit(&app);
        let word = |ack: &mut protocol::messages::Ack| {
            duplicate(first, PRICE_PULSES)(ack);
            ack.reason = reason;
        };
        app.deliver(&app.shop.module.ack(&app, &credit, word)).await;
        assert_eq!(app.state(&token).await, state, "{first:?}");
    }
}

#[tokio::test]
async fn the_first_final_word_stands() {
    let app = TestApp::start().await;
    let module = &app.shop.module;
    let credited = app.paid_sale().await;
    let credit = module.credit(&app);
    app.deliver(&module.ack(&app, &credit, done(PRICE_PULSES))).await;
    for word in [failed(0, Reason::Fault), failed(5, Reason::PowerLost)] {
        app.deliver(&module.ack(&app, &credit, word)).await;
    }
    for late in [Stage::Received, Stage::Expired, Stage::Unknown(42)] {
        app.deliver(&module.ack(&app, &credit, stage(late))).await;
    }
    assert_eq!(app.state(&credited).await, "credited");

    let refunded = app.paid_sale().await;
    let credit = module.credit(&app);
    app.deliver(&module.ack(&app, &credit, failed(0, Reason::Busy))).await;
    app.deliver(&module.ack(&app, &credit, stage(Stage::Expired))).await;
    app.deliver(&module.ack(&app, &credit, stage(Stage::Received))).await;
    app.pass_ms(5_000).await;
    assert_eq!(app.state(&refunded).await, "refunded");
    assert_eq!(app.bank.refunds().len(), 1);
    app.assert_books().await;
}

#[tokio::test]
async fn received_after_done_changes_nothing() {
    let app = TestApp::start().await;
    let token = app.paid_sale().await;
    let credit = app.shop.module.credit(&app);
    let received = app.shop.module.ack(&app, &credit, stage(Stage::Received));
    app.deliver(&app.shop.module.ack(&app, &credit, done(PRICE_PULSES))).await;
    app.deliver(&received).await;
    assert_eq!(app.state(&token).await, "credited");
    app.pass_ms(60_000).await;
    assert!(app.shop.module.credits(&app).is_empty());
}

#[tokio::test]
async fn what_a_module_forgot_is_refunded_in_the_consumers_favour() {
    let app = TestApp::start().await;
    let token = app.paid_sale().await;
    let credit = app.shop.module.credit(&app);
    app.deliver(&app.shop.module.ack(&app, &credit, failed(0, Reason::TooOld))).await;
    app.pass_ms(1_000).await;
    let row = app.row(&token).await;
    assert_eq!((row.view.state.as_str(), row.view.reason.as_str()), ("refunded", "module_forgot"));
    assert_eq!(app.bank.refunds()[0].request.refund_minor, PRICE_MINOR);
}

#[tokio::test]
async fn from_another_module_are_ignored() {
    let app = TestApp::start().await;
    let other = app.open_shop("other").await;
    let token = app.paid_sale().await;
    let credit = app.shop.module.credit(&app);
    for word in [Stage::Done, Stage::Failed, Stage::Expired, Stage::Received] {
        let forged = other.module.ack(&app, &credit, |ack| (ack.stage, ack.pulses) = (word, Some(PRICE_PULSES)));
        app.deliver(&forged).await;
        assert_eq!(app.state(&token).await, "paid", "{word:?}");
    }
    app.deliver(&app.shop.module.ack(&app, &credit, done(PRICE_PULSES))).await;
    assert_eq!(app.state(&token).await, "credited");
}

#[tokio::test]
async fn with_another_sequence_than_was_sent_are_ignored() {
    let app = TestApp::start().await;
    machine::set_locked(&app.backend, &acting_for(app.shop.operator_id), app.shop.machine_id, true).await.unwrap();
    let is_lock = |action: &Action| matches!(action, Action::Lock { .. });
    let lock = app.shop.module.take(&app, is_lock).remove(0);
    let wrong = app.shop.module.ack(&app, &lock, |ack| (ack.stage, ack.sequence) = (Stage::Done, lock.sequence + 1));
    app.deliver(&wrong).await;
    let fleet = fleet::fleet(&app.backend, &system(), app.shop.operator_id).await.unwrap();
    assert!(!fleet[0].module.as_ref().unwrap().locked);
}

#[tokio::test]
async fn of_commands_never_sent_are_ignored() {
    let app = TestApp::start().await;
    let token = app.paid_sale().await;
    let credit = app.shop.module.credit(&app);
    for id in [0, 1, u64::MAX, i64::MAX.unsigned_abs()] {
        let unknown = app.shop.module.ack(&app, &credit, |ack| {
            done(PRICE_PULSES)(ack);
            ack.command = id;
        });
        app.deliver(&unknown).await;
    }
    assert_eq!(app.state(&token).await, "paid");
}

#[tokio::test]
async fn more_pulses_than_were_bought_are_credited_and_nothing_breaks() {
    let app = TestApp::start().await;
    let token = app.paid_sale().await;
    let credit = app.shop.module.credit(&app);
    app.deliver(&app.shop.module.ack(&app, &credit, done(u16::MAX))).await;
    assert_eq!(app.state(&token).await, "credited");
    app.assert_books().await;
}

#[tokio::test]
async fn more_pulses_than_were_asked_for_are_not_shown_as_truth() {
    for (is_done, state, given) in [(true, "credited", i32::from(PRICE_PULSES)), (false, "refund_pending", 0)] {
        for claimed in [PRICE_PULSES + 1, u16::MAX] {
            let app = TestApp::start().await;
            let token = app.paid_sale().await;
            let credit = app.shop.module.credit(&app);
            app.events();
            let word = |ack: &mut protocol::messages::Ack| {
                if is_done { done(claimed)(ack) } else { failed(claimed, Reason::PowerLost)(ack) }
            };
            for _ in 0..3 {
                app.deliver(&app.shop.module.ack(&app, &credit, word)).await;
            }
            let row = app.row(&token).await;
            assert_eq!((row.view.state.as_str(), row.view.pulses_given), (state, given), "{claimed}");
            let alarms: Vec<_> =
                app.alarms().into_iter().filter(|alarm| alarm.contains(&claimed.to_string())).collect();
            assert_eq!(alarms.len(), 1, "told once: {alarms:?}");
            assert_eq!(app.number_of("SELECT MAX(pulses) FROM commands").await, i64::from(given));
            app.books().await;
        }
    }
}
