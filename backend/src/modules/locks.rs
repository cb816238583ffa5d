//! Locks that were commanded and carried out.

use crate::{
    Result,
    modules::{
        command::{self, CommandState, Entity},
        module,
    },
};
use protocol::messages::{Action, Status};
use sea_orm::{DatabaseTransaction, Select, prelude::*};

/// Whether a lock was carried out that a status does not show yet.
pub(crate) async fn lock_acked_since(
    txn: &DatabaseTransaction,
    module: &module::Model,
    status: &Status<'_>,
) -> Result<bool> {
    // After a restart the sequences cannot be compared, since the flash may have been erased.
    if i64::from(status.mark.boot) != module.status_boot {
        return Ok(false);
    }
    let done = locks_after(&module.id, status.last_command.into())
        .filter(command::Column::State.eq(CommandState::Done))
        .count(txn)
        .await?;
    Ok(done > 0)
}

pub(crate) fn locks_after(module_id: &str, sequence: i64) -> Select<Entity> {
    Entity::find()
        .filter(command::Column::ModuleId.eq(module_id))
        .filter(command::Column::Action.eq(Action::Lock { locked: true }.as_str()))
        .filter(command::Column::Sequence.gt(sequence))
}
