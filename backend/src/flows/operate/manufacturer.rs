//! A manufacturer is made, and its tool gets a password.

use crate::{
    Context, Result,
    access::{
        actor::Actor,
        audit::{self, Change},
        manufacturer::{ActiveModel, Entity},
        manufacturers::manufacturer_row,
        operations::Operation,
        operators::{check_slug, checked_name, unique_or_invalid},
        passwords::hash,
    },
    ids::ManufacturerId,
};
use sea_orm::{ActiveValue::Set, prelude::*};
use serde_json::json;

/// Makes a manufacturer; gives its number. The short name is that in topics: 3 to 32 of `a-z`, `0-9`, `-`.
///
/// # Errors
///
/// `Invalid` names the field; `Forbidden`, `Store`.
pub async fn add_manufacturer(ctx: &Context, actor: &Actor, slug: &str, name: &str) -> Result<ManufacturerId> {
    let permit = actor.permit_all(Operation::AddManufacturer)?;
    check_slug(slug)?;
    let name = checked_name(name)?;
    let told = json!({"slug": slug, "name": name});
    let row = ActiveModel {
        slug: Set(slug.to_owned()),
        name: Set(name),
        tool_password_hash: Set(None),
        created_ms: Set(ctx.now_ms()),
        ..Default::default()
    };
    let (row, told) = (&row, &told);
    let stored = ctx
        .db
        .write(|txn| async move {
            let txn = &*txn;
            let id = Entity::insert(row.clone()).exec(txn).await?.last_insert_id;
            audit::record(ctx, txn, permit, ("manufacturer", id), Change::to(told.clone())).await?;
            Ok(id)
        })
        .await;
    unique_or_invalid(stored, "slug", "is taken by another manufacturer")
}

/// Sets the password with which a manufacturer's tool reads its modules' health by MQTT.
///
/// # Errors
///
/// `Invalid` says what is wrong with the password; `NotFound`, `Forbidden`, `Busy`, `Store`.
pub async fn set_tool_password(
    ctx: &Context,
    actor: &Actor,
    manufacturer_id: ManufacturerId,
    password: &str,
) -> Result<()> {
    let permit = actor.permit_all(Operation::SetToolPassword)?;
    let row = manufacturer_row(ctx, manufacturer_id).await?;
    let hash = hash(password).await?;
    let (row, hash) = (&row, &hash);
    ctx.db
        .write(|txn| async move {
            let txn = &*txn;
            let mut change: ActiveModel = row.clone().into();
            change.tool_password_hash = Set(Some(hash.clone()));
            change.update_without_returning(txn).await?;
            audit::record(ctx, txn, permit, ("manufacturer", manufacturer_id), Change::secret("tool_password")).await
        })
        .await
}
