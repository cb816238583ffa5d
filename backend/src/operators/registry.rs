//! Operators and their members: made, and given credentials.

use super::{member, operator};
use crate::{Backend, Error, Result, db, money::Currency, passwords::hash};
use sea_orm::{ActiveValue::Set, prelude::*};

/// An operator to be made.
#[derive(Debug, Clone)]
pub struct NewOperator {
    /// Short name in topics: 3 to 32 of `a-z`, `0-9`, `-`.
    pub slug: String,
    /// The name that consumers read.
    pub name: String,
    /// Currency of its prices.
    pub currency: Currency,
    /// Its day begins so many minutes before UTC's.
    pub utc_offset_min: i32,
    /// Partly given credits: refund the remainder only.
    pub refund_remainder: bool,
}

/// The longest contact of an operator, in characters.
const CONTACT_CHARS: usize = 120;

impl Backend {
    /// Makes an operator; gives its number.
    pub async fn add_operator(&self, new: NewOperator) -> Result<i64> {
        check_slug(&new.slug)?;
        let row = operator::ActiveModel {
            slug: Set(new.slug),
            name: Set(named(&new.name)?),
            currency: Set(new.currency.code().into()),
            utc_offset_min: Set(new.utc_offset_min.clamp(-14 * 60, 14 * 60)),
            refund_remainder: Set(new.refund_remainder),
            created_ms: Set(self.now_ms()),
            ..Default::default()
        };
        let row = &row;
        let stored = self
            .db
            .write(|txn| async move { Ok(operator::Entity::insert(row.clone()).exec(&*txn).await?.last_insert_id) })
            .await;
        taken(stored, "slug", "is taken by another operator")
    }

    /// Makes a member who can sign in.
    pub async fn add_member(&self, operator_id: i64, email: &str, password: &str) -> Result<i64> {
        let email = email.trim().to_lowercase();
        if !email.contains('@') || email.chars().count() > 190 {
            return Err(Error::invalid("email", "must be an e-mail address"));
        }
        self.operator_row(operator_id).await?;
        let password_hash = hash(password).await?;
        let row = member::ActiveModel {
            operator_id: Set(operator_id),
            email: Set(email),
            password_hash: Set(password_hash),
            created_ms: Set(self.now_ms()),
            ..Default::default()
        };
        let row = &row;
        let stored = self
            .db
            .write(|txn| async move { Ok(member::Entity::insert(row.clone()).exec(&*txn).await?.last_insert_id) })
            .await;
        taken(stored, "email", "is a member already")
    }

    /// Sets the password with which an operator's programs read its topics. User name is the operator's slug.
    pub async fn set_integrator_password(&self, operator_id: i64, password: &str) -> Result<()> {
        let operator = self.operator_row(operator_id).await?;
        let hash = hash(password).await?;
        let operator = &operator;
        let hash = &hash;
        self.db
            .write(|txn| async move {
                let txn = &*txn;
                let mut change: operator::ActiveModel = operator.clone().into();
                change.integrator_password_hash = Set(Some(hash.clone()));
                change.update_without_returning(txn).await?;
                Ok(())
            })
            .await
    }

    /// Sets whom payers turn to, as the scan and sale pages show it: a phone number, an e-mail address or some words. An
    /// empty text removes it.
    pub async fn set_operator_contact(&self, operator_id: i64, contact: &str) -> Result<()> {
        let contact = contact.trim();
        if contact.chars().count() > CONTACT_CHARS || contact.chars().any(char::is_control) {
            return Err(Error::invalid("contact", "must be one line of at most 120 characters"));
        }
        let operator = self.operator_row(operator_id).await?;
        let operator = &operator;
        self.db
            .write(|txn| async move {
                let txn = &*txn;
                let mut change: operator::ActiveModel = operator.clone().into();
                change.contact = Set(contact.to_owned());
                change.update_without_returning(txn).await?;
                Ok(())
            })
            .await
    }

    /// Whether there is any operator yet.
    pub async fn has_operators(&self) -> Result<bool> {
        Ok(operator::Entity::find().count(self.db.read()).await? > 0)
    }
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
pub(crate) fn named(name: &str) -> Result<String> {
    let name = name.trim();
    if (1..=60).contains(&name.chars().count()) {
        Ok(name.to_owned())
    } else {
        Err(Error::invalid("name", "must have 1 to 60 characters"))
    }
}

/// A unique index that refused becomes a sentence about the field.
pub(crate) fn taken<T>(stored: Result<T>, field: &'static str, message: &str) -> Result<T> {
    match stored {
        Err(Error::Store(error)) if db::is_unique_violation(&error) => Err(Error::invalid(field, message)),
        stored => stored,
    }
}
