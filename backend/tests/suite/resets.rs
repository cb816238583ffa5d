//! Lives: a module without its memory comes back by itself, and nobody else can make it seem so.

use crate::support::{
    TestApp,
    actors::{acting_for, system},
    app::COIN_MINOR,
    module::{done, failed, stage},
};
use backend::{flows::operate::machine, machines::fleet};
use protocol::messages::{Action, Reason, Stage};

/// A module in its 42nd boot, which told of five coin pulses.
async fn aged() -> TestApp {
    let app = TestApp::start().await;
    for _ in 1..42 {
        app.shop.module.reconnect(true);
    }
    app.deliver(&app.shop.module.coins(&app, 5)).await;
    app.deliver(&app.shop.module.status(&app, |_| ())).await;
    app
}

async fn online(app: &TestApp) -> bool {
    fleet::fleet(&app.backend, &system(), app.shop.operator_id).await.unwrap().remove(0).module.unwrap().online
}

#[tokio::test]
async fn a_module_that_forgot_everything_proves_it_and_sells_again() {
    let app = aged().await;
    let module = &app.shop.module;
    machine::set_locked(&app.backend, &acting_for(app.shop.operator_id), app.shop.machine_id, true).await.unwrap();
    let is_lock = |action: &Action| matches!(action, Action::Lock { .. });
    let lock = module.take(&app, is_lock).remove(0);
    app.deliver(&module.ack(&app, &lock, stage(Stage::Done))).await;
    app.deliver(&module.will(&app)).await;
    assert!(!online(&app).await);

    module.forget();
    app.pass_ms(60_000).await;
    app.deliver(&module.coins(&app, 2)).await;
    app.deliver(&module.status(&app, |_| ())).await;
    assert!(!online(&app).await, "anybody could have kept such a status");
    assert_eq!(app.cash_minor().await, i128::from(5 * COIN_MINOR));
    let sync = module.syncs(&app).remove(0);
    app.alarms();
    app.deliver(&module.ack(&app, &sync, stage(Stage::Done))).await;
    let alarms = app.alarms();
    assert!(alarms.len() == 1 && alarms[0].contains("lost its memory"), "{alarms:?}");
    assert_eq!(module.take(&app, |action| *action == Action::Diagnose).len(), 1, "it is asked for a status");
    let lock = module.take(&app, is_lock).remove(0);
    assert_eq!(lock.action, Action::Lock { locked: true }, "it forgot that, too");

    app.deliver(&module.status(&app, |_| ())).await;
    assert!(online(&app).await);
    assert_eq!(app.cash_minor().await, i128::from(7 * COIN_MINOR));
    app.deliver(&module.ack(&app, &lock, stage(Stage::Done))).await;
    machine::set_locked(&app.backend, &acting_for(app.shop.operator_id), app.shop.machine_id, false).await.unwrap();
    app.deliver(&module.ack(&app, &module.take(&app, is_lock).remove(0), stage(Stage::Done))).await;

    // Totals that were booked in its first life are booked in this one, too.
    app.deliver(&module.coins(&app, 3)).await;
    assert_eq!(app.cash_minor().await, i128::from(10 * COIN_MINOR));
    let token = app.order().await;
    app.callback(&app.pay(&token).await).await.unwrap();
    let credit = module.credit(&app);
    let Action::Credit { pulses } = credit.action else { panic!("{credit:?}") };
    app.deliver(&module.ack(&app, &credit, done(pulses))).await;
    assert_eq!(app.state(&token).await, "credited");
    app.assert_books().await;
}

#[tokio::test]
async fn a_replayed_status_proves_nothing() {
    let app = aged().await;
    let module = &app.shop.module;
    let replayed = module.status(&app, |status| status.mark.boot = 7);
    app.pass_ms(60_000).await;
    app.deliver(&replayed).await;
    // The module's own answer: that is not its boot. The next sync is by its true one.
    let sync = module.syncs(&app).remove(0);
    app.pass_ms(2_000).await;
    app.deliver(&module.ack(&app, &sync, failed(0, Reason::SlowSync))).await;
    let sync = module.syncs(&app).remove(0);
    app.deliver(&module.ack(&app, &sync, done(0))).await;
    assert!(online(&app).await && app.alarms().is_empty());
    app.deliver(&module.coins(&app, 1)).await;
    assert_eq!(app.cash_minor().await, i128::from(6 * COIN_MINOR));
}

#[tokio::test]
async fn a_proof_is_held_against_the_boot_that_was_known() {
    let app = aged().await;
    let module = &app.shop.module;
    app.pass_ms(60_000).await;
    app.deliver(&module.status(&app, |status| status.mark.boot = 41)).await;
    let sync = module.syncs(&app).remove(0);
    // Its word comes after it started again.
    let late = module.ack(&app, &sync, |ack| (ack.stage, ack.boot) = (Stage::Done, 41));
    module.reconnect(true);
    app.deliver(&module.status(&app, |_| ())).await;
    app.deliver(&late).await;
    assert!(online(&app).await && app.alarms().is_empty());
}

#[tokio::test]
async fn a_module_that_cannot_read_its_flash_is_not_taken_for_new() {
    let app = aged().await;
    let module = &app.shop.module;
    app.pass_ms(60_000).await;
    app.deliver(&module.status(&app, |status| status.mark.boot = 0)).await;
    assert!(module.syncs(&app).is_empty());
}
