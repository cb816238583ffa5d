//! The audit log: who did what, to what, from where, and what it was before. Written in the transaction of what was done.

use crate::{
    Context, Result,
    access::{
        actor::{Actor, Permit, Who},
        audit_entry::{self, ActorKind},
        operations::Operation,
    },
    ids::OperatorId,
};
use sea_orm::{ActiveValue::Set, DatabaseTransaction, QueryOrder, QuerySelect, prelude::*};
use serde::Serialize;
use serde_json::{Map, Value};
use std::fmt::Display;

/// Characters of a name or a subject at most, as their columns are.
const NAME_CHARS: usize = 190;

/// Entries in a list at most.
const LISTED_MAX: u64 = 500;

/// An entry of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditRow {
    /// Its number; they rise.
    pub entry_id: i64,
    /// When, by the wall clock (unix milliseconds).
    pub at_ms: i64,
    /// The operator it concerned, if it concerned one.
    pub operator_id: Option<OperatorId>,
    /// Which kind of somebody acted.
    pub actor_kind: ActorKind,
    /// The number of the member, the operator (an integrator) or the manufacturer.
    pub actor_id: Option<i64>,
    /// A member's e-mail address, or what is known of whoever has a shell.
    pub actor_name: String,
    /// The visitor's address; none for what began on the server.
    pub address: Option<String>,
    /// What was done, as a word.
    pub operation: String,
    /// What it was done to: its kind and its number.
    pub subject: String,
    /// What changed, as it was.
    pub before: Option<Value>,
    /// What changed, as it is since.
    pub after: Option<Value>,
}

impl AuditRow {
    fn of(row: audit_entry::Model) -> Self {
        // Anything that is not JSON is shown as plain text.
        let json = |text: Option<String>| text.map(|text| serde_json::from_str(&text).unwrap_or(Value::String(text)));
        Self {
            entry_id: row.id,
            at_ms: row.at_ms,
            operator_id: row.operator_id,
            actor_kind: row.actor_kind,
            actor_id: row.actor_id,
            actor_name: row.actor_name,
            address: row.address,
            operation: row.operation,
            subject: row.subject,
            before: json(row.before),
            after: json(row.after),
        }
    }
}

/// The newest entries about one operator, or about all operators if none is named. If an entry is named, the entries
/// before it.
///
/// # Errors
///
/// `Forbidden` and `NotFound` as [`Actor`] may; `Store`.
pub async fn entries(
    ctx: &Context,
    actor: &Actor,
    operator: Option<OperatorId>,
    before_entry: Option<i64>,
    count: u64,
) -> Result<Vec<AuditRow>> {
    actor.permit_of(Operation::ListAudit, operator)?;
    let mut query = audit_entry::Entity::find().order_by_desc(audit_entry::Column::Id).limit(count.min(LISTED_MAX));
    if let Some(operator) = operator {
        query = query.filter(audit_entry::Column::OperatorId.eq(operator));
    }
    if let Some(before) = before_entry {
        query = query.filter(audit_entry::Column::Id.lt(before));
    }
    Ok(query.all(ctx.db.read()).await?.into_iter().map(AuditRow::of).collect())
}

/// A change to be recorded, as two JSON objects: before and after. Only the fields that differ are kept.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    before: Map<String, Value>,
    after: Map<String, Value>,
}

impl Change {
    /// From one state of a thing to another. Both are JSON objects, without secrets.
    pub fn between(before: Value, after: Value) -> Self {
        let (mut before, mut after) = (fields(before), fields(after));
        before.retain(|field, value| after.get(field) != Some(value));
        after.retain(|field, _| before.contains_key(field));
        Self { before, after }
    }

    /// A thing that is new, or something that was asked for. A JSON object, without secrets.
    pub fn to(after: Value) -> Self {
        Self { before: Map::new(), after: fields(after) }
    }

    /// A thing that is gone. A JSON object, without secrets.
    pub fn from(before: Value) -> Self {
        Self { before: fields(before), after: Map::new() }
    }

    /// A change of something secret: only the fact of the change is recorded.
    pub fn secret(field: &str) -> Self {
        Self { before: Map::new(), after: Map::from_iter([(field.to_owned(), Value::from("changed"))]) }
    }

    /// Adds one more field to the state after the change.
    pub fn and(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.after.insert(field.to_owned(), value.into());
        self
    }

    fn is_none(&self) -> bool {
        self.before.is_empty() && self.after.is_empty()
    }
}

/// The fields of a JSON object; empty for any other JSON value.
fn fields(object: Value) -> Map<String, Value> {
    if let Value::Object(fields) = object { fields } else { Map::new() }
}

/// Records what this transaction does, with its permit, to a subject (given by kind and number).
///
/// # Errors
///
/// `Store`: the whole transaction is then undone.
pub(crate) async fn record(
    ctx: &Context,
    txn: &DatabaseTransaction,
    permit: Permit<'_>,
    subject: (&str, impl Display),
    change: Change,
) -> Result<()> {
    let (kind, id) = match &permit.actor().who {
        Who::Member { member, .. } => (ActorKind::Member, Some(member.0)),
        Who::Integrator(operator) => (ActorKind::Integrator, Some(operator.0)),
        Who::Manufacturer(manufacturer) => (ActorKind::Manufacturer, Some(manufacturer.0)),
        Who::System { .. } => (ActorKind::System, None),
    };
    let json = |fields: Map<String, Value>| (!fields.is_empty()).then(|| Value::Object(fields).to_string());
    let row = audit_entry::ActiveModel {
        at_ms: Set(ctx.wall_ms()),
        operator_id: Set(permit.operator()),
        actor_kind: Set(kind),
        actor_id: Set(id),
        actor_name: Set(permit.actor().name().chars().take(NAME_CHARS).collect()),
        address: Set(permit.actor().address.map(|address| address.to_string())),
        operation: Set(permit.operation().as_str().to_owned()),
        subject: Set(format!("{} {}", subject.0, subject.1).chars().take(NAME_CHARS).collect()),
        before: Set(json(change.before)),
        after: Set(json(change.after)),
        ..Default::default()
    };
    audit_entry::Entity::insert(row).exec_without_returning(txn).await?;
    Ok(())
}

/// Records a change if there was one. Storing a value that is already there makes no entry.
///
/// # Errors
///
/// As [`record`].
pub(crate) async fn record_change(
    ctx: &Context,
    txn: &DatabaseTransaction,
    permit: Permit<'_>,
    subject: (&str, impl Display),
    change: Change,
) -> Result<()> {
    if change.is_none() { Ok(()) } else { record(ctx, txn, permit, subject, change).await }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_differs_is_kept() {
        let change = Change::between(json!({"name": "a", "site": "b"}), json!({"name": "a", "site": "c"}));
        assert_eq!(Value::Object(change.before), json!({"site": "b"}));
        assert_eq!(Value::Object(change.after), json!({"site": "c"}));
        assert!(Change::between(json!({"name": "a"}), json!({"name": "a"})).is_none());
    }
}
