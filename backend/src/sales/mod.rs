//! Sales: from a price picked to a credit given or money returned.
//!
//! Read in this order: `order` makes one, [`state`] decides every step, `apply` stores what was decided. `mark` and `rebuild`
//! bring back an order that a store put back from a copy has forgotten.

pub(crate) mod action;
mod apply;
mod by_hand;
mod hand;
pub(crate) mod mark;
mod order;
mod order_progress;
mod rebuild;
pub(crate) mod sale;
pub mod state;
mod takings;
mod views;

pub(crate) use apply::After;
pub use by_hand::{HandAct, Settlement};
pub use hand::{ActionRow, HandRequest};
pub(crate) use state::Event;
pub use state::SaleState;

use crate::{money::Money, payments::provider::Handoff};
use serde::Serialize;
use std::net::IpAddr;

/// Whether a machine can take money, and if not, why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Readiness {
    /// The module answered a probe within the last seconds.
    Ready,
    /// Not connected.
    Offline,
    /// Connected as far as known, but the probe was not answered in time.
    NoAnswer,
    /// The module reports a fault that stops credits.
    Fault,
    /// Locked by the operator.
    Locked,
    /// Too many credits wait in the module.
    Busy,
    /// Taken off sale, has no module, no price or no merchant account.
    Closed,
    /// Out of service for good.
    Retired,
    /// The operator's payment provider does not answer.
    ProviderSilent,
}

impl Readiness {
    /// The word for it, as in templates and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Readiness::Ready => "ready",
            Readiness::Offline => "offline",
            Readiness::NoAnswer => "no_answer",
            Readiness::Fault => "fault",
            Readiness::Locked => "locked",
            Readiness::Busy => "busy",
            Readiness::Closed => "closed",
            Readiness::ProviderSilent => "provider_silent",
            Readiness::Retired => "retired",
        }
    }

    /// What it means, in words for a log or a command line.
    pub fn words(self) -> &'static str {
        match self {
            Readiness::Ready => "it is ready",
            Readiness::Offline => "its module is not connected",
            Readiness::NoAnswer => "its module did not answer in time",
            Readiness::Fault => "its module reports a fault",
            Readiness::Locked => "the operator has locked it",
            Readiness::Busy => "its module is still busy with earlier credits",
            Readiness::Closed => "it is not on sale",
            Readiness::ProviderSilent => "its payment provider does not answer",
            Readiness::Retired => "it is out of service for good",
        }
    }
}

/// What a scan page shows.
#[derive(Debug, Clone, Serialize)]
pub struct ScanView {
    /// The machine's code, as in the address.
    pub code: String,
    /// The machine's name.
    pub machine: String,
    /// Where it stands.
    pub site: String,
    /// Whose it is.
    pub operator: String,
    /// Whom to turn to there: free text, or empty.
    pub contact: String,
    /// Whether it can take money now.
    pub readiness: Readiness,
    /// What can be bought; shown only if ready.
    pub prices: Vec<PriceView>,
}

/// A price on a scan page.
#[derive(Debug, Clone, Serialize)]
pub struct PriceView {
    /// To name it in an order.
    pub id: i64,
    /// The operator's words for it.
    pub label: String,
    /// What it costs.
    pub amount: Money,
    /// The amount as people write it.
    pub amount_text: String,
    /// Pulses it gives.
    pub pulses: i32,
}

/// An order as it comes from a page.
#[derive(Debug, Clone)]
pub struct OrderRequest {
    /// The machine's code.
    pub code: String,
    /// The price picked.
    pub price_id: i64,
    /// The amount the page showed; if the price changed since, there is no order.
    pub amount_minor: i64,
    /// Random, made with the page: the same form sent twice is one sale. 16 to 64 characters.
    pub form_key: String,
    /// The payer's address.
    pub payer_ip: IpAddr,
}

/// An order that was made, and where the payer goes now.
#[derive(Debug, Clone)]
pub struct Checkout {
    /// The sale's public token.
    pub token: String,
    /// How the payer gets to the provider.
    pub handoff: Handoff,
}

/// What a sale page shows.
#[derive(Debug, Clone, Serialize)]
pub struct SaleView {
    /// The sale's public token.
    pub token: String,
    /// `created`, `awaiting_payment`, `paid`, `crediting`, `credited`, `expired`, `refund_pending`, `refunded`, `review`,
    /// `settled`.
    pub state: &'static str,
    /// Why it failed, one of [`state::REASONS`], or empty. A word for programs: pages have texts for each.
    pub reason: String,
    /// Whether nothing more is expected to happen.
    pub at_rest: bool,
    /// The machine's code.
    pub code: String,
    /// The machine's name.
    pub machine: String,
    /// Where it stands.
    pub site: String,
    /// The price's label.
    pub label: String,
    /// Whose machine it is.
    pub operator: String,
    /// Whom to turn to there: free text, or empty.
    pub contact: String,
    /// The provider is being asked to take the order: the longest that this takes, in seconds.
    pub asking_s: Option<u64>,
    /// What was to be paid.
    pub amount_text: String,
    /// Pulses bought.
    pub pulses: i32,
    /// Pulses known to be given.
    pub pulses_given: i32,
    /// What is going or went back, if anything.
    pub refund_text: Option<String>,
    /// Where to pay, while it awaits payment.
    pub pay_url: Option<String>,
    /// The credit came although the money went back.
    pub served_and_refunded: bool,
    /// Unix milliseconds.
    pub created_ms: i64,
}

/// A line in an operator's list of sales.
#[derive(Debug, Clone, Serialize)]
pub struct SaleRow {
    /// The sale as its page shows it.
    #[serde(flatten)]
    pub view: SaleView,
    /// The machine.
    pub machine_id: i64,
    /// The attempt's number at the provider.
    pub out_trade_no: Option<String>,
    /// The provider's number.
    pub provider_txn_id: Option<String>,
    /// When it came to rest (unix milliseconds).
    pub finished_ms: Option<i64>,
}

/// Which sales to list: newest first, at most [`SalesFilter::PAGE_ROWS`].
#[derive(Debug, Clone, Default)]
pub struct SalesFilter {
    /// Of this machine only.
    pub machine_id: Option<i64>,
    /// In this state only, by its word.
    pub state: Option<String>,
    /// Older than the sale of this token (for the next page).
    pub before_token: Option<String>,
}

impl SalesFilter {
    /// Rows a page.
    pub const PAGE_ROWS: u64 = 50;
}

/// An operator's takings of a day.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Takings {
    /// Sales credited.
    pub sales: i64,
    /// Paid by phone less what was refunded, as people write it.
    pub mobile_text: String,
    /// Expected in the coin boxes, as people write it.
    pub coins_text: String,
    /// Both.
    pub total_text: String,
    /// Refunded, as people write it.
    pub refunded_text: String,
}
