//! A module gets its identity, and comes under an operator.

use crate::{
    Context, Error, Result,
    access::{
        actor::{Actor, Who},
        audit::{self, Change},
        manufacturers::manufacturer_row,
        operations::Operation,
        operators::operator_row,
    },
    db,
    ids::{ManufacturerId, OperatorId},
    modules::{
        module,
        rows::{lock_module, wired_machine},
        secrets::purpose,
    },
};
use protocol::{ModuleId, ModuleSecret, keys::SECRET_BYTES};
use sea_orm::{ActiveValue::Set, prelude::*};
use serde_json::json;

/// A module's identity, to be put into the module.
#[derive(Debug, Clone)]
pub struct Provisioned {
    /// Its id.
    pub id: ModuleId,
    /// Its secret.
    pub secret: ModuleSecret,
}

/// Says whose a module is that is wired to nothing: only that operator may wire it from then on.
///
/// # Errors
///
/// `Invalid` if it is wired to another operator's machine; `NotFound`, `Forbidden`, `Store`.
pub async fn assign_module(ctx: &Context, actor: &Actor, module: ModuleId, operator_id: OperatorId) -> Result<()> {
    let permit = actor.permit_all(Operation::AssignModule)?.concerning(operator_id);
    operator_row(ctx, operator_id).await?;
    ctx.db
        .write(|txn| async move {
            let txn = &*txn;
            let row = lock_module(txn, module).await?;
            if wired_machine(txn, module.as_str()).await?.is_some_and(|machine| machine.operator_id != operator_id) {
                return Err(Error::invalid("module", "is wired to a machine of another operator"));
            }
            let before = row.operator_id;
            let told = Change::between(json!({"operator": before}), json!({"operator": operator_id}));
            let mut change: module::ActiveModel = row.into();
            change.operator_id = Set(Some(operator_id));
            change.update_without_returning(txn).await?;
            // Whoever had it finds it in the audit log as well.
            if let Some(before) = before.filter(|before| *before != operator_id) {
                audit::record(ctx, txn, permit.concerning(before), ("module", module), told.clone()).await?;
            }
            audit::record_change(ctx, txn, permit, ("module", module), told).await
        })
        .await
}

/// Makes an identity and registers it, as made by a manufacturer if that is known.
///
/// # Errors
///
/// As [`register_module`].
pub async fn provision_module(
    ctx: &Context,
    actor: &Actor,
    manufacturer_id: Option<ManufacturerId>,
) -> Result<Provisioned> {
    let mut bits = [0; 8];
    ctx.random.fill(&mut bits);
    let mut secret = [0; SECRET_BYTES];
    ctx.random.fill(&mut secret);
    let new = Provisioned { id: ModuleId::from_bits(u64::from_be_bytes(bits)), secret: ModuleSecret::new(secret) };
    register_module(ctx, actor, &new, manufacturer_id).await?;
    Ok(new)
}

/// Registers an identity that was made elsewhere. What a manufacturer's tool registers is that manufacturer's.
///
/// # Errors
///
/// `Invalid` if it is registered already; `NotFound` if there is no such manufacturer for this actor; `Forbidden`, `Store`.
pub async fn register_module(
    ctx: &Context,
    actor: &Actor,
    new: &Provisioned,
    manufacturer_id: Option<ManufacturerId>,
) -> Result<()> {
    let permit = actor.permit_all(Operation::RegisterModule)?;
    if let Who::Manufacturer(own) = &actor.who
        && manufacturer_id != Some(*own)
    {
        return Err(Error::NotFound("manufacturer"));
    }
    if let Some(id) = manufacturer_id {
        manufacturer_row(ctx, id).await?;
    }
    let secret_sealed = ctx.seal.seal(&*ctx.random, &purpose(new.id), new.secret.expose());
    let row = module::ActiveModel {
        id: Set(new.id.to_string()),
        secret_sealed: Set(secret_sealed),
        registered_ms: Set(ctx.now_ms()),
        command_sequence: Set(0),
        online: Set(false),
        seen_ms: Set(None),
        status_boot: Set(0),
        status_session: Set(0),
        status_sequence: Set(0),
        pulse_boot: Set(0),
        pulse_session: Set(0),
        pulse_sequence: Set(0),
        firmware: Set(String::new()),
        signal_csq: Set(None),
        supply_mv: Set(None),
        faults: Set(0),
        locked: Set(false),
        settings_version: Set(0),
        coin_pulses: Set(0),
        coins_machine_id: Set(None),
        coins_ms: Set(None),
        coins_doubted: Set(None),
        coins_doubted_ms: Set(None),
        coins_epoch: Set(0),
        credit_pulses: Set(0),
        noise_edges: Set(0),
        settings_wanted: Set(0),
        settings_body: Set(None),
        settings_changed_ms: Set(None),
        lives: Set(0),
        disabled_ms: Set(None),
        manufacturer_id: Set(manufacturer_id),
        operator_id: Set(None),
        last_command: Set(0),
        behind_ms: Set(None),
        behind_pulses: Set(0),
    };
    let row = &row;
    let stored = ctx
        .db
        .write(|txn| async move {
            let txn = &*txn;
            module::Entity::insert(row.clone()).exec_without_returning(txn).await?;
            let told = Change::to(json!({"manufacturer": manufacturer_id}));
            audit::record(ctx, txn, permit, ("module", new.id), told).await
        })
        .await;
    match stored {
        Err(Error::Store(error)) if db::is_unique_violation(&error) => {
            Err(Error::invalid("module", "is registered already"))
        }
        stored => stored,
    }
}
