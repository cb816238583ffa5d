//! Members: who signs in for an operator. Whatever changes a credential ends what it opened: web sessions carry its
//! fingerprint, the broker's side compares those of its connections, and live pages are told to look again.

use crate::{
    Context, Error, Result,
    access::{
        member, operator,
        operators::{operator_row, unique_or_invalid},
        passwords::hash,
    },
    live::{LiveEvent, LiveKind},
};
use sea_orm::{ActiveValue::Set, DatabaseTransaction, ExprTrait, QueryOrder, QuerySelect, prelude::*, sea_query::Expr};
use serde::Serialize;
use std::collections::BTreeMap;

/// A member in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemberRow {
    /// The member's number.
    pub member_id: i64,
    /// The operator's number.
    pub operator_id: i64,
    /// The address the member signs in with.
    pub email: String,
    /// Unix milliseconds.
    pub created_ms: i64,
}

/// How often each operator's members changed, as far as was looked.
#[derive(Debug, Default)]
pub struct MemberVersionsSeen(Option<BTreeMap<i64, i64>>);

/// Makes a member who can sign in.
pub async fn add_member(ctx: &Context, operator_id: i64, email: &str, password: &str) -> Result<i64> {
    let email = email.trim().to_lowercase();
    if !email.contains('@') || email.chars().count() > 190 {
        return Err(Error::invalid("email", "must be an e-mail address"));
    }
    operator_row(ctx, operator_id).await?;
    let password_hash = hash(password).await?;
    let row = member::ActiveModel {
        operator_id: Set(operator_id),
        email: Set(email),
        password_hash: Set(password_hash),
        created_ms: Set(ctx.now_ms()),
        ..Default::default()
    };
    let row = &row;
    let stored = ctx
        .db
        .write(|txn| async move { Ok(member::Entity::insert(row.clone()).exec(&*txn).await?.last_insert_id) })
        .await;
    unique_or_invalid(stored, "email", "is a member already")
}

/// An operator's members, in the order of their numbers.
pub async fn members(ctx: &Context, operator_id: i64) -> Result<Vec<MemberRow>> {
    operator_row(ctx, operator_id).await?;
    let rows = member::Entity::find()
        .filter(member::Column::OperatorId.eq(operator_id))
        .order_by_asc(member::Column::Id)
        .all(ctx.db.read())
        .await?;
    Ok(rows.into_iter().map(MemberRow::of).collect())
}

/// An operator's member by address.
pub async fn find_member(ctx: &Context, operator_id: i64, email: &str) -> Result<MemberRow> {
    let found = member::Entity::find()
        .filter(member::Column::OperatorId.eq(operator_id))
        .filter(member::Column::Email.eq(email.trim().to_lowercase()))
        .one(ctx.db.read())
        .await?;
    found.map(MemberRow::of).ok_or(Error::NotFound("member of this operator"))
}

/// Gives a member another password. Whoever is signed in with the old one no longer is.
pub async fn set_member_password(ctx: &Context, operator_id: i64, member_id: i64, password: &str) -> Result<()> {
    let hash = hash(password).await?;
    let hash = &hash;
    ctx.db
        .write(|txn| async move {
            let txn = &*txn;
            let changed = member::Entity::update_many()
                .col_expr(member::Column::PasswordHash, Expr::value(hash.clone()))
                .filter(member::Column::Id.eq(member_id))
                .filter(member::Column::OperatorId.eq(operator_id))
                .exec(txn)
                .await?;
            count_member_change(txn, operator_id, changed.rows_affected).await
        })
        .await
}

/// Removes a member, who is signed out everywhere.
pub async fn remove_member(ctx: &Context, operator_id: i64, member_id: i64) -> Result<()> {
    ctx.db
        .write(|txn| async move {
            let txn = &*txn;
            let removed = member::Entity::delete_many()
                .filter(member::Column::Id.eq(member_id))
                .filter(member::Column::OperatorId.eq(operator_id))
                .exec(txn)
                .await?;
            count_member_change(txn, operator_id, removed.rows_affected).await
        })
        .await
}

/// Emits a live event for each operator whose members changed since the last call, in any process. To be called
/// periodically.
pub async fn broadcast_member_changes(ctx: &Context, seen: &mut MemberVersionsSeen) -> Result<()> {
    let now: BTreeMap<i64, i64> = operator::Entity::find()
        .select_only()
        .columns([operator::Column::Id, operator::Column::MembersVersion])
        .into_tuple::<(i64, i64)>()
        .all(ctx.db.read())
        .await?
        .into_iter()
        .collect();
    let known = seen.0.replace(now.clone());
    for (operator_id, _) in now
        .into_iter()
        .filter(|(id, version)| known.as_ref().is_some_and(|known| known.get(id).is_some_and(|known| known != version)))
    {
        let what = LiveKind::Members;
        ctx.live.emit(LiveEvent { operator_id, machine_id: None, what, at_ms: ctx.now_ms() });
    }
    Ok(())
}

impl MemberRow {
    fn of(row: member::Model) -> Self {
        Self { member_id: row.id, operator_id: row.operator_id, email: row.email, created_ms: row.created_ms }
    }
}

/// Counts a change of an operator's members, if there was one.
async fn count_member_change(txn: &DatabaseTransaction, operator_id: i64, rows: u64) -> Result<()> {
    if rows != 1 {
        return Err(Error::NotFound("member of this operator"));
    }
    operator::Entity::update_many()
        .col_expr(operator::Column::MembersVersion, Expr::col(operator::Column::MembersVersion).add(1))
        .filter(operator::Column::Id.eq(operator_id))
        .exec(txn)
        .await?;
    Ok(())
}
