//! What holds of every WeChat Pay account, and of one.

use super::account::Credentials;
use super::methods::{JSAPI, NATIVE};
use crate::{
    money::Currency,
    payments::{
        method::{HandoffKind, Method, PayerApp},
        provider::{Calendar, CallbackAnswer, CallbackRules, DomainFile, Profile},
    },
};

/// Longest text that an order carries, in bytes.
pub(super) const MAX_ATTACH_BYTES: usize = 128;

const HOUR_MS: i64 = 3_600_000;
/// China's calendar; the bill of a day is ready at 10 in the morning of the next.
const CALENDAR: Calendar = Calendar { ahead_ms: 8 * HOUR_MS, day_ms: 24 * HOUR_MS, ready_after_ms: 10 * HOUR_MS };
const CALLBACKS: CallbackRules = CallbackRules {
    kept_headers: &["wechatpay-timestamp", "wechatpay-nonce", "wechatpay-signature", "wechatpay-serial"],
    taken: || CallbackAnswer { status: 204, content_type: "", body: String::new() },
    failed: CallbackAnswer::failure,
};

pub(super) fn of(account: &Credentials) -> Profile {
    let own = format!("{} {}", account.mchid, account.appid);
    Profile {
        identity: account.sub_mchid.as_ref().map_or(own.clone(), |sub_mchid| format!("{own} {sub_mchid}")),
        methods: account.methods.iter().map(|word| method(word, account)).collect(),
        currencies: &[Currency::Cny],
        finds_by_our_number: true,
        attach_max_bytes: MAX_ATTACH_BYTES,
        has_statements: true,
        calendar: CALENDAR,
        callbacks: CALLBACKS,
        domain_file: account
            .domain_word
            .as_ref()
            .map(|word| DomainFile { name: format!("MP_verify_{word}.txt"), text: word.clone() }),
    }
}

fn method(word: &'static str, account: &Credentials) -> Method {
    let (apps, handoff): (&[PayerApp], _) = match word {
        JSAPI => (&[PayerApp::Wechat], HandoffKind::Invoke),
        NATIVE => (&[PayerApp::Browser], HandoffKind::Code),
        _ => (&[PayerApp::Browser], HandoffKind::Redirect),
    };
    // An openid is valid with its service account.
    Method { word, apps, handoff, payer_scope: (word == JSAPI).then(|| account.appid.clone()) }
}
