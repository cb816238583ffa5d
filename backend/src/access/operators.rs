//! Operators, found and listed.

use crate::{
    Context, Error, Result,
    access::{actor::Actor, operations::Operation, operator},
    db,
    ids::OperatorId,
};
use sea_orm::{DatabaseTransaction, QueryOrder, QuerySelect, prelude::*};
use serde::Serialize;

pub(crate) async fn operator_row(ctx: &Context, operator_id: OperatorId) -> Result<operator::Model> {
    operator::Entity::find_by_id(operator_id).one(ctx.db.read()).await?.ok_or(Error::NotFound("operator"))
}

/// Reads and locks an operator, to change it or its members: until the transaction ends, nobody else can.
pub(crate) async fn lock_operator(txn: &DatabaseTransaction, operator_id: OperatorId) -> Result<operator::Model> {
    let found = operator::Entity::find_by_id(operator_id).lock_exclusive().one(txn).await?;
    found.ok_or(Error::NotFound("operator"))
}

/// An operator in a list.
#[derive(Debug, Clone, Serialize)]
pub struct OperatorRow {
    /// Its number.
    pub operator_id: OperatorId,
    /// Short name in topics.
    pub slug: String,
    /// The name that consumers read.
    pub name: String,
    /// Code of the currency of its prices.
    pub currency: String,
    /// Name of the time zone in which its days begin.
    pub time_zone: String,
    /// Partly given credits: only the remainder is refunded.
    pub refund_remainder: bool,
    /// Whether its programs have a password for MQTT.
    pub has_integrator: bool,
    /// Unix milliseconds.
    pub created_ms: i64,
}

impl OperatorRow {
    fn of(row: operator::Model) -> Self {
        Self {
            operator_id: row.id,
            slug: row.slug,
            name: row.name,
            currency: row.currency,
            time_zone: row.time_zone,
            refund_remainder: row.refund_remainder,
            has_integrator: row.integrator_password_hash.is_some(),
            created_ms: row.created_ms,
        }
    }
}

/// All operators, in the order of their numbers.
///
/// # Errors
///
/// `Forbidden`, `Store`.
pub async fn operators(ctx: &Context, actor: &Actor) -> Result<Vec<OperatorRow>> {
    actor.permit_all(Operation::ListOperators)?;
    let rows = operator::Entity::find().order_by_asc(operator::Column::Id).all(ctx.db.read()).await?;
    Ok(rows.into_iter().map(OperatorRow::of).collect())
}

/// An operator by its number or its short name.
///
/// # Errors
///
/// `NotFound`, `Forbidden`, `Store`.
pub async fn find_operator(ctx: &Context, actor: &Actor, number_or_slug: &str) -> Result<OperatorRow> {
    actor.permit_all(Operation::ListOperators)?;
    let by_number = match number_or_slug.parse::<OperatorId>() {
        Ok(number) => operator::Entity::find_by_id(number).one(ctx.db.read()).await?,
        Err(_) => None,
    };
    let by_slug = operator::Entity::find().filter(operator::Column::Slug.eq(number_or_slug));
    let found = match by_number {
        Some(operator) => Some(operator),
        None => by_slug.one(ctx.db.read()).await?,
    };
    found.map(OperatorRow::of).ok_or(Error::NotFound("operator"))
}

/// A short name, as topics have it.
pub(crate) fn check_slug(slug: &str) -> Result<()> {
    let is_plain = slug.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if (3..=32).contains(&slug.len()) && is_plain {
        Ok(())
    } else {
        Err(Error::invalid("slug", "must be 3 to 32 of a-z, 0-9 and -"))
    }
}

/// A name as people give it: 1 to 60 characters.
pub(crate) fn checked_name(name: &str) -> Result<String> {
    let name = name.trim();
    if (1..=60).contains(&name.chars().count()) {
        Ok(name.to_owned())
    } else {
        Err(Error::invalid("name", "must have 1 to 60 characters"))
    }
}

/// Turns a violated unique index into an error about the field.
pub(crate) fn unique_or_invalid<T>(stored: Result<T>, field: &'static str, message: &str) -> Result<T> {
    match stored {
        Err(Error::Store(error)) if db::is_unique_violation(&error) => Err(Error::invalid(field, message)),
        stored => stored,
    }
}
