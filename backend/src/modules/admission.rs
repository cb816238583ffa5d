//! Which modules may connect: each with its own password, until its credential is disabled.

use crate::{
    Context, Result,
    modules::{module, secrets::secret_of},
};
use protocol::ModuleId;
use sea_orm::{QuerySelect, prelude::*};

/// The result of a module's login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It may connect.
    Admitted,
    /// There is no such module, or the password is wrong.
    Unknown,
    /// The password is right, but the module's credential is disabled.
    Disabled,
}

/// A module whose credential is disabled, and since when (unix milliseconds).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Disabled {
    /// Which.
    pub module: ModuleId,
    /// Since when.
    pub since_ms: i64,
}

/// Whether a module may connect with this MQTT password. Compared in constant time.
///
/// # Errors
/// `Store`.
pub async fn admit_module(ctx: &Context, module: ModuleId, password: &[u8]) -> Result<Admission> {
    let Some(row) = module::Entity::find_by_id(module.as_str()).one(ctx.db.read()).await? else {
        return Ok(Admission::Unknown);
    };
    let right = secret_of(ctx, module, &row)?.mqtt_password(module);
    let is_right = aws_lc_rs::constant_time::verify_slices_are_equal(right.as_bytes(), password).is_ok();
    Ok(match (is_right, row.disabled_ms) {
        (false, _) => Admission::Unknown,
        (true, None) => Admission::Admitted,
        (true, Some(_)) => Admission::Disabled,
    })
}

/// All modules whose credentials are disabled.
///
/// # Errors
/// `Store`.
pub async fn disabled_modules(ctx: &Context) -> Result<Vec<Disabled>> {
    let rows: Vec<(String, i64)> = module::Entity::find()
        .select_only()
        .columns([module::Column::Id, module::Column::DisabledMs])
        .filter(module::Column::DisabledMs.is_not_null())
        .into_tuple()
        .all(ctx.db.read())
        .await?;
    let known = |(id, since_ms): (String, i64)| Some(Disabled { module: ModuleId::parse(&id).ok()?, since_ms });
    Ok(rows.into_iter().filter_map(known).collect())
}
