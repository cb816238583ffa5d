//! The live probe: a machine is ready only if its module just said so.

use crate::support::{Shop, TestApp, actors::acting_for, failed, stage};
use backend::{
    Error,
    flows::{operate::machine, place_order, probe_module},
    sales::readiness::Readiness,
};
use protocol::messages::{Ack, Reason, Stage};

/// Somebody opens the scan page, and the module answers the probe with `word`.
async fn scan_answered(app: &TestApp, shop: &Shop, word: impl FnOnce(&mut Ack)) -> Readiness {
    let answer = async {
        let probe = shop.module.next_probe(app).await;
        app.deliver(&shop.module.ack(app, &probe, word)).await;
    };
    let (view, ()) = tokio::join!(app.scan(&shop.code), answer);
    view.unwrap().readiness
}

/// Somebody opens the scan page, and nothing answers for `ms`.
async fn scan_unanswered(app: &TestApp, ms: i64) -> Readiness {
    let wait = async {
        app.clock.slept_on().await;
        app.clock.advance(ms);
    };
    let (view, ()) = tokio::join!(app.scan(&app.shop.code), wait);
    view.unwrap().readiness
}

#[tokio::test]
async fn a_machine_is_ready_when_its_module_says_so() {
    let app = TestApp::start().await;
    assert_eq!(scan_answered(&app, &app.shop, stage(Stage::Done)).await, Readiness::Ready);
    let view = app.scan(&app.shop.code).await.unwrap();
    assert_eq!((view.machine.as_str(), view.site.as_str(), view.operator.as_str()), ("Rocket", "Mall", "acme rides"));
    assert_eq!((view.prices.len(), view.prices[0].amount.decimal().as_str(), view.prices[0].pulses), (1, "5.00", 5));
}

#[tokio::test]
async fn a_probe_is_signed_short_lived_and_not_numbered() {
    let app = TestApp::start().await;
    probe_module::start_probe(&app.backend, app.shop.module.id).await.unwrap();
    let probe = app.shop.module.probes(&app).pop().unwrap();
    assert_eq!((probe.sequence, probe.expires_ms - probe.issued_ms), (0, 2_000));
    let message = app.bus.on(&app.shop.module.command_topic()).pop().unwrap();
    assert_eq!((message.retain, message.expiry_s), (false, Some(2)));
    assert_eq!(app.number_of("SELECT COUNT(*) FROM commands").await, 0);
}

#[tokio::test]
async fn an_answer_serves_ten_seconds() {
    let app = TestApp::start().await;
    scan_answered(&app, &app.shop, stage(Stage::Done)).await;
    app.clock.advance(9_999);
    assert_eq!(app.scan(&app.shop.code).await.unwrap().readiness, Readiness::Ready);
    assert!(app.shop.module.probes(&app).is_empty());
    app.clock.advance(1);
    assert_eq!(scan_answered(&app, &app.shop, failed(0, Reason::Fault)).await, Readiness::Fault);
}

#[tokio::test]
async fn many_page_views_are_one_probe() {
    let app = TestApp::start().await;
    let answer = async {
        let probe = app.shop.module.next_probe(&app).await;
        app.deliver(&app.shop.module.ack(&app, &probe, stage(Stage::Done))).await;
    };
    let views = futures_util::future::join_all((0..50).map(|_| app.scan(&app.shop.code)));
    let (views, ()) = tokio::join!(views, answer);
    assert!(views.into_iter().all(|view| view.unwrap().readiness == Readiness::Ready));
    assert!(app.shop.module.probes(&app).is_empty());
}

#[tokio::test]
async fn probes_are_spaced_also_where_nothing_answers() {
    let app = TestApp::start().await;
    for _ in 0..30 {
        assert_eq!(probe_module::start_probe(&app.backend, app.shop.module.id).await.unwrap(), None);
        app.clock.advance(100);
    }
    assert_eq!(app.shop.module.probes(&app).len(), 2, "one each 1.5 s");
}

#[tokio::test]
async fn a_clock_set_back_does_not_stop_the_probes() {
    let app = TestApp::start().await;
    scan_answered(&app, &app.shop, stage(Stage::Done)).await;
    app.clock.advance(-3_600_000);
    assert_eq!(scan_answered(&app, &app.shop, stage(Stage::Done)).await, Readiness::Ready);
    app.deliver(&app.shop.module.status(&app, |status| status.at_ms = None)).await;
    assert_eq!(app.shop.module.syncs(&app).len(), 1);
    app.clock.advance(-3_600_000);
    app.deliver(&app.shop.module.status(&app, |status| status.at_ms = None)).await;
    assert_eq!(app.shop.module.syncs(&app).len(), 1, "nor the syncs");
}

#[tokio::test]
async fn a_refusal_says_why() {
    for (reason, readiness) in [
        (Reason::Locked, Readiness::Locked),
        (Reason::Busy, Readiness::Busy),
        (Reason::Fault, Readiness::Fault),
        (Reason::Flash, Readiness::Fault),
        (Reason::Unsupported, Readiness::Fault),
        (Reason::Unknown(77), Readiness::Fault),
    ] {
        let app = TestApp::start().await;
        assert_eq!(scan_answered(&app, &app.shop, failed(0, reason)).await, readiness);
        let order = place_order::order(&app.backend, app.form(&app.shop)).await;
        assert!(matches!(order, Err(Error::NotReady(why)) if why == readiness), "{order:?}");
        // A bad answer serves only until the next probe may be sent.
        app.clock.advance(1_500);
        assert_eq!(scan_answered(&app, &app.shop, stage(Stage::Done)).await, Readiness::Ready);
    }
}

#[tokio::test]
async fn no_answer_in_time_is_no_answer() {
    let app = TestApp::start().await;
    assert_eq!(scan_unanswered(&app, 2_000).await, Readiness::NoAnswer);
    let probe = app.shop.module.probes(&app).pop().unwrap();
    // It comes late, and serves the next view.
    app.deliver(&app.shop.module.ack(&app, &probe, stage(Stage::Done))).await;
    assert_eq!(app.scan(&app.shop.code).await.unwrap().readiness, Readiness::Ready);
}

#[tokio::test]
async fn an_answer_out_of_its_own_lifetime_is_none() {
    for late in [Stage::Expired, Stage::Received, Stage::Clock, Stage::Duplicate, Stage::Unknown(9)] {
        let app = TestApp::start().await;
        assert_eq!(scan_answered(&app, &app.shop, stage(late)).await, Readiness::NoAnswer, "{late:?}");
    }
}

#[tokio::test]
async fn a_clock_that_takes_probes_for_expired_is_set() {
    let app = TestApp::start().await;
    scan_answered(&app, &app.shop, stage(Stage::Expired)).await;
    assert_eq!(app.shop.module.syncs(&app).len(), 1);
}

#[tokio::test]
async fn a_module_that_is_gone_is_offline_at_once_while_it_is_waited_for() {
    let app = TestApp::start().await;
    let dies = async {
        app.shop.module.next_probe(&app).await;
        app.deliver(&app.shop.module.will(&app)).await;
    };
    let (view, ()) = tokio::join!(app.scan(&app.shop.code), dies);
    assert_eq!(view.unwrap().readiness, Readiness::Offline);
    app.clock.advance(1_500);
    assert_eq!(scan_unanswered(&app, 2_000).await, Readiness::Offline);
}

#[tokio::test]
async fn an_answer_serves_no_longer_once_the_module_went_or_was_locked() {
    let app = TestApp::start().await;
    scan_answered(&app, &app.shop, stage(Stage::Done)).await;
    machine::set_locked(&app.backend, &acting_for(app.shop.operator_id), app.shop.machine_id, true).await.unwrap();
    assert_eq!(scan_answered(&app, &app.shop, failed(0, Reason::Locked)).await, Readiness::Locked);

    app.clock.advance(1_500);
    scan_answered(&app, &app.shop, stage(Stage::Done)).await;
    app.deliver(&app.shop.module.will(&app)).await;
    assert_eq!(scan_unanswered(&app, 2_000).await, Readiness::Offline);
}

#[tokio::test]
async fn an_old_or_foreign_answer_is_none() {
    let app = TestApp::start().await;
    let other = app.open_shop("other").await;
    probe_module::start_probe(&app.backend, app.shop.module.id).await.unwrap();
    let old = app.shop.module.probes(&app).pop().unwrap();
    app.clock.advance(5_000);
    probe_module::start_probe(&app.backend, app.shop.module.id).await.unwrap();
    let new = app.shop.module.probes(&app).pop().unwrap();
    app.deliver(&app.shop.module.ack(&app, &old, stage(Stage::Done))).await;
    app.deliver(&other.module.ack(&app, &new, stage(Stage::Done))).await;
    assert_eq!(probe_module::start_probe(&app.backend, app.shop.module.id).await.unwrap(), None);
    app.deliver(&app.shop.module.ack(&app, &new, stage(Stage::Done))).await;
    assert_eq!(probe_module::start_probe(&app.backend, app.shop.module.id).await.unwrap(), Some(Readiness::Ready));
}
