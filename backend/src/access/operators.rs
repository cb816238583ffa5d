//! Operators: made, changed and listed.

use crate::{
    Context, Error, Result,
    access::{operator, passwords::hash},
    db,
    money::Currency,
    zones::Zone,
};
use sea_orm::{ActiveValue::Set, QueryOrder, prelude::*};
use serde::Serialize;

pub(crate) async fn operator_row(ctx: &Context, operator_id: i64) -> Result<operator::Model> {
    operator::Entity::find_by_id(operator_id).one(ctx.db.read()).await?.ok_or(Error::NotFound("operator"))
}

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

/// An operator in a list.
#[derive(Debug, Clone, Serialize)]
pub struct OperatorRow {
    /// Its number.
    pub operator_id: i64,
    /// Short name in topics.
    pub slug: String,
    /// The name that consumers read.
    pub name: String,
    /// Code of the currency of its prices.
    pub currency: String,
    /// Name of the time zone where its days begin.
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

/// Changes an operator: sales under way are refunded by the rule that holds when they fail.
pub async fn change_operator(ctx: &Context, operator_id: i64, change: OperatorChange) -> Result<()> {
    let name = change.name.as_deref().map(checked_name).transpose()?;
    let contact = change.contact.as_deref().map(contact).transpose()?;
    let operator = operator_row(ctx, operator_id).await?;
    let (name, contact, change, operator) = (&name, &contact, &change, &operator);
    ctx.db
        .write(|txn| async move {
            let mut row: operator::ActiveModel = operator.clone().into();
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
            if row.is_changed() {
                row.update_without_returning(&*txn).await?;
            }
            Ok(())
        })
        .await
}

/// All operators, in the order of their numbers.
pub async fn operators(ctx: &Context) -> Result<Vec<OperatorRow>> {
    let rows = operator::Entity::find().order_by_asc(operator::Column::Id).all(ctx.db.read()).await?;
    Ok(rows.into_iter().map(OperatorRow::of).collect())
}

/// An operator by its number or its short name.
pub async fn find_operator(ctx: &Context, number_or_slug: &str) -> Result<OperatorRow> {
    let by_number = match number_or_slug.parse::<i64>() {
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

/// Makes an operator; gives its number.
pub async fn add_operator(ctx: &Context, new: NewOperator) -> Result<i64> {
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
        .write(|txn| async move { Ok(operator::Entity::insert(row.clone()).exec(&*txn).await?.last_insert_id) })
        .await;
    unique_or_invalid(stored, "slug", "is taken by another operator")
}

/// Sets the password with which an operator's programs read its topics. User name is the operator's slug.
pub async fn set_integrator_password(ctx: &Context, operator_id: i64, password: &str) -> Result<()> {
    let operator = operator_row(ctx, operator_id).await?;
    let hash = hash(password).await?;
    let operator = &operator;
    let hash = &hash;
    ctx.db
        .write(|txn| async move {
            let txn = &*txn;
            let mut change: operator::ActiveModel = operator.clone().into();
            change.integrator_password_hash = Set(Some(hash.clone()));
            change.update_without_returning(txn).await?;
            Ok(())
        })
        .await
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

fn contact(contact: &str) -> Result<String> {
    let contact = contact.trim();
    if contact.chars().count() > CONTACT_CHARS || contact.chars().any(char::is_control) {
        return Err(Error::invalid("contact", "must be one line of at most 120 characters"));
    }
    Ok(contact.to_owned())
}

/// Turns a violated unique index into an error about the field.
pub(crate) fn unique_or_invalid<T>(stored: Result<T>, field: &'static str, message: &str) -> Result<T> {
    match stored {
        Err(Error::Store(error)) if db::is_unique_violation(&error) => Err(Error::invalid(field, message)),
        stored => stored,
    }
}
