//! Members: the people who sign in for an operator. When a credential changes, everything opened with the old one ends:
//! web sessions carry its fingerprint, the broker's side compares the fingerprints of its connections, and live pages
//! are told to check again.

use crate::{
    Context, Error, Result,
    access::{actor::Actor, member, operations::Operation, operator, operators::operator_row, role::Role},
    ids::{MemberId, OperatorId},
    live::{LiveEvent, LiveKind},
};
use sea_orm::{QueryOrder, QuerySelect, prelude::*};
use serde::Serialize;
use std::collections::BTreeMap;

/// A member in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemberRow {
    /// The member's number.
    pub member_id: MemberId,
    /// The operator's number.
    pub operator_id: OperatorId,
    /// The address the member signs in with.
    pub email: String,
    /// The member's role.
    pub role: Role,
    /// Unix milliseconds.
    pub created_ms: i64,
}

/// How often each operator's members had changed at the last check.
#[derive(Debug, Default)]
pub struct MemberVersionsSeen(Option<BTreeMap<OperatorId, i64>>);

/// An operator's members, in the order of their numbers.
///
/// # Errors
///
/// `NotFound`, `Forbidden`, `Store`.
pub async fn members(ctx: &Context, actor: &Actor, operator_id: OperatorId) -> Result<Vec<MemberRow>> {
    actor.permit(Operation::ListMembers, operator_id, "operator")?;
    operator_row(ctx, operator_id).await?;
    let rows = member::Entity::find()
        .filter(member::Column::OperatorId.eq(operator_id))
        .order_by_asc(member::Column::Id)
        .all(ctx.db.read())
        .await?;
    Ok(rows.into_iter().map(MemberRow::of).collect())
}

/// An operator's member by address.
///
/// # Errors
///
/// `NotFound`, `Forbidden`, `Store`.
pub async fn find_member(ctx: &Context, actor: &Actor, operator_id: OperatorId, email: &str) -> Result<MemberRow> {
    actor.permit(Operation::ListMembers, operator_id, "operator")?;
    let found = member::Entity::find()
        .filter(member::Column::OperatorId.eq(operator_id))
        .filter(member::Column::Email.eq(email.trim().to_lowercase()))
        .one(ctx.db.read())
        .await?;
    found.map(MemberRow::of).ok_or(Error::NotFound("member of this operator"))
}

/// Emits a live event for each operator whose members changed since the last call, in any process. To be called
/// periodically.
///
/// # Errors
/// `Store`.
pub async fn broadcast_member_changes(ctx: &Context, seen: &mut MemberVersionsSeen) -> Result<()> {
    let now: BTreeMap<OperatorId, i64> = operator::Entity::find()
        .select_only()
        .columns([operator::Column::Id, operator::Column::MembersVersion])
        .into_tuple::<(OperatorId, i64)>()
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
        Self {
            member_id: row.id,
            operator_id: row.operator_id,
            email: row.email,
            role: row.role,
            created_ms: row.created_ms,
        }
    }
}
