//! Who may do what: every operation by every role, compared with its rule; and every operation done is in the audit
//! log.

use crate::support::{
    TestApp,
    actors::{acting_as, acting_for, system},
    app::Shop,
};
use backend::{
    Error, Result,
    access::{
        ActorKind,
        actor::{Actor, Who},
        audit, manufacturers, members,
        operations::Operation,
        operators,
        role::Role,
        sign_in,
    },
    flows::operate::{
        coins::{self, CoinCorrection},
        connection::{self, EndedConnection},
        disable_module,
        machine::{self, MachineChange, NewMachine},
        manufacturer, member, merchant,
        module::{self, SettingsChange},
        operator::{self, NewOperator, OperatorChange},
        price, register_module,
        sale::{self, ManualActionRequest},
    },
    ids::{ManufacturerId, MemberId, OperatorId, SaleToken},
    ledger,
    machines::{fleet, shapes::PriceChange},
    modules::{ModuleSettings, RemoteAction, registry},
    money::Currency,
    payments::accounts,
    sales::{ManualAction, shapes::SalesFilter, takings, views},
    zones::Zone,
};
use serde_json::json;
use strum::IntoEnumIterator;

/// Asks for an operation on what a shop has. Whatever it gives is dropped; refusals are what is looked at.
async fn ask(app: &TestApp, actor: &Actor, operation: Operation, shop: &Shop, token: &SaleToken) -> Result<()> {
    let (ctx, operator, machine) = (&app.backend, shop.operator_id, shop.machine_id);
    let price = || PriceChange { label: "one".into(), amount_minor: 100, pulses: 1 };
    match operation {
        Operation::ListOperators => operators::operators(ctx, actor).await.map(drop),
        Operation::AddOperator => {
            let new = NewOperator {
                slug: "newcomer".into(),
                name: "Newcomer".into(),
                currency: Currency::Cny,
                time_zone: Zone::default_for(Currency::Cny),
                refund_remainder: false,
            };
            operator::add_operator(ctx, actor, new).await.map(drop)
        }
        Operation::ChangeOperator => operator::change_operator(ctx, actor, operator, OperatorChange::default()).await,
        Operation::SetIntegratorPassword => {
            operator::set_integrator_password(ctx, actor, operator, "long enough").await
        }
        Operation::ListMembers => members::members(ctx, actor, operator).await.map(drop),
        Operation::AddMember => {
            member::add_member(ctx, actor, operator, "new@acme.test", "long enough", Role::Viewer).await.map(drop)
        }
        Operation::SetMemberPassword => {
            member::set_member_password(ctx, actor, operator, MemberId(0), "long enough").await
        }
        Operation::SetMemberRole => member::set_member_role(ctx, actor, operator, MemberId(0), Role::Owner).await,
        Operation::RemoveMember => member::remove_member(ctx, actor, operator, MemberId(0)).await,
        Operation::ListAudit => audit::entries(ctx, actor, Some(operator), None, 10).await.map(drop),
        Operation::ListManufacturers => manufacturers::manufacturers(ctx, actor).await.map(drop),
        Operation::AddManufacturer => manufacturer::add_manufacturer(ctx, actor, "maker", "Maker").await.map(drop),
        Operation::SetToolPassword => {
            manufacturer::set_tool_password(ctx, actor, ManufacturerId(0), "long enough").await
        }
        Operation::ListMerchantAccounts => accounts::merchant_accounts(ctx, actor, Some(operator)).await.map(drop),
        Operation::SetMerchantAccount => {
            merchant::set_merchant_account(ctx, actor, operator, "wechat", "not a configuration").await.map(drop)
        }
        Operation::ListModules => registry::modules(ctx, actor, Some(operator)).await.map(drop),
        Operation::RegisterModule => {
            // What a manufacturer registers is its own.
            let maker = if let Who::Manufacturer(own) = actor.who { Some(own) } else { None };
            register_module::provision_module(ctx, actor, maker).await.map(drop)
        }
        Operation::AssignModule => register_module::assign_module(ctx, actor, shop.module.id, operator).await,
        Operation::DisableModule => disable_module::set_module_disabled(ctx, actor, shop.module.id, false).await,
        Operation::ViewMachines => fleet::fleet(ctx, actor, operator).await.map(drop),
        Operation::AddMachine => {
            let new = NewMachine {
                operator_id: operator,
                module: None,
                name: "Another".into(),
                site: "Hall".into(),
                coin_value_minor: 100,
                prices: vec![price()],
            };
            machine::add_machine(ctx, actor, new).await.map(drop)
        }
        Operation::ChangeMachine => machine::change_machine(ctx, actor, machine, MachineChange::default()).await,
        Operation::ReplaceModule => machine::replace_module(ctx, actor, machine, Some(shop.module.id)).await,
        Operation::RetireMachine => machine::bring_back_machine(ctx, actor, machine).await,
        Operation::SetOnSale => machine::set_active(ctx, actor, machine, true).await,
        Operation::LockMachine => machine::set_locked(ctx, actor, machine, false).await,
        Operation::ChangePrices => price::add_price(ctx, actor, machine, price()).await.map(drop),
        Operation::ChangeSettings => {
            let change = SettingsChange { since_version: 99, settings: ModuleSettings::default() };
            module::set_settings(ctx, actor, machine, change).await
        }
        Operation::OrderRemoteAction => module::order_remote_action(ctx, actor, machine, RemoteAction::Locate).await,
        Operation::JudgeLearning => module::decide_learned(ctx, actor, machine, 0, true).await,
        Operation::CorrectCoins => {
            let correction = CoinCorrection { amount_minor: 1, reason: "counted".into(), count_anew: false };
            coins::correct_coins(ctx, actor, machine, &correction).await
        }
        // The web's: it holds the connections.
        Operation::ViewConnections => actor.check(operation),
        Operation::EndConnection => {
            let ended = EndedConnection { client_id: "c1", kind: "module", name: "Rocket", peer: "203.0.113.9" };
            connection::record_end(ctx, actor, operator, ended).await
        }
        Operation::ViewSales => views::sales(ctx, actor, operator, SalesFilter::default()).await.map(drop),
        Operation::ViewTakings => takings::takings_today(ctx, actor, operator).await.map(drop),
        Operation::ViewBooks => ledger::balances(ctx, actor, operator).await.map(drop),
        Operation::DecideSale => {
            let (key, act) = ("k".into(), ManualAction::Refund { amount_minor: Some(1) });
            let request =
                ManualActionRequest { token: token.clone(), key, act, reason: "why not".into(), decided_by: None };
            sale::perform_manual_action(ctx, actor, request).await.map(drop)
        }
    }
}

#[tokio::test]
async fn every_operation_keeps_to_its_rule_for_every_role() {
    let app = TestApp::start().await;
    let token = app.paid_sale().await;
    let maker = manufacturer::add_manufacturer(&app.backend, &system(), "first-maker", "First").await.unwrap();
    for operation in Operation::iter() {
        let rule = operation.rule();
        assert!(
            rule.roles.is_empty() || rule.roles.contains(&Role::Owner),
            "{operation:?}: an owner may what others may"
        );
        for role in Role::ALL {
            let actor = acting_as(app.shop.operator_id, role);
            let outcome = ask(&app, &actor, operation, &app.shop, &token).await;
            let refused = matches!(outcome, Err(Error::Forbidden(what)) if what == operation);
            assert_eq!(refused, !rule.roles.contains(&role), "{operation:?} by {role:?}: {outcome:?}");
        }
        for (who, may) in
            [(Who::Integrator(app.shop.operator_id), rule.integrators), (Who::Manufacturer(maker), rule.manufacturers)]
        {
            let actor = Actor { who, address: None };
            let outcome = ask(&app, &actor, operation, &app.shop, &token).await;
            let refused = matches!(outcome, Err(Error::Forbidden(_) | Error::NotFound(_)));
            assert_eq!(refused, !may, "{operation:?} by {actor:?}: {outcome:?}");
        }
        let outcome = ask(&app, &system(), operation, &app.shop, &token).await;
        assert!(!matches!(outcome, Err(Error::Forbidden(_))), "{operation:?} by the server: {outcome:?}");
    }
}

#[tokio::test]
async fn another_operators_things_are_not_there() {
    let app = TestApp::start().await;
    let token = app.paid_sale().await;
    let eve = acting_for(app.open_shop("eve").await.operator_id);
    for operation in Operation::iter() {
        let of_one = !operation.rule().roles.is_empty();
        let web_only = matches!(operation, Operation::ViewConnections);
        let outcome = ask(&app, &eve, operation, &app.shop, &token).await;
        let refused = matches!(outcome, Err(Error::NotFound(_)));
        assert!(refused || !of_one || web_only, "{operation:?}: {outcome:?}");
    }
}

#[tokio::test]
async fn what_was_done_is_recorded_with_it_and_what_was_not_is_not() {
    let app = TestApp::start().await;
    let (ctx, operator, id) = (&app.backend, app.shop.operator_id, app.shop.machine_id);
    let manager = acting_as(operator, Role::Manager);
    let entries = async || audit::entries(ctx, &system(), Some(operator), None, 100).await.unwrap();
    let before = entries().await.len();
    let name = |name: &str| MachineChange { name: Some(name.into()), ..MachineChange::default() };
    machine::change_machine(ctx, &manager, id, name("Blue rocket")).await.unwrap();
    machine::change_machine(ctx, &manager, id, name("Blue rocket")).await.unwrap();
    assert!(machine::change_machine(ctx, &manager, id, name("")).await.is_err());
    assert!(machine::change_machine(ctx, &acting_as(operator, Role::Viewer), id, name("Other")).await.is_err());
    let rows = entries().await;
    assert_eq!(rows.len(), before + 1, "one change, one entry");
    let row = &rows[0];
    assert_eq!((row.actor_kind, row.actor_name.as_str()), (ActorKind::Member, "manager@example.org"));
    assert_eq!(row.address.as_deref(), Some("203.0.113.9"));
    assert_eq!((row.operation.as_str(), &row.subject), ("change_machine", &format!("machine {id}")));
    assert_eq!(row.after, Some(json!({"name": "Blue rocket"})));
    assert_eq!(row.at_ms, ctx.wall_ms());
    assert_eq!(row.before.as_ref().unwrap()["name"], "Rocket");
}

#[tokio::test]
async fn no_password_and_no_key_is_recorded() {
    let app = TestApp::start().await;
    let (ctx, operator) = (&app.backend, app.shop.operator_id);
    let id =
        member::add_member(ctx, &system(), operator, "ann@acme.test", "a first secret", Role::Owner).await.unwrap();
    member::set_member_password(ctx, &system(), operator, id, "another secret").await.unwrap();
    operator::set_integrator_password(ctx, &system(), operator, "a third secret").await.unwrap();
    let rows = audit::entries(ctx, &system(), None, None, 500).await.unwrap();
    assert!(rows.iter().any(|row| row.operation == "set_member_password"));
    assert!(rows.iter().any(|row| row.operation == "set_merchant_account"));
    let told = serde_json::to_string(&rows).unwrap();
    for secret in ["secret", "argon2", "private_key", "api_v3_key"] {
        assert!(!told.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn another_role_ends_what_was_signed_in_and_an_owner_stays() {
    let app = TestApp::start().await;
    let (ctx, operator) = (&app.backend, app.shop.operator_id);
    let ann = member::add_member(ctx, &system(), operator, "ann@acme.test", "long enough", Role::Owner).await.unwrap();
    let bob =
        member::add_member(ctx, &system(), operator, "bob@acme.test", "long enough", Role::Manager).await.unwrap();
    let owner = acting_for(operator);
    let before = sign_in::member(ctx, bob).await.unwrap();
    member::set_member_role(ctx, &owner, operator, bob, Role::Technician).await.unwrap();
    let after = sign_in::member(ctx, bob).await.unwrap();
    assert_ne!(before.fingerprint, after.fingerprint);
    assert_eq!(after.role, Role::Technician);
    let last = member::set_member_role(ctx, &owner, operator, ann, Role::Viewer).await;
    assert!(matches!(last, Err(Error::Invalid { field: "role", .. })), "{last:?}");
    assert!(matches!(member::remove_member(ctx, &owner, operator, ann).await, Err(Error::Invalid { .. })));
    member::set_member_role(ctx, &owner, operator, bob, Role::Owner).await.unwrap();
    member::remove_member(ctx, &owner, operator, ann).await.unwrap();
    assert_eq!(OperatorId(operator.0), after.operator_id);
}

#[tokio::test]
async fn a_role_reads_by_mqtt_what_it_may_see_on_the_pages() {
    let app = TestApp::start().await;
    let (ctx, operator) = (&app.backend, app.shop.operator_id);
    for (role, filters) in [
        (Role::Owner, vec!["v1/acme/#"]),
        (Role::Technician, vec!["v1/acme/+/status", "v1/acme/+/pulse"]),
        (Role::Accountant, vec!["v1/acme/#"]),
    ] {
        let email = format!("{}@acme.test", role.as_str());
        member::add_member(ctx, &system(), operator, &email, "long enough", role).await.unwrap();
        let read = sign_in::mqtt_member(ctx, &email, "long enough").await.unwrap().unwrap();
        assert_eq!(read.filters, filters, "{role:?}");
    }
}

#[tokio::test]
async fn money_of_a_machine_is_for_those_who_see_takings() {
    let app = TestApp::start().await;
    let (ctx, operator, id) = (&app.backend, app.shop.operator_id, app.shop.machine_id);
    for role in Role::ALL {
        let actor = acting_as(operator, role);
        let row = fleet::machine(ctx, &actor, id).await.unwrap().row;
        let sees = actor.may(Operation::ViewTakings);
        assert_eq!((row.mobile_today.is_some(), row.sales_today.is_some()), (sees, sees), "{role:?}");
    }
    let dearer = || MachineChange { coin_value_minor: Some(200), ..MachineChange::default() };
    let refused = machine::change_machine(ctx, &acting_as(operator, Role::Technician), id, dearer()).await;
    assert!(matches!(refused, Err(Error::Forbidden(Operation::ChangePrices))), "{refused:?}");
    machine::change_machine(ctx, &acting_as(operator, Role::Manager), id, dearer()).await.unwrap();
}

/// Every function of the crate that is told who acts, by its file: its name, and all that follows to the next one.
fn told_who_acts() -> Vec<(String, String)> {
    let mut folders = vec![std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut functions = vec![];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let file = path.display().to_string();
            functions.extend(text.split("pub async fn ").skip(1).map(|function| (file.clone(), function.to_owned())));
        }
    }
    functions
}

#[test]
fn what_people_do_is_told_who_acts_and_asks_first() {
    let functions = told_who_acts();
    for (file, function) in functions.iter().filter(|(file, _)| file.contains("/flows/operate/")) {
        let head = function.split('{').next().unwrap_or_default();
        assert!(head.contains("actor: &Actor"), "{file}: {head}");
    }
    let acting = functions
        .iter()
        .filter(|(_, function)| function.split('{').next().is_some_and(|head| head.contains("actor: &Actor")));
    let mut asked = std::collections::BTreeSet::new();
    for (file, function) in acting {
        let operation = function.split_once("Operation::").map(|(_, rest)| rest);
        // What hands its actor on to another function has it ask.
        let hands_on = function.contains("(ctx, actor");
        assert!(operation.is_some() || hands_on, "{file}: {function}");
        asked.extend(operation.map(|rest| rest.chars().take_while(char::is_ascii_alphanumeric).collect::<String>()));
    }
    for operation in Operation::iter().map(|operation| format!("{operation:?}")) {
        assert!(asked.contains(&operation) || operation == "ViewConnections", "nothing asks for {operation}");
    }
}
