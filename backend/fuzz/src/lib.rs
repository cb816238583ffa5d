//! Callbacks made of any bytes, taken by the real providers' clients: as they came from a stranger, and signed with the
//! provider's key, so that what lies behind the signature is reached too. Nothing goes around the verification.
//!
//! An input is text: a line that says what it is, and what follows the line. `corpus/` has one of each kind; the test
//! `corpus` takes them all.

mod keys;

pub mod alipay;
pub mod wechat;

use backend::{
    clock::{SystemClock, SystemRandom},
    payments::{
        Providers, RealProviders,
        provider::{
            CallbackContent, CallbackError, Fact, Provider, RawCallback, ToldTrade, TradeState, VerifiedCallback,
        },
    },
};
use std::sync::Arc;

/// The time it is: 2026-11-23 12:00:00 in China, in unix milliseconds.
const NOW_MS: i64 = 1_795_406_400_000;
/// What a number's column holds, in bytes.
const NUMBER_BYTES_MAX: usize = 64;
/// What a reference's column holds, in bytes.
const REFERENCE_BYTES_MAX: usize = 255;
/// What the column of events' ids holds, in bytes.
const EVENT_ID_BYTES_MAX: usize = 190;

fn open(provider: &str, config: &serde_json::Value) -> Arc<dyn Provider> {
    let opened = RealProviders::new(Arc::new(SystemClock), Arc::new(SystemRandom))
        .and_then(|providers| providers.open(provider, &config.to_string()));
    opened.unwrap_or_else(|error| panic!("the account is not taken: {error}"))
}

/// The first line of an input, and what follows it.
fn parts(input: &[u8]) -> (&[u8], &[u8]) {
    let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    (&input[..end], input.get(end + 1..).unwrap_or_default())
}

/// What a stranger sends is never believed.
fn refused(provider: &dyn Provider, raw: RawCallback<'_>) {
    let outcome = provider.verify_callback(raw, NOW_MS);
    assert!(outcome.is_err(), "believed without a signature: {outcome:?}");
}

/// What the provider signed is believed, means the same twice, and fits the store. `may_fail` says which refusals are right
/// all the same.
fn believed(provider: &dyn Provider, raw: RawCallback<'_>, may_fail: fn(&CallbackError) -> bool) {
    let first = provider.verify_callback(raw, NOW_MS);
    assert_eq!(first, provider.verify_callback(raw, NOW_MS));
    match first {
        Ok(verified) => check(&verified),
        Err(error) => assert!(may_fail(&error), "signed and refused: {error}"),
    }
}

fn check(verified: &VerifiedCallback) {
    assert!((1..=EVENT_ID_BYTES_MAX).contains(&verified.event_id.len()), "{verified:?}");
    match &verified.content {
        CallbackContent::Facts(facts) => {
            assert!(!facts.is_empty(), "{verified:?}");
            facts.iter().for_each(check_fact);
        }
        CallbackContent::Foreign(whose) | CallbackContent::NotUnderstood(whose) => {
            assert!(!whose.is_empty(), "{verified:?}");
        }
        CallbackContent::Irrelevant => {}
    }
}

fn check_number(number: &str) {
    assert!((1..=NUMBER_BYTES_MAX).contains(&number.len()), "{number:?}");
}

fn check_amount(minor: i64) {
    assert!((0..=1_000_000_000_000).contains(&minor), "{minor}");
}

fn check_fact(fact: &Fact) {
    match fact {
        Fact::Payment { out_trade_no, state } => {
            check_number(out_trade_no);
            match state {
                TradeState::Paid(paid) | TradeState::Refunded(paid) => {
                    check_number(&paid.provider_txn_id);
                    check_amount(paid.amount.amount_minor);
                }
                TradeState::PaidUnknownCurrency(paid) => {
                    check_number(&paid.provider_txn_id);
                    assert_eq!(paid.currency.len(), 3, "{paid:?}");
                }
                TradeState::NotPaid | TradeState::NotFound | TradeState::Closed => {}
            }
        }
        Fact::Refund { out_refund_no, told, .. } => {
            check_number(out_refund_no);
            if let Some(told) = told {
                check_number(&told.provider_refund_id);
                check_amount(told.amount_minor);
                match &told.trade {
                    ToldTrade::Ours(ours) => check_number(ours),
                    ToldTrade::Theirs(theirs) => assert!((1..=REFERENCE_BYTES_MAX).contains(&theirs.len())),
                }
            }
        }
        Fact::Dispute(dispute) => panic!("neither provider tells of disputes: {dispute:?}"),
    }
}
