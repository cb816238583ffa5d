//! Rebuilding an order that the store has forgotten, from the mark that its payment carries.

use crate::{
    Context, Result,
    flows::after_commit::AfterCommit,
    machines::{machine, price},
    modules::{module, numbers::advance_sequence_past},
    payments::{
        account,
        accounts::accounts_of,
        attempt,
        states::{AttemptState, DisputeStanding},
    },
    sales::{
        order_attachment::OrderAttachment,
        sale,
        state::{SaleReason, SaleState},
    },
};
use sea_orm::{ActiveValue::Set, DatabaseTransaction, TryIntoModel, prelude::*};

/// The attempt of a payment that fits no order, if its mark is ours: sale and attempt are rebuilt in the caller's
/// transaction. Nothing if there is no mark, or if its machine or module is not here (any more).
pub(crate) async fn rebuild_order(
    ctx: &Context,
    txn: &DatabaseTransaction,
    account: &account::Model,
    out_trade_no: &str,
    attach: &str,
    after: &mut AfterCommit,
) -> Result<Option<attempt::Model>> {
    let Some(attachment) = OrderAttachment::read(&ctx.attachment_key, out_trade_no, attach) else { return Ok(None) };
    let machine = machine::Entity::find()
        .filter(machine::Column::Code.eq(&attachment.code))
        .filter(machine::Column::OperatorId.eq(account.operator_id))
        .one(txn)
        .await?;
    let Some(machine) = machine else { return Ok(None) };
    if module::Entity::find_by_id(&attachment.module_id).one(txn).await?.is_none() {
        return Ok(None);
    }
    // The order is here, under another account of the same merchant: this payment is that account's to tell of.
    let elsewhere = attempt::Entity::find()
        .filter(attempt::Column::AccountId.is_in(accounts_of(txn, account.operator_id).await?))
        .filter(attempt::Column::OutTradeNo.eq(out_trade_no));
    if elsewhere.one(txn).await?.is_some() {
        return Ok(None);
    }
    advance_sequence_past(txn, &attachment.module_id, attachment.sequence).await?;
    let sale = rebuild_sale(ctx, txn, &machine, &attachment).await?;
    let message = format!(
        "payment {out_trade_no} fits no order here, but its mark is ours: the order was rebuilt as sale {}. The database \
         is older than the order",
        sale.token
    );
    after.alarm(account.operator_id, Some(machine.id), message);
    let attempt = attempt::ActiveModel {
        sale_id: Set(sale.id),
        account_id: Set(account.id),
        out_trade_no: Set(out_trade_no.to_owned()),
        provider_txn_id: Set(None),
        // Its mark does not tell by which.
        method: Set(String::new()),
        reference: Set(None),
        request: Set(None),
        handoff: Set(None),
        state: Set(AttemptState::Pending),
        amount_minor: Set(attachment.amount_minor),
        currency: Set(attachment.currency.code().into()),
        payer_ip: Set(None),
        created_ms: Set(sale.created_ms),
        expires_ms: Set(sale.expires_ms),
        due_ms: Set(Some(ctx.now_ms())),
        polls: Set(0),
        paid_minor: Set(None),
        paid_currency: Set(None),
        ..Default::default()
    };
    metrics::counter!("coinwire_orders_rebuilt_total").increment(1);
    let id = attempt::Entity::insert(attempt.clone()).exec(txn).await?.last_insert_id;
    Ok(Some(attempt::ActiveModel { id: Set(id), ..attempt }.try_into_model()?))
}

/// The sale of a mark: it may be here although this attempt of it is not.
async fn rebuild_sale(
    ctx: &Context,
    txn: &DatabaseTransaction,
    machine: &machine::Model,
    attachment: &OrderAttachment,
) -> Result<sale::Model> {
    if let Some(known) = sale::Entity::find().filter(sale::Column::Token.eq(attachment.token.clone())).one(txn).await? {
        return Ok(known);
    }
    let price = price::Entity::find()
        .filter(price::Column::MachineId.eq(machine.id))
        .filter(price::Column::AmountMinor.eq(attachment.amount_minor))
        .filter(price::Column::Pulses.eq(attachment.pulses))
        .one(txn)
        .await?;
    let created_ms = attachment.created_s.saturating_mul(1000);
    let sale = sale::ActiveModel {
        token: Set(attachment.token.clone()),
        // Its form is forgotten; none that was made here has this key.
        form_key: Set(format!("rebuilt-{}", attachment.token)),
        kept_for_form: Set(None),
        operator_id: Set(machine.operator_id),
        machine_id: Set(machine.id),
        module_id: Set(attachment.module_id.clone()),
        label: Set(price.map_or_else(|| format!("{} pulses", attachment.pulses), |price| price.label)),
        amount_minor: Set(attachment.amount_minor),
        currency: Set(attachment.currency.code().into()),
        pulses: Set(attachment.pulses),
        pulses_given: Set(0),
        state: Set(SaleState::AwaitingPayment),
        reason: Set(SaleReason::None),
        served_and_refunded: Set(false),
        version: Set(0),
        created_ms: Set(created_ms),
        expires_ms: Set(created_ms.saturating_add(ctx.rules.order_lifetime_ms)),
        paid_ms: Set(None),
        finished_ms: Set(None),
        credit_sequence: Set(Some(attachment.sequence)),
        credit_asked: Set(false),
        rebuilt_ms: Set(Some(ctx.now_ms())),
        dispute: Set(DisputeStanding::None),
        ..Default::default()
    };
    let id = sale::Entity::insert(sale.clone()).exec(txn).await?.last_insert_id;
    Ok(sale::ActiveModel { id: Set(id), ..sale }.try_into_model()?)
}
