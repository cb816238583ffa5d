//! Commands that are due: sent again, or given up.

use crate::{
    Context, Error, Result, Rules,
    flows::{
        after_commit::{AfterCommit, publish_after_commit},
        publish_command::send_command,
        settle_sale::apply_event,
    },
    modules::{
        command::{self, ActiveModel, Column, CommandState, Entity},
        commands::{as_query, on_wire},
    },
    sales::{rows::lock_sale, state::Event},
};
use protocol::{ModuleId, messages::Command};
use sea_orm::{ActiveValue::Set, QueryOrder, QuerySelect, prelude::*};

/// What to do with a command now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Send it (again), and look at it next at this time.
    Send { next_ms: i64 },
    /// It was issued while our clock was ahead, and the clock was set back since: issue the same command again.
    Reissue,
    /// The module stays silent.
    GiveUp,
}

/// Decides about a command that is due. Past its expiry it is still sent: the module will not execute it, but tells what
/// came of it before. A module that keeps acknowledging `received` gets time up to the longest that a credit may take.
/// A command from before this process started is asked about once more: its answer may have been missed or lost.
///
/// Time does not go back while a process runs, but may between two processes. The remaining time of such a command is
/// unknown, so it gets a full lifetime again, like a new one.
fn next_step(rules: &Rules, command: &command::Model, started_ms: i64, now_ms: i64) -> Step {
    if issued_in_the_future(rules, command, now_ms) {
        return if command.state == CommandState::Silent { Step::GiveUp } else { Step::Reissue };
    }
    let grace_ms = if command.sale_id.is_some() { rules.credit_grace_ms } else { 0 };
    let silent_ms = command.expires_ms.saturating_add(grace_ms);
    let give_up_ms = match command.heard_ms {
        Some(heard_ms) => (heard_ms + 2 * rules.resend_max_ms + grace_ms)
            .clamp(silent_ms, silent_ms.max(command.issued_ms + rules.credit_longest_ms)),
        None => silent_ms,
    };
    let is_open = [CommandState::Sent, CommandState::Received].contains(&command.state);
    let give_up_ms = if is_open && command.sale_id.is_some() && command.issued_ms < started_ms {
        give_up_ms.max(rules.waits_for_module_until_ms(started_ms, give_up_ms))
    } else {
        give_up_ms
    };
    if now_ms >= give_up_ms {
        return Step::GiveUp;
    }
    let wait_ms = Rules::backoff_ms(rules.resend_first_ms, rules.resend_max_ms, command.sends);
    Step::Send { next_ms: now_ms.saturating_add(wait_ms).min(give_up_ms) }
}

/// Whether a command was issued by a clock that was ahead, which was set back since.
fn issued_in_the_future(rules: &Rules, command: &command::Model, now_ms: i64) -> bool {
    command.issued_ms > now_ms + rules.resend_max_ms
}

/// Does what is to be done with a command that is due.
pub(crate) async fn process_command(ctx: &Context, command: command::Model) -> Result<()> {
    let step = next_step(&ctx.rules, &command, ctx.began_ms(), ctx.now_ms());
    let postpone = |change: ActiveModel| postpone_command(ctx, &command, change);
    match step {
        Step::Send { next_ms } => {
            let sends = Set(command.sends + 1);
            if postpone(ActiveModel { due_ms: Set(Some(next_ms)), sends, ..Default::default() }).await? {
                metrics::counter!("coinwire_commands_resent_total").increment(1);
                send_command(ctx, &command).await;
            }
        }
        Step::Reissue => {
            let lifetime_ms = command.expires_ms.saturating_sub(command.issued_ms);
            let reissued = reissued(ctx, &command, ctx.now_ms(), lifetime_ms)?;
            let change = ActiveModel {
                payload: Set(reissued.payload.clone()),
                issued_ms: Set(reissued.issued_ms),
                expires_ms: Set(reissued.expires_ms),
                heard_ms: Set(reissued.heard_ms),
                due_ms: Set(reissued.due_ms),
                ..Default::default()
            };
            if postpone(change).await? {
                send_command(ctx, &reissued).await;
            }
        }
        Step::GiveUp => give_up(ctx, &command).await?,
    }
    Ok(())
}

/// The same command with another time of issue: a module that knows its number does not execute it twice.
fn reissued(ctx: &Context, command: &command::Model, issued_ms: i64, lifetime_ms: i64) -> Result<command::Model> {
    let known: Command =
        minicbor::decode(&command.payload).map_err(|_| Error::inconsistent("a stored command cannot be decoded"))?;
    let mut reissued = command::Model {
        issued_ms,
        expires_ms: issued_ms + lifetime_ms,
        heard_ms: command.heard_ms.map(|_| issued_ms),
        due_ms: Some(issued_ms + ctx.rules.resend_first_ms),
        ..command.clone()
    };
    let mut on_wire = on_wire(&reissued, known.action);
    // A query must stay a query; with a new lifetime it would be a credit to be given.
    if known.expires_ms <= known.issued_ms {
        on_wire = as_query(ctx, on_wire, i64::try_from(known.issued_ms).unwrap_or(i64::MAX), issued_ms);
    }
    reissued.payload = minicbor::to_vec(on_wire).expect("encoding into memory cannot fail");
    Ok(reissued)
}

/// Updates a due command before it is processed; false if it was acknowledged in the meantime, or another process
/// has it.
async fn postpone_command(ctx: &Context, command: &command::Model, change: ActiveModel) -> Result<bool> {
    let change = &change;
    ctx.db
        .write(|txn| async move {
            let txn = &*txn;
            let update = Entity::update_many()
                .set(change.clone())
                .filter(Column::Id.eq(command.id))
                .filter(Column::DueMs.eq(command.due_ms))
                .exec(txn)
                .await?;
            Ok(update.rows_affected == 1)
        })
        .await
}

async fn give_up(ctx: &Context, command: &command::Model) -> Result<()> {
    let after = ctx
        .db
        .write(|txn| async move {
            let txn = &*txn;
            let mut after = AfterCommit::default();
            let sale = match command.sale_id {
                Some(sale_id) => Some(lock_sale(txn, sale_id).await?),
                None => None,
            };
            let Some(current) = Entity::find_by_id(command.id).one(txn).await? else { return Ok(after) };
            // It was acknowledged in the meantime, or another process gave it up.
            if current.due_ms.is_none() || current.due_ms != command.due_ms {
                return Ok(after);
            }
            // Its acknowledgement may have been lost, so it is sent again when the module reconnects, for a limited
            // time.
            let is_first = current.state != CommandState::Silent;
            let memory_ms = ctx.rules.credit_memory_ms;
            let forget_ms =
                current.sale_id.filter(|_| is_first).map(|_| current.issued_ms.min(ctx.now_ms()) + memory_ms);
            if current.sale_id.is_none() {
                after.module(current.module_id.clone());
            }
            let mut change: ActiveModel = current.into();
            change.state = Set(CommandState::Silent);
            change.due_ms = Set(forget_ms);
            change.update_without_returning(txn).await?;
            if let Some(sale) = sale {
                apply_event(ctx, txn, sale, Event::CreditSilent, None, &mut after).await?;
            }
            Ok(after)
        })
        .await?;
    publish_after_commit(ctx, after).await;
    Ok(())
}

/// Sends everything that a module has not acknowledged, because it just reconnected or its clock was just set. It
/// does not execute what has expired, but reports the outcome.
pub(crate) async fn send_pending(ctx: &Context, module: ModuleId) -> Result<()> {
    let pending = Entity::find()
        .filter(Column::ModuleId.eq(module.as_str()))
        .filter(Column::DueMs.gt(0))
        .filter(Column::State.is_in([CommandState::Sent, CommandState::Silent]))
        .order_by_asc(Column::Sequence)
        .limit(ctx.rules.batch_rows)
        .all(ctx.db.read())
        .await?;
    for command in pending {
        let of_the_future = issued_in_the_future(&ctx.rules, &command, ctx.now_ms());
        if !of_the_future {
            send_command(ctx, &command).await;
        } else if command.state == CommandState::Silent {
            // Asked about only: it must not be given any more, also not by a module whose clock is a little behind. The
            // others are issued anew in a moment.
            let long_ago_ms = ctx.now_ms() - 3 * ctx.rules.credit_lifetime_ms;
            send_command(ctx, &reissued(ctx, &command, long_ago_ms, ctx.rules.credit_lifetime_ms)?).await;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::SaleId;

    #[test]
    fn waits_for_a_module_that_keeps_saying_it_is_at_work() {
        let rules = Rules::default();
        let command = command::Model {
            id: 1,
            module_id: String::new(),
            sequence: 1,
            sale_id: Some(SaleId(1)),
            action: String::new(),
            payload: vec![],
            state: CommandState::Received,
            reason: String::new(),
            pulses: 0,
            sends: 9,
            issued_ms: 0,
            expires_ms: 20_000,
            heard_ms: Some(55_000),
            due_ms: Some(63_000),
        };
        assert!(matches!(next_step(&rules, &command, 0, 63_000), Step::Send { .. }));
        assert_eq!(next_step(&rules, &command, 0, 81_000), Step::GiveUp);
        let for_ever = command::Model { heard_ms: Some(2 * rules.credit_longest_ms), ..command };
        assert_eq!(next_step(&rules, &for_ever, 0, 2 * rules.credit_longest_ms), Step::GiveUp);
    }

    #[test]
    fn sends_at_1_2_4_8_seconds_and_asks_through_the_grace() {
        let rules = Rules::default();
        let mut command = command::Model {
            id: 1,
            module_id: String::new(),
            sequence: 1,
            sale_id: Some(SaleId(1)),
            action: String::new(),
            payload: vec![],
            state: CommandState::Sent,
            reason: String::new(),
            pulses: 0,
            sends: 1,
            issued_ms: 0,
            expires_ms: 20_000,
            heard_ms: None,
            due_ms: Some(1_000),
        };
        let mut sent_ms = vec![];
        while let Step::Send { next_ms } = next_step(&rules, &command, 0, command.due_ms.unwrap()) {
            sent_ms.push(command.due_ms.unwrap());
            command.sends += 1;
            command.due_ms = Some(next_ms);
        }
        assert_eq!(sent_ms, [1_000, 3_000, 7_000, 15_000, 23_000]);
        assert_eq!(command.due_ms, Some(30_000));
    }
}
