//! Coins: booked by the module's running total, so that every one is counted once.

use crate::support::{
    TestApp,
    actors::{acting_for, system},
    app::COIN_MINOR,
    module::TestModule,
};
use backend::{
    Error,
    flows::operate::{
        coins::{self, CoinCorrection},
        machine::{self, NewMachine},
        register_module,
    },
    ids::MachineId,
    ledger,
    live::LiveKind,
    machines::{fleet, shapes::PriceChange},
    sales::takings,
};
use protocol::{
    messages::{Mark, Pulse},
    topics::Kind,
};

#[tokio::test]
async fn are_booked_told_and_shown() {
    let app = TestApp::start().await;
    app.events();
    app.deliver(&app.shop.module.coins(&app, 3)).await;
    let events: Vec<_> = app.events().into_iter().map(|event| event.what).collect();
    assert_eq!(events, [LiveKind::Pulse { pulses: 3 }]);
    assert_eq!(app.cash_minor().await, i128::from(3 * COIN_MINOR));

    let fleet = fleet::fleet(&app.backend, &system(), app.shop.operator_id).await.unwrap();
    assert_eq!(fleet[0].coins_today, 3);
    let machine = fleet::machine(&app.backend, &acting_for(app.shop.operator_id), app.shop.machine_id).await.unwrap();
    assert_eq!((machine.pulses.len(), machine.pulses[0].pulses, machine.pulses[0].total), (1, 3, 3));
    assert_eq!((machine.pulses[0].width_ms, machine.pulses[0].gap_ms), (50, 100));
    let takings = takings::takings_today(&app.backend, &system(), app.shop.operator_id).await.unwrap();
    assert_eq!((takings.coins.decimal().as_str(), takings.total.decimal().as_str()), ("3.00", "3.00"));

    let message = app.bus.on(&format!("v1/acme/{}/pulse", app.shop.code)).pop().unwrap();
    let json: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
    assert_eq!(
        (json["v"].as_i64(), json["pulses"].as_i64(), json["coin_pulses_total"].as_i64()),
        (Some(1), Some(3), Some(3))
    );
}

#[tokio::test]
async fn are_counted_once_however_often_and_in_whatever_order_they_are_told() {
    let app = TestApp::start().await;
    let module = &app.shop.module;
    let bursts = [module.coins(&app, 1), module.coins(&app, 2), module.coins(&app, 4)];
    for index in [0, 0, 2, 1, 2, 0] {
        app.deliver(&bursts[index]).await;
    }
    assert_eq!(app.cash_minor().await, i128::from(7 * COIN_MINOR));
    assert_eq!(app.number_of("SELECT COUNT(*) FROM coin_pulses").await, 2, "the overtaken burst shows in the total");
}

#[tokio::test]
async fn whose_messages_were_lost_are_made_up_by_the_next_total() {
    let app = TestApp::start().await;
    let module = &app.shop.module;
    app.deliver(&module.coins(&app, 1)).await;
    let lost = [module.coins(&app, 10), module.coins(&app, 20)];
    drop(lost);
    app.deliver(&module.coins(&app, 2)).await;
    assert_eq!(app.cash_minor().await, i128::from(33 * COIN_MINOR));

    // And by a status, where no burst comes any more.
    let lost = module.coins(&app, 5);
    module.reconnect(true);
    app.deliver(&module.status(&app, |_| ())).await;
    assert_eq!(app.cash_minor().await, i128::from(38 * COIN_MINOR));
    app.deliver(&lost).await;
    assert_eq!(app.cash_minor().await, i128::from(38 * COIN_MINOR), "what comes after all is not booked again");
}

#[tokio::test]
async fn that_a_will_knows_of_are_booked() {
    let app = TestApp::start().await;
    let module = &app.shop.module;
    let lost = module.coins(&app, 4);
    drop(lost);
    app.deliver(&module.will(&app)).await;
    assert_eq!(app.cash_minor().await, i128::from(4 * COIN_MINOR));
}

#[tokio::test]
async fn a_total_that_falls_is_no_coin_and_takes_none_back() {
    let app = TestApp::start().await;
    let module = &app.shop.module;
    app.deliver(&module.coins(&app, 9)).await;
    module.set_coin_total(2);
    app.deliver(&module.coins(&app, 3)).await;
    app.deliver(&module.status(&app, |_| ())).await;
    assert_eq!(app.cash_minor().await, i128::from(9 * COIN_MINOR));
    module.set_coin_total(9);
    app.deliver(&module.coins(&app, 1)).await;
    assert_eq!(app.cash_minor().await, i128::from(10 * COIN_MINOR));
}

#[tokio::test]
async fn a_total_beyond_belief_is_not_booked_and_alarms() {
    let app = TestApp::start().await;
    let other = app.open_shop("other").await;
    app.deliver(&app.shop.module.coins(&app, 2)).await;
    app.events();
    for shop in [&app.shop, &other] {
        for (sequence, total) in [(10, u64::MAX - 1), (11, u64::MAX), (12, u64::MAX), (13, 1 << 62)] {
            let pulse = Pulse {
                mark: Mark { boot: 1, session: 1, sequence },
                uptime_ms: u64::MAX,
                at_ms: Some(u64::MAX),
                pulses: u16::MAX,
                coin_pulses_total: total,
                width_ms: u16::MAX,
                gap_ms: u16::MAX,
            };
            app.deliver(&shop.module.seal(Kind::Pulse, &pulse)).await;
        }
        shop.module.set_coin_total(u64::MAX);
        app.deliver(&shop.module.status(&app, |_| ())).await;
        // The pages still stand.
        fleet::fleet(&app.backend, &system(), shop.operator_id).await.unwrap();
        fleet::machine(&app.backend, &acting_for(shop.operator_id), shop.machine_id).await.unwrap();
        takings::takings_today(&app.backend, &system(), shop.operator_id).await.unwrap();
        ledger::balances(&app.backend, &system(), shop.operator_id).await.unwrap();
    }
    assert_eq!(app.cash_minor().await, i128::from(2 * COIN_MINOR));
    let alarms = app.alarms();
    assert!(!alarms.is_empty() && alarms.iter().all(|alarm| alarm.contains("coin total")), "{alarms:?}");

    // Told once, however often it is claimed.
    assert_eq!(alarms.len(), 2, "{alarms:?}");

    // Once the total is plausible again, counting continues from the known total.
    app.shop.module.reconnect(true);
    app.shop.module.set_coin_total(2);
    app.deliver(&app.shop.module.coins(&app, 3)).await;
    assert_eq!(app.cash_minor().await, i128::from(5 * COIN_MINOR));
}

#[tokio::test]
async fn of_a_module_without_a_machine_are_kept_as_its_total() {
    let app = TestApp::start().await;
    let spare = crate::support::module::TestModule::new(
        register_module::provision_module(&app.backend, &system(), None).await.unwrap(),
    );
    app.deliver(&spare.coins(&app, 5)).await;
    app.deliver(&spare.status(&app, |_| ())).await;
    assert!(app.books().await.is_empty());
    let sql = format!("SELECT coin_pulses FROM modules WHERE id = '{}'", spare.id);
    assert_eq!(app.number_of(&sql).await, 5);
}

#[tokio::test]
async fn of_an_outage_stand_at_the_time_they_fell() {
    let app = TestApp::start().await;
    let fell_ms = app.now_ms();
    let burst = app.shop.module.coins(&app, 1);
    app.clock.advance(3_600_000);
    app.deliver(&burst).await;
    // A clock that is ahead of ours is not believed.
    app.clock.advance(7_200_000);
    let ahead = app.shop.module.coins(&app, 1);
    app.clock.advance(-3_600_000);
    app.deliver(&ahead).await;
    let machine = fleet::machine(&app.backend, &acting_for(app.shop.operator_id), app.shop.machine_id).await.unwrap();
    let at_ms: Vec<i64> = machine.pulses.iter().map(|pulse| pulse.at_ms).collect();
    assert_eq!(at_ms, [app.now_ms(), fell_ms]);
}

/// A machine of the shop's operator that this module is wired to; gives its number.
async fn wire(app: &TestApp, module: &TestModule) -> MachineId {
    let price = PriceChange { label: "One".into(), amount_minor: 100, pulses: 1 };
    let new = NewMachine {
        operator_id: app.shop.operator_id,
        module: Some(module.id),
        name: "Second".into(),
        site: "Hall".into(),
        coin_value_minor: COIN_MINOR,
        prices: vec![price],
    };
    machine::add_machine(&app.backend, &system(), new).await.unwrap().0
}

#[tokio::test]
async fn from_before_a_module_reset_are_not_booked_today() {
    let app = TestApp::start().await;
    let module = TestModule::new(register_module::provision_module(&app.backend, &system(), None).await.unwrap());
    module.set_coin_total(7_000);
    wire(&app, &module).await;
    app.events();
    app.deliver(&module.status(&app, |_| ())).await;
    app.deliver(&module.status(&app, |_| ())).await;
    assert_eq!((app.cash_minor().await, app.alarms().len()), (0, 0));
    app.deliver(&module.coins(&app, 2)).await;
    assert_eq!(app.cash_minor().await, i128::from(2 * COIN_MINOR), "from then on they count");

    // A new one whose first message is a burst: that has just fallen.
    let module = TestModule::new(register_module::provision_module(&app.backend, &system(), None).await.unwrap());
    module.set_coin_total(90);
    wire(&app, &module).await;
    app.deliver(&module.coins(&app, 3)).await;
    assert_eq!(app.cash_minor().await, i128::from(5 * COIN_MINOR));
}

#[tokio::test]
async fn of_a_board_used_elsewhere_are_a_baseline() {
    let app = TestApp::start().await;
    let module = &app.shop.module;
    for _ in 1..42 {
        module.reconnect(true);
    }
    app.deliver(&module.coins(&app, 5)).await;
    app.deliver(&module.status(&app, |_| ())).await;
    app.pass_ms(60_000).await;
    // Another board with its own boots and total, under the same identity.
    let other = |status: &mut protocol::messages::Status| {
        status.mark = Mark { boot: 9, session: 1, sequence: 1 };
        status.totals.coin_pulses = 250;
    };
    app.deliver(&module.status(&app, other)).await;
    let sync = module.syncs(&app).remove(0);
    app.deliver(&module.ack(&app, &sync, |ack| (ack.stage, ack.boot) = (protocol::messages::Stage::Done, 9))).await;
    app.deliver(&module.status(&app, other)).await;
    assert_eq!(app.cash_minor().await, i128::from(5 * COIN_MINOR));
    let next = |status: &mut protocol::messages::Status| {
        status.mark = Mark { boot: 9, session: 1, sequence: 2 };
        status.totals.coin_pulses = 253;
    };
    app.deliver(&module.status(&app, next)).await;
    assert_eq!(app.cash_minor().await, i128::from(8 * COIN_MINOR));
}

#[tokio::test]
async fn a_jump_books_nothing_alarms_once_and_coins_after_it_count() {
    let app = TestApp::start().await;
    let module = &app.shop.module;
    app.deliver(&module.coins(&app, 4)).await;
    app.events();
    for round in 1..=20_u64 {
        app.clock.advance(1_000);
        module.set_coin_total(round * 500_000);
        app.deliver(&module.status(&app, |_| ())).await;
    }
    assert_eq!(app.cash_minor().await, i128::from(4 * COIN_MINOR), "lies book nothing, however often");
    let alarms = app.alarms();
    assert!(alarms.len() == 1 && alarms[0].contains("coin total"), "{alarms:?}");
    app.deliver(&module.coins(&app, 3)).await;
    assert_eq!(app.cash_minor().await, i128::from(7 * COIN_MINOR), "what goes on from it is believed");
    app.deliver(&module.status(&app, |_| ())).await;
    app.deliver(&module.coins(&app, 1)).await;
    assert_eq!(app.cash_minor().await, i128::from(8 * COIN_MINOR));
    app.assert_books().await;
}

#[tokio::test]
async fn of_hours_without_a_network_are_believed() {
    let app = TestApp::start().await;
    let module = &app.shop.module;
    app.deliver(&module.coins(&app, 1)).await;
    app.deliver(&module.will(&app)).await;
    app.clock.advance(8 * 3_600_000);
    // The broker has its will still, and hands it out again.
    app.deliver(&module.will(&app)).await;
    module.reconnect(false);
    module.set_coin_total(5_001);
    app.deliver(&module.status(&app, |_| ())).await;
    assert_eq!(app.cash_minor().await, i128::from(5_001 * COIN_MINOR));
}

#[tokio::test]
async fn a_person_corrects_them() {
    let app = TestApp::start().await;
    let (operator, machine, module) = (app.shop.operator_id, app.shop.machine_id, &app.shop.module);
    let correct = |amount_minor, reason: &str, count_anew| {
        let correction = CoinCorrection { amount_minor, reason: reason.into(), count_anew };
        let backend = app.backend.clone();
        async move { coins::correct_coins(&backend, &acting_for(operator), machine, &correction).await }
    };
    app.deliver(&module.coins(&app, 10)).await;
    correct(-250, "box counted", false).await.unwrap();
    correct(30, "two coins behind the box", false).await.unwrap();
    correct(30, "two coins behind the box", false).await.unwrap();
    assert_eq!(app.cash_minor().await, i128::from(10 * COIN_MINOR - 190));
    assert_eq!(takings::takings_today(&app.backend, &system(), operator).await.unwrap().coins.decimal(), "8.10");

    // The total was adopted although it is far too high: counting restarts at the next total, whatever it is.
    for _ in 0..2 {
        module.set_coin_total(1_000_000);
        app.deliver(&module.status(&app, |_| ())).await;
    }
    module.set_coin_total(11);
    app.deliver(&module.status(&app, |_| ())).await;
    let before = app.cash_minor().await;
    correct(0, "the board was changed", true).await.unwrap();
    module.set_coin_total(0);
    app.deliver(&module.status(&app, |_| ())).await;
    for _ in 0..12 {
        // The same totals as before are booked again.
        app.deliver(&module.coins(&app, 1)).await;
    }
    assert_eq!(app.cash_minor().await, before + i128::from(12 * COIN_MINOR));
    app.assert_books().await;

    for (amount_minor, reason) in [(0, "nothing"), (1, " "), (i64::MAX, "much"), (1, &*"long".repeat(50))] {
        assert!(
            matches!(correct(amount_minor, reason, false).await, Err(Error::Invalid { .. })),
            "{amount_minor} {reason}"
        );
    }
    let other = app.open_shop("other").await;
    let correction = CoinCorrection { amount_minor: 1, reason: "not mine".into(), count_anew: false };
    let foreign = coins::correct_coins(&app.backend, &acting_for(other.operator_id), machine, &correction).await;
    assert!(matches!(foreign, Err(Error::NotFound(_))));
}
