//! Manufacturers: who provisions modules, and sees their health and no money.

use crate::{
    Context, Error, Result,
    access::{
        manufacturer::{ActiveModel, Column, Entity, Model},
        operators::{check_slug, checked_name, unique_or_invalid},
        passwords::hash,
        sign_in::MqttReading,
    },
};
use sea_orm::{ActiveValue::Set, QueryOrder, prelude::*};
use serde::Serialize;

/// The topics of a manufacturer's tool.
fn topics_of(slug: &str) -> String {
    format!("made/{slug}/#")
}

/// A manufacturer in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ManufacturerRow {
    /// Its number.
    pub manufacturer_id: i64,
    /// Short name in topics.
    pub slug: String,
    /// Its name.
    pub name: String,
    /// Whether its tool has a password.
    pub has_tool: bool,
}

/// All manufacturers, in the order of their numbers.
pub async fn manufacturers(ctx: &Context) -> Result<Vec<ManufacturerRow>> {
    let rows = Entity::find().order_by_asc(Column::Id).all(ctx.db.read()).await?;
    let listed = rows.into_iter().map(|row| ManufacturerRow {
        manufacturer_id: row.id,
        slug: row.slug,
        name: row.name,
        has_tool: row.tool_password_hash.is_some(),
    });
    Ok(listed.collect())
}

/// Makes a manufacturer; gives its number. The short name is that in topics: 3 to 32 of `a-z`, `0-9`, `-`.
pub async fn add_manufacturer(ctx: &Context, slug: &str, name: &str) -> Result<i64> {
    check_slug(slug)?;
    let row = ActiveModel {
        slug: Set(slug.to_owned()),
        name: Set(checked_name(name)?),
        tool_password_hash: Set(None),
        created_ms: Set(ctx.now_ms()),
        ..Default::default()
    };
    let row = &row;
    let stored =
        ctx.db.write(|txn| async move { Ok(Entity::insert(row.clone()).exec(&*txn).await?.last_insert_id) }).await;
    unique_or_invalid(stored, "slug", "is taken by another manufacturer")
}

/// Sets the password with which a manufacturer's tool reads its modules' health by MQTT.
pub async fn set_tool_password(ctx: &Context, manufacturer_id: i64, password: &str) -> Result<()> {
    let row = manufacturer_row(ctx, manufacturer_id).await?;
    let hash = hash(password).await?;
    let (row, hash) = (&row, &hash);
    ctx.db
        .write(|txn| async move {
            let mut change: ActiveModel = row.clone().into();
            change.tool_password_hash = Set(Some(hash.clone()));
            change.update(&*txn).await?;
            Ok(())
        })
        .await
}

/// Checks the MQTT password of a manufacturer's tool; gives what it may read. `None` if it is wrong.
pub async fn manufacturers_tool(ctx: &Context, slug: &str, password: &str) -> Result<Option<MqttReading>> {
    let found = Entity::find().filter(Column::Slug.eq(slug)).one(ctx.db.read()).await?;
    // As for integrators: of exactly this one.
    let hash = found.filter(|row| row.slug == slug).and_then(|row| row.tool_password_hash);
    MqttReading::of(password, hash, topics_of(slug)).await
}

pub(crate) async fn manufacturer_row(ctx: &Context, manufacturer_id: i64) -> Result<Model> {
    Entity::find_by_id(manufacturer_id).one(ctx.db.read()).await?.ok_or(Error::NotFound("manufacturer"))
}
