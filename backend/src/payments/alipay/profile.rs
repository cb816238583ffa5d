//! What holds of every Alipay account, and of one.

use super::account::Credentials;
use crate::{
    money::Currency,
    payments::{
        method::{HandoffKind, Method, PayerApp},
        provider::{Calendar, CallbackAnswer, CallbackRules, Profile},
    },
};

/// By a page of Alipay's, which opens the app: in the phone's browser, and within the app.
pub(super) const WAP: &str = "wap";
/// By a code on a screen, which the payer scans with the app.
pub(super) const CODE: &str = "code";
/// Within the app, called by our page.
pub(super) const BRIDGE: &str = "bridge";
/// Longest text that an order carries, in bytes.
pub(super) const MAX_ATTACH_BYTES: usize = 512;

const HOUR_MS: i64 = 3_600_000;
/// China's calendar; the bill of a day is ready at 10 in the morning of the next.
const CALENDAR: Calendar = Calendar { ahead_ms: 8 * HOUR_MS, day_ms: 24 * HOUR_MS, ready_after_ms: 10 * HOUR_MS };
/// Alipay looks at the word alone. A notice has its signature in its body.
const CALLBACKS: CallbackRules =
    CallbackRules { kept_headers: &[], taken: || word(200, "success"), failed: |status, _| word(status, "fail") };

fn word(status: u16, word: &str) -> CallbackAnswer {
    CallbackAnswer { status, content_type: "text/plain", body: word.into() }
}

pub(super) fn of(account: &Credentials) -> Profile {
    let method = |word, apps, handoff| Method { word, apps, handoff, payer_scope: None };
    let mut methods = vec![
        method(WAP, &[PayerApp::Browser, PayerApp::Alipay][..], HandoffKind::Redirect),
        method(CODE, &[PayerApp::Browser], HandoffKind::Code),
    ];
    // Such orders are made for a known payer, on behalf of a mini app.
    if account.op_app_id.is_some() {
        let bridge = method(BRIDGE, &[PayerApp::Alipay], HandoffKind::Invoke);
        methods.push(Method { payer_scope: Some(account.app_id.clone()), ..bridge });
    }
    Profile {
        identity: format!("{} {}", account.seller_id, account.app_id),
        methods,
        currencies: &[Currency::Cny],
        finds_by_our_number: true,
        attach_max_bytes: MAX_ATTACH_BYTES,
        has_statements: false,
        calendar: CALENDAR,
        domain_file: None,
        callbacks: CALLBACKS,
    }
}
