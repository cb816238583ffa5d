//! Operators and their members, changed: days that follow a time zone, currencies that are known, passwords that end what
//! the old ones opened.

use crate::support::{
    TestApp,
    actors::{acting_for, system},
    app::PRICE_MINOR,
    store,
};
use backend::{
    Error,
    access::{
        members::{self, MemberVersionsSeen},
        operators,
        role::Role,
        sign_in::{self, PasswordOwners},
    },
    flows::{
        operate::{
            member,
            operator::{self, OperatorChange},
        },
        place_order,
    },
    ids::OperatorId,
    live::LiveKind,
    machines::fleet,
    sales::takings,
    zones::{Period, Zone},
};
use sea_orm::ConnectionTrait;

const PASSWORD: &str = "correct horse battery";
/// 14 July 2027, 21:30 in UTC: half past eleven in the evening in Berlin's summer time.
const EVENING_MS: i64 = 1_815_600_600_000;
const HOUR_MS: i64 = 3_600_000;

async fn coins_today(app: &TestApp) -> (String, i64) {
    let fleet = fleet::fleet(&app.backend, &system(), app.shop.operator_id).await.unwrap();
    (
        takings::takings_today(&app.backend, &system(), app.shop.operator_id).await.unwrap().coins.decimal(),
        fleet[0].coins_today,
    )
}

async fn fall(app: &TestApp, coins: u16) {
    app.deliver(&app.shop.module.coins(app, coins)).await;
}

#[tokio::test]
async fn an_operators_day_begins_at_its_own_midnight_in_summer_too() {
    let app = TestApp::start().await;
    let operator = app.shop.operator_id;
    let change = OperatorChange { time_zone: Some(Zone::parse("Europe/Berlin").unwrap()), ..Default::default() };
    operator::change_operator(&app.backend, &system(), operator, change).await.unwrap();
    app.clock.advance(EVENING_MS - app.now_ms());
    fall(&app, 1).await;
    assert_eq!(coins_today(&app).await, ("1.00".into(), 1));
    // 00:30 of the next day: by the offset of winter it would be yesterday still.
    app.clock.advance(HOUR_MS);
    fall(&app, 2).await;
    assert_eq!(coins_today(&app).await, ("2.00".into(), 2), "the evening's coin is yesterday's");
    app.clock.advance(HOUR_MS);
    fall(&app, 4).await;
    assert_eq!(coins_today(&app).await, ("6.00".into(), 6));
    app.clock.advance(10 * HOUR_MS);
    assert_eq!(coins_today(&app).await, ("6.00".into(), 6));
    // The week has both days, and so has the month.
    for period in [Period::Week, Period::Month] {
        assert_eq!(
            takings::takings(&app.backend, &system(), operator, period).await.unwrap().coins.decimal(),
            "7.00",
            "{period:?}"
        );
    }
    // From Asia the same coins are of one day.
    let change = OperatorChange { time_zone: Some(Zone::parse("Asia/Shanghai").unwrap()), ..Default::default() };
    operator::change_operator(&app.backend, &system(), operator, change).await.unwrap();
    assert_eq!(coins_today(&app).await, ("7.00".into(), 7));
}

#[tokio::test]
async fn what_is_not_named_stays_when_an_operator_is_changed() {
    let app = TestApp::start().await;
    let operator = app.shop.operator_id;
    let change =
        OperatorChange { name: Some("Acme & Sons".into()), refund_remainder: Some(true), ..OperatorChange::default() };
    operator::change_operator(&app.backend, &system(), operator, change).await.unwrap();
    let listed = operators::find_operator(&app.backend, &system(), "acme").await.unwrap();
    assert_eq!((listed.name.as_str(), listed.time_zone.as_str()), ("Acme & Sons", "Asia/Shanghai"));
    assert!(listed.refund_remainder && !listed.has_integrator);
    operator::change_operator(&app.backend, &system(), operator, OperatorChange::default()).await.unwrap();
    assert_eq!(
        operators::find_operator(&app.backend, &system(), &operator.to_string()).await.unwrap().name,
        "Acme & Sons"
    );
    let actor = system();
    let refused = operator::change_operator(
        &app.backend,
        &actor,
        operator,
        OperatorChange { name: Some(" ".into()), ..Default::default() },
    );
    assert!(matches!(refused.await, Err(Error::Invalid { field: "name", .. })));
    assert!(matches!(
        operator::change_operator(&app.backend, &system(), OperatorId(0), OperatorChange::default()).await,
        Err(Error::NotFound("operator"))
    ));
    assert_eq!(operators::operators(&app.backend, &system()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_unknown_currency_is_an_error_and_never_yuan() {
    let app = TestApp::start().await;
    let token = app.paid_sale().await;
    app.make_ready(&app.shop).await;
    for table in ["operators", "sales"] {
        app.db.read().execute_unprepared(&format!("UPDATE {table} SET currency = 'XYZ'")).await.unwrap();
    }
    let is_loud = |error: Error| matches!(&error, Error::Unknown { what: "currency", value } if value == "XYZ");
    assert!(is_loud(app.scan(&app.shop.code).await.unwrap_err()));
    assert!(is_loud(takings::takings_today(&app.backend, &system(), app.shop.operator_id).await.unwrap_err()));
    assert!(is_loud(fleet::fleet(&app.backend, &system(), app.shop.operator_id).await.unwrap_err()));
    assert!(is_loud(
        fleet::machine(&app.backend, &acting_for(app.shop.operator_id), app.shop.machine_id).await.unwrap_err()
    ));
    assert!(is_loud(backend::flows::show_sale::sale(&app.backend, &token).await.unwrap_err()));
    let orders = store::rows(app.db.read(), "SELECT id FROM sales").await.len();
    assert!(is_loud(place_order::order(&app.backend, app.form(&app.shop)).await.unwrap_err()));
    assert_eq!(store::rows(app.db.read(), "SELECT id FROM sales").await.len(), orders, "no order was made");
    assert_eq!(app.bank.net_minor(), PRICE_MINOR, "and nothing was asked of the provider");
}

#[tokio::test]
async fn another_password_or_none_ends_what_the_old_one_opened() {
    let app = TestApp::start().await;
    let operator = app.shop.operator_id;
    let id =
        member::add_member(&app.backend, &system(), operator, "ann@acme.test", PASSWORD, Role::Owner).await.unwrap();
    let before = sign_in::sign_in(&app.backend, "ann@acme.test", PASSWORD).await.unwrap();
    let mut seen = MemberVersionsSeen::default();
    members::broadcast_member_changes(&app.backend, &mut seen).await.unwrap();
    app.events();

    // By another process: nothing is told but by the store.
    let another = app.another(crate::support::app::SECRET_KEY);
    member::set_member_password(&another, &system(), operator, id, "another password").await.unwrap();
    assert!(sign_in::sign_in(&app.backend, "ann@acme.test", PASSWORD).await.is_err());
    let after = sign_in::sign_in(&app.backend, "ann@acme.test", "another password").await.unwrap();
    assert_ne!(before.fingerprint, after.fingerprint);
    assert_eq!(sign_in::member(&app.backend, id).await.unwrap().fingerprint, after.fingerprint);
    let owners = PasswordOwners { members: vec![id], ..Default::default() };
    assert_eq!(sign_in::fingerprints(&app.backend, owners.clone()).await.unwrap().members[&id], after.fingerprint);
    let told = async |seen: &mut MemberVersionsSeen| {
        members::broadcast_member_changes(&app.backend, seen).await.unwrap();
        let events = app.events().into_iter().filter(|event| event.what == LiveKind::Members);
        events.map(|event| event.operator_id).collect::<Vec<_>>()
    };
    assert_eq!(told(&mut seen).await, [operator]);
    assert!(told(&mut seen).await.is_empty(), "once");

    let eve = app.open_shop("eve").await.operator_id;
    for other in [eve, OperatorId(0)] {
        let refused = member::set_member_password(&another, &system(), other, id, "another password").await;
        assert!(matches!(refused, Err(Error::NotFound(_))), "another operator's");
        assert!(matches!(member::remove_member(&another, &system(), other, id).await, Err(Error::NotFound(_))));
    }
    assert!(matches!(
        member::set_member_password(&another, &system(), operator, id, "short").await,
        Err(Error::Invalid { .. })
    ));
    assert!(told(&mut seen).await.is_empty(), "nothing was changed");

    assert_eq!(members::find_member(&app.backend, &system(), operator, "ANN@acme.test").await.unwrap().member_id, id);
    member::remove_member(&another, &system(), operator, id).await.unwrap();
    assert_eq!(told(&mut seen).await, [operator]);
    assert!(matches!(sign_in::member(&app.backend, id).await, Err(Error::NotFound("member"))));
    assert!(sign_in::fingerprints(&app.backend, owners).await.unwrap().members.is_empty());
    assert!(members::members(&app.backend, &system(), operator).await.unwrap().is_empty());
    assert!(matches!(member::remove_member(&another, &system(), operator, id).await, Err(Error::NotFound(_))));
}
