//! A payer leaves an order unpaid for another: the first is closed at its provider before the second is shown, so that no two
//! of them wait to be paid by one person.

use crate::{
    Context, Result,
    flows::{
        after_commit::{AfterCommit, publish_after_commit},
        apply_payment_fact::apply_fact,
        poll_payment::{close, query},
        settle_sale::apply_event,
    },
    ids::{MachineId, SaleId, SaleToken},
    payments::{
        accounts::account,
        attempt,
        bulkhead::Lane,
        found::attempts_open,
        provider::{CloseOutcome, Fact, Provider, ProviderError, TradeNumbers, TradeState},
    },
    sales::{
        rows::{is_asking, lock_sale},
        sale,
        state::{Event, SaleState},
    },
};
use sea_orm::{ActiveValue::Set, prelude::*};

/// What became of an order that was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// It is over, or was before; or it never was.
    Over,
    /// It is paid, or just being paid: there is to be no other beside it.
    Kept,
}

/// What is known of an attempt that is to be closed.
enum Known {
    /// What the provider says of it.
    Told(TradeState),
    /// It is being paid, as far as the provider says.
    BeingPaid,
    /// It cannot be closed for good: the provider does not know it yet, or does not answer. Polling goes on, and what is paid
    /// after all goes back.
    Unsure,
}

/// Leaves an order of a machine that is not paid, for that of another form. If the order is kept, the form is answered with it
/// from now on.
///
/// # Errors
/// `Store`.
pub(crate) async fn leave_order(
    ctx: &Context,
    token: &SaleToken,
    machine_id: MachineId,
    form_key: &str,
) -> Result<Left> {
    let sale = sale::Entity::find()
        .filter(sale::Column::Token.eq(token.clone()))
        .filter(sale::Column::MachineId.eq(machine_id))
        .one(ctx.db.read())
        .await?;
    let Some(sale) = sale else { return Ok(Left::Over) };
    match sale.state {
        SaleState::Created if is_asking(ctx, &sale) => return keep(ctx, sale.id, form_key).await,
        SaleState::Created | SaleState::AwaitingPayment => {}
        // Who bought before and buys again has another in mind.
        SaleState::Paid
        | SaleState::Crediting
        | SaleState::Credited
        | SaleState::Expired
        | SaleState::RefundPending
        | SaleState::Refunded
        | SaleState::Review
        | SaleState::Settled => return Ok(Left::Over),
    }
    for attempt in attempts_open(ctx, sale.id).await? {
        if leave_attempt(ctx, attempt).await? == Left::Kept {
            return keep(ctx, sale.id, form_key).await;
        }
    }
    Ok(Left::Over)
}

async fn keep(ctx: &Context, sale_id: SaleId, form_key: &str) -> Result<Left> {
    ctx.db
        .write(|txn| async move {
            let kept_for_form = Set(Some(form_key.to_owned()));
            let change = sale::ActiveModel { id: Set(sale_id), kept_for_form, ..Default::default() };
            change.update_without_returning(&*txn).await?;
            Ok(Left::Kept)
        })
        .await
}

async fn leave_attempt(ctx: &Context, attempt: attempt::Model) -> Result<Left> {
    let (account, provider) = account(ctx, attempt.account_id).await?;
    let numbers = attempt.numbers();
    let known = match ctx.providers.bulkhead(account.id).acquire(Lane::Order) {
        Some(_pass) => tokio::select! {
            biased;
            known = ask_and_close(&*provider, &numbers) => known,
            () = ctx.clock.sleep_ms(ctx.rules.leave_wait_ms) => Known::Unsure,
        },
        None => Known::Unsure,
    };
    let state = match known {
        Known::Told(state) => Some(state),
        Known::BeingPaid => return Ok(Left::Kept),
        Known::Unsure => None,
    };
    let fact = &state.map(|state| Fact::Payment { out_trade_no: attempt.out_trade_no.clone(), state });
    let (account, sale_id) = (&account, attempt.sale_id);
    let (after, state) = ctx
        .db
        .write(|txn| async move {
            let txn = &*txn;
            let mut after = AfterCommit::default();
            match fact {
                Some(fact) => {
                    apply_fact(ctx, txn, account, fact, &mut after).await?;
                }
                None => {
                    let sale = lock_sale(txn, sale_id).await?;
                    apply_event(ctx, txn, sale, Event::Unpayable, None, &mut after).await?;
                }
            }
            // The payment may have arrived while the provider was asked.
            let sale = lock_sale(txn, sale_id).await?;
            Ok((after, sale.state))
        })
        .await?;
    publish_after_commit(ctx, after).await;
    Ok(if state == SaleState::Expired { Left::Over } else { Left::Kept })
}

async fn ask_and_close(provider: &dyn Provider, numbers: &TradeNumbers) -> Known {
    match query(provider, numbers).await {
        Ok(TradeState::NotPaid) => {}
        Ok(TradeState::NotFound) => return Known::Unsure,
        Ok(state @ (TradeState::Paid(_) | TradeState::Refunded(_) | TradeState::PaidUnknownCurrency(_))) => {
            return Known::Told(state);
        }
        Ok(TradeState::Closed) => return Known::Told(TradeState::Closed),
        Err(error) => return unsure(&error),
    }
    match close(provider, numbers).await {
        Ok(CloseOutcome::Closed) => Known::Told(TradeState::Closed),
        // Polling, or the callback, tells the facts.
        Ok(CloseOutcome::AlreadyPaid) | Err(ProviderError::Busy(_)) => Known::BeingPaid,
        Err(error) => unsure(&error),
    }
}

fn unsure(error: &ProviderError) -> Known {
    tracing::warn!(%error, "an order that its payer left could not be closed; it is polled on");
    Known::Unsure
}
