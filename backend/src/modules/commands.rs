//! Commands that count: numbered, stored with what they follow from, sent again until the module had its word on them,
//! and given up when they are past expiry and grace.

use super::{
    command::{self, ActiveModel, Column, Entity},
    module,
    numbers::{credit_id, next_sequence, order_sequence},
};
use crate::{
    Backend, Error, Result, Rules,
    sales::{After, Event, sale},
};
use protocol::{
    ModuleId,
    limits::PAYLOAD_MAX_BYTES,
    messages::{Action, Command},
    topics::{self, Kind},
};
use sea_orm::{
    ActiveValue::Set, ConnectionTrait, DatabaseTransaction, QueryOrder, QuerySelect, prelude::*, sea_query::Expr,
};

/// Words for a command's state, as stored.
pub(crate) mod command_state {
    /// Waits for the module's word.
    pub const SENT: &str = "sent";
    /// The module took it.
    pub const RECEIVED: &str = "received";
    /// Executed whole.
    pub const DONE: &str = "done";
    /// Not executed, or in part.
    pub const FAILED: &str = "failed";
    /// Reached the module too late.
    pub const EXPIRED: &str = "expired";
    /// No word until expiry and grace.
    pub const SILENT: &str = "silent";
    /// A newer one took its place before the module had its word.
    pub const SUPERSEDED: &str = "superseded";
}

/// What a credit command is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To be given now.
    Give,
    /// To say whether it was given before.
    Ask,
}

/// What to do with a command now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Send it (again), and look at it next at this time.
    Send { next_ms: i64 },
    /// It was issued by a clock that was ahead of ours, which was set back since: issue the same command anew.
    Renew,
    /// The module stays silent.
    GiveUp,
}

/// Decides about a command that is due. Past its expiry it is still sent: the module will not execute it, but tells what
/// came of it before. A module that took it and keeps saying so is given its time, up to the longest a credit may take. One of
/// before our start is asked once more: we may have been away for long, or have forgotten the answer.
///
/// While a process runs, its time does not go back; it may have between two processes. What such a command has left
/// cannot be known: it is given its whole time again, so that it waits no longer than a new one.
fn next_step(rules: &Rules, command: &command::Model, started_ms: i64, now_ms: i64) -> Step {
    if is_of_the_future(rules, command, now_ms) {
        return if command.state == command_state::SILENT { Step::GiveUp } else { Step::Renew };
    }
    let grace_ms = if command.sale_id.is_some() { rules.credit_grace_ms } else { 0 };
    let silent_ms = command.expires_ms.saturating_add(grace_ms);
    let give_up_ms = match command.heard_ms {
        Some(heard_ms) => (heard_ms + 2 * rules.resend_max_ms + grace_ms)
            .clamp(silent_ms, silent_ms.max(command.issued_ms + rules.credit_longest_ms)),
        None => silent_ms,
    };
    let is_open = [command_state::SENT, command_state::RECEIVED].contains(&command.state.as_str());
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
fn is_of_the_future(rules: &Rules, command: &command::Model, now_ms: i64) -> bool {
    command.issued_ms > now_ms + rules.resend_max_ms
}

impl Backend {
    /// Queues a command in the caller's transaction. To be sent after the commit.
    async fn queue_command(
        &self,
        txn: &DatabaseTransaction,
        module_id: &str,
        action: Action,
        lifetime_ms: i64,
    ) -> Result<command::Model> {
        let issued_ms = self.now_ms();
        let sequence = next_sequence(txn, module_id, issued_ms).await?;
        let mut command = self.new_command(module_id, super::column(self.new_command_id()), sequence, action);
        command.expires_ms = issued_ms.saturating_add(lifetime_ms);
        let on_wire = on_wire(&command, action);
        store(txn, command, &on_wire).await
    }

    /// Queues the credit of a sale that was paid, or the question whether it was given before: that is the same command,
    /// expired already, so that a module which does not know it can never give it. Its numbers follow from the payment and
    /// from the order.
    pub(crate) async fn queue_credit(
        &self,
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
            None => next_sequence(txn, module_id, self.now_ms()).await?,
        };
        let action = Action::Credit { pulses: u16::try_from(sale.pulses).unwrap_or(u16::MAX) };
        let id = super::column(credit_id(module_id, out_trade_no));
        let mut command = self.new_command(module_id, id, sequence, action);
        command.sale_id = Some(sale.id);
        let wait_ms = match purpose {
            Purpose::Ask if !self.is_online(txn, module_id).await? => self.rules.module_return_ms,
            Purpose::Give | Purpose::Ask => self.rules.credit_lifetime_ms,
        };
        command.expires_ms = command.issued_ms.saturating_add(wait_ms);
        let mut on_wire = on_wire(&command, action);
        if purpose == Purpose::Ask {
            // As old as the order: a module whose memory began later says so.
            on_wire = self.as_question(on_wire, sale.created_ms, self.now_ms());
        }
        store(txn, command, &on_wire).await
    }

    /// A credit as a question whether it was given: expired by the module's clock too, however late it was issued.
    fn as_question(&self, credit: Command, issued_ms: i64, now_ms: i64) -> Command {
        let expired_ms = issued_ms.min(now_ms - 2 * self.rules.clock_drift_max_ms);
        let expired_ms = u64::try_from(expired_ms).unwrap_or(0);
        Command { issued_ms: expired_ms, expires_ms: expired_ms, ..credit }
    }

    async fn is_online(&self, txn: &DatabaseTransaction, module_id: &str) -> Result<bool> {
        let module = module::Entity::find_by_id(module_id).one(txn).await?;
        Ok(module.ok_or(Error::NotFound("module"))?.online)
    }

    fn new_command(&self, module_id: &str, id: i64, sequence: i64, action: Action) -> command::Model {
        let issued_ms = self.now_ms();
        command::Model {
            id,
            module_id: module_id.to_owned(),
            sequence,
            sale_id: None,
            action: action.as_str().into(),
            payload: vec![],
            state: command_state::SENT.into(),
            reason: String::new(),
            pulses: 0,
            sends: 1,
            issued_ms,
            expires_ms: issued_ms,
            heard_ms: None,
            due_ms: Some(issued_ms + self.rules.resend_first_ms),
        }
    }

    /// Queues a command that takes the place of those of its action which the module had no word on yet: they are not
    /// sent again. What it has taken already it orders by itself.
    pub(crate) async fn queue_newest(
        &self,
        txn: &DatabaseTransaction,
        module_id: &str,
        action: Action,
        lifetime_ms: i64,
    ) -> Result<command::Model> {
        let command = self.queue_command(txn, module_id, action, lifetime_ms).await?;
        Entity::update_many()
            .col_expr(Column::State, Expr::value(command_state::SUPERSEDED))
            .col_expr(Column::DueMs, Expr::value(Option::<i64>::None))
            .filter(Column::ModuleId.eq(module_id))
            .filter(Column::Action.eq(action.as_str()))
            .filter(Column::Sequence.lt(command.sequence))
            .filter(Column::State.is_in([command_state::SENT, command_state::RECEIVED]))
            .exec(txn)
            .await?;
        Ok(command)
    }

    /// Publishes a stored command. If that fails it is due again soon.
    pub(crate) async fn send_command(&self, command: &command::Model) {
        let (Ok(module), Ok(decoded)) =
            (ModuleId::parse(&command.module_id), minicbor::decode::<Command>(&command.payload))
        else {
            tracing::error!(command = command.id, "a stored command cannot be read; it is not sent");
            return;
        };
        let left_ms = command.expires_ms + self.rules.credit_grace_ms - self.now_ms();
        let expiry_s = u64::try_from(left_ms).unwrap_or(0).div_ceil(1000).max(1);
        self.publish_command(module, &decoded, expiry_s).await;
    }

    pub(crate) async fn publish_command(&self, module: ModuleId, command: &Command, expiry_s: u64) {
        let key = match self.message_key(module).await {
            Ok(Some(key)) => key,
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(%module, %error, "could not sign a command; it will be sent again");
                return;
            }
        };
        let topic = topics::topic(module, Kind::Command);
        let mut payload = [0; PAYLOAD_MAX_BYTES];
        let length = protocol::seal(&key, &topic, command, &mut payload).expect("every command fits a payload");
        let expiry_s = u32::try_from(expiry_s).unwrap_or(u32::MAX);
        if let Err(error) = self.bus.publish(&topic, payload[..length].to_vec(), false, Some(expiry_s)).await {
            tracing::debug!(%module, %error, "a command was not published; it will be sent again");
        }
        metrics::counter!("coinwire_commands_published_total", "action" => command.action.as_str()).increment(1);
    }

    /// Does what is to be done with a command that is due.
    pub(crate) async fn work_on_command(&self, command: command::Model) -> Result<()> {
        let step = next_step(&self.rules, &command, self.began_ms(), self.now_ms());
        let put_off = |change: ActiveModel| self.put_off_command(&command, change);
        match step {
            Step::Send { next_ms } => {
                let sends = Set(command.sends + 1);
                if put_off(ActiveModel { due_ms: Set(Some(next_ms)), sends, ..Default::default() }).await? {
                    metrics::counter!("coinwire_commands_resent_total").increment(1);
                    self.send_command(&command).await;
                }
            }
            Step::Renew => {
                let lifetime_ms = command.expires_ms.saturating_sub(command.issued_ms);
                let renewed = self.renewed(&command, self.now_ms(), lifetime_ms)?;
                let change = ActiveModel {
                    payload: Set(renewed.payload.clone()),
                    issued_ms: Set(renewed.issued_ms),
                    expires_ms: Set(renewed.expires_ms),
                    heard_ms: Set(renewed.heard_ms),
                    due_ms: Set(renewed.due_ms),
                    ..Default::default()
                };
                if put_off(change).await? {
                    self.send_command(&renewed).await;
                }
            }
            Step::GiveUp => self.give_up(&command).await?,
        }
        Ok(())
    }

    /// The same command, as if it was issued then: a module that knows its number does nothing twice.
    fn renewed(&self, command: &command::Model, issued_ms: i64, lifetime_ms: i64) -> Result<command::Model> {
        let known: Command = minicbor::decode(&command.payload).map_err(|_| Error::NotFound("readable command"))?;
        let mut renewed = command::Model {
            issued_ms,
            expires_ms: issued_ms + lifetime_ms,
            heard_ms: command.heard_ms.map(|_| issued_ms),
            due_ms: Some(issued_ms + self.rules.resend_first_ms),
            ..command.clone()
        };
        let mut on_wire = on_wire(&renewed, known.action);
        // A question stays one: issued anew it would be a credit to be given.
        if known.expires_ms <= known.issued_ms {
            on_wire = self.as_question(on_wire, i64::try_from(known.issued_ms).unwrap_or(i64::MAX), issued_ms);
        }
        renewed.payload = minicbor::to_vec(on_wire).expect("encoding into memory cannot fail");
        Ok(renewed)
    }

    /// Changes a command that is due, before anything is done with it; false if the module had its word meanwhile, or
    /// somebody else is at it.
    async fn put_off_command(&self, command: &command::Model, change: ActiveModel) -> Result<bool> {
        let change = &change;
        self.db
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

    async fn give_up(&self, command: &command::Model) -> Result<()> {
        let after = self
            .db
            .write(|txn| async move {
                let txn = &*txn;
                let mut after = After::default();
                let sale = match command.sale_id {
                    Some(sale_id) => Some(self.lock_sale(txn, sale_id).await?),
                    None => None,
                };
                let Some(current) = Entity::find_by_id(command.id).one(txn).await? else { return Ok(after) };
                // The module had its word meanwhile, or somebody else gave it up.
                if current.due_ms.is_none() || current.due_ms != command.due_ms {
                    return Ok(after);
                }
                // Its word may have been lost on the way: it is asked again when the module shows up, but not for ever.
                let is_first = current.state != command_state::SILENT;
                let memory_ms = self.rules.credit_memory_ms;
                let forget_ms =
                    current.sale_id.filter(|_| is_first).map(|_| current.issued_ms.min(self.now_ms()) + memory_ms);
                if current.sale_id.is_none() {
                    after.module(current.module_id.clone());
                }
                let mut change: ActiveModel = current.into();
                change.state = Set(command_state::SILENT.into());
                change.due_ms = Set(forget_ms);
                change.update_without_returning(txn).await?;
                if let Some(sale) = sale {
                    self.move_sale(txn, sale, Event::CreditSilent, None, &mut after).await?;
                }
                Ok(after)
            })
            .await?;
        self.follow_up(after).await;
        Ok(())
    }

    /// How many credits a module was sent that it has not given or refused yet.
    pub(crate) async fn open_credits(&self, module_id: &str) -> Result<usize> {
        let open = Entity::find()
            .filter(Column::ModuleId.eq(module_id))
            .filter(Column::DueMs.gt(0))
            .filter(Column::SaleId.is_not_null())
            .filter(Column::State.is_in([command_state::SENT, command_state::RECEIVED]))
            .count(self.db.read())
            .await?;
        Ok(usize::try_from(open).unwrap_or(usize::MAX))
    }

    /// Sends everything a module had no word on (it gives nothing that expired, but says what came of it): it just came back, or its clock was just set.
    pub(crate) async fn send_pending(&self, module: ModuleId) -> Result<()> {
        let pending = Entity::find()
            .filter(Column::ModuleId.eq(module.as_str()))
            .filter(Column::DueMs.gt(0))
            .filter(Column::State.is_in([command_state::SENT, command_state::SILENT]))
            .order_by_asc(Column::Sequence)
            .limit(self.rules.batch_rows)
            .all(self.db.read())
            .await?;
        for command in pending {
            let of_the_future = is_of_the_future(&self.rules, &command, self.now_ms());
            if !of_the_future {
                self.send_command(&command).await;
            } else if command.state == command_state::SILENT {
                // Asked about only: it must not be given any more, also not by a module whose clock is a little behind. The
                // others are issued anew in a moment.
                let long_ago_ms = self.now_ms() - 3 * self.rules.credit_lifetime_ms;
                self.send_command(&self.renewed(&command, long_ago_ms, self.rules.credit_lifetime_ms)?).await;
            }
        }
        Ok(())
    }
}

/// Whether a sale's credit was given up because its module said nothing.
pub(crate) async fn is_silent_about(db: &impl ConnectionTrait, sale_id: i64) -> Result<bool> {
    let silent = Entity::find()
        .filter(Column::SaleId.eq(sale_id))
        .filter(Column::State.eq(command_state::SILENT))
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

fn on_wire(command: &command::Model, action: Action) -> Command {
    Command {
        id: command.id.unsigned_abs(),
        sequence: u32::try_from(command.sequence).unwrap_or(u32::MAX),
        issued_ms: u64::try_from(command.issued_ms).unwrap_or(0),
        expires_ms: u64::try_from(command.expires_ms).unwrap_or(0),
        action,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_for_a_module_that_keeps_saying_it_is_at_work() {
        let rules = Rules::default();
        let command = command::Model {
            id: 1,
            module_id: String::new(),
            sequence: 1,
            sale_id: Some(1),
            action: String::new(),
            payload: vec![],
            state: command_state::RECEIVED.into(),
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
            sale_id: Some(1),
            action: String::new(),
            payload: vec![],
            state: command_state::SENT.into(),
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
