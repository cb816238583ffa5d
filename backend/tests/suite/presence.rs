//! Statuses: presence, and that only what moves forward is taken.

use crate::support::{TestApp, actors::system, bus::Message};
use backend::{
    live::LiveKind,
    machines::{fleet, shapes::ModuleView},
};
use protocol::messages::{Mark, faults};

async fn module_of(app: &TestApp) -> ModuleView {
    fleet::fleet(&app.backend, &system(), app.shop.operator_id).await.unwrap().remove(0).module.unwrap()
}

fn with_signal(app: &TestApp, csq: u8) -> Message {
    app.shop.module.status(app, |status| status.signal_csq = Some(csq))
}

#[tokio::test]
async fn a_status_is_taken_whole_and_told() {
    let app = TestApp::start().await;
    app.events();
    app.clock.advance(60_000);
    let status = app.shop.module.status(&app, |status| {
        status.firmware = "1.2.3";
        status.supply_mv = Some(11_400);
        status.faults = faults::SUPPLY_LOW | faults::BAD_SIGNATURES;
        status.settings_version = 7;
        status.totals.credit_pulses = 12;
    });
    app.deliver(&status).await;
    let module = module_of(&app).await;
    assert_eq!((module.online, module.seen_ms), (true, Some(app.now_ms())));
    assert_eq!((module.firmware.as_str(), module.supply_mv, module.signal_csq), ("1.2.3", Some(11_400), Some(20)));
    assert_eq!(module.faults, ["supply_low", "bad_signatures"]);
    assert_eq!((module.settings_version, module.credit_pulses, module.boot), (7, 12, 1));
    let events = app.events();
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].machine_id, &events[0].what), (Some(app.shop.machine_id), &LiveKind::Status));

    let message = app.bus.on(&format!("v1/acme/{}/status", app.shop.code)).pop().unwrap();
    assert!(message.retain);
    let json: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
    assert_eq!((json["v"].as_i64(), json["online"].as_bool()), (Some(1), Some(true)));
    assert_eq!(json["faults"], serde_json::json!(["supply_low", "bad_signatures"]));
}

#[tokio::test]
async fn only_what_moves_forward_is_taken() {
    let app = TestApp::start().await;
    let [first, second, third] = [with_signal(&app, 11), with_signal(&app, 12), with_signal(&app, 13)];
    app.deliver(&first).await;
    app.deliver(&third).await;
    app.deliver(&second).await;
    app.deliver(&first).await;
    assert_eq!(module_of(&app).await.signal_csq, Some(13));

    // A new session begins at 1 again, and a new life with session 1.
    app.shop.module.reconnect(false);
    app.deliver(&with_signal(&app, 21)).await;
    app.deliver(&third).await;
    assert_eq!(module_of(&app).await.signal_csq, Some(21));
    app.shop.module.reconnect(true);
    app.deliver(&with_signal(&app, 31)).await;
    app.deliver(&third).await;
    let module = module_of(&app).await;
    assert_eq!((module.signal_csq, module.boot), (Some(31), 2));
}

#[tokio::test]
async fn a_will_ends_its_session_and_says_nothing_else() {
    let app = TestApp::start().await;
    let module = &app.shop.module;
    let (will, late) = (module.will(&app), with_signal(&app, 9));
    app.deliver(&with_signal(&app, 25)).await;
    app.events();
    app.deliver(&will).await;
    let seen = module_of(&app).await;
    assert_eq!((seen.online, seen.signal_csq), (false, Some(25)));
    assert_eq!(app.events().len(), 1);
    assert!(module.syncs(&app).is_empty(), "who is gone is not answered");
    app.deliver(&late).await;
    assert!(!module_of(&app).await.online, "nothing of a session comes after its will");

    module.reconnect(false);
    app.deliver(&module.status(&app, |_| ())).await;
    assert!(module_of(&app).await.online);
    app.deliver(&will).await;
    assert!(module_of(&app).await.online, "an old session's will is no news");
}

#[tokio::test]
async fn a_clock_that_is_off_is_set() {
    let app = TestApp::start().await;
    let module = &app.shop.module;
    let now_ms = u64::try_from(app.now_ms()).unwrap();
    for (off_ms, syncs) in [(0, 0), (2_000, 0), (2_001, 1), (3_600_000, 1)] {
        for at_ms in [now_ms + off_ms, now_ms - off_ms] {
            let app = TestApp::start().await;
            app.deliver(&app.shop.module.status(&app, |status| status.at_ms = Some(at_ms))).await;
            assert_eq!(app.shop.module.syncs(&app).len(), syncs, "{off_ms}");
        }
    }
    app.deliver(&module.status(&app, |status| status.at_ms = Some(u64::MAX))).await;
    assert_eq!(module.syncs(&app).len(), 1);
}

#[tokio::test]
async fn the_retained_status_confirms_presence_after_a_restart() {
    let mut app = TestApp::start().await;
    let last = with_signal(&app, 17);
    app.deliver(&last).await;
    app.restart().await;
    assert!(!module_of(&app).await.online, "until it is heard");
    app.deliver(&last).await;
    assert!(module_of(&app).await.online);
}

#[tokio::test]
async fn the_largest_numbers_break_nothing() {
    let app = TestApp::start().await;
    let status = app.shop.module.status(&app, |status| {
        status.mark = Mark { boot: u32::MAX, session: u32::MAX, sequence: u32::MAX };
        status.uptime_ms = u64::MAX;
        status.at_ms = Some(u64::MAX);
        status.last_command = u32::MAX;
        status.settings_version = u32::MAX;
        status.signal_csq = Some(u8::MAX);
        status.supply_mv = Some(u16::MAX);
        status.faults = u32::MAX;
        status.totals.credit_pulses = u64::MAX;
        status.totals.noise_edges = u64::MAX;
        status.firmware = "\u{7fff}\u{7fff}\u{7fff}\u{7fff}\u{7fff}\u{7fff}\u{7fff}\u{7fff}";
    });
    app.deliver(&status).await;
    let module = module_of(&app).await;
    assert_eq!((module.credit_pulses, module.boot), (i64::MAX, i64::from(u32::MAX)));
    assert_eq!(module.faults.len(), 5);
}
