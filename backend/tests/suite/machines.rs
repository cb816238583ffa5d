//! Machines, changed: another module, name, place, prices; retired, and brought back.

use crate::support::{
    TestApp,
    actors::{acting_for, system},
    app::{COIN_MINOR, PRICE_MINOR, PRICE_PULSES, Shop},
    done,
    module::TestModule,
};
use backend::{
    Error,
    flows::{
        operate::{
            disable_module,
            machine::{self, MachineChange},
            module::{self, SettingsChange},
            price, register_module,
        },
        place_order,
    },
    ids::{OperatorId, PriceId},
    machines::{fleet, list, prices, remote, shapes::PriceChange},
    modules::{ModuleSettings, RemoteAction, registry},
    sales::readiness::Readiness,
};
use protocol::{ModuleId, messages::CoinProfile};

/// A module that is registered, heard, and wired to nothing.
async fn spare(app: &TestApp) -> TestModule {
    let module = TestModule::new(register_module::provision_module(&app.backend, &system(), None).await.unwrap());
    app.deliver(&module.status(app, |_| ())).await;
    module
}

fn price(label: &str, amount_minor: i64, pulses: i32) -> PriceChange {
    PriceChange { label: label.into(), amount_minor, pulses }
}

async fn labels(app: &TestApp) -> Vec<String> {
    let prices = prices::prices(&app.backend, &acting_for(app.shop.operator_id), app.shop.machine_id).await.unwrap();
    prices.into_iter().map(|price| price.label).collect()
}

#[tokio::test]
async fn another_module_takes_over_code_books_prices_and_settings() {
    let app = TestApp::start().await;
    let Shop { operator_id: operator, machine_id: machine, .. } = app.shop;
    app.deliver(&app.shop.module.coins(&app, 3)).await;
    let profile = CoinProfile { credit_width_ms: 80, ..Default::default() };
    let settings = ModuleSettings { profile, ..Default::default() };
    let change = SettingsChange { since_version: 0, settings };
    module::set_settings(&app.backend, &acting_for(operator), machine, change).await.unwrap();
    let under_way = app.paid_sale().await;
    let credit = app.shop.module.credit(&app);
    let new = spare(&app).await;
    machine::replace_module(&app.backend, &acting_for(operator), machine, Some(new.id)).await.unwrap();

    // The sale that was under way ends with the module it began with.
    app.deliver(&app.shop.module.ack(&app, &credit, done(PRICE_PULSES))).await;
    assert_eq!(app.state(&under_way).await, "credited");
    // Its late coins are nobody's: the box is to be counted. The new one's are the machine's.
    app.deliver(&app.shop.module.coins(&app, 5)).await;
    assert_eq!(app.cash_minor().await, i128::from(3 * COIN_MINOR));
    app.deliver(&new.coins(&app, 2)).await;
    assert_eq!(app.cash_minor().await, i128::from(5 * COIN_MINOR));

    let view = remote::remote(&app.backend, &acting_for(operator), machine).await.unwrap();
    assert_eq!(view.row.module.unwrap().id, new.id.to_string());
    assert_eq!(
        (view.row.code.as_str(), view.settings),
        (app.shop.code.as_str(), settings),
        "the coin line is the same"
    );
    // A new sale goes to the new module.
    let shop = Shop {
        module: new,
        code: app.shop.code.clone(),
        account_token: app.shop.account_token.clone(),
        account: app.shop.account.clone(),
        ..app.shop
    };
    app.make_ready(&shop).await;
    assert_eq!(labels(&app).await, ["One ride"]);
    let token = place_order::order(&app.backend, app.form(&shop)).await.unwrap().token;
    let callback = app.pay(&token).await;
    app.callback(&callback).await.unwrap();
    let credit = shop.module.credit(&app);
    app.deliver(&shop.module.ack(&app, &credit, done(PRICE_PULSES))).await;
    assert_eq!(app.state(&token).await, "credited");
    assert_eq!(app.bank.net_minor(), 2 * PRICE_MINOR);
}

#[tokio::test]
async fn a_module_that_cannot_serve_is_refused() {
    let app = TestApp::start().await;
    let Shop { operator_id: operator, machine_id: machine, .. } = app.shop;
    let eve = app.open_shop("eve").await;
    let refused = async |module: &TestModule| match machine::replace_module(
        &app.backend,
        &acting_for(operator),
        machine,
        Some(module.id),
    )
    .await
    {
        Err(Error::Invalid { field, message }) => format!("{field} {message}"),
        other => panic!("{other:?}"),
    };
    assert!(refused(&eve.module).await.contains("another"), "wired elsewhere");
    machine::replace_module(&app.backend, &acting_for(eve.operator_id), eve.machine_id, None).await.unwrap();
    assert!(refused(&eve.module).await.contains("another operator's"), "free, and still the other's");
    assert_eq!(
        registry::spare_modules(&app.backend, &system(), eve.operator_id).await.unwrap(),
        [eve.module.id.to_string()]
    );
    assert!(registry::spare_modules(&app.backend, &system(), operator).await.unwrap().is_empty());

    let module = spare(&app).await;
    disable_module::set_module_disabled(&app.backend, &system(), module.id, true).await.unwrap();
    assert!(refused(&module).await.contains("disabled"));
    disable_module::set_module_disabled(&app.backend, &system(), module.id, false).await.unwrap();
    let outcome =
        machine::replace_module(&app.backend, &acting_for(operator), machine, Some(ModuleId::from_bits(7))).await;
    assert!(matches!(outcome, Err(Error::NotFound("module"))));
    let outcome = machine::replace_module(&app.backend, &acting_for(eve.operator_id), machine, Some(module.id)).await;
    assert!(matches!(outcome, Err(Error::NotFound("machine"))), "another's machine");
    assert_eq!(
        list::find_machine(&app.backend, &system(), &app.shop.code).await.unwrap().module,
        Some(app.shop.module.id.to_string())
    );
    // Twice is once.
    for _ in 0..2 {
        machine::replace_module(&app.backend, &acting_for(operator), machine, Some(module.id)).await.unwrap();
    }
}

#[tokio::test]
async fn a_machine_is_renamed_moved_and_its_coins_revalued_from_now_on() {
    let app = TestApp::start().await;
    let Shop { operator_id: operator, machine_id: machine, .. } = app.shop;
    app.deliver(&app.shop.module.coins(&app, 1)).await;
    let change = MachineChange {
        name: Some(" Rocket 2 ".into()),
        site: Some("Zoo".into()),
        coin_value_minor: Some(3 * COIN_MINOR),
    };
    machine::change_machine(&app.backend, &acting_for(operator), machine, change).await.unwrap();
    app.deliver(&app.shop.module.coins(&app, 1)).await;
    assert_eq!(app.cash_minor().await, i128::from(4 * COIN_MINOR));
    let row = list::find_machine(&app.backend, &system(), &machine.to_string()).await.unwrap();
    assert_eq!((row.name.as_str(), row.site.as_str(), row.code.as_str()), ("Rocket 2", "Zoo", app.shop.code.as_str()));
    for (change, wrong_field) in [
        (MachineChange { name: Some("".into()), ..Default::default() }, "name"),
        (MachineChange { coin_value_minor: Some(-1), ..Default::default() }, "coin value"),
        (MachineChange { coin_value_minor: Some(1_000_001), ..Default::default() }, "coin value"),
    ] {
        let refused = machine::change_machine(&app.backend, &acting_for(operator), machine, change).await;
        assert!(matches!(refused, Err(Error::Invalid { field, .. }) if field == wrong_field));
    }
    let others = machine::change_machine(
        &app.backend,
        &acting_for(OperatorId(operator.0 + 1)),
        machine,
        MachineChange::default(),
    )
    .await;
    assert!(matches!(others, Err(Error::NotFound("machine"))));
}

#[tokio::test]
async fn prices_are_added_ordered_and_removed() {
    let app = TestApp::start().await;
    let Shop { operator_id: operator, machine_id: machine, price_id: first, .. } = app.shop;
    app.make_ready(&app.shop).await;
    let second =
        price::add_price(&app.backend, &acting_for(operator), machine, price("Three rides", 1200, 15)).await.unwrap();
    let third = price::add_price(&app.backend, &acting_for(operator), machine, price("Day", 5000, 20)).await.unwrap();
    assert_eq!(labels(&app).await, ["One ride", "Three rides", "Day"]);
    price::order_prices(&app.backend, &acting_for(operator), machine, &[third, first, second]).await.unwrap();
    assert_eq!(labels(&app).await, ["Day", "One ride", "Three rides"]);
    for wrong in [vec![first, second], vec![first, second, third, third], vec![first, second, PriceId(0)], vec![]] {
        let refused = price::order_prices(&app.backend, &acting_for(operator), machine, &wrong).await;
        assert!(matches!(refused, Err(Error::Invalid { field: "prices", .. })), "{wrong:?}");
    }
    let refused = price::add_price(&app.backend, &acting_for(operator), machine, price("Free", 0, 1)).await;
    assert!(matches!(refused, Err(Error::Invalid { field: "amount", .. })));
    let refused = price::add_price(&app.backend, &acting_for(operator), machine, price("Much", 100, 200)).await;
    assert!(matches!(refused, Err(Error::Invalid { field: "module_pulses", .. })), "more than its module gives");

    // Who has the page open still sees the old price, and is told.
    let form = app.form(&app.shop);
    price::remove_price(&app.backend, &acting_for(operator), machine, first).await.unwrap();
    assert_eq!(labels(&app).await, ["Day", "Three rides"]);
    assert!(matches!(place_order::order(&app.backend, form).await, Err(Error::Conflict("price"))));
    assert!(matches!(
        price::remove_price(&app.backend, &acting_for(operator), machine, first).await,
        Err(Error::NotFound("price"))
    ));
    let fourth = price::add_price(&app.backend, &acting_for(operator), machine, price("Last", 100, 1)).await.unwrap();
    assert_eq!(labels(&app).await, ["Day", "Three rides", "Last"]);
    assert_eq!(prices::machine_of_price(&app.backend, &system(), fourth).await.unwrap(), machine);
}

#[tokio::test]
async fn a_retired_machine_keeps_its_history_frees_its_module_and_can_come_back() {
    let app = TestApp::start().await;
    let Shop { operator_id: operator, machine_id: machine, .. } = app.shop;
    let token = app.paid_sale().await;
    let credit = app.shop.module.credit(&app);
    machine::retire_machine(&app.backend, &acting_for(operator), machine).await.unwrap();
    app.deliver(&app.shop.module.ack(&app, &credit, done(PRICE_PULSES))).await;
    assert_eq!(app.state(&token).await, "credited", "what was under way ends");
    assert_eq!(app.scan(&app.shop.code).await.unwrap().readiness, Readiness::Retired);
    let refused = place_order::order(&app.backend, app.form(&app.shop)).await;
    assert!(matches!(refused, Err(Error::NotReady(Readiness::Retired))));
    let refused = module::order_remote_action(&app.backend, &acting_for(operator), machine, RemoteAction::Locate).await;
    assert!(matches!(refused, Err(Error::NotFound(_))), "it has no module");
    let fleet = fleet::fleet(&app.backend, &system(), operator).await.unwrap();
    assert!(fleet[0].retired_ms.is_some() && fleet[0].sales_today == Some(1));
    assert_eq!(
        registry::spare_modules(&app.backend, &system(), operator).await.unwrap(),
        [app.shop.module.id.to_string()]
    );
    let module = Some(app.shop.module.id);
    let refused = machine::replace_module(&app.backend, &acting_for(operator), machine, module).await;
    assert!(matches!(refused, Err(Error::Invalid { field: "machine", .. })));

    machine::bring_back_machine(&app.backend, &acting_for(operator), machine).await.unwrap();
    assert_eq!(app.scan(&app.shop.code).await.unwrap().readiness, Readiness::Closed, "it has no module yet");
    machine::replace_module(&app.backend, &acting_for(operator), machine, module).await.unwrap();
    app.make_ready(&app.shop).await;
    assert_eq!(app.scan(&app.shop.code).await.unwrap().readiness, Readiness::Ready);
}
