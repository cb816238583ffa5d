//! Operators, members and sessions: who gets in, and that nobody sees another operator's things.

use crate::support::{
    TestApp,
    actors::{acting_for, system},
    stage,
};
use backend::{
    Error,
    access::{
        role::Role,
        sign_in::{self, PasswordOwners},
    },
    flows::operate::{
        machine, member,
        operator::{self, NewOperator, OperatorChange},
        price,
    },
    ids::{MachineId, OperatorId},
    ledger,
    machines::{fleet, shapes::PriceChange},
    money::Currency,
    sales::{SaleState, shapes::SalesFilter, takings, views},
    zones::Zone,
};
use protocol::messages::Stage;

const PASSWORD: &str = "correct horse battery";

#[tokio::test]
async fn a_member_signs_in_with_the_right_password_only() {
    let app = TestApp::start().await;
    let id =
        member::add_member(&app.backend, &system(), app.shop.operator_id, " Ann@Acme.test ", PASSWORD, Role::Owner)
            .await
            .unwrap();
    let member = sign_in::sign_in(&app.backend, "ann@ACME.test ", PASSWORD).await.unwrap();
    assert_eq!(
        (member.member_id, member.operator_id, member.email.as_str()),
        (id, app.shop.operator_id, "ann@acme.test")
    );
    assert_eq!(sign_in::member(&app.backend, id).await.unwrap().operator, "acme rides");
    for (email, password) in [
        ("ann@acme.test", "correct horse batterY"),
        ("ann@acme.test", ""),
        ("ann@acme.test", "nobody"),
        ("eve@acme.test", PASSWORD),
        ("eve@acme.test", "nobody"),
        ("", ""),
        ("' OR 1=1 --", PASSWORD),
    ] {
        let refused = sign_in::sign_in(&app.backend, email, password).await;
        assert!(matches!(refused, Err(Error::NotFound("member"))), "{email} {password}");
    }
}

#[tokio::test]
async fn wrong_members_and_operators_are_refused_by_field() {
    let app = TestApp::start().await;
    member::add_member(&app.backend, &system(), app.shop.operator_id, "ann@acme.test", PASSWORD, Role::Owner)
        .await
        .unwrap();
    for (email, password, wrong_field) in [
        ("ANN@acme.test", PASSWORD, "email"),
        ("no address", PASSWORD, "email"),
        (&format!("{}@acme.test", "x".repeat(200)), PASSWORD, "email"),
        ("bob@acme.test", "too short", "password"),
    ] {
        let refused =
            member::add_member(&app.backend, &system(), app.shop.operator_id, email, password, Role::Owner).await;
        assert!(matches!(refused, Err(Error::Invalid { field, .. }) if field == wrong_field), "{email}");
    }
    let operator = |slug: &str, name: &str| NewOperator {
        slug: slug.into(),
        name: name.into(),
        currency: Currency::Eur,
        time_zone: Zone::default_for(Currency::Eur),
        refund_remainder: false,
    };
    for (slug, name, wrong_field) in [
        ("acme", "Another", "slug"),
        ("ab", "Short", "slug"),
        ("with/slash", "Slash", "slug"),
        ("plus+", "Plus", "slug"),
        ("Upper", "Upper", "slug"),
        ("fine", "", "name"),
    ] {
        let refused = operator::add_operator(&app.backend, &system(), operator(slug, name)).await;
        assert!(matches!(refused, Err(Error::Invalid { field, .. }) if field == wrong_field), "{slug}");
    }
}

async fn set_contact(app: &TestApp, operator_id: OperatorId, contact: &str) -> backend::Result<()> {
    let change = OperatorChange { contact: Some(contact.into()), ..OperatorChange::default() };
    operator::change_operator(&app.backend, &system(), operator_id, change).await
}

#[tokio::test]
async fn payers_see_whom_to_turn_to() {
    let app = TestApp::start().await;
    app.make_ready(&app.shop).await;
    assert_eq!(app.scan(&app.shop.code).await.unwrap().contact, "");
    set_contact(&app, app.shop.operator_id, "  400-123 4567 \u{1F4DE} ").await.unwrap();
    let token = app.order().await;
    let view = backend::flows::show_sale::sale(&app.backend, &token).await.unwrap();
    assert_eq!(view.contact, "400-123 4567 \u{1F4DE}");
    assert_eq!(app.scan(&app.shop.code).await.unwrap().contact, view.contact);
    for wrong in ["x".repeat(121), "two\nlines".into()] {
        let refused = set_contact(&app, app.shop.operator_id, &wrong).await;
        assert!(matches!(refused, Err(Error::Invalid { field: "contact", .. })));
    }
    set_contact(&app, app.shop.operator_id, " ").await.unwrap();
    assert_eq!(backend::flows::show_sale::sale(&app.backend, &token).await.unwrap().contact, "");
    assert!(matches!(set_contact(&app, OperatorId(999), "x").await, Err(Error::NotFound("operator"))));
}

#[tokio::test]
async fn sessions_are_kept_until_they_expire() {
    let app = TestApp::start().await;
    let until_ms = app.now_ms() + 1_000;
    sign_in::save_session(&app.backend, "one", "{\"a\":1}", until_ms).await.unwrap();
    sign_in::save_session(&app.backend, "one", "{\"a\":2}", until_ms).await.unwrap();
    sign_in::save_session(&app.backend, "two", "{}", until_ms + 60_000).await.unwrap();
    assert_eq!(sign_in::load_session(&app.backend, "one").await.unwrap().as_deref(), Some("{\"a\":2}"));
    assert_eq!(sign_in::load_session(&app.backend, "none").await.unwrap(), None);
    assert!(sign_in::touch_session(&app.backend, "one", until_ms + 1_000).await.unwrap());
    assert!(!sign_in::touch_session(&app.backend, "none", until_ms + 1_000).await.unwrap());
    app.clock.advance(1_999);
    assert!(sign_in::load_session(&app.backend, "one").await.unwrap().is_some());
    app.clock.advance(1);
    assert_eq!(sign_in::load_session(&app.backend, "one").await.unwrap(), None);
    assert!(
        !sign_in::touch_session(&app.backend, "one", app.now_ms() + 60_000).await.unwrap(),
        "what expired is not revived"
    );
    assert_eq!(sign_in::load_session(&app.backend, "one").await.unwrap(), None);

    sign_in::save_session(&app.backend, "three", "{}", app.now_ms() + 1_000).await.unwrap();
    assert_eq!(app.number_of("SELECT COUNT(*) FROM sessions").await, 2, "the expired one was dropped");
    sign_in::remove_session(&app.backend, "two").await.unwrap();
    assert_eq!(sign_in::load_session(&app.backend, "two").await.unwrap(), None);
    sign_in::remove_session(&app.backend, "two").await.unwrap();
}

#[tokio::test]
async fn an_integrator_gets_its_operators_topics_with_the_right_password_only() {
    let app = TestApp::start().await;
    assert_eq!(sign_in::integrator(&app.backend, "acme", PASSWORD).await.unwrap(), None);
    operator::set_integrator_password(&app.backend, &system(), app.shop.operator_id, PASSWORD).await.unwrap();
    let integrator = sign_in::integrator(&app.backend, "acme", PASSWORD).await.unwrap().unwrap();
    assert_eq!(integrator.filters, ["v1/acme/#"]);
    let now = async || {
        let integrators = ["acme", "other"].map(str::to_owned).to_vec();
        let owners = PasswordOwners { integrators, ..Default::default() };
        sign_in::fingerprints(&app.backend, owners).await.unwrap().integrators
    };
    assert_eq!(now().await.get("acme"), Some(&integrator.fingerprint));
    operator::set_integrator_password(&app.backend, &system(), app.shop.operator_id, PASSWORD).await.unwrap();
    let anew = now().await;
    assert_ne!(anew["acme"], integrator.fingerprint, "set anew, even to the same, it is another");
    assert_eq!(anew.get("other"), None);
    for (slug, password) in
        [("acme", "wrong password"), ("acme", ""), ("acme ", PASSWORD), ("other", PASSWORD), ("#", PASSWORD), ("", "")]
    {
        assert_eq!(sign_in::integrator(&app.backend, slug, password).await.unwrap(), None);
    }
    let refused = operator::set_integrator_password(&app.backend, &system(), app.shop.operator_id, "short").await;
    assert!(matches!(refused, Err(Error::Invalid { field: "password", .. })));
}

#[tokio::test]
async fn an_operator_sees_and_moves_nothing_of_another() {
    let app = TestApp::start().await;
    let token = app.paid_sale().await;
    let eve = app.open_shop("eve").await;
    let (a, e) = (&app.shop, eve.operator_id);

    assert!(matches!(
        fleet::machine(&app.backend, &acting_for(e), a.machine_id).await,
        Err(Error::NotFound("machine"))
    ));
    assert!(matches!(views::operator_sale(&app.backend, &acting_for(e), &token).await, Err(Error::NotFound("sale"))));
    let change = PriceChange { label: "Free".into(), amount_minor: 1, pulses: 200 };
    assert!(matches!(
        price::change_price(&app.backend, &acting_for(e), a.price_id, change).await,
        Err(Error::NotFound("price"))
    ));
    assert!(matches!(
        machine::set_active(&app.backend, &acting_for(e), a.machine_id, false).await,
        Err(Error::NotFound("machine"))
    ));
    assert!(matches!(
        machine::set_locked(&app.backend, &acting_for(e), a.machine_id, true).await,
        Err(Error::NotFound("machine"))
    ));

    let all = SalesFilter::default();
    assert!(views::sales(&app.backend, &system(), e, all.clone()).await.unwrap().is_empty());
    let by_machine = SalesFilter { machine_id: Some(a.machine_id), ..all.clone() };
    assert!(views::sales(&app.backend, &system(), e, by_machine).await.unwrap().is_empty());
    let by_token = SalesFilter { before_token: Some(token.clone()), ..all.clone() };
    assert!(matches!(views::sales(&app.backend, &system(), e, by_token).await, Err(Error::NotFound("sale"))));
    let codes: Vec<String> =
        fleet::fleet(&app.backend, &system(), e).await.unwrap().into_iter().map(|row| row.code).collect();
    assert_eq!(codes, [eve.code.as_str()]);
    assert!(ledger::balances(&app.backend, &system(), e).await.unwrap().is_empty());
    assert_eq!(takings::takings_today(&app.backend, &system(), e).await.unwrap().total.decimal(), "0.00");

    // And what happens to one is told to no other, on the pages or on the bus.
    app.events();
    app.deliver(&a.module.coins(&app, 1)).await;
    assert!(app.events().iter().all(|event| event.operator_id == a.operator_id));
    let leaked =
        app.bus.messages().into_iter().filter(|m| m.topic.starts_with("v1/eve/") && !m.topic.contains(&eve.code));
    assert_eq!(leaked.count(), 0);
    assert_eq!(views::sales(&app.backend, &system(), a.operator_id, all).await.unwrap().len(), 1);
}

#[tokio::test]
async fn sales_are_listed_newest_first_by_pages_states_and_machines() {
    let app = TestApp::start().await;
    let mut tokens = vec![];
    for _ in 0..53 {
        tokens.push(app.order().await);
    }
    app.callback(&app.pay(&tokens[3]).await).await.unwrap();
    let credit = app.shop.module.credit(&app);
    app.deliver(&app.shop.module.ack(&app, &credit, stage(Stage::Received))).await;
    tokens.reverse();
    let listed = async |filter: SalesFilter| {
        let rows = views::sales(&app.backend, &system(), app.shop.operator_id, filter).await.unwrap();
        rows.into_iter().map(|row| row.view.token).collect::<Vec<_>>()
    };
    let first = listed(SalesFilter::default()).await;
    assert_eq!(first, tokens[..50]);
    let before_token = Some(first[49].clone());
    assert_eq!(listed(SalesFilter { before_token, ..SalesFilter::default() }).await, tokens[50..]);
    let crediting = SalesFilter { state: Some(SaleState::Crediting), ..SalesFilter::default() };
    assert_eq!(listed(crediting).await, [tokens[49].clone()]);
    let elsewhere = SalesFilter { machine_id: Some(MachineId(0)), ..SalesFilter::default() };
    assert!(listed(elsewhere).await.is_empty());
    assert_eq!(SaleState::parse("eaten"), None);
}
