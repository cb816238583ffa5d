//! Acks: a module's acknowledgement of a command moves the command, and with it the sale.

use crate::{
    Context, Error, Result,
    flows::{
        after_commit::{AfterCommit, publish_after_commit},
        probe_module::{accept_probe_answer, sync_clock},
        resend_command::send_pending,
        settle_sale::apply_event,
        verify_reset::confirm_reset,
    },
    modules::{
        command::{self, ActiveModel, CommandState, Entity},
        dropped::count_dropped,
        locks::locks_after,
        module,
        numbers::column,
        rows::wired_machine,
        stale_store::reduce_unexplained_pulses,
    },
    sales::{rows::lock_sale, state::Event},
};
use protocol::{
    ModuleId,
    messages::{Ack, Action, Command, Reason, Stage},
};
use sea_orm::{ActiveValue::Set, DatabaseTransaction, prelude::*, sea_query::Expr};

/// What an ack means for its command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AckMeaning {
    Received,
    Done,
    Failed,
    Expired,
    /// No change.
    Nothing,
}

fn ack_meaning(ack: &Ack) -> AckMeaning {
    match ack.stage {
        Stage::Received => AckMeaning::Received,
        Stage::Done => AckMeaning::Done,
        Stage::Failed => AckMeaning::Failed,
        Stage::Expired => AckMeaning::Expired,
        Stage::Duplicate => match ack.first {
            Some(Stage::Received) => AckMeaning::Received,
            Some(Stage::Done) => AckMeaning::Done,
            Some(Stage::Failed) => AckMeaning::Failed,
            Some(Stage::Expired) => AckMeaning::Expired,
            Some(Stage::Duplicate | Stage::Clock | Stage::Unknown(_)) | None => AckMeaning::Nothing,
        },
        Stage::Clock | Stage::Unknown(_) => AckMeaning::Nothing,
    }
}

/// The command's state after an acknowledgement; `None` if nothing changes. A final acknowledgement counts however late
/// it comes.
fn next_state(state: CommandState, meaning: AckMeaning) -> Option<CommandState> {
    use CommandState::*;
    let open = [Sent, Received].contains(&state);
    let unheard = open || state == Silent;
    match meaning {
        AckMeaning::Received => open.then_some(Received),
        AckMeaning::Done => unheard.then_some(Done),
        AckMeaning::Failed => unheard.then_some(Failed),
        AckMeaning::Expired => unheard.then_some(Expired),
        AckMeaning::Nothing => None,
    }
}

/// Takes a module's ack.
pub(crate) async fn on_ack(ctx: &Context, module: ModuleId, ack: &Ack) -> Result<()> {
    metrics::counter!("coinwire_acks_total", "stage" => ack.stage.as_str()).increment(1);
    if accept_probe_answer(ctx, module, ack) {
        // A module whose clock is ahead answers every probe with `expired`. Its clock is set here; otherwise the
        // machine could not sell anything.
        if ack.stage == Stage::Expired {
            sync_clock(ctx, module, ack.boot, ack.uptime_ms, None).await;
        }
        return Ok(());
    }
    if let Some(asked) = ctx.pending_queries.synced(module, ack.command) {
        if ack.stage != Stage::Done {
            // It was too slow, and is tried again.
            sync_clock(ctx, module, ack.boot, ack.uptime_ms, asked.known_boot).await;
            return Ok(());
        }
        if let Some(known_boot) = asked.known_boot {
            confirm_reset(ctx, module, ack.boot, known_boot).await?;
        }
        // What was answered `clock` can be judged now.
        return send_pending(ctx, module).await;
    }
    if ack.stage == Stage::Clock {
        sync_clock(ctx, module, ack.boot, ack.uptime_ms, None).await;
        return Ok(());
    }
    let Some(command) = Entity::find_by_id(column(ack.command)).one(ctx.db.read()).await? else {
        return count_dropped("unknown_command");
    };
    // Id and sequence must both be those of the command, or the ack is ignored. One exception: a credit's id is
    // derived from the payment, so the module may know the credit by a sequence that a restored store has lost.
    let its_sequence = command.sequence == i64::from(ack.sequence) || command.sale_id.is_some();
    if command.module_id != module.as_str() || !its_sequence {
        return count_dropped("not_its_command");
    }
    if next_state(command.state, ack_meaning(ack)).is_none() {
        return count_dropped("nothing_new");
    }
    let command = &command;
    let after = ctx.db.write(|txn| async move { apply_ack(ctx, &txn, command, ack).await }).await?;
    publish_after_commit(ctx, after).await;
    Ok(())
}

async fn apply_ack(ctx: &Context, txn: &DatabaseTransaction, known: &command::Model, ack: &Ack) -> Result<AfterCommit> {
    let mut after = AfterCommit::default();
    let sale = match known.sale_id {
        Some(sale_id) => Some(lock_sale(txn, sale_id).await?),
        None => None,
    };
    let command = Entity::find_by_id(known.id)
        .one(txn)
        .await?
        .ok_or_else(|| Error::inconsistent("a command that was just read is not there"))?;
    let meaning = ack_meaning(ack);
    let Some(state) = next_state(command.state, meaning) else { return Ok(after) };
    if meaning == AckMeaning::Done {
        record_lock_ack(txn, &command).await?;
    }
    if sale.is_none() {
        after.module(command.module_id.clone());
        if meaning == AckMeaning::Failed {
            alert_operator(txn, &command, ack.reason, &mut after).await?;
        }
    }
    let (pulses, is_possible) = pulses_given(meaning, ack, &command);
    if !is_possible {
        metrics::counter!("coinwire_acks_impossible_total").increment(1);
        tracing::info!(
            module = command.module_id,
            claimed = ack.pulses,
            taken = pulses,
            "a module reports more pulses than the credit has"
        );
        let message = format!(
            "the module reports {} pulses for a credit of fewer: {pulses} are counted as given. Check the \
             module",
            ack.pulses.unwrap_or_default()
        );
        alarm(txn, &command.module_id, message, &mut after).await?;
    }
    if ack.stage == Stage::Duplicate && pulses > 0 && meaning != AckMeaning::Received {
        reduce_unexplained_pulses(txn, &command.module_id, pulses).await?;
    }
    let now_ms = ctx.now_ms();
    let mut change: ActiveModel = command.into();
    change.state = Set(state);
    change.pulses = Set(pulses);
    change.reason = Set(ack.reason.map_or("", |reason| reason.as_str()).into());
    change.heard_ms = Set(Some(now_ms));
    // After `received` the command is sent again only once the module has had time to give the credit.
    change.due_ms = Set((meaning == AckMeaning::Received).then_some(now_ms + ctx.rules.resend_max_ms));
    change.update_without_returning(txn).await?;
    let event = match meaning {
        AckMeaning::Received => Event::CreditTaken,
        AckMeaning::Done => Event::CreditDone { pulses },
        AckMeaning::Failed => Event::CreditFailed { pulses, reason: ack.reason },
        AckMeaning::Expired => Event::CreditExpired,
        AckMeaning::Nothing => return Ok(after),
    };
    if let Some(sale) = sale {
        apply_event(ctx, txn, sale, event, None, &mut after).await?;
    }
    Ok(after)
}

/// A module that does not know an action, or finds a value out of bounds, needs a person's attention.
async fn alert_operator(
    txn: &DatabaseTransaction,
    command: &command::Model,
    reason: Option<Reason>,
    after: &mut AfterCommit,
) -> Result<()> {
    let Some(reason @ (Reason::Unsupported | Reason::Invalid)) = reason else { return Ok(()) };
    let message = format!("the module does not carry out `{}`: {}", command.action, reason.as_str());
    alarm(txn, &command.module_id, message, after).await
}

/// Tells the operator of the machine that a module is wired to.
async fn alarm(txn: &DatabaseTransaction, module_id: &str, message: String, after: &mut AfterCommit) -> Result<()> {
    if let Some(machine) = wired_machine(txn, module_id).await? {
        after.alarm(machine.operator_id, Some(machine.id), message);
    }
    Ok(())
}

/// The pulses counted as given, and whether the module's own number is possible. If it is more than was asked for,
/// `done` counts as all pulses, and any other stage as an unknown number.
fn pulses_given(meaning: AckMeaning, ack: &Ack, command: &command::Model) -> (i32, bool) {
    let told = ack.pulses.map_or(0, i32::from);
    let Ok(Command { action: Action::Credit { pulses: asked }, .. }) = minicbor::decode(&command.payload) else {
        return (told, true);
    };
    match (told <= i32::from(asked), meaning) {
        (true, _) => (told, true),
        (false, AckMeaning::Done) => (asked.into(), false),
        (false, AckMeaning::Received | AckMeaning::Failed | AckMeaning::Expired | AckMeaning::Nothing) => (0, false),
    }
}

/// A lock that was carried out is known from its ack, not only from the next status, which may be lost or be long in
/// coming.
async fn record_lock_ack(txn: &DatabaseTransaction, command: &command::Model) -> Result<()> {
    let Ok(Command { action: Action::Lock { locked }, .. }) = minicbor::decode(&command.payload) else { return Ok(()) };
    // Acks may come out of order: the newest lock ordered is what holds.
    if locks_after(&command.module_id, command.sequence).count(txn).await? > 0 {
        return Ok(());
    }
    module::Entity::update_many()
        .col_expr(module::Column::Locked, Expr::value(locked))
        .filter(module::Column::Id.eq(&command.module_id))
        .exec(txn)
        .await?;
    Ok(())
}
