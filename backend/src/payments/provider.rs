//! What a payment provider does for us, in our words: all that a new provider must supply is [`Provider`] and its
//! [`Profile`]. docs/PROVIDERS.md leads through it.

use crate::{
    money::{Currency, Money},
    payments::method::{Handoff, Method, Payer},
};
use async_trait::async_trait;
use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// What holds of a merchant account at a provider, as data.
#[derive(Debug, Clone)]
pub struct Profile {
    /// Whose account it is, in the provider's own numbers (merchant, app). Keys change, this never does: another identity is
    /// another account.
    pub identity: String,
    /// The ways to pay that the account offers.
    pub methods: Vec<Method>,
    /// What it takes.
    pub currencies: &'static [Currency],
    /// Whether the provider can be asked by our number alone. If not, an order whose answer was lost is repeated, to learn
    /// the provider's reference.
    pub finds_by_our_number: bool,
    /// How much an order can carry for us, in bytes.
    pub attach_max_bytes: usize,
    /// Whether it has daily statements. If not, lost callbacks are found by polling alone.
    pub has_statements: bool,
    /// The provider's calendar.
    pub calendar: Calendar,
    /// How its callbacks are kept and answered.
    pub callbacks: CallbackRules,
    /// The file at our root that proves to the provider that our domain is the merchant's to name.
    pub domain_file: Option<DomainFile>,
}

/// A file by which a merchant proves to a provider that it may name our domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainFile {
    /// Its name, at our root.
    pub name: String,
    /// What it says.
    pub text: String,
}

/// A provider's days, and when their statements are to be had. Days are counted from 1970.
#[derive(Debug, Clone, Copy)]
pub struct Calendar {
    /// So far are the provider's clocks ahead of UTC, in milliseconds.
    pub ahead_ms: i64,
    /// The length of a day, in milliseconds.
    pub day_ms: i64,
    /// A day's statement is ready so long after the day's end, in milliseconds.
    pub ready_after_ms: i64,
}

impl Calendar {
    /// The day at a time (unix milliseconds).
    pub fn day_of(&self, at_ms: i64) -> i64 {
        (at_ms + self.ahead_ms).div_euclid(self.day_ms)
    }

    /// When the statement of a day is to be had (unix milliseconds).
    pub fn ready_ms(&self, day: i64) -> i64 {
        (day + 1) * self.day_ms - self.ahead_ms + self.ready_after_ms
    }
}

/// How a provider's callbacks are kept and answered.
#[derive(Debug, Clone, Copy)]
pub struct CallbackRules {
    /// Headers kept with a callback (lower case): what a dispute needs to verify it again.
    pub kept_headers: &'static [&'static str],
    /// The answer that says: taken, do not send it again.
    pub taken: fn() -> CallbackAnswer,
    /// The answer that says: not taken. Made of an HTTP status and a sentence.
    pub failed: fn(u16, &str) -> CallbackAnswer,
}

/// What a callback is answered.
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
    /// A failure as JSON with a code and a sentence: as WeChat Pay has it, and where no account says how.
    pub fn failure(status: u16, message: &str) -> Self {
        let body = serde_json::json!({ "code": "FAIL", "message": message }).to_string();
        Self { status, content_type: "application/json", body }
    }
}

/// A payment we ask a provider to take. Stored with the attempt as long as that is open: a repeat must be the same to the
/// letter.
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
    /// Where the provider reports to, without a query string.
    pub notify_url: String,
    /// Where the payer comes back to, for display only.
    pub return_url: String,
    /// Kept by the provider and told with the payment; at most [`Profile::attach_max_bytes`].
    pub attach: String,
}

impl PaymentRequest {
    /// It as it is stored.
    pub(crate) fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }
}

/// An order that the provider has taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// How the payer gets there.
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
    /// Whether a provider can be asked by them.
    pub(crate) fn can_be_asked(&self, profile: &Profile) -> bool {
        profile.finds_by_our_number || self.reference.is_some() || self.provider_txn_id.is_some()
    }
}

/// The numbers of a refund: ours, and the provider's as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefundNumbers {
    /// The payment that goes back.
    pub trade: TradeNumbers,
    /// Our number of the refund; the provider refunds a number once.
    pub out_refund_no: String,
    /// The provider's reference of the refund, as it answered when it took it.
    pub reference: Option<String>,
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
    /// Which refund, of which payment.
    pub numbers: RefundNumbers,
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

/// What the provider answers about a refund of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefundAnswer {
    /// Where it stands: some providers are through with it at once.
    pub state: RefundState,
    /// The provider's own reference of the refund, if it has one.
    pub reference: Option<String>,
    /// How much the refund of that number is of, in minor units, if the provider says so.
    pub amount_minor: Option<i64>,
}

impl From<RefundState> for RefundAnswer {
    fn from(state: RefundState) -> Self {
        Self { state, reference: None, amount_minor: None }
    }
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

/// Which payment a refund or a dispute is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToldTrade {
    /// By our number of the attempt.
    Ours(String),
    /// By the provider's number of the payment, or its reference of the order: it does not tell ours.
    Theirs(String),
}

impl ToldTrade {
    /// The number, whosever it is.
    pub fn number(&self) -> &str {
        match self {
            Self::Ours(number) | Self::Theirs(number) => number,
        }
    }
}

/// What the provider tells of a refund beside its number and state: enough to book one that was made elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefundDetails {
    /// The payment whose money goes back.
    pub trade: ToldTrade,
    /// The provider's number of the refund.
    pub provider_refund_id: String,
    /// What goes back, in minor units of what was paid.
    pub amount_minor: i64,
    /// Set if the amount is of all refunds of the payment together, up to this one: a provider may tell nothing else.
    pub is_total: bool,
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
    /// The payment in dispute.
    pub trade: ToldTrade,
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
        /// The refund's number: ours if we asked for it, else the provider's.
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

/// A callback that is proven to come from the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedCallback {
    /// The provider's id of the event, by which repeats are known; [`id_of_body`] where it has none.
    pub event_id: String,
    /// What it says.
    pub content: CallbackContent,
    /// The message in clear text, kept for disputes.
    pub plaintext: String,
}

/// What a proven callback says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallbackContent {
    /// Facts, in the order in which they are to be applied.
    Facts(Vec<Fact>),
    /// It is of no concern here, such as other business of the same merchant. Acknowledged, counted, not kept.
    Irrelevant,
    /// It concerns another merchant or app, which it names. Kept, acknowledged, and a person is told.
    Foreign(String),
    /// It is not of a form that we know, and why. Kept, acknowledged, and a person is told: a repeat would be the same.
    NotUnderstood(String),
}

/// An id for a callback that has none of its own: a repeat of the same bytes has the same.
pub fn id_of_body(body: &[u8]) -> String {
    let hash = digest::digest(&digest::SHA256, body);
    format!("body-{}", hex::encode(&hash.as_ref()[..16]))
}

/// Why a callback was not believed. Nothing is stored of it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CallbackError {
    /// A header is missing or not of its form.
    #[error("callback header {0} is missing or malformed")]
    Header(&'static str),
    /// The body is not of the form in which there is a signature to check.
    #[error("callback body is not of its form: {0}")]
    Body(&'static str),
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
    /// What holds of the account: its methods, limits and habits.
    fn profile(&self) -> &Profile;
    /// Where a browser goes so that the provider says who pays, for a method that needs to know. The provider sends it on to
    /// `return_url`, with `state` as it is here (letters and digits).
    fn identity_url(&self, _method: &Method, _return_url: &str, _state: &str) -> Option<String> {
        None
    }
    /// Exchanges what the browser came back with (the parameters of its address) for who pays. Such an answer can mostly be
    /// used once.
    async fn exchange_identity(
        &self,
        _method: &Method,
        _parameters: &[(String, String)],
    ) -> Result<Payer, ProviderError> {
        Err(ProviderError::Refused { code: "NOT_NEEDED".into(), message: "no method asks who pays".into() })
    }
    /// Asks the provider to take a payment. Repeating it with the same content is harmless, and gives the same order.
    async fn create(&self, request: &PaymentRequest) -> Result<Created, ProviderError>;
    /// A stored hand-off as it is to be shown now: parameters that are signed with a time are signed anew.
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
