//! People who sign in for an operator: added, given another password or role, removed. What a member opened with the old
//! credential ends: web sessions and connections carry its fingerprint.

use crate::{
    Context, Error, Result,
    access::{
        actor::{Actor, Who},
        audit::{self, Change},
        member,
        operations::Operation,
        operator,
        operators::{lock_operator, operator_row, unique_or_invalid},
        passwords::hash,
        role::Role,
    },
    ids::{MemberId, OperatorId},
};
use sea_orm::{ActiveValue::Set, DatabaseTransaction, ExprTrait, QuerySelect, prelude::*, sea_query::Expr};
use serde_json::json;

/// Characters of an e-mail address at most.
const EMAIL_CHARS: usize = 190;

/// Makes a member who can sign in.
///
/// # Errors
///
/// `Invalid` names the field; `NotFound`, `Forbidden`, `Busy`, `Store`.
pub async fn add_member(
    ctx: &Context,
    actor: &Actor,
    operator_id: OperatorId,
    email: &str,
    password: &str,
    role: Role,
) -> Result<MemberId> {
    let permit = actor.permit(Operation::AddMember, operator_id, "operator")?;
    let email = email.trim().to_lowercase();
    if !email.contains('@') || email.chars().count() > EMAIL_CHARS {
        return Err(Error::invalid("email", "must be an e-mail address"));
    }
    operator_row(ctx, operator_id).await?;
    let told = json!({"email": email, "role": role});
    let row = member::ActiveModel {
        operator_id: Set(operator_id),
        email: Set(email),
        password_hash: Set(hash(password).await?),
        role: Set(role),
        created_ms: Set(ctx.now_ms()),
        ..Default::default()
    };
    let (row, told) = (&row, &told);
    let stored = ctx
        .db
        .write(|txn| async move {
            let txn = &*txn;
            let id = member::Entity::insert(row.clone()).exec(txn).await?.last_insert_id;
            audit::record(ctx, txn, permit, ("member", id), Change::to(told.clone())).await?;
            Ok(id)
        })
        .await;
    unique_or_invalid(stored, "email", "is a member already")
}

/// Gives a member another password. Whoever is signed in with the old one no longer is.
///
/// # Errors
///
/// `Invalid` says what is wrong with the password; `NotFound`, `Forbidden`, `Busy`, `Store`.
pub async fn set_member_password(
    ctx: &Context,
    actor: &Actor,
    operator_id: OperatorId,
    member_id: MemberId,
    password: &str,
) -> Result<()> {
    let permit = actor.permit(Operation::SetMemberPassword, operator_id, "operator")?;
    let hash = hash(password).await?;
    let hash = &hash;
    ctx.db
        .write(|txn| async move {
            let txn = &*txn;
            lock_operator(txn, operator_id).await?;
            let mut change: member::ActiveModel = lock_member(txn, operator_id, member_id).await?.into();
            change.password_hash = Set(hash.clone());
            change.update_without_returning(txn).await?;
            count_member_change(txn, operator_id).await?;
            audit::record(ctx, txn, permit, ("member", member_id), Change::secret("password")).await
        })
        .await
}

/// Gives a member another role, who has to sign in again. An operator keeps an owner.
///
/// # Errors
///
/// `Invalid` if it is the last owner; `NotFound`, `Forbidden`, `Store`.
pub async fn set_member_role(
    ctx: &Context,
    actor: &Actor,
    operator_id: OperatorId,
    member_id: MemberId,
    role: Role,
) -> Result<()> {
    let permit = actor.permit(Operation::SetMemberRole, operator_id, "operator")?;
    ctx.db
        .write(|txn| async move {
            let txn = &*txn;
            // The operator first: two owners who demote each other take turns, and one of them stays.
            lock_operator(txn, operator_id).await?;
            let row = lock_member(txn, operator_id, member_id).await?;
            if row.role == role {
                return Ok(());
            }
            if row.role == Role::Owner {
                check_other_owner(txn, operator_id, member_id).await?;
            }
            let told = Change::between(json!({"role": row.role}), json!({"role": role}));
            let mut change: member::ActiveModel = row.into();
            change.role = Set(role);
            change.update_without_returning(txn).await?;
            count_member_change(txn, operator_id).await?;
            audit::record(ctx, txn, permit, ("member", member_id), told).await
        })
        .await
}

/// Removes a member, who is signed out everywhere. Members cannot remove the last owner; the server's command line can.
///
/// # Errors
///
/// `Invalid` if it is the last owner; `NotFound`, `Forbidden`, `Store`.
pub async fn remove_member(ctx: &Context, actor: &Actor, operator_id: OperatorId, member_id: MemberId) -> Result<()> {
    let permit = actor.permit(Operation::RemoveMember, operator_id, "operator")?;
    ctx.db
        .write(|txn| async move {
            let txn = &*txn;
            lock_operator(txn, operator_id).await?;
            let row = lock_member(txn, operator_id, member_id).await?;
            if row.role == Role::Owner && !matches!(actor.who, Who::System { .. }) {
                check_other_owner(txn, operator_id, member_id).await?;
            }
            member::Entity::delete_by_id(member_id).exec(txn).await?;
            count_member_change(txn, operator_id).await?;
            let told = Change::from(json!({"email": row.email, "role": row.role}));
            audit::record(ctx, txn, permit, ("member", member_id), told).await
        })
        .await
}

async fn lock_member(txn: &DatabaseTransaction, operator_id: OperatorId, member_id: MemberId) -> Result<member::Model> {
    let found = member::Entity::find_by_id(member_id).lock_exclusive().one(txn).await?;
    found.filter(|row| row.operator_id == operator_id).ok_or(Error::NotFound("member of this operator"))
}

/// Refuses what would leave an operator without an owner.
async fn check_other_owner(txn: &DatabaseTransaction, operator_id: OperatorId, member_id: MemberId) -> Result<()> {
    let others = member::Entity::find()
        .filter(member::Column::OperatorId.eq(operator_id))
        .filter(member::Column::Role.eq(Role::Owner))
        .filter(member::Column::Id.ne(member_id));
    match others.one(txn).await? {
        Some(_) => Ok(()),
        None => Err(Error::invalid("role", "is the last owner's: make somebody else an owner first")),
    }
}

/// Counts a change of an operator's members, so that other processes notice.
async fn count_member_change(txn: &DatabaseTransaction, operator_id: OperatorId) -> Result<()> {
    operator::Entity::update_many()
        .col_expr(operator::Column::MembersVersion, Expr::col(operator::Column::MembersVersion).add(1))
        .filter(operator::Column::Id.eq(operator_id))
        .exec(txn)
        .await?;
    Ok(())
}
