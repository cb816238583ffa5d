//! Sales as pages and lists show them.

use crate::{
    Context, Error, Result,
    access::{
        actor::{Actor, Permit},
        operations::Operation,
        operator,
    },
    ids::{MachineId, OperatorId, SaleToken},
    ledger,
    machines::machine,
    money::{Money, PaidMoney},
    payments::{
        attempt, refund,
        states::{AttemptState, Cause, RefundProgress},
    },
    sales::{
        rows::is_asking,
        sale,
        shapes::{SaleRow, SaleView, SalesFilter},
    },
};
use sea_orm::{QueryOrder, QuerySelect, prelude::*};
use std::collections::BTreeMap;

/// An operator's sales, newest first.
///
/// # Errors
///
/// `NotFound`, `Forbidden`, `Store`.
pub async fn sales(ctx: &Context, actor: &Actor, operator_id: OperatorId, filter: SalesFilter) -> Result<Vec<SaleRow>> {
    actor.permit(Operation::ViewSales, operator_id, "operator")?;
    let mut query = sale::Entity::find().filter(sale::Column::OperatorId.eq(operator_id));
    if let Some(machine_id) = filter.machine_id {
        query = query.filter(sale::Column::MachineId.eq(machine_id));
    }
    if let Some(state) = filter.state {
        query = query.filter(sale::Column::State.eq(state.as_str()));
    }
    if let Some(token) = &filter.before_token {
        let before = sale::Entity::find()
            .filter(sale::Column::Token.eq(token.clone()))
            .filter(sale::Column::OperatorId.eq(operator_id))
            .one(ctx.db.read())
            .await?
            .ok_or(Error::NotFound("sale"))?;
        query = query.filter(sale::Column::Id.lt(before.id));
    }
    let sales = query.order_by_desc(sale::Column::Id).limit(SalesFilter::PAGE_ROWS).all(ctx.db.read()).await?;
    with_details(ctx, sales).await
}

/// A sale by its public token.
///
/// # Errors
///
/// `NotFound`, `Forbidden`, `Store`.
pub async fn operator_sale(ctx: &Context, actor: &Actor, token: &SaleToken) -> Result<SaleRow> {
    let (sale, _) = permitted_sale(ctx, actor, Operation::ViewSales, token).await?;
    with_details(ctx, vec![sale]).await?.into_iter().next().ok_or(Error::NotFound("sale"))
}

/// A sale, and the permit to do something with it.
///
/// # Errors
///
/// `NotFound` if there is no sale with that token, or it is another operator's; `Forbidden`; `Store`.
pub(crate) async fn permitted_sale<'a>(
    ctx: &Context,
    actor: &'a Actor,
    operation: Operation,
    token: &SaleToken,
) -> Result<(sale::Model, Permit<'a>)> {
    let found = sale::Entity::find().filter(sale::Column::Token.eq(token.clone())).one(ctx.db.read()).await?;
    let sale = found.ok_or(Error::NotFound("sale"))?;
    let permit = actor.permit(operation, sale.operator_id, "sale")?;
    Ok((sale, permit))
}

pub(crate) async fn with_details(ctx: &Context, sales: Vec<sale::Model>) -> Result<Vec<SaleRow>> {
    let ids: Vec<_> = sales.iter().map(|sale| sale.id).collect();
    let machine_ids: Vec<MachineId> = sales.iter().map(|sale| sale.machine_id).collect();
    let machines: BTreeMap<MachineId, (machine::Model, Option<operator::Model>)> = machine::Entity::find()
        .filter(machine::Column::Id.is_in(machine_ids))
        .find_also_related(operator::Entity)
        .all(ctx.db.read())
        .await?
        .into_iter()
        .map(|(machine, operator)| (machine.id, (machine, operator)))
        .collect();
    let mut attempts: BTreeMap<_, Vec<attempt::Model>> = BTreeMap::new();
    let found = attempt::Entity::find()
        .filter(attempt::Column::SaleId.is_in(ids.iter().copied()))
        .order_by_asc(attempt::Column::Id)
        .all(ctx.db.read())
        .await?;
    for attempt in found {
        attempts.entry(attempt.sale_id).or_default().push(attempt);
    }
    let mut refunds: BTreeMap<_, Vec<refund::Model>> = BTreeMap::new();
    let found = refund::Entity::find()
        .filter(refund::Column::SaleId.is_in(ids))
        .filter(refund::Column::Cause.ne(Cause::SecondPayment.as_str()))
        .filter(refund::Column::State.ne(RefundProgress::Cancelled))
        .all(ctx.db.read())
        .await?;
    for refund in found {
        refunds.entry(refund.sale_id).or_default().push(refund);
    }
    let mut rows = Vec::with_capacity(sales.len());
    for sale in sales {
        let (machine, operator) =
            machines.get(&sale.machine_id).ok_or_else(|| Error::inconsistent("a sale's machine is not there"))?;
        let operator = operator.as_ref().ok_or_else(|| Error::inconsistent("a machine's operator is not there"))?;
        let attempts = attempts.get(&sale.id).map_or(&[][..], Vec::as_slice);
        let refunds = refunds.get(&sale.id).map_or(&[][..], Vec::as_slice);
        let asking_s = is_asking(ctx, &sale).then(|| ctx.rules.order_wait_ms.div_ceil(1000));
        let is_payable = ctx.now_ms() < sale.expires_ms;
        rows.push(row(sale, (machine, operator), attempts, refunds, (asking_s, is_payable))?);
    }
    Ok(rows)
}

pub(crate) fn row(
    sale: sale::Model,
    (machine, operator): (&machine::Model, &operator::Model),
    attempts: &[attempt::Model],
    refunds: &[refund::Model],
    (asking_s, is_payable): (Option<u64>, bool),
) -> Result<SaleRow> {
    let state = sale.state;
    let currency = ledger::currency(&sale.currency)?;
    let paid = attempts.iter().find(|attempt| attempt.state == AttemptState::Paid);
    let waiting = attempts.iter().rfind(|attempt| is_payable && attempt.state == AttemptState::Pending);
    let (elsewhere, ours): (Vec<_>, Vec<_>) = refunds.iter().partition(|refund| refund.is_external());
    let sum = |refunds: Vec<&refund::Model>| {
        let currency = refunds.first()?.currency.clone();
        Some(PaidMoney { amount_minor: refunds.iter().map(|refund| refund.amount_minor).sum(), currency })
    };
    let view = SaleView {
        token: sale.token,
        state,
        reason: sale.reason,
        at_rest: state.at_rest(),
        code: machine.code.clone(),
        machine: machine.name.clone(),
        site: machine.site.clone(),
        operator: operator.name.clone(),
        contact: operator.contact.clone(),
        asking_s,
        label: sale.label,
        amount: Money::new(sale.amount_minor, currency),
        pulses: sale.pulses,
        pulses_given: sale.pulses_given,
        refunded: sum(ours),
        refunded_elsewhere: sum(elsewhere),
        dispute: sale.dispute,
        handoff: waiting.and_then(attempt::Model::stored_handoff),
        served_and_refunded: sale.served_and_refunded,
        created_ms: sale.created_ms,
    };
    Ok(SaleRow {
        view,
        machine_id: sale.machine_id,
        out_trade_no: attempts.last().map(|attempt| attempt.out_trade_no.clone()),
        provider_txn_id: paid.and_then(|attempt| attempt.provider_txn_id.clone()),
        finished_ms: sale.finished_ms,
    })
}
