//! A provider's callback: proven, then stored with all that follows from it, then answered.

use crate::{
    Context, Error, db,
    flows::{
        after_commit::{AfterCommit, publish_after_commit},
        apply_payment_fact::apply_notified_fact,
    },
    ids::AccountId,
    payments::{
        account,
        accounts::provider,
        inbox,
        outcome::Outcome,
        provider::{CallbackAnswer, CallbackContent, CallbackError, Fact, Provider, RawCallback, VerifiedCallback},
    },
};
use sea_orm::{ActiveValue::Set, DatabaseTransaction, QuerySelect, prelude::*};

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

impl CallbackFailure {
    /// The HTTP status that says so.
    fn status(&self) -> u16 {
        match self {
            Self::NoAccount => 404,
            Self::Untrusted(_) => 401,
            Self::Internal(_) => 503,
        }
    }

    /// The sentence that says so. Our own troubles are not disclosed.
    fn sentence(&self) -> String {
        match self {
            Self::NoAccount | Self::Untrusted(_) => self.to_string(),
            Self::Internal(_) => "could not be stored; send it again".into(),
        }
    }
}

/// A callback that is not taken.
#[derive(Debug)]
pub struct Rejected {
    /// Why.
    pub cause: CallbackFailure,
    /// What it is answered, in the provider's manner.
    pub answer: CallbackAnswer,
}

/// Takes a callback that arrived at a provider's address for a merchant account (by its token). Gives the answer, in the
/// provider's manner, only once all that follows from the callback is committed.
///
/// # Errors
/// If it is not taken, with the answer to that.
pub async fn callback(
    ctx: &Context,
    provider_word: &str,
    account_token: &str,
    raw: RawCallback<'_>,
) -> Result<CallbackAnswer, Rejected> {
    let opened = match account_by_token(ctx, account_token).await {
        // An account's callbacks come to its own provider's address.
        Ok(Some(account)) if account.provider == provider_word => provider(ctx, &account).map(|p| (account, p)),
        Ok(_) => return Err(reject(CallbackFailure::NoAccount, CallbackAnswer::failure)),
        Err(error) => Err(error),
    };
    let (account, provider) = opened.map_err(|error| reject(error.into(), CallbackAnswer::failure))?;
    let rules = provider.profile().callbacks;
    match take(ctx, &account, &*provider, raw).await {
        Ok(()) => Ok((rules.taken)()),
        Err(cause) => Err(reject(cause, rules.failed)),
    }
}

fn reject(cause: CallbackFailure, failed: fn(u16, &str) -> CallbackAnswer) -> Rejected {
    let answer = failed(cause.status(), &cause.sentence());
    Rejected { cause, answer }
}

async fn take(
    ctx: &Context,
    account: &account::Model,
    provider: &dyn Provider,
    raw: RawCallback<'_>,
) -> Result<(), CallbackFailure> {
    let verified = provider.verify_callback(raw, ctx.clock.wall_ms()).inspect_err(|_| {
        metrics::counter!("coinwire_callbacks_refused_total").increment(1);
    })?;
    let what = match &verified.content {
        CallbackContent::Facts(facts) => Ok(facts.as_slice()),
        CallbackContent::Irrelevant => {
            metrics::counter!("coinwire_callbacks_irrelevant_total").increment(1);
            return Ok(());
        }
        CallbackContent::Foreign(whose) => {
            tracing::warn!(account = %account.id, whose, "a callback concerns another merchant");
            Err((Outcome::Foreign, "a callback concerns another merchant"))
        }
        // The facts will come from a query or from the statement.
        CallbackContent::NotUnderstood(why) => {
            metrics::counter!("coinwire_callbacks_not_understood_total").increment(1);
            tracing::warn!(account = %account.id, why, "a callback is authentic and not understood");
            Err((Outcome::NotUnderstood, "a callback of the payment provider was not understood"))
        }
    };
    let row = &inbox_row(account.id, raw, &verified, provider.profile().callbacks.kept_headers, ctx.now_ms());
    let what = &what;
    let after = ctx
        .db
        .write(|txn| async move {
            let txn = &*txn;
            let mut after = AfterCommit::default();
            let outcome = match what {
                Ok(facts) => apply_all(ctx, txn, account, facts, &mut after).await?,
                Err((outcome, message)) => {
                    after.alarm(account.operator_id, None, (*message).to_owned());
                    *outcome
                }
            };
            let row = inbox::ActiveModel { outcome: Set(outcome), ..row.clone() };
            inbox::Entity::insert(row).exec_without_returning(txn).await?;
            Ok(after)
        })
        .await;
    match after {
        Ok(after) => publish_after_commit(ctx, after).await,
        // The event is in the inbox already: everything that follows from it was committed then.
        Err(Error::Store(error)) if db::is_unique_violation(&error) => {
            let known = known_event(ctx, account.id, &verified.event_id).await?.ok_or(Error::Store(error))?;
            metrics::counter!("coinwire_callbacks_repeated_total").increment(1);
            if let Ok(facts) = what {
                take_again(ctx, account, known, facts).await?;
            }
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// An event that came before and could not be made use of then, since it was not understood or not this merchant's: the
/// server may be newer by now, or the account's file mended. One that was made use of is left alone.
async fn take_again(
    ctx: &Context,
    account: &account::Model,
    (inbox_id, outcome): (i64, Outcome),
    facts: &[Fact],
) -> crate::Result<()> {
    let useless = |outcome: Outcome| matches!(outcome, Outcome::NotUnderstood | Outcome::Foreign);
    if !useless(outcome) {
        return Ok(());
    }
    let after = ctx
        .db
        .write(|txn| async move {
            let txn = &*txn;
            let mut after = AfterCommit::default();
            // Of copies that come at once the first one takes it.
            let row = inbox::Entity::find_by_id(inbox_id).lock_exclusive().one(txn).await?;
            let Some(row) = row.filter(|row| useless(row.outcome)) else { return Ok(after) };
            let outcome = apply_all(ctx, txn, account, facts, &mut after).await?;
            let mut change: inbox::ActiveModel = row.into();
            change.outcome = Set(outcome);
            change.update_without_returning(txn).await?;
            Ok(after)
        })
        .await?;
    publish_after_commit(ctx, after).await;
    Ok(())
}

/// Applies what a callback says, all or nothing. What comes of it is what came of the weightiest.
async fn apply_all(
    ctx: &Context,
    txn: &DatabaseTransaction,
    account: &account::Model,
    facts: &[Fact],
    after: &mut AfterCommit,
) -> crate::Result<Outcome> {
    let mut heaviest = Outcome::Unchanged;
    for fact in facts {
        heaviest = heaviest.max(apply_notified_fact(ctx, txn, account, fact, after).await?);
    }
    Ok(heaviest)
}

async fn account_by_token(ctx: &Context, token: &str) -> crate::Result<Option<account::Model>> {
    Ok(account::Entity::find().filter(account::Column::Token.eq(token)).one(ctx.db.read()).await?)
}

/// An event of the inbox: its number there, and what became of it.
async fn known_event(ctx: &Context, account_id: AccountId, event_id: &str) -> crate::Result<Option<(i64, Outcome)>> {
    Ok(inbox::Entity::find()
        .select_only()
        .columns([inbox::Column::Id, inbox::Column::Outcome])
        .filter(inbox::Column::AccountId.eq(account_id))
        .filter(inbox::Column::EventId.eq(event_id))
        .into_tuple()
        .one(ctx.db.read())
        .await?)
}

fn inbox_row(
    account_id: AccountId,
    raw: RawCallback<'_>,
    verified: &VerifiedCallback,
    kept_headers: &[&str],
    now_ms: i64,
) -> inbox::ActiveModel {
    let headers: Vec<String> = raw
        .headers
        .iter()
        .filter(|(name, _)| kept_headers.contains(&name.as_str()))
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    inbox::ActiveModel {
        account_id: Set(account_id),
        event_id: Set(verified.event_id.clone()),
        headers: Set(headers.join("\n")),
        body: Set(raw.body.to_vec()),
        plaintext: Set(verified.plaintext.clone()),
        received_ms: Set(now_ms),
        ..Default::default()
    }
}
