//! What holds of every WeChat Pay account, and of one.

use super::account::Credentials;
use crate::{
    money::Currency,
    payments::{
        method::{HandoffKind, Method, PayerApp},
        provider::{Calendar, CallbackAnswer, CallbackRules, Profile},
    },
};

/// The one way to pay so far: outside WeChat, in the phone's browser, which opens WeChat.
pub(super) const H5: &str = "h5";
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
    Profile {
        identity: format!("{} {}", account.mchid, account.appid),
        methods: vec![Method {
            word: H5,
            apps: &[PayerApp::Browser],
            handoff: HandoffKind::Redirect,
            payer_scope: None,
        }],
        currencies: &[Currency::Cny],
        finds_by_our_number: true,
        attach_max_bytes: MAX_ATTACH_BYTES,
        has_statements: true,
        calendar: CALENDAR,
        callbacks: CALLBACKS,
    }
}
