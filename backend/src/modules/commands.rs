//! Stored commands: numbered, and stored in the transaction that causes them. `flows/publish_command` sends them,
//! `flows/resend_command` repeats them until the module acknowledges them or they are given up.

use crate::{
    Context, Error, Result, clock,
    ids::SaleId,
    modules::{
        command::{self, ActiveModel, Column, CommandState, Entity},
        module,
        numbers::{column, credit_id, next_sequence, order_sequence},
    },
    sales::sale,
};
use protocol::messages::{Action, Command};
use sea_orm::{ConnectionTrait, DatabaseTransaction, prelude::*, sea_query::Expr};

/// What a credit command is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To be given now.
    Give,
    /// To say whether it was given before.
    Ask,
}

/// Queues a command in the caller's transaction. To be sent after the commit.
async fn queue_command(
    ctx: &Context,
    txn: &DatabaseTransaction,
    module_id: &str,
    action: Action,
    lifetime_ms: i64,
) -> Result<command::Model> {
    let issued_ms = ctx.now_ms();
    let sequence = next_sequence(txn, module_id, issued_ms).await?;
    let mut command = new_command(ctx, module_id, column(new_command_id(ctx)), sequence, action);
    command.expires_ms = issued_ms.saturating_add(lifetime_ms);
    let on_wire = on_wire(&command, action);
    store(txn, command, &on_wire).await
}

/// Queues the credit of a paid sale, or the question whether that credit was given before. The question is the same
/// command, but already expired, so that a module which does not know it can never give it. Its numbers follow from the
/// payment and the order.
pub(crate) async fn queue_credit(
    ctx: &Context,
    txn: &DatabaseTransaction,
    sale: &sale::Model,
    out_trade_no: &str,
    purpose: Purpose,
) -> Result<command::Model> {
    let module_id = &sale.module_id;
    let of_order = match sale.credit_sequence {
        Some(sequence) => order_sequence(txn, module_id, sequence, purpose == Purpose::Give).await?,
        None => None,
    };
    let sequence = match of_order {
        Some(sequence) => sequence,
        None => next_sequence(txn, module_id, ctx.now_ms()).await?,
    };
    let action = Action::Credit { pulses: u16::try_from(sale.pulses).unwrap_or(u16::MAX) };
    let id = column(credit_id(module_id, out_trade_no));
    let mut command = new_command(ctx, module_id, id, sequence, action);
    command.sale_id = Some(sale.id);
    let wait_ms = match purpose {
        Purpose::Ask if !is_online(txn, module_id).await? => ctx.rules.module_return_ms,
        Purpose::Give | Purpose::Ask => ctx.rules.credit_lifetime_ms,
    };
    command.expires_ms = command.issued_ms.saturating_add(wait_ms);
    let mut on_wire = on_wire(&command, action);
    if purpose == Purpose::Ask {
        // Issued at the time of the order, so that a module whose memory starts later answers `too_old`.
        on_wire = as_query(ctx, on_wire, sale.created_ms, ctx.now_ms());
    }
    store(txn, command, &on_wire).await
}

/// A credit as a question whether it was given: also expired by the module's clock, however late it was issued.
pub(crate) fn as_query(ctx: &Context, credit: Command, issued_ms: i64, now_ms: i64) -> Command {
    let expired_ms = issued_ms.min(now_ms - 2 * ctx.rules.clock_drift_max_ms);
    let expired_ms = u64::try_from(expired_ms).unwrap_or(0);
    Command { issued_ms: expired_ms, expires_ms: expired_ms, ..credit }
}

async fn is_online(txn: &DatabaseTransaction, module_id: &str) -> Result<bool> {
    let module = module::Entity::find_by_id(module_id).one(txn).await?;
    Ok(module.ok_or_else(|| Error::inconsistent("a command's module is not there"))?.online)
}

fn new_command(ctx: &Context, module_id: &str, id: i64, sequence: i64, action: Action) -> command::Model {
    let issued_ms = ctx.now_ms();
    command::Model {
        id,
        module_id: module_id.to_owned(),
        sequence,
        sale_id: None,
        action: action.as_str().into(),
        payload: vec![],
        state: CommandState::Sent,
        reason: String::new(),
        pulses: 0,
        sends: 1,
        issued_ms,
        expires_ms: issued_ms,
        heard_ms: None,
        due_ms: Some(issued_ms + ctx.rules.resend_first_ms),
    }
}

/// Queues a command that supersedes earlier ones of the same action that are not acknowledged yet; those are not
/// sent again. Commands that the module has already received are ordered by the module.
pub(crate) async fn queue_superseding(
    ctx: &Context,
    txn: &DatabaseTransaction,
    module_id: &str,
    action: Action,
    lifetime_ms: i64,
) -> Result<command::Model> {
    let command = queue_command(ctx, txn, module_id, action, lifetime_ms).await?;
    Entity::update_many()
        .col_expr(Column::State, Expr::value(CommandState::Superseded))
        .col_expr(Column::DueMs, Expr::value(Option::<i64>::None))
        .filter(Column::ModuleId.eq(module_id))
        .filter(Column::Action.eq(action.as_str()))
        .filter(Column::Sequence.lt(command.sequence))
        .filter(Column::State.is_in([CommandState::Sent, CommandState::Received]))
        .exec(txn)
        .await?;
    Ok(command)
}

/// How many credits were sent to a module that it has neither given nor refused yet.
pub(crate) async fn open_credits(ctx: &Context, module_id: &str) -> Result<usize> {
    let open = Entity::find()
        .filter(Column::ModuleId.eq(module_id))
        .filter(Column::DueMs.gt(0))
        .filter(Column::SaleId.is_not_null())
        .filter(Column::State.is_in([CommandState::Sent, CommandState::Received]))
        .count(ctx.db.read())
        .await?;
    Ok(usize::try_from(open).unwrap_or(usize::MAX))
}

/// Whether a sale's credit was given up because the module did not answer.
pub(crate) async fn credit_unanswered(db: &impl ConnectionTrait, sale_id: SaleId) -> Result<bool> {
    let silent = Entity::find()
        .filter(Column::SaleId.eq(sale_id))
        .filter(Column::State.eq(CommandState::Silent))
        .count(db)
        .await?;
    Ok(silent > 0)
}

async fn store(txn: &DatabaseTransaction, mut command: command::Model, on_wire: &Command) -> Result<command::Model> {
    command.payload = minicbor::to_vec(on_wire).expect("encoding into memory cannot fail");
    let row: ActiveModel = command.clone().into();
    Entity::insert(row).exec_without_returning(txn).await?;
    Ok(command)
}

pub(crate) fn on_wire(command: &command::Model, action: Action) -> Command {
    Command {
        id: command.id.unsigned_abs(),
        sequence: u32::try_from(command.sequence).unwrap_or(u32::MAX),
        issued_ms: u64::try_from(command.issued_ms).unwrap_or(0),
        expires_ms: u64::try_from(command.expires_ms).unwrap_or(0),
        action,
    }
}

/// A new command's id: random, so that it says nothing, and fit for a signed column.
pub(crate) fn new_command_id(ctx: &Context) -> u64 {
    clock::random_id(&*ctx.random).unsigned_abs()
}
