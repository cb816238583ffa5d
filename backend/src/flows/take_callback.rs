//! A provider's callback: proven, then stored with all that follows from it, then answered.

use crate::{
    Context, Error, db,
    flows::{
        after_commit::{AfterCommit, alarm, publish_after_commit},
        apply_payment_fact::apply_notified_fact,
    },
    payments::{
        accounts::provider,
        inbox,
        outcome::Outcome,
        provider::{CallbackError, RawCallback, VerifiedCallback},
    },
};
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
    Internal(#[from] Error),
}

/// Headers kept with a callback: what a dispute needs to verify it again.
const KEPT_HEADERS: [&str; 4] = ["wechatpay-timestamp", "wechatpay-nonce", "wechatpay-signature", "wechatpay-serial"];

/// Takes a provider's callback for a merchant account (by its token, as in the notify address). `Ok` only once all
/// that follows from it is committed.
pub async fn callback(ctx: &Context, account_token: &str, raw: RawCallback<'_>) -> Result<(), CallbackFailure> {
    let account = account_by_token(ctx, account_token).await?.ok_or(CallbackFailure::NoAccount)?;
    let provider = provider(ctx, &account)?;
    let verified = match provider.verify_callback(raw, ctx.clock.wall_ms()) {
        Ok(verified) => verified,
        // Authentic, but not ours: it is kept, a person is told, and the provider need not send it again.
        Err(CallbackError::Foreign(what)) => {
            let message = "a callback concerns another merchant";
            return Ok(store_unreadable(ctx, &account, raw, &what, Outcome::Foreign, message).await?);
        }
        // Authentic, and a repeat would be the same. The facts will come from a query or from the statement.
        Err(CallbackError::Content(what)) => {
            metrics::counter!("coinwire_callbacks_not_understood_total").increment(1);
            tracing::warn!(account = account.id, what, "a callback is authentic and not understood");
            let message = "a callback of the payment provider was not understood";
            return Ok(store_unreadable(ctx, &account, raw, &what, Outcome::Unreadable, message).await?);
        }
        Err(error) => {
            metrics::counter!("coinwire_callbacks_refused_total").increment(1);
            return Err(error.into());
        }
    };
    let verified = &verified;
    let account = &account;
    let after = ctx
        .db
        .write(|txn| async move {
            let txn = &*txn;
            let mut after = AfterCommit::default();
            let outcome = apply_notified_fact(ctx, txn, account, &verified.fact, &mut after).await?;
            store(txn, account.id, raw, verified, outcome, ctx.now_ms()).await?;
            Ok(after)
        })
        .await;
    match after {
        Ok(after) => publish_after_commit(ctx, after).await,
        // The event is in the inbox already: everything that follows from it was committed then.
        Err(Error::Store(error)) if db::is_unique_violation(&error) => {
            known_event(ctx, account.id, &verified.event_id).await?.then_some(()).ok_or(Error::Store(error))?;
            metrics::counter!("coinwire_callbacks_repeated_total").increment(1);
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

async fn account_by_token(ctx: &Context, token: &str) -> crate::Result<Option<crate::payments::account::Model>> {
    use crate::payments::account::{Column, Entity};
    Ok(Entity::find().filter(Column::Token.eq(token)).one(ctx.db.read()).await?)
}

async fn known_event(ctx: &Context, account_id: i64, event_id: &str) -> crate::Result<bool> {
    let found = inbox::Entity::find()
        .filter(inbox::Column::AccountId.eq(account_id))
        .filter(inbox::Column::EventId.eq(event_id))
        .count(ctx.db.read())
        .await?;
    Ok(found > 0)
}

/// Stores a callback that has no effect, and raises an alarm.
async fn store_unreadable(
    ctx: &Context,
    account: &crate::payments::account::Model,
    raw: RawCallback<'_>,
    what: &str,
    outcome: Outcome,
    message: &str,
) -> crate::Result<()> {
    let hash = digest::digest(&digest::SHA256, raw.body);
    let event_id = format!("{}-{}", outcome.as_str(), hex::encode(&hash.as_ref()[..16]));
    let event_id = &event_id;
    let stored = ctx
        .db
        .write(|txn| async move {
            let txn = &*txn;
            let row = row(account.id, raw, event_id, what, outcome, ctx.now_ms());
            inbox::Entity::insert(row).exec_without_returning(txn).await?;
            Ok(())
        })
        .await;
    match stored {
        Err(Error::Store(error)) if db::is_unique_violation(&error) => return Ok(()),
        stored => stored?,
    }
    alarm(ctx, account.operator_id, None, message);
    Ok(())
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
