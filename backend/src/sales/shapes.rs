//! What pages get about sales.

use crate::{
    ids::{MachineId, PriceId, SaleToken},
    money::{Money, PaidMoney},
    payments::{
        method::{Handoff, HandoffKind, PayerApp},
        states::DisputeStanding,
        ways::Way,
    },
    sales::{
        readiness::Readiness,
        state::{SaleReason, SaleState},
    },
};
use serde::Serialize;

/// What a scan page shows.
#[derive(Debug, Clone, Serialize)]
pub struct ScanView {
    /// The machine's code, as in the address.
    pub code: String,
    /// The machine's name.
    pub machine: String,
    /// Where it stands.
    pub site: String,
    /// The operator's name.
    pub operator: String,
    /// The operator's contact: free text, or empty.
    pub contact: String,
    /// Whether it can take money now.
    pub readiness: Readiness,
    /// The ways to pay that this payer can use now, the best first.
    pub ways: Vec<WayView>,
    /// The apps in which payment is possible.
    pub apps: Vec<PayerApp>,
    /// What can be bought; shown only if ready.
    pub prices: Vec<PriceView>,
}

/// A way to pay on a scan page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WayView {
    /// Names it in an order.
    pub word: String,
    /// The provider's word.
    pub provider: String,
    /// How the payer is handed over.
    pub handoff: HandoffKind,
    /// The scope within which the payer must be known before an order, if at all.
    pub payer_scope: Option<String>,
}

impl WayView {
    pub(crate) fn of(way: &Way) -> Self {
        Self {
            word: way.word(),
            provider: way.account.provider.clone(),
            handoff: way.method.handoff,
            payer_scope: way.method.payer_scope.clone(),
        }
    }
}

/// A price on a scan page.
#[derive(Debug, Clone, Serialize)]
pub struct PriceView {
    /// Names it in an order.
    pub id: PriceId,
    /// The operator's words for it.
    pub label: String,
    /// What it costs.
    pub amount: Money,
    /// Pulses it gives.
    pub pulses: i32,
}

/// What a sale page shows.
#[derive(Debug, Clone, Serialize)]
pub struct SaleView {
    /// The sale's public token.
    pub token: SaleToken,
    /// Where it stands.
    pub state: SaleState,
    /// Why the sale did not go through normally.
    pub reason: SaleReason,
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
    /// The operator's contact: free text, or empty.
    pub contact: String,
    /// Set while the provider is asked to take the order: the longest that this takes, in seconds.
    pub asking_s: Option<u64>,
    /// What was to be paid.
    pub amount: Money,
    /// Pulses bought.
    pub pulses: i32,
    /// Pulses known to have been given.
    pub pulses_given: i32,
    /// The amount refunded or being refunded, if any.
    pub refunded: Option<PaidMoney>,
    /// The amount the operator refunded at the provider, if any.
    pub refunded_elsewhere: Option<PaidMoney>,
    /// The state of a dispute with the payer's bank.
    pub dispute: DisputeStanding,
    /// How the payer gets to the provider, while it awaits payment.
    pub handoff: Option<Handoff>,
    /// The credit was given although the payment was refunded.
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
    pub machine_id: MachineId,
    /// The attempt's number at the provider.
    pub out_trade_no: Option<String>,
    /// The provider's number.
    pub provider_txn_id: Option<String>,
    /// When it ended (unix milliseconds).
    pub finished_ms: Option<i64>,
}

/// Which sales to list: newest first, at most [`SalesFilter::PAGE_ROWS`].
#[derive(Debug, Clone, Default)]
pub struct SalesFilter {
    /// Of this machine only.
    pub machine_id: Option<MachineId>,
    /// In this state only.
    pub state: Option<SaleState>,
    /// Older than the sale with this token (for the next page).
    pub before_token: Option<SaleToken>,
}

impl SalesFilter {
    /// Rows a page.
    pub const PAGE_ROWS: u64 = 50;
}
