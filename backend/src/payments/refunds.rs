//! Refunds: decided in a sale's transaction, submitted here, under one number until the provider is sure.

use super::{
    account,
    facts::Heard,
    provider::{Provider, ProviderError, RefundRequest, RefundState},
    refund, refund_state,
};
use crate::{Backend, Error, Result, Rules, ledger, sales::After};
use futures_util::{StreamExt, stream};
use sea_orm::{QueryOrder, QuerySelect, prelude::*, sea_query::Expr};

/// So many refunds are worked on at once.
const WORKED_AT_ONCE: usize = 8;
/// What the payer reads on the statement.
const REASON: &str = "未提供服务退款 (not served)";
/// A note is cut to this many characters.
const NOTE_CHARS: usize = 180;

impl Rules {
    pub(crate) fn refund_wait_ms(&self, tries: i32) -> i64 {
        Rules::backoff_ms(self.refund_first_ms, self.refund_max_ms, tries)
    }
}

impl Backend {
    /// Works on every refund that is due.
    pub(crate) async fn work_due_refunds(&self) -> Result<()> {
        let due = refund::Entity::find()
            .filter(refund::Column::DueMs.lte(self.now_ms()))
            .order_by_asc(refund::Column::DueMs)
            .limit(self.rules.batch_rows)
            .all(self.db.read())
            .await?;
        stream::iter(due)
            .for_each_concurrent(WORKED_AT_ONCE, async |refund| {
                let id = refund.id;
                if let Err(error) = self.work_on_refund(refund).await {
                    tracing::warn!(refund = id, %error, "could not work on a refund; will try again");
                }
            })
            .await;
        Ok(())
    }

    async fn work_on_refund(&self, refund: refund::Model) -> Result<()> {
        if !self.claim(&refund).await? {
            return Ok(());
        }
        let (account, provider) = self.account(refund.account_id).await?;
        match self.ask_for_refund(&refund, &account, &*provider).await? {
            Ok(state) => self.refund_answered(&refund, state).await,
            Err(error) => self.refund_refused(&refund, error).await,
        }
    }

    /// What the provider says of a claimed refund. One that may have reached it before is asked about first: a repeat
    /// counts as the same request only while every parameter is the same, and our address may have changed since.
    async fn ask_for_refund(
        &self,
        refund: &refund::Model,
        account: &account::Model,
        provider: &dyn Provider,
    ) -> Result<Result<RefundState, ProviderError>> {
        if refund.state != refund_state::PENDING {
            let known = provider.query_refund(&refund.out_refund_no).await;
            // What the provider has taken, or was asked elsewhere, is not asked of it again.
            let was_taken = [refund_state::PROCESSING, refund_state::DONE].contains(&refund.state.as_str());
            if !matches!(known, Ok(RefundState::NotFound)) || was_taken || refund.is_outside() {
                return Ok(known);
            }
        }
        let attempt = super::attempt::Entity::find_by_id(refund.attempt_id)
            .one(self.db.read())
            .await?
            .ok_or(Error::NotFound("attempt"))?;
        let request = RefundRequest {
            total_minor: attempt.taken_minor(),
            out_trade_no: attempt.out_trade_no,
            out_refund_no: refund.out_refund_no.clone(),
            refund_minor: refund.amount_minor,
            currency: ledger::currency(&refund.currency),
            reason: REASON.into(),
            notify_url: self.notify_url(account),
        };
        Ok(provider.refund(&request).await)
    }

    async fn refund_answered(&self, asked: &refund::Model, state: RefundState) -> Result<()> {
        let after = self
            .db
            .write(|txn| async move {
                let txn = &*txn;
                let mut after = After::default();
                let refund = refund::Entity::find_by_id(asked.id).one(txn).await?.ok_or(Error::NotFound("refund"))?;
                // An answer about a number that was given up meanwhile says nothing about the new one.
                if refund.out_refund_no != asked.out_refund_no {
                    return Ok(after);
                }
                self.refund_moved(txn, refund, state, Heard::Asked, &mut after).await?;
                Ok(after)
            })
            .await?;
        self.follow_up(after).await;
        Ok(())
    }

    /// Takes a refund to work on: from here on it cannot be taken back. False if somebody else has it, or it is gone.
    async fn claim(&self, refund: &refund::Model) -> Result<bool> {
        let next_state = match refund.state.as_str() {
            refund_state::PROCESSING => refund_state::PROCESSING,
            refund_state::DONE => refund_state::DONE,
            _ => refund_state::SUBMITTED,
        };
        let due_ms = self.now_ms() + self.rules.refund_wait_ms(refund.tries);
        let claimed = self
            .db
            .write(|txn| async move {
                let txn = &*txn;
                let update = refund::Entity::update_many()
                    .col_expr(refund::Column::State, Expr::value(next_state))
                    .col_expr(refund::Column::DueMs, Expr::value(due_ms))
                    .col_expr(refund::Column::Tries, Expr::value(refund.tries + 1))
                    .filter(refund::Column::Id.eq(refund.id))
                    .filter(refund::Column::State.eq(&refund.state))
                    .filter(refund::Column::DueMs.eq(refund.due_ms))
                    .exec(txn)
                    .await?;
                Ok(update.rows_affected == 1)
            })
            .await?;
        Ok(claimed)
    }

    /// The provider did not take it: it is tried again under the same number, until a person must look.
    async fn refund_refused(&self, refund: &refund::Model, error: ProviderError) -> Result<()> {
        metrics::counter!("coinwire_provider_errors_total").increment(1);
        tracing::warn!(refund = refund.id, %error, "a refund was not taken");
        let note: String = error.to_string().chars().take(NOTE_CHARS).collect();
        let note = &note;
        self.db
            .write(|txn| async move {
                let txn = &*txn;
                refund::Entity::update_many()
                    .col_expr(refund::Column::Note, Expr::value(note.clone()))
                    .filter(refund::Column::Id.eq(refund.id))
                    .exec(txn)
                    .await?;
                Ok(())
            })
            .await?;
        let sale = self.sale_row(refund.sale_id).await?;
        match error {
            ProviderError::InsufficientBalance => {
                self.alarm(sale.operator_id, Some(sale.machine_id), "the merchant account is too empty for a refund");
                Ok(())
            }
            // Only a plain refusal, again and again, is for a person: with any other answer it may still go through.
            ProviderError::Refused { .. } if refund.tries + 1 >= self.rules.refund_tries_max => {
                self.refund_answered(refund, RefundState::Abnormal).await
            }
            ProviderError::Refused { .. }
            | ProviderError::Unknown(_)
            | ProviderError::Busy(_)
            | ProviderError::Untrusted(_) => Ok(()),
        }
    }
}
