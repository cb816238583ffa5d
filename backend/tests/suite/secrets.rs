//! Secrets: stored encrypted, and of no use without the key that is not in the database.

use crate::support::{
    TestApp,
    actors::system,
    app::{SECRET_KEY, callback_to},
    store::rows,
};
use backend::{
    Error,
    access::role::Role,
    flows::{
        operate::{
            member, merchant, operator,
            register_module::{self, Provisioned},
        },
        take_callback::CallbackFailure,
        take_message,
    },
    jobs,
    modules::{Admission, admission},
};
use protocol::{ModuleId, ModuleSecret};

#[tokio::test]
async fn are_never_stored_in_the_clear() {
    let app = TestApp::start().await;
    let password = "correct horse battery";
    member::add_member(&app.backend, &system(), app.shop.operator_id, "ann@acme.test", password, Role::Owner)
        .await
        .unwrap();
    operator::set_integrator_password(&app.backend, &system(), app.shop.operator_id, password).await.unwrap();
    app.paid_sale().await;

    let secret = app.shop.module.secret.expose();
    let mqtt_password = app.shop.module.secret.mqtt_password(app.shop.module.id);
    let hex = hex::encode(secret);
    let secrets: [&[u8]; 5] =
        [secret, hex.as_bytes(), mqtt_password.as_bytes(), app.shop.account.key.as_bytes(), password.as_bytes()];
    let columns = [
        ("modules", "secret_sealed"),
        ("merchant_accounts", "config_sealed"),
        ("commands", "payload"),
        ("callback_inbox", "body"),
    ];
    for (table, column) in columns {
        let found = rows(app.db.read(), &format!("SELECT {column} FROM {table}")).await;
        assert!(!found.is_empty(), "{table}");
        for row in found {
            let bytes: Vec<u8> = row.try_get_by_index(0).unwrap();
            assert!(bytes.len() >= 16);
            assert!(secrets.iter().all(|secret| !contains(&bytes, secret)), "{table}.{column}");
        }
    }
    for (table, column) in [("members", "password_hash"), ("operators", "integrator_password_hash")] {
        let hash: String =
            rows(app.db.read(), &format!("SELECT {column} FROM {table}")).await[0].try_get_by_index(0).unwrap();
        assert!(hash.starts_with("$argon2id$"), "{hash}");
    }
}

#[tokio::test]
async fn are_not_in_the_files_of_the_store() {
    let app = TestApp::start().await;
    if app.store.is_on_server() || app.store.is_volatile() {
        return;
    }
    let path = app.store.url.strip_prefix("sqlite://").unwrap().split('?').next().unwrap();
    let written: Vec<u8> =
        ["", "-wal"].iter().flat_map(|end| std::fs::read(format!("{path}{end}")).unwrap_or_default()).collect();
    assert!(contains(&written, app.shop.account_token.as_bytes()), "the file is the one that is written to");
    assert!(!contains(&written, app.shop.module.secret.expose()));
    assert!(!contains(&written, app.shop.account.key.as_bytes()));
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[tokio::test]
async fn cannot_be_opened_with_another_key() {
    let app = TestApp::start().await;
    let token = app.order().await;
    let callback = app.pay(&token).await;
    let module = &app.shop.module;
    let password = module.secret.mqtt_password(module.id);

    let mut key = SECRET_KEY;
    key[31] ^= 1;
    let wrong = app.another(key);
    let status = module.status(&app, |_| ());
    let refused = take_message::on_message(&wrong, &status.topic, &status.payload).await;
    assert!(matches!(refused, Err(Error::Sealed)));
    assert!(matches!(admission::admit_module(&wrong, module.id, password.as_bytes()).await, Err(Error::Sealed)));
    let refused = callback_to(&wrong, &app.shop.account_token, &callback).await;
    let Err(CallbackFailure::Internal(error @ Error::Sealed)) = refused else { panic!("{refused:?}") };
    assert!(error.to_string().contains("secret_key"), "{error}");
    app.clock.advance(4_000);
    jobs::run_due(&wrong).await.unwrap();

    // Nothing was harmed by trying.
    app.callback(&callback).await.unwrap();
    assert_eq!(app.state(&token).await, "paid");
}

#[tokio::test]
async fn a_module_signs_in_with_its_own_password_only() {
    let app = TestApp::start().await;
    let other = app.open_shop("other").await;
    let (module, other) = (&app.shop.module, &other.module);
    let (password, others) = (module.secret.mqtt_password(module.id), other.secret.mqtt_password(other.id));
    assert_eq!(
        admission::admit_module(&app.backend, module.id, password.as_bytes()).await.unwrap(),
        Admission::Admitted
    );
    for wrong in [others.as_bytes(), b"", &password.as_bytes()[..31], password.to_uppercase().as_bytes()] {
        assert_eq!(admission::admit_module(&app.backend, module.id, wrong).await.unwrap(), Admission::Unknown);
    }
    let stranger = admission::admit_module(&app.backend, ModuleId::from_bits(1), password.as_bytes()).await.unwrap();
    assert_eq!(stranger, Admission::Unknown);
}

#[tokio::test]
async fn a_module_is_registered_once() {
    let app = TestApp::start().await;
    let again = Provisioned { id: app.shop.module.id, secret: ModuleSecret::new([1; 32]) };
    assert!(matches!(
        register_module::register_module(&app.backend, &system(), &again, None).await,
        Err(Error::Invalid { field: "module", .. })
    ));
    let password = app.shop.module.secret.mqtt_password(app.shop.module.id);
    let admission = admission::admit_module(&app.backend, app.shop.module.id, password.as_bytes()).await.unwrap();
    assert_eq!(admission, Admission::Admitted);
}

#[tokio::test]
async fn a_merchant_account_that_cannot_work_is_refused_by_field() {
    let app = TestApp::start().await;
    let good = serde_json::json!({
        "base_url": "https://api.mch.weixin.qq.com",
        "appid": "wxd678efh567hg6787",
        "mchid": "1900007291",
        "merchant_serial": "408B07E79B8269FEC3D5D3E6AB8ED163A6A380DB",
        "merchant_private_key_pem": "secret words that are no key",
        "api_v3_key": "0123456789abcdefghijklmnopqrstuv",
        "platform_keys": [],
    });
    for (field, value) in [
        ("base_url", serde_json::json!("ftp://nowhere")),
        ("appid", serde_json::json!("with blanks")),
        ("mchid", serde_json::json!("")),
        ("merchant_serial", serde_json::json!("not hexadecimal")),
        ("merchant_private_key_pem", serde_json::json!("secret words that are no key")),
        ("api_v3_key", serde_json::Value::Null),
    ] {
        let mut config = good.clone();
        match value.is_null() {
            true => drop(config.as_object_mut().unwrap().remove(field)),
            false => config[field] = value,
        }
        let refused = merchant::set_merchant_account(
            &app.backend,
            &system(),
            app.shop.operator_id,
            "wechat",
            &config.to_string(),
        )
        .await;
        let Err(error @ Error::Invalid { field: "merchant account", .. }) = refused else { panic!("{refused:?}") };
        let sentence = error.to_string();
        assert!(sentence.contains(field), "{field}: {sentence}");
        assert!(!sentence.contains("secret words") && !sentence.contains("0123456789abcdef"), "{sentence}");
    }
    for (provider, config, part) in [
        ("wechat", "no json", "line 1"),
        ("alipay", "{}", "base_url"),
        ("paypal", "{}", "known: alipay, wechat"),
        ("", "", "known: alipay, wechat"),
    ] {
        let refused =
            merchant::set_merchant_account(&app.backend, &system(), app.shop.operator_id, provider, config).await;
        let Err(error @ Error::Invalid { field: "merchant account", .. }) = refused else { panic!("{refused:?}") };
        assert!(error.to_string().contains(part), "{provider}: {error}");
    }
    assert_eq!(app.number_of("SELECT COUNT(*) FROM merchant_accounts").await, 1);
    // The account there was still takes payments.
    app.paid_sale().await;
}

#[tokio::test]
async fn a_merchant_account_that_is_replaced_keeps_its_address_and_changes_its_key() {
    let app = TestApp::start().await;
    let token = app.order().await;
    let number = app.number(&token).await;
    let what = app.bank.pay(&number, app.now_ms());
    let mut account = app.shop.account.clone();
    account.key = "the new key".into();
    let json = serde_json::to_string(&account).unwrap();
    let kept =
        merchant::set_merchant_account(&app.backend, &system(), app.shop.operator_id, "bank", &json).await.unwrap();
    assert_eq!(kept, app.shop.account_token);
    let notice = app.bank.notice(&account.merchant, &number, what);
    let old = notice.signed(&app.shop.account.key);
    assert!(matches!(app.callback(&old).await, Err(CallbackFailure::Untrusted(_))));
    app.callback(&notice.signed(&account.key)).await.unwrap();
    assert_eq!(app.state(&token).await, "paid");
}
