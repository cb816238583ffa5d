//! Stored commands: numbered, repeated until the module has acknowledged them, and given up after their expiry.

use crate::support::{
    Call, TestApp,
    actors::{acting_for, system},
    app::{PRICE_MINOR, PRICE_PULSES},
    done, duplicate, stage,
};
use backend::{flows::operate::machine, machines::fleet};
use protocol::messages::{Action, Reason, Stage};

#[tokio::test]
async fn are_repeated_byte_for_byte_until_given_up_and_refunded_once() {
    let app = TestApp::start().await;
    let topic = app.shop.module.command_topic();
    let token = app.paid_sale().await;
    let start_ms = app.now_ms();
    let mut sent = app.bus.on(&topic);
    let first = sent.pop().unwrap();
    let (mut seen, mut sent_ms) = (sent.len() + 1, vec![]);
    while app.now_ms() < start_ms + 29_800 {
        app.pass_ms(200).await;
        for message in &app.bus.on(&topic)[seen..] {
            assert_eq!(message.payload, first.payload, "a repeat is the same message");
            sent_ms.push(app.now_ms() - start_ms);
            seen += 1;
        }
    }
    assert_eq!(sent_ms, [1_000, 3_000, 7_000, 15_000, 23_000], "past its expiry it asks what became of it");
    assert_eq!(app.state(&token).await, "paid");
    app.pass_ms(200).await;
    let row = app.row(&token).await;
    assert_eq!((row.view.state.as_str(), row.view.reason.as_str()), ("refunded", "module_silent"));

    app.pass_ms(60_000).await;
    app.skip_ms(3_600_000).await;
    assert_eq!(app.bus.on(&topic).len(), seen, "what is given up is not sent any more");
    assert_eq!(app.bank.called(Call::Refund).len(), 1);
    assert_eq!(app.bank.refunds()[0].request.refund_minor, PRICE_MINOR);
    app.assert_books().await;
}

#[tokio::test]
async fn the_broker_keeps_a_repeat_only_as_long_as_it_counts() {
    let app = TestApp::start().await;
    app.paid_sale().await;
    app.pass_ms(15_000).await;
    let expiries: Vec<_> = app.bus.on(&app.shop.module.command_topic()).iter().map(|m| m.expiry_s.unwrap()).collect();
    assert_eq!(expiries[1..], [30, 29, 27, 23, 15]);
}

#[tokio::test]
async fn an_unset_clock_is_set_and_the_command_sent_again() {
    let app = TestApp::start().await;
    let module = &app.shop.module;
    let token = app.paid_sale().await;
    let credit = module.credit(&app);
    let uptime_ms = app.uptime_ms();
    app.deliver(&module.ack(&app, &credit, |ack| (ack.stage, ack.at_ms) = (Stage::Clock, None))).await;
    assert_eq!(app.state(&token).await, "paid", "a clock is no final word");
    let syncs = module.syncs(&app);
    let [sync] = &syncs[..] else { panic!("{syncs:?}") };
    let Action::Sync(time) = sync.action else { panic!("{sync:?}") };
    assert_eq!(i64::try_from(time.server_ms).unwrap(), app.now_ms());
    assert_eq!((time.echo_boot, time.echo_uptime_ms), (1, uptime_ms));

    assert!(module.credits(&app).is_empty());
    app.deliver(&module.ack(&app, sync, stage(Stage::Done))).await;
    let again = module.credit(&app);
    assert_eq!(again, credit);
    app.deliver(&module.ack(&app, &again, done(PRICE_PULSES))).await;
    assert_eq!(app.state(&token).await, "credited");
    app.assert_books().await;
}

#[tokio::test]
async fn a_sync_that_was_too_slow_is_made_anew() {
    let app = TestApp::start().await;
    let module = &app.shop.module;
    app.paid_sale().await;
    let credit = module.credit(&app);
    app.deliver(&module.ack(&app, &credit, |ack| (ack.stage, ack.at_ms) = (Stage::Clock, None))).await;
    let slow = module.syncs(&app).pop().unwrap();
    app.clock.advance(11_000);
    let refusal = module.ack(&app, &slow, |ack| (ack.stage, ack.reason) = (Stage::Failed, Some(Reason::SlowSync)));
    app.deliver(&refusal).await;
    let syncs = module.syncs(&app);
    let [new] = &syncs[..] else { panic!("{syncs:?}") };
    assert_ne!(new.id, slow.id);
    let Action::Sync(time) = new.action else { panic!("{new:?}") };
    assert_eq!((i64::try_from(time.server_ms).unwrap(), time.echo_uptime_ms), (app.now_ms(), app.uptime_ms()));
    // The old one's answer, repeated, starts nothing.
    app.clock.advance(2_000);
    app.deliver(&refusal).await;
    assert!(module.syncs(&app).is_empty());
}

#[tokio::test]
async fn syncs_are_spaced_however_often_a_module_asks() {
    let app = TestApp::start().await;
    let module = &app.shop.module;
    for _ in 0..20 {
        app.deliver(&module.status(&app, |status| status.at_ms = None)).await;
        app.clock.advance(100);
    }
    assert_eq!(module.syncs(&app).len(), 2);
}

#[tokio::test]
async fn what_is_pending_is_sent_when_the_module_comes_back() {
    let app = TestApp::start().await;
    let module = &app.shop.module;
    let (first, second) = (app.paid_sale().await, app.paid_sale().await);
    app.deliver(&module.will(&app)).await;
    let sequences: Vec<u32> = module.credits(&app).iter().map(|credit| credit.sequence).collect();
    assert!(sequences.len() == 2 && sequences.is_sorted(), "{sequences:?}");

    app.clock.advance(500);
    module.reconnect(true);
    app.deliver(&module.status(&app, |_| ())).await;
    let again = module.credits(&app);
    let resent: Vec<u32> = again.iter().map(|credit| credit.sequence).collect();
    assert_eq!(resent, sequences, "the oldest first");
    for credit in &again {
        app.deliver(&module.ack(&app, credit, done(PRICE_PULSES))).await;
    }
    assert_eq!((app.state(&first).await, app.state(&second).await), ("credited", "credited"));

    module.reconnect(false);
    app.deliver(&module.status(&app, |_| ())).await;
    assert!(module.credits(&app).is_empty(), "what is done is not sent again");
}

#[tokio::test]
async fn a_module_at_work_is_given_its_time() {
    let app = TestApp::start().await;
    let module = &app.shop.module;
    let token = app.paid_sale().await;
    let credit = module.credit(&app);
    // A long credit: whenever it is asked, the module says that it is at it.
    for _ in 0..10 {
        app.deliver(&module.ack(&app, &credit, stage(Stage::Received))).await;
        app.pass_ms(8_000).await;
        assert_eq!(app.state(&token).await, "crediting");
        module.credit(&app);
    }
    app.deliver(&module.ack(&app, &credit, done(PRICE_PULSES))).await;
    assert_eq!(app.state(&token).await, "credited");
    app.assert_books().await;
}

#[tokio::test]
async fn a_module_that_is_at_work_for_ever_is_given_up() {
    let app = TestApp::start().await;
    let module = &app.shop.module;
    let token = app.paid_sale().await;
    let credit = module.credit(&app);
    for _ in 0..100 {
        app.deliver(&module.ack(&app, &credit, stage(Stage::Received))).await;
        app.pass_ms(8_000).await;
    }
    assert_eq!(app.state(&token).await, "refunded");
    assert_eq!(app.bank.refunds().len(), 1);
    app.assert_books().await;
}

#[tokio::test]
async fn what_was_given_up_is_asked_about_when_the_module_shows_up_again_for_half_a_year() {
    let app = TestApp::start().await;
    let module = &app.shop.module;
    let token = app.paid_sale().await;
    let credit = module.credit(&app);
    app.pass_ms(31_000).await;
    assert_eq!(app.state(&token).await, "refunded");
    module.credits(&app);

    app.skip_ms(3_600_000).await;
    module.reconnect(true);
    app.deliver(&module.status(&app, |_| ())).await;
    assert_eq!(module.credit(&app), credit, "past its expiry it is a question: the module executes nothing");
    app.deliver(&module.ack(&app, &credit, duplicate(Stage::Done, PRICE_PULSES))).await;
    let row = app.row(&token).await;
    assert_eq!((row.view.state.as_str(), row.view.served_and_refunded), ("refunded", true));
    module.reconnect(true);
    app.deliver(&module.status(&app, |_| ())).await;
    assert!(module.credits(&app).is_empty(), "it was acknowledged");

    // Longer than any step of the clock, but not for ever.
    app.paid_sale().await;
    app.pass_ms(31_000).await;
    module.credits(&app);
    app.skip_ms(170 * 24 * 3_600_000).await;
    module.reconnect(true);
    app.deliver(&module.status(&app, |_| ())).await;
    assert_eq!(module.credits(&app).len(), 1);
    app.skip_ms(10 * 24 * 3_600_000).await;
    module.reconnect(true);
    app.deliver(&module.status(&app, |_| ())).await;
    assert!(module.credits(&app).is_empty());
    assert_eq!(app.bank.refunds().len(), 2);
    app.assert_books().await;
}

#[tokio::test]
async fn a_lock_is_a_command_too_and_its_end_moves_no_sale() {
    let app = TestApp::start().await;
    let module = &app.shop.module;
    machine::set_locked(&app.backend, &acting_for(app.shop.operator_id), app.shop.machine_id, true).await.unwrap();
    let is_lock = |action: &Action| matches!(action, Action::Lock { .. });
    let locks = module.take(&app, is_lock);
    assert_eq!((locks.len(), locks[0].action), (1, Action::Lock { locked: true }));
    assert_eq!(locks[0].expires_ms - locks[0].issued_ms, 24 * 3_600_000);
    app.pass_ms(1_000).await;
    assert_eq!(module.take(&app, is_lock).len(), 1, "repeated like any that counts");
    app.deliver(&module.ack(&app, &locks[0], stage(Stage::Done))).await;
    app.pass_ms(60_000).await;
    assert!(module.take(&app, is_lock).is_empty());
    app.deliver(&module.status(&app, |status| status.locked = Some(true))).await;
    let fleet = fleet::fleet(&app.backend, &system(), app.shop.operator_id).await.unwrap();
    assert!(fleet[0].module.as_ref().unwrap().locked);
}

/// The status after an unlock is lost; the one before it, which the broker retains, comes again when the server restarts.
#[tokio::test]
async fn an_old_status_does_not_undo_a_lock_that_was_carried_out() {
    let app = TestApp::start().await;
    let module = &app.shop.module;
    let (operator_id, machine_id) = (app.shop.operator_id, app.shop.machine_id);
    let is_lock = |action: &Action| matches!(action, Action::Lock { .. });
    machine::set_locked(&app.backend, &acting_for(operator_id), machine_id, true).await.unwrap();
    let lock = module.take(&app, is_lock).remove(0);
    app.deliver(&module.ack(&app, &lock, stage(Stage::Done))).await;
    let retained = module.status(&app, |status| (status.locked, status.last_command) = (Some(true), lock.sequence));
    app.deliver(&retained).await;
    machine::set_locked(&app.backend, &acting_for(operator_id), machine_id, false).await.unwrap();
    let unlock = module.take(&app, is_lock).remove(0);
    app.deliver(&module.ack(&app, &unlock, stage(Stage::Done))).await;
    app.deliver(&retained).await;
    let locked =
        async || fleet::fleet(&app.backend, &system(), operator_id).await.unwrap().remove(0).module.unwrap().locked;
    assert!(!locked().await);
    // A later word of the module counts: somebody else unlocked it, or its flash was erased.
    let later = module.status(&app, |status| (status.locked, status.last_command) = (Some(true), unlock.sequence));
    app.deliver(&later).await;
    assert!(locked().await);
}
