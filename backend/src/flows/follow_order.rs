//! Orders that take a while: the payer is answered soon all the same, and led on once it is known where to pay.
//!
//! What is known of a form is read from the store only, so that it does not matter which process is asked.

use crate::{
    Context, Error, Result,
    flows::place_order::{Checkout, FormUse, OrderRequest, form_use, is_same_way, order, pay_url},
    ids::SaleToken,
    sales::{rows::is_asking, sale},
};
use sea_orm::prelude::*;
use tracing::Instrument;

/// The time until a payer is answered passes in steps of this, in milliseconds.
const ANSWER_STEP_MS: u64 = 10;

/// First and longest wait between two looks at an order under way, in milliseconds.
const LOOK_FIRST_MS: u64 = 50;

const LOOK_LONGEST_MS: u64 = 400;

/// So much longer than a probe takes, it is waited for the order that follows it, in milliseconds.
const COMMIT_WAIT_MS: u64 = 2_000;

/// As [`place_order::order`](crate::flows::place_order::order), but answered within [`crate::Rules::order_answer_ms`]: where that is too short, with the sale's
/// page, or with nothing if there is no sale yet. The order goes on meanwhile, also if nobody waits for it any more.
///
/// # Errors
/// As those of `order`.
pub async fn order_soon(ctx: &Context, request: OrderRequest) -> Result<Option<Checkout>> {
    let backend = ctx.clone();
    let (form_key, way) = (request.form_key.clone(), request.way.clone());
    let order = async move {
        let outcome = order(&backend, request).await;
        if let Err(error) = &outcome {
            tracing::debug!(%error, "an order failed");
        }
        outcome
    };
    let order = tokio::spawn(order.in_current_span());
    tokio::select! {
        biased;
        outcome = order => match outcome {
            Ok(outcome) => outcome.map(Some),
            Err(failed) => match failed.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The process ends.
                Err(_) => Ok(None),
            },
        },
        () = answer_time(ctx) => order_of_form(ctx, &form_key, way.as_deref()).await,
    }
}

/// Passes [`crate::Rules::order_answer_ms`], in steps: where this process itself gets no time to run, each takes longer,
/// and its own slowness is not taken for the provider's.
async fn answer_time(ctx: &Context) {
    for _ in 0..ctx.rules.order_answer_ms.div_ceil(ANSWER_STEP_MS) {
        ctx.clock.sleep_ms(ANSWER_STEP_MS).await;
    }
}

/// Waits until a form's order is committed, as long as its machine may take to answer a probe, and the provider of an order
/// that is left for it. Nothing if there is no such order then: the machine's page says why.
///
/// # Errors
/// `Store`.
pub async fn await_order(ctx: &Context, awaited: Awaited<'_>) -> Result<Option<Checkout>> {
    let Awaited { form_key, way, leaves_another } = awaited;
    let leave_ms = if leaves_another { ctx.rules.leave_wait_ms } else { 0 };
    let give_up = ctx.clock.sleep_ms(ctx.rules.probe_wait_ms + leave_ms + COMMIT_WAIT_MS);
    let look = async {
        let mut wait_ms = LOOK_FIRST_MS;
        loop {
            if let Some(checkout) = order_of_form(ctx, form_key, way).await? {
                return Ok(Some(checkout));
            }
            ctx.clock.sleep_ms(wait_ms).await;
            wait_ms = (wait_ms * 2).min(LOOK_LONGEST_MS);
        }
    };
    tokio::select! {
        biased;
        found = look => found,
        () = give_up => Ok(None),
    }
}

/// Waits until the provider has answered a sale's order, at most [`crate::Rules::order_wait_ms`] after it was made.
/// Gives where to pay; nothing if that is not to be had, or no longer.
///
/// # Errors
/// `Store`.
pub async fn await_pay_url(ctx: &Context, token: &SaleToken) -> Result<Option<String>> {
    let mut wait_ms = LOOK_FIRST_MS;
    loop {
        let sale = sale::Entity::find()
            .filter(sale::Column::Token.eq(token.clone()))
            .one(ctx.db.read())
            .await?
            .ok_or(Error::NotFound("sale"))?;
        if !is_asking(ctx, &sale) {
            return pay_url(ctx, &sale).await;
        }
        ctx.clock.sleep_ms(wait_ms).await;
        wait_ms = (wait_ms * 2).min(LOOK_LONGEST_MS);
    }
}

/// The longest that an order takes, machine and provider together, in seconds.
pub fn longest_order_s(ctx: &Context, leaves_another: bool) -> u64 {
    let leave_ms = if leaves_another { ctx.rules.leave_wait_ms } else { 0 };
    (ctx.rules.probe_wait_ms + leave_ms + ctx.rules.order_wait_ms).div_ceil(1000)
}

/// The order that a page waits for.
#[derive(Debug, Clone, Copy)]
pub struct Awaited<'a> {
    /// Its form's key.
    pub form_key: &'a str,
    /// The way to pay that was picked, if one was: an order of the form with another way is being left for it.
    pub way: Option<&'a str>,
    /// Whether this payer made an order before, which may be left first.
    pub leaves_another: bool,
}

async fn order_of_form(ctx: &Context, form_key: &str, way: Option<&str>) -> Result<Option<Checkout>> {
    match form_use(ctx, form_key).await? {
        FormUse::Open(checkout) if !is_same_way(ctx, &checkout.token, way).await? => Ok(None),
        FormUse::Kept(checkout) | FormUse::Open(checkout) => Ok(Some(checkout)),
        FormUse::Free(_) => Ok(None),
    }
}
