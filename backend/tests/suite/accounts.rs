//! A merchant account that another process changes is used with the next call.

use crate::support::{
    Call, TestApp, What,
    actors::system,
    app::{PRICE_MINOR, SECRET_KEY},
    bank::Config,
};
use backend::{
    Error,
    flows::{operate::merchant, place_order, take_callback::CallbackFailure},
};
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
    let new = Config { merchant: "another merchant".into(), key: "another key".into() };
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

    // Stored anew, it is used at once.
    let account = json(&app.shop.account);
    merchant::set_merchant_account(&app.another(SECRET_KEY), &system(), app.shop.operator_id, "bank", &account)
        .await
        .unwrap();
    let callback = app.pay(&unpaid).await;
    app.callback(&callback).await.unwrap();
    assert_eq!(app.state(&unpaid).await, "paid");
}
