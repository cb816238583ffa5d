//! Merchant accounts: one that another process changes is used with the next call, another identity is another account, and
//! which account takes a payment is decided by machine and method.

use crate::support::{
    Call, TestApp, What,
    actors::{acting_for, system},
    app::{PRICE_MINOR, SECRET_KEY},
    bank::Config,
    failed,
    module::TestModule,
    stage,
};
use backend::{
    Error,
    flows::{
        operate::{
            machine::{self, NewMachine},
            merchant, register_module,
        },
        place_order::{self, OrderRequest},
        probe_module,
        take_callback::CallbackFailure,
    },
    ids::{AccountId, MachineId, PriceId, SaleToken},
    machines::{fleet, shapes::PriceChange},
    payments::accounts,
    sales::readiness::Readiness,
};
use fake_providers::notice::Notice;
use protocol::messages::{Reason, Stage};
use sea_orm::ConnectionTrait;

fn json(config: &Config) -> String {
    serde_json::to_string(config).unwrap()
}

#[tokio::test]
async fn a_change_by_another_process_is_used_at_once() {
    let app = TestApp::start().await;
    let token = app.order().await;
    let number = app.number(&token).await;
    let beside = app.another(SECRET_KEY);
    let new = Config { key: "another key".into(), ..app.shop.account.clone() };
    let kept =
        merchant::set_merchant_account(&beside, &system(), app.shop.operator_id, "bank", &json(&new)).await.unwrap();
    assert_eq!(kept, app.shop.account_token, "the address that the provider reports to stays");

    let paid =
        || What::Paid { txn: "T1".into(), amount_minor: PRICE_MINOR, paid_at_ms: app.now_ms(), attach: String::new() };
    let by_old_key = app.bank.notice(&new.merchant, &number, paid()).signed(&app.shop.account.key);
    assert!(matches!(app.callback(&by_old_key).await, Err(CallbackFailure::Untrusted(_))));
    let by_new_key = app.bank.notice(&new.merchant, &number, paid()).signed(&new.key);
    app.callback(&by_new_key).await.unwrap();
    assert_eq!(app.state(&token).await, "paid");

    // Calls go by the new account too: one that is never answered shows it.
    app.bank.silence(&new.merchant, true);
    app.make_ready(&app.shop).await;
    let order = place_order::order(&app.backend, app.form(&app.shop));
    let asked = app.bank.called(Call::Create).len();
    tokio::select! {
        outcome = order => panic!("the old account was used: {outcome:?}"),
        () = async {
            while app.bank.called(Call::Create).len() == asked {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        } => {}
    }
}

#[tokio::test]
async fn one_that_cannot_be_read_is_named_and_harms_nobody_else() {
    let app = TestApp::start().await;
    let other = app.open_shop("other").await;
    let unpaid = app.order().await;
    let of_account = format!("WHERE operator_id = {}", app.shop.operator_id);
    let spoil = format!("UPDATE merchant_accounts SET config_sealed = X'00112233' {of_account}");
    app.db.read().execute_unprepared(&spoil).await.unwrap();
    app.make_ready(&app.shop).await;
    let refused = place_order::order(&app.backend, app.form(&app.shop)).await;
    assert!(matches!(refused, Err(Error::Sealed)), "{refused:?}");
    app.make_ready(&other).await;
    place_order::order(&app.backend, app.form(&other)).await.unwrap();
    app.pass_ms(10_000).await;
    let polls = format!("SELECT polls FROM payment_attempts WHERE out_trade_no = '{}'", app.number(&unpaid).await);
    assert!((1..10).contains(&app.number_of(&polls).await), "it is put off, not tried at every look");

    // Once stored again, it is used at once.
    let account = json(&app.shop.account);
    merchant::set_merchant_account(&app.another(SECRET_KEY), &system(), app.shop.operator_id, "bank", &account)
        .await
        .unwrap();
    let callback = app.pay(&unpaid).await;
    app.callback(&callback).await.unwrap();
    assert_eq!(app.state(&unpaid).await, "paid");
}

/// Which account a sale's payment is with, by its number.
async fn account_of(app: &TestApp, token: &SaleToken) -> AccountId {
    let number = app.number(token).await;
    AccountId(app.number_of(&format!("SELECT account_id FROM payment_attempts WHERE out_trade_no = '{number}'")).await)
}

async fn order_at(app: &TestApp, code: &str, price_id: PriceId) -> backend::Result<SaleToken> {
    let form = OrderRequest { code: code.into(), price_id, ..app.form(&app.shop) };
    place_order::order(&app.backend, form).await.map(|checkout| checkout.token)
}

/// Stores an account of another merchant; gives its number and token.
async fn another_merchant(app: &TestApp, config: &Config) -> (AccountId, String) {
    let operator_id = app.shop.operator_id;
    let token =
        merchant::set_merchant_account(&app.backend, &system(), operator_id, "bank", &json(config)).await.unwrap();
    let all = accounts::merchant_accounts(&app.backend, &system(), Some(operator_id)).await.unwrap();
    let row = all.iter().find(|row| row.identity == config.merchant).unwrap();
    (row.account_id, token)
}

#[tokio::test]
async fn another_identity_is_another_account_and_the_old_one_goes_on_for_what_it_began() {
    let app = TestApp::start().await;
    let (waits, served) = (app.order().await, app.paid_sale().await);
    let old = account_of(&app, &waits).await;
    let new = Config { merchant: "another merchant".into(), key: "another key".into() };
    let (new_account, new_token) = another_merchant(&app, &new).await;
    assert_ne!(new_token, app.shop.account_token);
    let token = app.order().await;
    assert_eq!(account_of(&app, &token).await, new_account, "new payments are with the new one");

    // Also when it is switched off: its callbacks, questions and refunds go on.
    merchant::switch_account(&app.backend, &acting_for(app.shop.operator_id), old, false).await.unwrap();
    let callback = app.pay(&waits).await;
    app.callback(&callback).await.unwrap();
    assert_eq!(app.state(&waits).await, "paid");
    for credit in app.shop.module.credits(&app) {
        app.deliver(&app.shop.module.ack(&app, &credit, failed(0, Reason::Fault))).await;
    }
    app.pass_ms(30_000).await;
    assert_eq!((app.state(&waits).await, app.state(&served).await), ("refunded", "refunded"));
    assert_eq!(app.number_of(&format!("SELECT COUNT(*) FROM refunds WHERE account_id = {old}")).await, 2);

    // The first merchant again is the first account again; that moves no payments.
    let first = json(&app.shop.account);
    let kept =
        merchant::set_merchant_account(&app.backend, &system(), app.shop.operator_id, "bank", &first).await.unwrap();
    assert_eq!(kept, app.shop.account_token);
    app.skip_ms(6 * 60_000).await;
    assert_eq!(account_of(&app, &app.order().await).await, new_account);
    assert_eq!(app.number_of("SELECT COUNT(*) FROM merchant_accounts").await, 2);
}

#[tokio::test]
async fn an_account_gets_other_keys_and_stays_the_same_merchants() {
    let app = TestApp::start().await;
    let token = app.order().await;
    let (account_id, owner) = (account_of(&app, &token).await, acting_for(app.shop.operator_id));
    let callback = app.pay(&token).await;
    let other = Config { merchant: "another merchant".into(), key: "a new key".into() };
    let refused = merchant::rotate_keys(&app.backend, &owner, account_id, &json(&other)).await;
    assert!(matches!(refused, Err(Error::Invalid { field: "merchant account", .. })), "{refused:?}");
    let same = Config { key: "a new key".into(), ..app.shop.account.clone() };
    let eve = acting_for(app.open_shop("eve").await.operator_id);
    let hidden = merchant::rotate_keys(&app.backend, &eve, account_id, &json(&same)).await;
    assert!(matches!(hidden, Err(Error::NotFound(_))), "{hidden:?}");
    let kept = merchant::rotate_keys(&app.backend, &owner, account_id, &json(&same)).await.unwrap();
    assert_eq!(kept, app.shop.account_token, "the provider reports to where it did");
    assert!(app.callback(&callback).await.is_err(), "signed with the key of before");
    let notice: Notice = serde_json::from_slice(&callback.body).unwrap();
    app.callback(&notice.signed(&same.key)).await.unwrap();
    assert_eq!(app.state(&token).await, "paid");
}

#[tokio::test]
async fn an_account_from_before_identities_were_kept_is_known_again() {
    let app = TestApp::start().await;
    app.db.read().execute_unprepared("UPDATE merchant_accounts SET identity = ''").await.unwrap();
    let same = json(&app.shop.account);
    let kept =
        merchant::set_merchant_account(&app.backend, &system(), app.shop.operator_id, "bank", &same).await.unwrap();
    assert_eq!(kept, app.shop.account_token);
    let all = accounts::merchant_accounts(&app.backend, &system(), None).await.unwrap();
    assert_eq!((all.len(), all[0].identity.as_str()), (1, app.shop.account.merchant.as_str()));
}

#[tokio::test]
async fn a_machine_may_have_an_account_of_its_own() {
    let app = TestApp::start().await;
    let operator_id = app.shop.operator_id;
    let first = account_of(&app, &app.order().await).await;
    let (second, _) = another_merchant(&app, &Config { merchant: "site".into(), key: "key".into() }).await;
    merchant::choose_account(&app.backend, &acting_for(operator_id), first, None, None).await.unwrap();
    let elsewhere = TestModule::new(register_module::provision_module(&app.backend, &system(), None).await.unwrap());
    app.deliver(&elsewhere.status(&app, |_| ())).await;
    let machine = NewMachine {
        operator_id,
        module: Some(elsewhere.id),
        name: "Elsewhere".into(),
        site: "Station".into(),
        coin_value_minor: 0,
        prices: vec![PriceChange { label: "Ride".into(), amount_minor: PRICE_MINOR, pulses: 5 }],
    };
    let (machine_id, code) = machine::add_machine(&app.backend, &system(), machine).await.unwrap();
    let price_id = fleet::machine(&app.backend, &acting_for(operator_id), machine_id).await.unwrap().prices[0].id;
    merchant::choose_account(&app.backend, &acting_for(operator_id), second, Some(machine_id), Some("page"))
        .await
        .unwrap();
    let make_ready = async || {
        probe_module::start_probe(&app.backend, elsewhere.id).await.unwrap();
        let probe = elsewhere.probes(&app).pop().unwrap();
        app.deliver(&elsewhere.ack(&app, &probe, stage(Stage::Done))).await;
    };
    make_ready().await;
    assert_eq!(account_of(&app, &order_at(&app, &code, price_id).await.unwrap()).await, second);
    assert_eq!(account_of(&app, &app.order().await).await, first);

    // Its payments go to nobody else, also while its account is off.
    merchant::switch_account(&app.backend, &acting_for(operator_id), second, false).await.unwrap();
    let closed = order_at(&app, &code, price_id).await;
    assert!(matches!(closed, Err(Error::NotReady(Readiness::Closed))), "{closed:?}");
    merchant::forget_choices(&app.backend, &acting_for(operator_id), machine_id).await.unwrap();
    app.skip_ms(60_000).await;
    make_ready().await;
    assert_eq!(account_of(&app, &order_at(&app, &code, price_id).await.unwrap()).await, first);
}

#[tokio::test]
async fn only_what_is_the_operators_can_be_chosen() {
    let app = TestApp::start().await;
    let other = app.open_shop("other").await;
    let (own, theirs) = (app.shop.operator_id, other.operator_id);
    let account = account_of(&app, &app.order().await).await;
    let choose = async |operator_id, machine_id, method| {
        merchant::choose_account(&app.backend, &acting_for(operator_id), account, machine_id, method).await
    };
    assert!(matches!(choose(theirs, None, None).await, Err(Error::NotFound("merchant account"))));
    assert!(matches!(choose(own, Some(other.machine_id), None).await, Err(Error::NotFound("machine"))));
    // Whoever may do everything mixes up no operators either.
    let mixed = merchant::choose_account(&app.backend, &system(), account, Some(other.machine_id), None).await;
    assert!(matches!(mixed, Err(Error::NotFound("machine"))));
    assert!(matches!(choose(own, Some(MachineId(0)), None).await, Err(Error::NotFound("machine"))));
    assert!(matches!(choose(own, None, Some("jsapi")).await, Err(Error::Invalid { field: "method", .. })));
    let acting = acting_for(theirs);
    assert!(matches!(
        merchant::switch_account(&app.backend, &acting, account, false).await,
        Err(Error::NotFound("merchant account"))
    ));
    assert!(matches!(
        merchant::forget_choices(&app.backend, &acting, app.shop.machine_id).await,
        Err(Error::NotFound("machine"))
    ));
}
