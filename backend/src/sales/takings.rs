//! The takings of a day, a week or a month, from sales, refunds and coins.

use crate::{
    Context, Result,
    access::{actor::Actor, operations::Operation, operator, operators::operator_row},
    ids::{MachineId, OperatorId},
    ledger::{self, Account, Kind, entry, txn},
    money::Money,
    sales::{sale, state::SaleState},
    zones::Period,
};
use sea_orm::{ExprTrait, FromQueryResult, JoinType, QuerySelect, prelude::*};
use serde::Serialize;
use std::collections::BTreeMap;

/// An operator's takings of a day.
#[derive(Debug, Clone, Serialize)]
pub struct Takings {
    /// Sales credited.
    pub sales: i64,
    /// Paid by phone, less refunds.
    pub mobile: Money,
    /// Expected in the coin boxes.
    pub coins: Money,
    /// The sum of both.
    pub total: Money,
    /// Refunded.
    pub refunded: Money,
}

/// Sums of a period, a machine or all.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct DaySums {
    pub sales: i64,
    pub paid_minor: i64,
    pub refunded_minor: i64,
    pub coins_minor: i64,
}

impl DaySums {
    fn add(&mut self, other: DaySums) {
        self.sales += other.sales;
        self.paid_minor += other.paid_minor;
        self.refunded_minor += other.refunded_minor;
        self.coins_minor += other.coins_minor;
    }
}

#[derive(FromQueryResult)]
struct Line {
    machine_id: Option<MachineId>,
    kind: Kind,
    amount_minor: i64,
}

#[derive(FromQueryResult)]
struct Count {
    machine_id: MachineId,
    sales: i64,
}

/// An operator's takings since midnight of the operator's day.
///
/// # Errors
///
/// `NotFound`, `Forbidden`, `Store`.
pub async fn takings_today(ctx: &Context, actor: &Actor, operator_id: OperatorId) -> Result<Takings> {
    takings(ctx, actor, operator_id, Period::Day).await
}

/// An operator's takings of the current day, week or month in its time zone.
///
/// # Errors
///
/// `NotFound`, `Forbidden`, `Store`.
pub async fn takings(ctx: &Context, actor: &Actor, operator_id: OperatorId, period: Period) -> Result<Takings> {
    actor.permit(Operation::ViewTakings, operator_id, "operator")?;
    let operator = operator_row(ctx, operator_id).await?;
    let mut sums = DaySums::default();
    let since_ms = start_ms(ctx, &operator, period)?;
    for of_machine in sums_since(ctx, &operator, since_ms).await?.into_values() {
        sums.add(of_machine);
    }
    let currency = ledger::currency(&operator.currency)?;
    let money = |amount_minor| Money::new(amount_minor, currency);
    let mobile_minor = sums.paid_minor - sums.refunded_minor;
    Ok(Takings {
        sales: sums.sales,
        mobile: money(mobile_minor),
        coins: money(sums.coins_minor),
        total: money(mobile_minor + sums.coins_minor),
        refunded: money(sums.refunded_minor),
    })
}

/// When the operator's day, week or month began.
pub(crate) fn start_ms(ctx: &Context, operator: &operator::Model, period: Period) -> Result<i64> {
    Ok(operator.zone()?.start_ms(period, ctx.wall_ms()))
}

/// Today's sums by machine, and the sum of what is booked for no machine.
pub(crate) async fn sums_today(
    ctx: &Context,
    operator: &operator::Model,
) -> Result<BTreeMap<Option<MachineId>, DaySums>> {
    sums_since(ctx, operator, start_ms(ctx, operator, Period::Day)?).await
}

/// Sums by machine, from the ledger and the sales.
async fn sums_since(
    ctx: &Context,
    operator: &operator::Model,
    since_ms: i64,
) -> Result<BTreeMap<Option<MachineId>, DaySums>> {
    let mut sums: BTreeMap<Option<MachineId>, DaySums> = BTreeMap::new();
    // In the ledger, credits to the operator's earnings are negative.
    let lines = entry::Entity::find()
        .select_only()
        .column(txn::Column::MachineId)
        .column(txn::Column::Kind)
        .column_as(entry::Column::AmountMinor.sum().cast_as("SIGNED"), "amount_minor")
        .join(JoinType::InnerJoin, entry::Relation::Txn.def())
        .filter(txn::Column::OperatorId.eq(operator.id))
        .filter(txn::Column::AtMs.gte(since_ms))
        .filter(entry::Column::Account.is_in([Account::OperatorPayable, Account::CoinSales]))
        .group_by(txn::Column::MachineId)
        .group_by(txn::Column::Kind)
        .into_model::<Line>()
        .all(ctx.db.read())
        .await?;
    for line in lines {
        let of_machine = sums.entry(line.machine_id).or_default();
        if [Kind::Payment, Kind::SuspenseAccepted].contains(&line.kind) {
            of_machine.paid_minor -= line.amount_minor;
        } else if [Kind::Refund, Kind::RefundCancelled].contains(&line.kind) {
            of_machine.refunded_minor += line.amount_minor;
        } else if [Kind::Coins, Kind::CoinsCorrected].contains(&line.kind) {
            of_machine.coins_minor -= line.amount_minor;
        }
    }
    let counts = sale::Entity::find()
        .select_only()
        .column(sale::Column::MachineId)
        .column_as(sale::Column::Id.count(), "sales")
        .filter(sale::Column::OperatorId.eq(operator.id))
        .filter(sale::Column::PaidMs.gte(since_ms))
        .filter(sale::Column::State.eq(SaleState::Credited))
        .group_by(sale::Column::MachineId)
        .into_model::<Count>()
        .all(ctx.db.read())
        .await?;
    for count in counts {
        sums.entry(Some(count.machine_id)).or_default().sales = count.sales;
    }
    Ok(sums)
}
