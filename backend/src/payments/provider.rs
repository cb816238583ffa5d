//! What a payment provider does for us, in our words. One implementation a provider; the simulation has its own.

use crate::money::{Currency, Money};
use async_trait::async_trait;
use std::net::IpAddr;

/// A payment we ask a provider to take.
#[derive(Debug, Clone)]
pub struct PaymentRequest {
    /// Our number of the attempt, unique with the merchant account.
    pub out_trade_no: String,
    /// What the payer reads on the statement.
    pub description: String,
    /// What is to be paid.
    pub amount: Money,
    /// After this the provider refuses to take it (unix milliseconds).
    pub expires_at_ms: i64,
    /// The payer's address, which some payment kinds must state.
    pub payer_ip: IpAddr,
    /// Where the provider reports to, without a query string.
    pub notify_url: String,
    /// Where the payer comes back to, for display only.
    pub return_url: String,
    /// Kept by the provider and told with the payment; at most 128 bytes.
    pub attach: String,
}

/// How the payer gets to the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handoff {
    /// The browser is sent to this address.
    Redirect {
        /// An absolute https (or, in a sandbox, http) address.
        url: String,
    },
}

/// A payment that the provider says was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paid {
    /// The provider's number of the payment.
    pub provider_txn_id: String,
    /// What was paid, before the provider's own coupons.
    pub amount: Money,
    /// When, by the provider's clock (unix milliseconds).
    pub paid_at_ms: i64,
    /// What was attached to the order; empty if nothing was.
    pub attach: String,
}

/// A payment in a currency that we do not sell in, so that nothing is known of its minor units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownCurrencyPayment {
    /// The provider's number of the payment.
    pub provider_txn_id: String,
    /// The number that the provider gives as the amount.
    pub amount_minor: i64,
    /// The currency as the provider writes it: three capital letters.
    pub currency: String,
}

/// What the provider knows of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TradeState {
    /// Not paid yet; may still be.
    NotPaid,
    /// The provider has no such trade (yet).
    NotFound,
    /// Paid.
    Paid(Paid),
    /// Closed without payment: can no longer be paid.
    Closed,
    /// Paid in a currency that we do not know.
    PaidUnknownCurrency(UnknownCurrencyPayment),
    /// Paid as told here, and since then refunded in part or whole.
    Refunded(Paid),
}

/// What came of asking the provider to close an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseOutcome {
    /// It can no longer be paid.
    Closed,
    /// Too late: it is paid. Query for the facts.
    AlreadyPaid,
}

/// A refund we ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefundRequest {
    /// The attempt's number.
    pub out_trade_no: String,
    /// Our number of the refund; the provider refunds a number once.
    pub out_refund_no: String,
    /// What goes back, in minor units.
    pub refund_minor: i64,
    /// What had been paid, in minor units.
    pub total_minor: i64,
    /// Currency of both.
    pub currency: Currency,
    /// What the payer reads, at most 80 bytes.
    pub reason: String,
    /// Where the provider reports to, without a query string.
    pub notify_url: String,
}

/// What the provider knows of a refund.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefundState {
    /// Accepted, not settled.
    Processing,
    /// The money went back.
    Done,
    /// Closed by the provider: nothing went back; a new number is needed.
    Closed,
    /// Stuck at the provider: a person must act there.
    Abnormal,
    /// The provider has no refund of that number.
    NotFound,
}

impl RefundState {
    /// Whether money goes back by it, now or once a person has acted.
    pub(crate) fn moves_money(self) -> bool {
        match self {
            Self::Done | Self::Processing | Self::Abnormal => true,
            Self::Closed | Self::NotFound => false,
        }
    }
}

/// What the provider tells of a refund beside its number and state: enough to book one that was made elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefundDetails {
    /// The number of the attempt whose money goes back.
    pub out_trade_no: String,
    /// The provider's number of the refund.
    pub provider_refund_id: String,
    /// What goes back, in minor units of what was paid.
    pub amount_minor: i64,
    /// The payment, where the message tells of it too.
    pub payment: Option<Paid>,
}

/// Where a dispute (a chargeback) stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DisputeState {
    /// The payer's bank took the money back for now.
    Opened,
    /// It was decided for the merchant: the money is back.
    Won,
    /// It was decided for the payer: the money is gone.
    Lost,
}

/// What the provider tells of a dispute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DisputeDetails {
    /// The provider's number of the dispute.
    pub dispute_id: String,
    /// The number of the attempt in dispute.
    pub out_trade_no: String,
    /// What is in dispute, in minor units of what was paid.
    pub amount_minor: i64,
    /// What the provider has charged for the dispute so far.
    pub fee_minor: i64,
    /// Where it stands.
    pub state: DisputeState,
}

/// A fact about a payment, a refund or a dispute, whichever way it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// About an attempt.
    Payment {
        /// The attempt's number.
        out_trade_no: String,
        /// The state it is in now.
        state: TradeState,
    },
    /// About a refund.
    Refund {
        /// The refund's number.
        out_refund_no: String,
        /// The state it is in now.
        state: RefundState,
        /// Which payment it is of, where that is told.
        told: Option<RefundDetails>,
    },
    /// About a dispute.
    Dispute(DisputeDetails),
}

/// The provider's statement of one of its days.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Statement {
    /// It is being made: to be asked for later.
    NotYet,
    /// There is none: nothing happened on that day, or it is not there yet.
    Nothing,
    /// All payments that were made on that day, and all refunds that were begun.
    Facts {
        /// What is said of payments and refunds.
        facts: Vec<Fact>,
        /// Lines that were not understood.
        unread: usize,
    },
}

/// A callback as it came in: nothing in it is trusted yet.
#[derive(Debug, Clone, Copy)]
pub struct RawCallback<'a> {
    /// The HTTP headers, names in lower case.
    pub headers: &'a [(String, String)],
    /// The body's exact bytes.
    pub body: &'a [u8],
}

impl RawCallback<'_> {
    /// The first header of that (lower case) name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// A callback that is proven to come from the provider and to concern this merchant account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedCallback {
    /// The provider's id of the event, by which repeats are known.
    pub event_id: String,
    /// What it says.
    pub fact: Fact,
    /// The decrypted message, kept for disputes.
    pub plaintext: String,
}

/// Why a callback was not believed. Nothing is stored of it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CallbackError {
    /// A header is missing or not of its form.
    #[error("callback header {0} is missing or malformed")]
    Header(&'static str),
    /// Its time stamp is too far from ours.
    #[error("callback is stale: signed {skew_s} s away from now")]
    Stale {
        /// Seconds between its time stamp and our clock.
        skew_s: i64,
    },
    /// Signed with a key we do not hold.
    #[error("callback is signed with key {0:?}, which this account does not know")]
    UnknownKey(String),
    /// The signature does not fit the body.
    #[error("callback signature does not match")]
    Signature,
    /// The provider tests whether we verify: it must see a refusal.
    #[error("callback is the provider's signature probe")]
    SignatureProbe,
    /// Authentic, but the encrypted part can not be opened with this account's key.
    #[error("callback can not be decrypted with this account's key")]
    Decrypt,
    /// Authentic, but not of the form the provider documents.
    #[error("callback content is not understood: {0}")]
    Content(String),
    /// Authentic, but for another merchant or app.
    #[error("callback concerns another merchant: {0}")]
    Foreign(String),
}

/// Why a call to the provider gave no answer we can use, by who is at fault.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// No answer, or one that proves nothing: it may or may not have happened. Ask before acting again.
    #[error("outcome unknown: {0}")]
    Unknown(String),
    /// The provider refused, and nothing happened.
    #[error("refused by the provider: {code}: {message}")]
    Refused {
        /// The provider's code.
        code: String,
        /// The provider's words.
        message: String,
    },
    /// The merchant account lacks the money for a refund: the operator must act.
    #[error("the merchant account's balance does not cover the refund")]
    InsufficientBalance,
    /// The provider wants us to slow down or is not well: nothing happened, try later.
    #[error("provider is busy: {0}")]
    Busy(String),
    /// The answer was not signed by the provider: treated like no answer.
    #[error("the answer's signature is not the provider's: {0}")]
    Untrusted(String),
}

/// A payment provider, for one merchant account.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Asks the provider to take a payment. Repeating it with the same content is harmless.
    async fn create(&self, request: &PaymentRequest) -> Result<Handoff, ProviderError>;
    /// Asks what became of an attempt.
    async fn query(&self, out_trade_no: &str) -> Result<TradeState, ProviderError>;
    /// Makes an attempt unpayable. Repeating it is harmless.
    async fn close(&self, out_trade_no: &str) -> Result<CloseOutcome, ProviderError>;
    /// Asks for a refund. Repeating it with the same number refunds once.
    async fn refund(&self, request: &RefundRequest) -> Result<RefundState, ProviderError>;
    /// Asks what became of a refund.
    async fn query_refund(&self, out_refund_no: &str) -> Result<RefundState, ProviderError>;
    /// The provider's day at a time (unix milliseconds). Days are counted from 1970 by the provider's own calendar.
    fn day_of(&self, at_ms: i64) -> i64;
    /// When the statement of a day is to be had (unix milliseconds).
    fn statement_ready_ms(&self, day: i64) -> i64;
    /// Asks for the statement of a day.
    async fn statement(&self, day: i64) -> Result<Statement, ProviderError>;
    /// Proves a callback, opens it, and says what it means. `wall_ms` is our wall clock (unix milliseconds).
    fn verify_callback(&self, raw: RawCallback<'_>, wall_ms: i64) -> Result<VerifiedCallback, CallbackError>;
}
