//! An operator is made or changed, and its programs get a password.

use crate::{
    Context, Error, Result,
    access::{
        actor::Actor,
        audit::{self, Change},
        operations::Operation,
        operator,
        operators::{check_slug, checked_name, lock_operator, operator_row, unique_or_invalid},
        passwords::hash,
    },
    ids::OperatorId,
    money::Currency,
    zones::Zone,
};
use sea_orm::{ActiveValue::Set, TryIntoModel, prelude::*};
use serde_json::json;

/// An operator to be made.
#[derive(Debug, Clone)]
pub struct NewOperator {
    /// Short name in topics: 3 to 32 of `a-z`, `0-9`, `-`.
    pub slug: String,
    /// The name that consumers read.
    pub name: String,
    /// Currency of its prices.
    pub currency: Currency,
    /// Where its days begin.
    pub time_zone: Zone,
    /// Partly given credits: refund the remainder only.
    pub refund_remainder: bool,
}

/// The longest contact of an operator, in characters.
const CONTACT_CHARS: usize = 120;

/// What is to be changed of an operator. What is not given stays.
#[derive(Debug, Clone, Default)]
pub struct OperatorChange {
    /// The name that consumers read.
    pub name: Option<String>,
    /// Whom payers turn to, as the scan and sale pages show it: a phone number, an e-mail address or some words. An empty
    /// text removes it.
    pub contact: Option<String>,
    /// Where its days begin.
    pub time_zone: Option<Zone>,
    /// Partly given credits: refund the remainder only.
    pub refund_remainder: Option<bool>,
}

/// Makes an operator; gives its number.
///
/// # Errors
///
/// `Invalid` names the field; `Forbidden`, `Store`.
pub async fn add_operator(ctx: &Context, actor: &Actor, new: NewOperator) -> Result<OperatorId> {
    let permit = actor.permit_all(Operation::AddOperator)?;
    check_slug(&new.slug)?;
    let row = operator::ActiveModel {
        slug: Set(new.slug),
        name: Set(checked_name(&new.name)?),
        currency: Set(new.currency.code().into()),
        time_zone: Set(new.time_zone.name().into()),
        refund_remainder: Set(new.refund_remainder),
        created_ms: Set(ctx.now_ms()),
        members_version: Set(0),
        ..Default::default()
    };
    let row = &row;
    let stored = ctx
        .db
        .write(|txn| async move {
            let txn = &*txn;
            let made = row.clone().insert(txn).await?;
            let mut told = facts(&made);
            told["slug"] = json!(made.slug);
            told["currency"] = json!(made.currency);
            audit::record(ctx, txn, permit.concerning(made.id), ("operator", made.id), Change::to(told)).await?;
            Ok(made.id)
        })
        .await;
    unique_or_invalid(stored, "slug", "is taken by another operator")
}

/// Changes an operator: sales under way are refunded by the rule that holds when they fail.
///
/// # Errors
///
/// `Invalid` names the field; `NotFound`, `Forbidden`, `Store`.
pub async fn change_operator(
    ctx: &Context,
    actor: &Actor,
    operator_id: OperatorId,
    change: OperatorChange,
) -> Result<()> {
    let permit = actor.permit(Operation::ChangeOperator, operator_id, "operator")?;
    let name = change.name.as_deref().map(checked_name).transpose()?;
    let contact = change.contact.as_deref().map(checked_contact).transpose()?;
    let (name, contact, change) = (&name, &contact, &change);
    ctx.db
        .write(|txn| async move {
            let txn = &*txn;
            let before = lock_operator(txn, operator_id).await?;
            let mut row: operator::ActiveModel = before.clone().into();
            if let Some(name) = name {
                row.name = Set(name.clone());
            }
            if let Some(contact) = contact {
                row.contact = Set(contact.clone());
            }
            if let Some(zone) = &change.time_zone {
                row.time_zone = Set(zone.name().into());
            }
            if let Some(remainder) = change.refund_remainder {
                row.refund_remainder = Set(remainder);
            }
            if !row.is_changed() {
                return Ok(());
            }
            let after = row.clone().try_into_model()?;
            row.update_without_returning(txn).await?;
            let told = Change::between(facts(&before), facts(&after));
            audit::record_change(ctx, txn, permit, ("operator", operator_id), told).await
        })
        .await
}

/// Sets the password with which an operator's programs read its topics. User name is the operator's slug.
///
/// # Errors
///
/// `Invalid` says what is wrong with the password; `NotFound`, `Forbidden`, `Busy`, `Store`.
pub async fn set_integrator_password(
    ctx: &Context,
    actor: &Actor,
    operator_id: OperatorId,
    password: &str,
) -> Result<()> {
    let permit = actor.permit(Operation::SetIntegratorPassword, operator_id, "operator")?;
    operator_row(ctx, operator_id).await?;
    let hash = hash(password).await?;
    let hash = &hash;
    ctx.db
        .write(|txn| async move {
            let txn = &*txn;
            let mut change: operator::ActiveModel = lock_operator(txn, operator_id).await?.into();
            change.integrator_password_hash = Set(Some(hash.clone()));
            change.update_without_returning(txn).await?;
            audit::record(ctx, txn, permit, ("operator", operator_id), Change::secret("integrator_password")).await
        })
        .await
}

/// An operator as the audit log has it.
fn facts(operator: &operator::Model) -> serde_json::Value {
    json!({
        "name": operator.name,
        "contact": operator.contact,
        "time_zone": operator.time_zone,
        "refund_remainder": operator.refund_remainder,
    })
}

fn checked_contact(contact: &str) -> Result<String> {
    let contact = contact.trim();
    if contact.chars().count() > CONTACT_CHARS || contact.chars().any(char::is_control) {
        return Err(Error::invalid("contact", "must be one line of at most 120 characters"));
    }
    Ok(contact.to_owned())
}
