//! The interface to a payment provider. A new provider must supply only [`Provider`] and its [`Profile`];
//! docs/PROVIDERS.md explains how.

use crate::{
    money::{Currency, Money},
    payments::method::{Handoff, Method, Payer},
};
use async_trait::async_trait;
use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// The properties of a merchant account at a provider, as data.
#[derive(Debug, Clone)]
pub struct Profile {
    /// The account's identity, in the provider's own numbers (merchant, app). Keys may change, the identity never does:
    /// another identity is another account.
    pub identity: String,
    /// The ways to pay that the account offers.
    pub methods: Vec<Method>,
    /// The currencies it takes.
    pub currencies: &'static [Currency],
    /// Whether the provider finds an order by our number alone. If not, an order whose answer was lost is sent again,
    /// to learn the provider's reference.
    pub finds_by_our_number: bool,
    /// Longest text of ours that can be attached to an order, in bytes.
    pub attach_max_bytes: usize,
    /// Whether it has daily statements. If not, lost callbacks are found by polling alone.
    pub has_statements: bool,
    /// The provider's calendar.
    pub calendar: Calendar,
    /// How its callbacks are stored and answered.
    pub callbacks: CallbackRules,
    /// The file at our root that proves to the provider that the merchant may name our domain.
    pub domain_file: Option<DomainFile>,
}

/// A file by which a merchant proves to a provider that it may name our domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainFile {
    /// The file's name, at our root.
    pub name: String,
    /// The file's content.
    pub text: String,
}

/// A provider's days, and when their statements are ready. Days are counted from 1970.
#[derive(Debug, Clone, Copy)]
pub struct Calendar {
    /// The provider's offset from UTC, in milliseconds.
    pub ahead_ms: i64,
    /// The length of a day, in milliseconds.
    pub day_ms: i64,
    /// How long after the day's end its statement is ready, in milliseconds.
    pub ready_after_ms: i64,
}

impl Calendar {
    /// The day at a time (unix milliseconds).
    pub fn day_of(&self, at_ms: i64) -> i64 {
        (at_ms + self.ahead_ms).div_euclid(self.day_ms)
    }

    /// When the statement of a day is ready (unix milliseconds).
    pub fn ready_ms(&self, day: i64) -> i64 {
        (day + 1) * self.day_ms - self.ahead_ms + self.ready_after_ms
    }
}

/// How a provider's callbacks are stored and answered.
#[derive(Debug, Clone, Copy)]
pub struct CallbackRules {
    /// Headers stored with a callback (lower case): needed to verify it again in a dispute.
    pub kept_headers: &'static [&'static str],
    /// The answer for: accepted, do not send it again.
    pub taken: fn() -> CallbackAnswer,
    /// Makes the answer for: not accepted, from an HTTP status and a sentence.
    pub failed: fn(u16, &str) -> CallbackAnswer,
}

/// The answer to a callback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallbackAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The body's type; empty if there is no body.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
}

impl CallbackAnswer {
    /// A failure as JSON with a code and a sentence: WeChat Pay's form, also used if no account says how.
    pub fn failure(status: u16, message: &str) -> Self {
        let body = serde_json::json!({ "code": "FAIL", "message": message }).to_string();
        Self { status, content_type: "application/json", body }
    }
}

/// A payment that we ask a provider to take. Stored with the attempt while the attempt is open, because a repeat must
/// be identical.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentRequest {
    /// Our number of the attempt, unique with the merchant account.
    pub out_trade_no: String,
    /// The method's word.
    pub method: String,
    /// What the payer reads on the statement.
    pub description: String,
    /// What is to be paid.
    pub amount: Money,
    /// After this the provider refuses to take it (unix milliseconds).
    pub expires_at_ms: i64,
    /// The payer's address, which some payment kinds must state.
    pub payer_ip: IpAddr,
    /// Who pays, where the method needs to know.
    pub payer: Option<Payer>,
    /// The URL for the provider's callbacks, without a query string.
    pub notify_url: String,
    /// The URL to which the payer comes back, for display only.
    pub return_url: String,
    /// Stored by the provider and returned with the payment; at most [`Profile::attach_max_bytes`].
    pub attach: String,
}

impl PaymentRequest {
    /// The form in which it is stored.
    pub(crate) fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }
}

/// An order that the provider has taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// How the payer gets to the provider.
    pub handoff: Handoff,
    /// The provider's own reference of the order, if it has one.
    pub reference: Option<String>,
}

/// The numbers of an order: ours, and the provider's as far as they are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TradeNumbers {
    /// Our number of the attempt.
    pub out_trade_no: String,
    /// The provider's reference of the order, as it answered when it took it.
    pub reference: Option<String>,
    /// The provider's number of the payment, once it was made.
    pub provider_txn_id: Option<String>,
}

impl TradeNumbers {
    /// Whether a provider can be asked with them.
    pub(crate) fn can_be_asked(&self, profile: &Profile) -> bool {
        profile.finds_by_our_number || self.reference.is_some() || self.provider_txn_id.is_some()
    }
}

/// The numbers of a refund: ours, and the provider's as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefundNumbers {
    /// The payment that is refunded.
    pub trade: TradeNumbers,
    /// Our number of the refund; the provider refunds each number once.
    pub out_refund_no: String,
    /// The provider's reference of the refund, as it answered when it took it.
    pub reference: Option<String>,
}

/// A payment that the provider says was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paid {
    /// The provider's number of the payment.
    pub provider_txn_id: String,
    /// What was paid, before deducting the provider's own coupons.
    pub amount: Money,
    /// When, by the provider's clock (unix milliseconds).
    pub paid_at_ms: i64,
    /// What was attached to the order; empty if nothing was.
    pub attach: String,
}

/// A payment in a currency that we do not sell in, so its minor units are unknown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownCurrencyPayment {
    /// The provider's number of the payment.
    pub provider_txn_id: String,
    /// The number that the provider gives as the amount.
    pub amount_minor: i64,
    /// The currency as the provider writes it: three capital letters.
    pub currency: String,
}

/// What the provider knows about an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TradeState {
    /// Not paid yet; can still be paid.
    NotPaid,
    /// The provider has no such trade (yet).
    NotFound,
    /// Paid.
    Paid(Paid),
    /// Closed without payment: can no longer be paid.
    Closed,
    /// Paid in a currency that we do not know.
    PaidUnknownCurrency(UnknownCurrencyPayment),
    /// Paid as given here, and since then refunded partly or completely.
    Refunded(Paid),
}

/// The outcome of asking the provider to close an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseOutcome {
    /// It can no longer be paid.
    Closed,
    /// Too late: it is paid. Query it for the facts.
    AlreadyPaid,
}

/// A refund we ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefundRequest {
    /// Which refund, of which payment.
    pub numbers: RefundNumbers,
    /// The amount to refund, in minor units.
    pub refund_minor: i64,
    /// The amount that was paid, in minor units.
    pub total_minor: i64,
    /// Currency of both.
    pub currency: Currency,
    /// What the payer reads, at most 80 bytes.
    pub reason: String,
    /// The URL for the provider's callbacks, without a query string.
    pub notify_url: String,
}

/// What the provider answers about a refund of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefundAnswer {
    /// Its state: some providers finish a refund at once.
    pub state: RefundState,
    /// The provider's own reference of the refund, if it has one.
    pub reference: Option<String>,
    /// The amount of the refund with that number, in minor units, if the provider gives it.
    pub amount_minor: Option<i64>,
}

impl From<RefundState> for RefundAnswer {
    fn from(state: RefundState) -> Self {
        Self { state, reference: None, amount_minor: None }
    }
}

/// What the provider knows about a refund.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefundState {
    /// Accepted, not settled.
    Processing,
    /// The money was refunded.
    Done,
    /// Closed by the provider: nothing was refunded; a new number is needed.
    Closed,
    /// Stuck at the provider: a person must act there.
    Abnormal,
    /// The provider has no refund of that number.
    NotFound,
}

impl RefundState {
    /// Whether it returns money, now or once a person has acted.
    pub(crate) fn moves_money(self) -> bool {
        match self {
            Self::Done | Self::Processing | Self::Abnormal => true,
            Self::Closed | Self::NotFound => false,
        }
    }
}

/// The payment that a refund or a dispute belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToldTrade {
    /// By our number of the attempt.
    Ours(String),
    /// By the provider's number of the payment, or by its reference of the order, because it does not give ours.
    Theirs(String),
}

impl ToldTrade {
    /// The number, ours or theirs.
    pub fn number(&self) -> &str {
        match self {
            Self::Ours(number) | Self::Theirs(number) => number,
        }
    }
}

/// What the provider reports about a refund besides its number and state: enough to book one that was made elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefundDetails {
    /// The payment that is refunded.
    pub trade: ToldTrade,
    /// The provider's number of the refund.
    pub provider_refund_id: String,
    /// The amount refunded, in minor units of the payment's currency.
    pub amount_minor: i64,
    /// Set if the amount is the sum of all refunds of the payment up to this one. Some providers report only that.
    pub is_total: bool,
    /// The payment, if the message reports it too.
    pub payment: Option<Paid>,
}

/// The state of a dispute (a chargeback).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DisputeState {
    /// The payer's bank took the money back for the time being.
    Opened,
    /// It was decided for the merchant: the money is back.
    Won,
    /// It was decided for the payer: the money is gone.
    Lost,
}

/// What the provider reports about a dispute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DisputeDetails {
    /// The provider's number of the dispute.
    pub dispute_id: String,
    /// The payment in dispute.
    pub trade: ToldTrade,
    /// The disputed amount, in minor units of the payment's currency.
    pub amount_minor: i64,
    /// What the provider has charged for the dispute so far.
    pub fee_minor: i64,
    /// Its state.
    pub state: DisputeState,
}

/// A fact about a payment, a refund or a dispute, however it was learned.
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
        /// The refund's number: ours if we asked for it, else the provider's.
        out_refund_no: String,
        /// The state it is in now.
        state: RefundState,
        /// The payment and the amount, if reported.
        told: Option<RefundDetails>,
    },
    /// About a dispute.
    Dispute(DisputeDetails),
}

/// The provider's statement of one of its days.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Statement {
    /// Not ready yet: ask again later.
    NotYet,
    /// There is none: nothing happened on that day, or the statement does not exist yet.
    Nothing,
    /// All payments that were made on that day, and all refunds that were begun.
    Facts {
        /// The facts about payments and refunds.
        facts: Vec<Fact>,
        /// Lines that were not understood.
        unread: usize,
    },
}

/// A callback as received. Nothing in it is trusted yet.
#[derive(Debug, Clone, Copy)]
pub struct RawCallback<'a> {
    /// The HTTP headers, names in lower case.
    pub headers: &'a [(String, String)],
    /// The body's exact bytes.
    pub body: &'a [u8],
}

impl RawCallback<'_> {
    /// The first header with that (lower case) name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// A callback that is proven to come from the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedCallback {
    /// The provider's id of the event, by which repeats are recognised; [`id_of_body`] if it has none.
    pub event_id: String,
    /// What it means.
    pub content: CallbackContent,
    /// The message in plain text, kept for disputes.
    pub plaintext: String,
}

/// The meaning of a proven callback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallbackContent {
    /// Facts, in the order in which they are to be applied.
    Facts(Vec<Fact>),
    /// It does not concern us, for example other business of the same merchant. Acknowledged, counted, not stored.
    Irrelevant,
    /// It concerns another merchant or app, which it names. Stored, acknowledged, and a person is told.
    Foreign(String),
    /// We do not know its form; the text says why. Stored, acknowledged, and a person is told, since a repeat would be
    /// the same.
    NotUnderstood(String),
}

/// An id for a callback that has none of its own. The same bytes always give the same id.
pub fn id_of_body(body: &[u8]) -> String {
    let hash = digest::digest(&digest::SHA256, body);
    format!("body-{}", hex::encode(&hash.as_ref()[..16]))
}

/// Why a callback was not believed. Nothing of it is stored.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CallbackError {
    /// A header is missing or malformed.
    #[error("callback header {0} is missing or malformed")]
    Header(&'static str),
    /// The body is malformed, so there is no signature to check.
    #[error("callback body is malformed: {0}")]
    Body(&'static str),
    /// Its time stamp is too far from our clock.
    #[error("callback is stale: signed {skew_s} s away from now")]
    Stale {
        /// Seconds between its time stamp and our clock.
        skew_s: i64,
    },
    /// Signed with a key that we do not have.
    #[error("callback is signed with key {0:?}, which this account does not know")]
    UnknownKey(String),
    /// The signature does not fit the body.
    #[error("callback signature does not match")]
    Signature,
    /// The provider tests whether we verify signatures: it must be refused.
    #[error("callback is the provider's signature probe")]
    SignatureProbe,
    /// Authentic, but the encrypted part cannot be opened with this account's key.
    #[error("callback cannot be decrypted with this account's key")]
    Decrypt,
}

/// Why a call to the provider gave no usable answer, by who is at fault.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// No answer, or one that proves nothing: the operation may or may not have happened. Ask before acting again.
    #[error("outcome unknown: {0}")]
    Unknown(String),
    /// The provider refused, and nothing happened.
    #[error("refused by the provider: {code}: {message}")]
    Refused {
        /// The provider's code.
        code: String,
        /// The provider's message.
        message: String,
    },
    /// The merchant account does not have enough money for a refund: the operator must act.
    #[error("the merchant account's balance does not cover the refund")]
    InsufficientBalance,
    /// The provider is busy or has a fault: nothing happened, try later.
    #[error("provider is busy: {0}")]
    Busy(String),
    /// The answer was not signed by the provider; treated like no answer.
    #[error("the answer's signature is not the provider's: {0}")]
    Untrusted(String),
}

/// A payment provider, for one merchant account.
#[async_trait]
pub trait Provider: Send + Sync {
    /// The account's methods, limits and other properties.
    fn profile(&self) -> &Profile;
    /// The URL to which a browser goes so that the provider says who pays, for a method that needs to know. The
    /// provider then redirects the browser to `return_url`, with `state` unchanged (letters and digits).
    fn identity_url(&self, _method: &Method, _return_url: &str, _state: &str) -> Option<String> {
        None
    }
    /// Exchanges the parameters of the URL with which the browser came back for the payer's identity. Usually this
    /// works only once.
    async fn exchange_identity(
        &self,
        _method: &Method,
        _parameters: &[(String, String)],
    ) -> Result<Payer, ProviderError> {
        Err(ProviderError::Refused { code: "NOT_NEEDED".into(), message: "no method asks who pays".into() })
    }
    /// Asks the provider to take a payment. Repeating it with the same content is harmless and gives the same order.
    async fn create(&self, request: &PaymentRequest) -> Result<Created, ProviderError>;
    /// A stored hand-off as it must be shown now: parameters that are signed with a time get a new signature.
    fn renew(&self, handoff: Handoff, _wall_ms: i64) -> Handoff {
        handoff
    }
    /// Asks what became of an attempt.
    async fn query(&self, trade: &TradeNumbers) -> Result<TradeState, ProviderError>;
    /// Makes an attempt unpayable. Repeating it is harmless.
    async fn close(&self, trade: &TradeNumbers) -> Result<CloseOutcome, ProviderError>;
    /// Asks for a refund. Repeating it with the same number refunds once.
    async fn refund(&self, request: &RefundRequest) -> Result<RefundAnswer, ProviderError>;
    /// Asks what became of a refund.
    async fn query_refund(&self, refund: &RefundNumbers) -> Result<RefundAnswer, ProviderError>;
    /// Asks for the statement of a day of [`Profile::calendar`].
    async fn statement(&self, day: i64) -> Result<Statement, ProviderError>;
    /// Proves a callback, opens it, and says what it means. `wall_ms` is our wall clock (unix milliseconds).
    ///
    /// # Errors
    ///
    /// What is not proven, and why. What is proven is never an error, however little of it is understood.
    fn verify_callback(&self, raw: RawCallback<'_>, wall_ms: i64) -> Result<VerifiedCallback, CallbackError>;
}
