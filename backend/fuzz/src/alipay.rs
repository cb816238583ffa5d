//! Alipay's notices. The first line of an input is
//! - `stranger`: a body follows, as anybody may send it;
//! - else: what follows is a form, which Alipay signs.

use crate::{believed, keys::Key, open, parts, refused};
use backend::payments::provider::{CallbackError, Provider, RawCallback};
use serde_json::json;
use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

struct Fixture {
    alipay: Key,
    client: Arc<dyn Provider>,
}

static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| {
    let alipay = Key::generate();
    let config = json!({
        "base_url": "https://openapi.alipay.com",
        "app_id": "2021000122671080",
        "seller_id": "2088531891668739",
        "app_private_key_pem": Key::generate().private_pem(),
        "alipay_public_keys": [alipay.public_pem()],
    });
    Fixture { client: open("alipay", &config), alipay }
});

/// Takes an input.
pub fn take(input: &[u8]) {
    match parts(input) {
        (b"stranger", body) => refused(&*FIXTURE.client, RawCallback { headers: &[], body }),
        (_, form) => as_alipay(form),
    }
}

fn as_alipay(form: &[u8]) {
    // Read in another way than the client does: by a library, and of a name that is there twice the last value counts.
    let fields: BTreeMap<String, String> = url::form_urlencoded::parse(form).into_owned().collect();
    let told = fields.iter().filter(|(name, _)| !["sign", "sign_type"].contains(&name.as_str()));
    let message: Vec<String> = told.clone().map(|(name, value)| format!("{name}={value}")).collect();
    let sign = FIXTURE.alipay.sign(message.join("&").as_bytes());
    let body = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(told)
        .append_pair("sign_type", "RSA2")
        .append_pair("sign", &sign)
        .finish();
    // A form too large is refused before its signature is looked at.
    let may_fail = |error: &CallbackError| matches!(error, CallbackError::Body(_));
    believed(&*FIXTURE.client, RawCallback { headers: &[], body: body.as_bytes() }, may_fail);
}
