//! Orders that take a while: the payer is answered soon all the same, and led on once it is known where to pay.
//!
//! What is known of a form is read from the store only, so that it does not matter which process is asked.

use super::{Checkout, OrderRequest, order::FormUse, sale, state::SaleState};
use crate::{Backend, Error, Result};
use sea_orm::prelude::*;
use tracing::Instrument;

/// The time until a payer is answered passes in steps of this, in milliseconds.
const ANSWER_STEP_MS: u64 = 10;
/// First and longest wait between two looks at an order under way, in milliseconds.
const LOOK_FIRST_MS: u64 = 50;
const LOOK_LONGEST_MS: u64 = 400;
/// So much longer than a probe takes, it is waited for the order that follows it, in milliseconds.
const COMMIT_WAIT_MS: u64 = 2_000;

impl Backend {
    /// As [`Backend::order`], but answered within [`crate::Rules::order_answer_ms`]: where that is too short, with the sale's
    /// page, or with nothing if there is no sale yet. The order goes on meanwhile, also if nobody waits for it any more.
    pub async fn order_soon(&self, request: OrderRequest) -> Result<Option<Checkout>> {
        let backend = self.clone();
        let form_key = request.form_key.clone();
        let order = async move {
            let outcome = backend.order(request).await;
            if let Err(error) = &outcome {
                tracing::debug!(%error, "an order was not taken");
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
            () = self.answer_time() => self.order_of_form(&form_key).await,
        }
    }

    /// Passes [`crate::Rules::order_answer_ms`], in steps: where this process itself gets no time to run, each takes longer,
    /// and its own slowness is not taken for the provider's.
    async fn answer_time(&self) {
        for _ in 0..self.rules.order_answer_ms.div_ceil(ANSWER_STEP_MS) {
            self.clock.sleep_ms(ANSWER_STEP_MS).await;
        }
    }

    /// Waits until a form's order is committed, as long as its machine may take to answer a probe. Nothing if there is no
    /// such order then: the machine's page says why.
    pub async fn await_order(&self, form_key: &str) -> Result<Option<Checkout>> {
        let give_up = self.clock.sleep_ms(self.rules.probe_wait_ms + COMMIT_WAIT_MS);
        let look = async {
            let mut wait_ms = LOOK_FIRST_MS;
            loop {
                if let Some(checkout) = self.order_of_form(form_key).await? {
                    return Ok(Some(checkout));
                }
                self.clock.sleep_ms(wait_ms).await;
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
    pub async fn await_pay_url(&self, token: &str) -> Result<Option<String>> {
        let mut wait_ms = LOOK_FIRST_MS;
        loop {
            let sale = sale::Entity::find()
                .filter(sale::Column::Token.eq(token))
                .one(self.db.read())
                .await?
                .ok_or(Error::NotFound("sale"))?;
            if !self.is_asking(&sale) {
                return self.pay_url(&sale).await;
            }
            self.clock.sleep_ms(wait_ms).await;
            wait_ms = (wait_ms * 2).min(LOOK_LONGEST_MS);
        }
    }

    /// The longest that an order takes, machine and provider together, in seconds.
    pub fn longest_order_s(&self) -> u64 {
        (self.rules.probe_wait_ms + self.rules.order_wait_ms).div_ceil(1000)
    }

    /// Whether the provider is being asked to take a sale's order.
    pub(super) fn is_asking(&self, sale: &sale::Model) -> bool {
        let longest_ms = i64::try_from(self.rules.order_wait_ms).unwrap_or(i64::MAX);
        let begun_ms = sale.expires_ms - self.rules.order_lifetime_ms;
        sale.state == SaleState::Created.as_str()
            && sale.reason.is_empty()
            && (0..longest_ms).contains(&(self.now_ms() - begun_ms))
    }

    async fn order_of_form(&self, form_key: &str) -> Result<Option<Checkout>> {
        match self.form_use(form_key).await? {
            FormUse::Open(checkout) => Ok(Some(checkout)),
            FormUse::Free(_) => Ok(None),
        }
    }
}
