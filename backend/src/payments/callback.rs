//! A provider's callback: proven, then stored with all that follows from it, then answered.

use super::{
    facts::Outcome,
    inbox,
    provider::{CallbackError, RawCallback, VerifiedCallback},
};
use crate::{Backend, Error, db, sales::After};
use aws_lc_rs::digest;
use sea_orm::{ActiveValue::Set, ConnectionTrait, prelude::*};

/// Why a callback gets a failure for an answer, so that the provider sends it again (or gives up on a forgery).
#[derive(Debug, thiserror::Error)]
pub enum CallbackFailure {
    /// There is no such merchant account.
    #[error("no such merchant account")]
    NoAccount,
    /// It is not believed.
    #[error(transparent)]
    Untrusted(#[from] CallbackError),
    /// Ours: it could not be stored. The provider shall send it again.
    #[error("could not be stored: {0}")]
    Ours(#[from] Error),
}

/// Headers kept with a callback: what a dispute needs to verify it again.
const KEPT_HEADERS: [&str; 4] = ["wechatpay-timestamp", "wechatpay-nonce", "wechatpay-signature", "wechatpay-serial"];

impl Backend {
    /// Takes a provider's callback for a merchant account (by its token, as in the notify address). `Ok` only once all
    /// that follows from it is committed.
    pub async fn callback(&self, account_token: &str, raw: RawCallback<'_>) -> Result<(), CallbackFailure> {
        let account = self.account_by_token(account_token).await?.ok_or(CallbackFailure::NoAccount)?;
        let provider = self.provider(&account)?;
        let verified = match provider.verify_callback(raw, self.clock.wall_ms()) {
            Ok(verified) => verified,
            // Authentic, but not ours: it is kept, a person is told, and the provider need not send it again.
            Err(CallbackError::Foreign(what)) => return Ok(self.keep_foreign(&account, raw, &what).await?),
            Err(error) => {
                metrics::counter!("coinwire_callbacks_refused_total").increment(1);
                return Err(error.into());
            }
        };
        let verified = &verified;
        let account = &account;
        let after = self
            .db
            .write(|txn| async move {
                let txn = &*txn;
                let mut after = After::default();
                let outcome = self.apply_told_fact(txn, account, &verified.fact, &mut after).await?;
                store(txn, account.id, raw, verified, outcome, self.now_ms()).await?;
                Ok(after)
            })
            .await;
        match after {
            Ok(after) => self.follow_up(after).await,
            // The inbox knew the event: all that follows from it was committed then.
            Err(Error::Store(error)) if db::is_unique_violation(&error) => {
                self.known_event(account.id, &verified.event_id).await?.then_some(()).ok_or(Error::Store(error))?;
                metrics::counter!("coinwire_callbacks_repeated_total").increment(1);
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    async fn account_by_token(&self, token: &str) -> crate::Result<Option<super::account::Model>> {
        use super::account::{Column, Entity};
        Ok(Entity::find().filter(Column::Token.eq(token)).one(self.db.read()).await?)
    }

    async fn known_event(&self, account_id: i64, event_id: &str) -> crate::Result<bool> {
        let found = inbox::Entity::find()
            .filter(inbox::Column::AccountId.eq(account_id))
            .filter(inbox::Column::EventId.eq(event_id))
            .count(self.db.read())
            .await?;
        Ok(found > 0)
    }

    async fn keep_foreign(
        &self,
        account: &super::account::Model,
        raw: RawCallback<'_>,
        what: &str,
    ) -> crate::Result<()> {
        let hash = digest::digest(&digest::SHA256, raw.body);
        let hex: String = hash.as_ref().iter().take(16).map(|b| format!("{b:02x}")).collect();
        let event_id = format!("foreign-{hex}");
        let event_id = &event_id;
        let stored = self
            .db
            .write(|txn| async move {
                let txn = &*txn;
                let row = row(account.id, raw, event_id, what, Outcome::Foreign, self.now_ms());
                inbox::Entity::insert(row).exec_without_returning(txn).await?;
                Ok(())
            })
            .await;
        match stored {
            Err(Error::Store(error)) if db::is_unique_violation(&error) => return Ok(()),
            stored => stored?,
        }
        self.alarm(account.operator_id, None, "a callback concerns another merchant");
        Ok(())
    }
}

async fn store(
    txn: &impl ConnectionTrait,
    account_id: i64,
    raw: RawCallback<'_>,
    verified: &VerifiedCallback,
    outcome: Outcome,
    now_ms: i64,
) -> crate::Result<()> {
    let row = row(account_id, raw, &verified.event_id, &verified.plaintext, outcome, now_ms);
    inbox::Entity::insert(row).exec_without_returning(txn).await?;
    Ok(())
}

fn row(
    account_id: i64,
    raw: RawCallback<'_>,
    event_id: &str,
    plaintext: &str,
    outcome: Outcome,
    now_ms: i64,
) -> inbox::ActiveModel {
    let headers: Vec<String> = raw
        .headers
        .iter()
        .filter(|(name, _)| KEPT_HEADERS.contains(&name.as_str()))
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    inbox::ActiveModel {
        account_id: Set(account_id),
        event_id: Set(event_id.to_owned()),
        outcome: Set(outcome.as_str().into()),
        headers: Set(headers.join("\n")),
        body: Set(raw.body.to_vec()),
        plaintext: Set(plaintext.to_owned()),
        received_ms: Set(now_ms),
        ..Default::default()
    }
}
