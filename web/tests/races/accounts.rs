//! Merchant accounts whose keys change, or which are switched off, while payments are on their way.

use crate::support::{
    PRICE_MINOR, Provider, TestApp,
    actors::system,
    failed,
    provider::{alipay_account, alipay_certificate_account, always, once, wechat_account},
    with_each_provider,
};
use backend::{Error, flows::operate::merchant::switch_account, payments::provider::ProviderError};
use protocol::messages::Reason;
use sandbox::Fault;

with_each_provider!(
    both_keys_are_accepted_while_the_provider_changes_its_key,
    a_key_that_is_entered_late_is_used_at_once,
    an_account_that_is_switched_off_goes_on_with_what_it_began,
);

/// The account with the provider's key of before the change, and with that of after it too.
async fn accounts(provider: Provider, app: &TestApp) -> (String, String) {
    let sandbox = app.sandbox();
    match provider {
        Provider::Wechat => {
            let both = wechat_account(sandbox);
            let mut old = both.clone();
            let signs_at_first = both.platform_keys.iter().find(|key| key.id.starts_with("PUB_KEY_ID_")).unwrap();
            old.platform_keys = vec![signs_at_first.clone()];
            (serde_json::to_string(&old).unwrap(), serde_json::to_string(&both).unwrap())
        }
        Provider::Alipay => {
            let (old, new) = (sandbox.alipay().alipay_public_key_pem, sandbox.next_alipay_key().unwrap());
            (alipay_account(sandbox, vec![old.clone()]), alipay_account(sandbox, vec![old, new]))
        }
    }
}

/// From now on the provider signs with its other key.
fn change_key(provider: Provider, app: &TestApp) {
    match provider {
        Provider::Wechat => {
            let keys = app.sandbox().merchant().platform_keys;
            let (certificate, _) = keys.iter().find(|(id, _)| !id.starts_with("PUB_KEY_ID_")).unwrap();
            assert!(app.sandbox().select_signing_key(certificate));
        }
        Provider::Alipay => app.sandbox().switch_alipay_key().unwrap(),
    }
}

async fn both_keys_are_accepted_while_the_provider_changes_its_key(provider: Provider) {
    let app = TestApp::start().await;
    let (_, both) = accounts(provider, &app).await;
    app.enter(provider, &both).await;
    app.credited_sale(provider).await;
    // Ordered before the change, told after it.
    let token = app.order(provider).await;
    change_key(provider, &app);
    app.pay(provider, &token).await;
    app.until_state(&token, "paid").await;
    let credit = app.next_credit().await;
    app.deliver(&app.shop.module.ack(&app, &credit, failed(0, Reason::Fault))).await;
    app.pass_until_state(&token, "refunded").await;
    // Some messages come with one key, some with the other.
    if provider == Provider::Wechat {
        always(app.sandbox(), Fault::KeyRotation);
    }
    for _ in 0..3 {
        app.credited_sale(provider).await;
    }
    app.assert_books().await;
}

async fn a_key_that_is_entered_late_is_used_at_once(provider: Provider) {
    let app = TestApp::start().await;
    let (old, both) = accounts(provider, &app).await;
    app.enter(provider, &old).await;
    let token = app.order(provider).await;
    change_key(provider, &app);
    app.pay(provider, &token).await;
    let number = app.number(&token).await;
    app.until("it is told", async || provider.told(app.sandbox(), &number) > 0).await;
    assert_eq!(app.state(&token).await, "awaiting_payment", "its signature proves nothing yet");
    assert!(app.inbox().await.is_empty());
    app.enter(provider, &both).await;
    // The provider sends it again by itself, too.
    provider.tell_again(app.sandbox(), &number);
    app.until_state(&token, "paid").await;
    app.give_credit().await;
    app.assert_books().await;
}

async fn an_account_that_is_switched_off_goes_on_with_what_it_began(provider: Provider) {
    let app = TestApp::start().await;
    let told = app.order(provider).await;
    let asked = app.order(provider).await;
    let refunded = app.paid_sale(provider).await;
    let credit = app.next_credit().await;
    app.deliver(&app.shop.module.ack(&app, &credit, failed(0, Reason::Fault))).await;
    let account = app.account_id(provider).await;
    switch_account(&app.backend, &system(), account, false).await.unwrap();

    let refused = app.try_order(provider.by_code()).await;
    assert!(matches!(refused, Err(Error::Conflict(_))), "{refused:?}");
    // Its callbacks.
    app.pay(provider, &told).await;
    app.until_state(&told, "paid").await;
    app.give_credit().await;
    // Its questions.
    always(app.sandbox(), Fault::DropCallback);
    app.pay(provider, &asked).await;
    app.pass_until_state(&asked, "paid").await;
    app.give_credit().await;
    // Its refunds.
    app.pass_until_state(&refunded, "refunded").await;
    assert_eq!(provider.returned_fen(app.sandbox(), &app.number(&refunded).await), PRICE_MINOR);
    app.assert_books().await;

    switch_account(&app.backend, &system(), account, true).await.unwrap();
    app.sandbox().faults().clear_all();
    once(app.sandbox(), Fault::DuplicateCallback);
    app.credited_sale(provider).await;
}

mod alipay_alone {
    use super::*;

    const ALIPAY: Provider = Provider::Alipay;

    #[tokio::test]
    async fn certificates_change_while_payments_are_on_their_way() {
        let app = TestApp::start().await;
        let files = app.sandbox().enter_alipay_certificate_mode().unwrap();
        let account = |certs: &[&str]| alipay_certificate_account(app.sandbox(), &files, certs);
        app.enter(ALIPAY, &account(&[&files.alipay_cert_pem])).await;
        app.credited_sale(ALIPAY).await;
        let taken = app.inbox().await;
        // Ordered before the change, told after it: by a certificate that the account does not know yet.
        let token = app.order(ALIPAY).await;
        app.sandbox().switch_alipay_key().unwrap();
        app.pay(ALIPAY, &token).await;
        let number = app.number(&token).await;
        app.until("it is told", async || ALIPAY.told(app.sandbox(), &number) > 0).await;
        app.skip_ms(4_000).await;
        assert_eq!(app.state(&token).await, "awaiting_payment", "nothing that is told or answered is proven");
        assert_eq!(app.inbox().await, taken);

        app.enter(ALIPAY, &account(&[&files.alipay_cert_pem, &files.next_alipay_cert_pem])).await;
        ALIPAY.tell_again(app.sandbox(), &number);
        app.until_state(&token, "paid").await;
        let credit = app.next_credit().await;
        app.deliver(&app.shop.module.ack(&app, &credit, failed(0, Reason::Fault))).await;
        app.pass_until_state(&token, "refunded").await;
        app.credited_sale(ALIPAY).await;
        app.assert_books().await;
    }

    #[tokio::test]
    async fn an_account_that_lacks_its_certificates_is_refused_and_goes_on_once_it_has_them() {
        let app = TestApp::start().await;
        let paid = app.order(ALIPAY).await;
        let files = app.sandbox().enter_alipay_certificate_mode().unwrap();
        let refused = app.try_order(ALIPAY.by_code()).await;
        assert!(
            matches!(&refused, Err(Error::Provider(ProviderError::Refused { code, .. })) if code == "isv.missing-app-cert-sn"),
            "{refused:?}"
        );
        always(app.sandbox(), Fault::DropCallback);
        app.pay(ALIPAY, &paid).await;
        app.skip_ms(4_000).await;
        assert_eq!(app.state(&paid).await, "awaiting_payment", "what it asks is refused, which proves nothing");
        app.enter(ALIPAY, &alipay_certificate_account(app.sandbox(), &files, &[&files.alipay_cert_pem])).await;
        app.pass_until_state(&paid, "paid").await;
        app.give_credit().await;
        assert_eq!(app.state(&paid).await, "credited");
        app.assert_books().await;
    }
}
