//! The ledger: double entry, integer minor units, append only. Debits are positive, credits negative. Each posting sums
//! to zero and has a unique cause, so that nothing can be posted twice.
//!
//! | posting | debit | credit |
//! | --- | --- | --- |
//! | payment | provider_clearing | operator_payable |
//! | suspense | provider_clearing | suspense |
//! | suspense_accepted | suspense | operator_payable |
//! | refund | operator_payable | refund_clearing |
//! | refund_cancelled | refund_clearing | operator_payable |
//! | refund_done | refund_clearing | provider_clearing |
//! | refund_reversed | provider_clearing | refund_clearing |
//! | suspense_refund | suspense | refund_clearing |
//! | suspense_refund_cancelled | refund_clearing | suspense |
//! | dispute_opened | held | provider_clearing |
//! | dispute_won | provider_clearing | held |
//! | dispute_lost | loss | held |
//! | dispute_fee | fees | provider_clearing |
//! | dispute_fee_returned | provider_clearing | fees |
//! | platform_fee | platform_fees | provider_clearing |
//! | platform_fee_returned | provider_clearing | platform_fees |
//! | loss | loss | operator_payable |
//! | coins | cash_box | coin_sales |
//! | coins_corrected | cash_box | coin_sales; the other way round where it takes away |

pub(crate) mod entry;
pub(crate) mod txn;

use crate::{
    Context, Error, Result,
    access::{actor::Actor, operations::Operation},
    ids::{MachineId, OperatorId, SaleId},
    money::Currency,
};
use sea_orm::{ActiveValue::Set, ConnectionTrait, EntityTrait, ExprTrait, FromQueryResult, QuerySelect, prelude::*};
use serde::Serialize;

/// An account of the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, EnumIter, DeriveActiveEnum, Serialize)]
#[sea_orm(rs_type = "String", db_type = "String(StringLen::N(32))", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum Account {
    /// Money at the payment provider.
    ProviderClearing,
    /// What the operator earned by phone.
    OperatorPayable,
    /// Refunds decided and not yet confirmed.
    RefundClearing,
    /// Money that waits for a person's decision.
    Suspense,
    /// Money that the provider took back while a dispute is open.
    Held,
    /// The provider's charges.
    Fees,
    /// The platform's share of payments that go straight to the operator.
    PlatformFees,
    /// Credits that were given although they were refunded, and disputes that were lost.
    Loss,
    /// Coins expected in the box.
    CashBox,
    /// What the operator earned by coins.
    CoinSales,
}

/// A kind of posting; with its reference it is unique.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "String(StringLen::N(32))", rename_all = "snake_case")]
pub enum Kind {
    /// A payment came in; the reference is the attempt.
    Payment,
    /// A payment of a wrong amount came in; the reference is the attempt.
    Suspense,
    /// A person accepted a payment of a wrong amount for the sale; the reference is the attempt.
    SuspenseAccepted,
    /// A refund was decided; the reference is the refund.
    Refund,
    /// A refund was taken back before it was submitted; the reference is the refund.
    RefundCancelled,
    /// A refund went through; the reference is the refund.
    RefundDone,
    /// A refund that had gone through failed later; the reference is the refund.
    RefundReversed,
    /// A refund of a payment of a wrong amount; the reference is the refund.
    SuspenseRefund,
    /// Such a refund did not happen; the reference is the refund.
    SuspenseRefundCancelled,
    /// The provider took money back because a dispute was opened; the reference is the dispute.
    DisputeOpened,
    /// A dispute was won: the money is back; the reference is the dispute.
    DisputeWon,
    /// A dispute was lost; the reference is the dispute.
    DisputeLost,
    /// The provider charged for a dispute; the reference is the dispute and the fee so far.
    DisputeFee,
    /// The provider returned such a charge; the reference is the dispute and the fee so far.
    DisputeFeeReturned,
    /// The platform's share of a payment; the reference is the attempt.
    PlatformFee,
    /// The platform gave its share back, of a payment that was refunded; the reference is the refund.
    PlatformFeeReturned,
    /// Credited and refunded; the reference is the sale.
    Loss,
    /// Coins were inserted; the reference is the module, how often its count was restarted, and the running total.
    Coins,
    /// A person corrected the booked coins; the reference is the correction.
    CoinsCorrected,
}

impl Kind {
    /// The account that is debited and the one that is credited.
    fn accounts(self) -> (Account, Account) {
        match self {
            Kind::Payment => (Account::ProviderClearing, Account::OperatorPayable),
            Kind::Suspense => (Account::ProviderClearing, Account::Suspense),
            Kind::SuspenseAccepted => (Account::Suspense, Account::OperatorPayable),
            Kind::Refund => (Account::OperatorPayable, Account::RefundClearing),
            Kind::RefundCancelled => (Account::RefundClearing, Account::OperatorPayable),
            Kind::RefundDone => (Account::RefundClearing, Account::ProviderClearing),
            Kind::RefundReversed => (Account::ProviderClearing, Account::RefundClearing),
            Kind::SuspenseRefund => (Account::Suspense, Account::RefundClearing),
            Kind::SuspenseRefundCancelled => (Account::RefundClearing, Account::Suspense),
            Kind::DisputeOpened => (Account::Held, Account::ProviderClearing),
            Kind::DisputeWon => (Account::ProviderClearing, Account::Held),
            Kind::DisputeLost => (Account::Loss, Account::Held),
            Kind::DisputeFee => (Account::Fees, Account::ProviderClearing),
            Kind::DisputeFeeReturned => (Account::ProviderClearing, Account::Fees),
            Kind::PlatformFee => (Account::PlatformFees, Account::ProviderClearing),
            Kind::PlatformFeeReturned => (Account::ProviderClearing, Account::PlatformFees),
            Kind::Loss => (Account::Loss, Account::OperatorPayable),
            Kind::Coins | Kind::CoinsCorrected => (Account::CashBox, Account::CoinSales),
        }
    }
}

/// A posting to be made.
#[derive(Debug, Clone)]
pub(crate) struct Posting {
    pub kind: Kind,
    pub reference: String,
    pub operator_id: OperatorId,
    pub sale_id: Option<SaleId>,
    pub machine_id: Option<MachineId>,
    /// In minor units. Positive; only a correction may be negative.
    pub amount_minor: i64,
    pub currency: String,
    pub at_ms: i64,
}

/// Books a posting. If its kind and reference exist already, that is the caller's error and undoes the transaction.
pub(crate) async fn post(txn: &impl ConnectionTrait, posting: Posting) -> Result<()> {
    let head = txn::ActiveModel {
        kind: Set(posting.kind),
        reference: Set(posting.reference),
        operator_id: Set(posting.operator_id),
        sale_id: Set(posting.sale_id),
        machine_id: Set(posting.machine_id),
        at_ms: Set(posting.at_ms),
        ..Default::default()
    };
    let txn_id = txn::Entity::insert(head).exec(txn).await?.last_insert_id;
    let (debit, credit) = posting.kind.accounts();
    let entry = |account: Account, amount_minor: i64| entry::ActiveModel {
        txn_id: Set(txn_id),
        operator_id: Set(posting.operator_id),
        account: Set(account),
        amount_minor: Set(amount_minor),
        currency: Set(posting.currency.clone()),
        ..Default::default()
    };
    let lines = [entry(debit, posting.amount_minor), entry(credit, -posting.amount_minor)];
    entry::Entity::insert_many(lines).exec_without_returning(txn).await?;
    Ok(())
}

/// What was posted under a kind and a reference, in minor units; 0 if nothing was.
pub(crate) async fn posted_minor(txn: &impl ConnectionTrait, kind: Kind, reference: &str) -> Result<i64> {
    let Some(number) = number_of(txn, kind, reference).await? else { return Ok(0) };
    let lines = entry::Entity::find().filter(entry::Column::TxnId.eq(number)).all(txn).await?;
    Ok(lines.into_iter().map(|line| line.amount_minor).filter(|minor| *minor > 0).sum())
}

/// The number of the posting of a kind and a reference, if there is one: later ones have greater numbers.
pub(crate) async fn number_of(txn: &impl ConnectionTrait, kind: Kind, reference: &str) -> Result<Option<i64>> {
    let head = txn::Entity::find()
        .filter(txn::Column::Kind.eq(kind))
        .filter(txn::Column::Reference.eq(reference))
        .one(txn)
        .await?;
    Ok(head.map(|head| head.id))
}

/// The balance of an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, FromQueryResult)]
pub struct Balance {
    /// The account.
    pub account: Account,
    /// The currency's code.
    pub currency: String,
    /// Debits less credits, in minor units.
    pub amount_minor: i64,
}

/// An operator's balances. Their sum is zero for each currency.
///
/// # Errors
/// `NotFound` if it is another operator's; `Forbidden`, `Store`.
pub async fn balances(ctx: &Context, actor: &Actor, operator_id: OperatorId) -> Result<Vec<Balance>> {
    actor.permit(Operation::ViewBooks, operator_id, "operator")?;
    let balances = entry::Entity::find()
        .select_only()
        .column(entry::Column::Account)
        .column(entry::Column::Currency)
        .column_as(entry::Column::AmountMinor.sum().cast_as("SIGNED"), "amount_minor")
        .filter(entry::Column::OperatorId.eq(operator_id))
        .group_by(entry::Column::Account)
        .group_by(entry::Column::Currency)
        .into_model::<Balance>()
        .all(ctx.db.read())
        .await?;
    Ok(balances)
}

/// The currency of an operator or a sale, as stored. An unknown currency is an error: an amount must not be shown or
/// paid in another currency.
pub(crate) fn currency(code: &str) -> Result<Currency> {
    Currency::parse(code).ok_or_else(|| Error::Unknown { what: "currency", value: code.to_owned() })
}
