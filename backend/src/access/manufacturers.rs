//! Manufacturers: they provision modules and see the modules' health, but no money.

use crate::{
    Context, Error, Result,
    access::{
        actor::Actor,
        manufacturer::{Column, Entity, Model},
        operations::Operation,
        sign_in::MqttReading,
    },
    ids::ManufacturerId,
};
use sea_orm::{QueryOrder, prelude::*};
use serde::Serialize;

/// The topics of a manufacturer's tool.
fn topics_of(slug: &str) -> String {
    format!("made/{slug}/#")
}

/// A manufacturer in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ManufacturerRow {
    /// Its number.
    pub manufacturer_id: ManufacturerId,
    /// Short name in topics.
    pub slug: String,
    /// Its name.
    pub name: String,
    /// Whether its tool has a password.
    pub has_tool: bool,
}

/// All manufacturers, in the order of their numbers.
///
/// # Errors
///
/// `Forbidden`, `Store`.
pub async fn manufacturers(ctx: &Context, actor: &Actor) -> Result<Vec<ManufacturerRow>> {
    actor.permit_all(Operation::ListManufacturers)?;
    let rows = Entity::find().order_by_asc(Column::Id).all(ctx.db.read()).await?;
    let listed = rows.into_iter().map(|row| ManufacturerRow {
        manufacturer_id: row.id,
        slug: row.slug,
        name: row.name,
        has_tool: row.tool_password_hash.is_some(),
    });
    Ok(listed.collect())
}

/// Checks the MQTT password of a manufacturer's tool and returns what the tool may read. `None` if the password is
/// wrong.
///
/// # Errors
/// `Store`; `Busy` if too many passwords are being checked.
pub async fn manufacturers_tool(ctx: &Context, slug: &str, password: &str) -> Result<Option<MqttReading>> {
    let found = Entity::find().filter(Column::Slug.eq(slug)).one(ctx.db.read()).await?;
    // As for integrators: it must be of exactly this manufacturer.
    let hash = found.filter(|row| row.slug == slug).and_then(|row| row.tool_password_hash);
    MqttReading::of(password, hash, vec![topics_of(slug)]).await
}

pub(crate) async fn manufacturer_row(ctx: &Context, manufacturer_id: ManufacturerId) -> Result<Model> {
    Entity::find_by_id(manufacturer_id).one(ctx.db.read()).await?.ok_or(Error::NotFound("manufacturer"))
}
