//! Carrying out what the decider decided: state, ledger, refund and command in the caller's transaction, and what is to
//! be published once it is committed.

use super::{
    hand::cause_word,
    sale,
    state::{Decision, Effect, Event, RefundStage, Sale, SaleState, decide},
};
use crate::{
    Backend, Error, Result,
    ledger::{self, Kind, Posting},
    live::{LiveEvent, LiveKind},
    modules::{Purpose, command},
    operators::operator,
    payments::{
        Cause, attempt, attempt_state, dispute, dispute_state,
        outside::{left_minor, refunds_of},
        refund, refund_state, refunds,
    },
};
use sea_orm::{ActiveValue::Set, DatabaseTransaction, QuerySelect, TryIntoModel, prelude::*};

/// What is to be published after the commit.
#[derive(Default)]
pub(crate) struct After {
    commands: Vec<command::Model>,
    sales: Vec<sale::Model>,
    modules: Vec<String>,
    alarms: Vec<(i64, Option<i64>, String)>,
}

impl After {
    /// A person of that operator should look.
    pub fn alarm(&mut self, operator_id: i64, machine_id: Option<i64>, message: impl Into<String>) {
        self.alarms.push((operator_id, machine_id, message.into()));
    }

    /// Something of a sale changed beside its state.
    pub fn sale(&mut self, sale: sale::Model) {
        self.sales.push(sale);
    }

    /// A command was queued.
    pub fn command(&mut self, command: command::Model) {
        self.commands.push(command);
    }

    /// What a module is told, or its word on it, moved.
    pub fn module(&mut self, module_id: String) {
        self.modules.push(module_id);
    }
}

impl Backend {
    /// Publishes what a committed transaction left to publish.
    pub(crate) async fn follow_up(&self, after: After) {
        for command in &after.commands {
            self.send_command(command).await;
        }
        for sale in after.sales {
            let state = SaleState::parse(&sale.state).map_or("", SaleState::as_str);
            self.live.tell(LiveEvent {
                operator_id: sale.operator_id,
                machine_id: Some(sale.machine_id),
                what: LiveKind::Sale { token: sale.token.clone(), state },
                at_ms: self.wall_ms(),
            });
            self.tell_integrators_of_sale(&sale).await;
        }
        for module_id in &after.modules {
            self.tell_of_module(module_id).await;
        }
        for (operator_id, machine_id, message) in after.alarms {
            self.alarm(operator_id, machine_id, message);
        }
    }

    /// Tells an operator that a person should look.
    pub(crate) fn alarm(&self, operator_id: i64, machine_id: Option<i64>, message: impl Into<String>) {
        let message = message.into();
        tracing::warn!(operator_id, machine_id, message, "alarm");
        metrics::counter!("coinwire_alarms_total").increment(1);
        self.live.tell(LiveEvent { operator_id, machine_id, what: LiveKind::Alarm { message }, at_ms: self.wall_ms() });
    }

    /// Reads a sale to change it: until the transaction ends nobody else does.
    pub(crate) async fn lock_sale(&self, txn: &DatabaseTransaction, sale_id: i64) -> Result<sale::Model> {
        sale::Entity::find_by_id(sale_id).lock_exclusive().one(txn).await?.ok_or(Error::NotFound("sale"))
    }

    /// A sale by its number.
    pub(crate) async fn sale_row(&self, sale_id: i64) -> Result<sale::Model> {
        sale::Entity::find_by_id(sale_id).one(self.db.read()).await?.ok_or(Error::NotFound("sale"))
    }

    /// Decides what an event means for a (locked) sale, and carries it out. `paid` is the attempt that was paid and what
    /// for, where the event is about one.
    pub(crate) async fn move_sale(
        &self,
        txn: &DatabaseTransaction,
        row: sale::Model,
        event: Event,
        paid: Option<(&attempt::Model, i64)>,
        after: &mut After,
    ) -> Result<()> {
        let sale = self.for_deciding(txn, &row, Some(event)).await?;
        let decision = decide(&sale, event);
        if decision.is_nothing(&sale) {
            return Ok(());
        }
        // Effects on the money come first: they take the sale as it was.
        for effect in &decision.effects {
            self.carry_out(txn, &row, *effect, paid, after).await?;
        }
        let paid_now = matches!(event, Event::Paid { .. } | Event::PaidReturned);
        let row = self.store_decision(txn, row, &decision, paid_now).await?;
        metrics::counter!("coinwire_sale_steps_total", "state" => decision.state.as_str()).increment(1);
        after.sales.push(row);
        Ok(())
    }

    pub(super) async fn for_deciding(
        &self,
        txn: &DatabaseTransaction,
        row: &sale::Model,
        event: Option<Event>,
    ) -> Result<Sale> {
        let state = SaleState::parse(&row.state).ok_or(Error::NotFound("state of that name"))?;
        let may_give_back = matches!(event, Some(Event::CreditDone { .. } | Event::CreditFailed { .. }));
        let refund_remainder = may_give_back
            && matches!(state, SaleState::Paid | SaleState::Crediting)
            && operator::Entity::find_by_id(row.operator_id).one(txn).await?.is_some_and(|o| o.refund_remainder);
        let elsewhere_minor = match state {
            SaleState::Paid | SaleState::Crediting if event.is_some_and(|event| gives_back(event, row.pulses)) => {
                returned_elsewhere_minor(txn, row).await?
            }
            _ => 0,
        };
        let refund = match state {
            SaleState::RefundPending | SaleState::Refunded | SaleState::Review => own_refund(txn, row.id).await?,
            _ => None,
        };
        Ok(Sale {
            state,
            amount_minor: row.amount_minor,
            pulses: row.pulses,
            pulses_given: row.pulses_given,
            refund: match refund {
                None => RefundStage::None,
                Some(refund) if [refund_state::PENDING, refund_state::HELD].contains(&refund.state.as_str()) => {
                    RefundStage::Pending
                }
                Some(_) => RefundStage::Submitted,
            },
            served_and_refunded: row.served_and_refunded,
            asked: row.credit_asked,
            refund_remainder,
            elsewhere_minor,
        })
    }

    pub(super) async fn store_decision(
        &self,
        txn: &DatabaseTransaction,
        row: sale::Model,
        decision: &Decision,
        paid_now: bool,
    ) -> Result<sale::Model> {
        let now_ms = self.wall_ms();
        let mut change: sale::ActiveModel = row.clone().into();
        change.state = Set(decision.state.as_str().into());
        change.pulses_given = Set(decision.pulses_given);
        change.served_and_refunded = Set(decision.served_and_refunded);
        change.credit_asked = Set(decision.asked);
        change.version = Set(row.version + 1);
        if let Some(reason) = decision.reason {
            change.reason = Set(reason.into());
        }
        if paid_now && row.paid_ms.is_none() {
            change.paid_ms = Set(Some(now_ms));
        }
        if decision.state.at_rest() && row.finished_ms.is_none() {
            change.finished_ms = Set(Some(now_ms));
        }
        if decision.state == SaleState::Credited {
            change.reason = Set(String::new());
        }
        let changed = change.clone().try_into_model()?;
        change.update_without_returning(txn).await?;
        Ok(changed)
    }

    pub(super) async fn carry_out(
        &self,
        txn: &DatabaseTransaction,
        row: &sale::Model,
        effect: Effect,
        paid: Option<(&attempt::Model, i64)>,
        after: &mut After,
    ) -> Result<()> {
        match effect {
            Effect::PostPayment | Effect::PostSuspense => {
                let (attempt, amount_minor) = paid.ok_or(Error::NotFound("payment to book"))?;
                let kind = if effect == Effect::PostPayment { Kind::Payment } else { Kind::Suspense };
                let reference = format!("attempt-{}", attempt.id);
                let mut posting = self.posting(row, kind, reference, amount_minor);
                posting.currency = attempt.taken_currency().to_owned();
                ledger::post(txn, posting).await
            }
            Effect::QueueCredit | Effect::AskCredit => {
                let (attempt, _) = paid.ok_or(Error::NotFound("payment to credit"))?;
                let purpose = if effect == Effect::QueueCredit { Purpose::Give } else { Purpose::Ask };
                after.command(self.queue_credit(txn, row, &attempt.out_trade_no, purpose).await?);
                Ok(())
            }
            Effect::Refund { cause, amount_minor } => {
                let attempt = match paid {
                    Some((attempt, _)) => attempt.clone(),
                    None => paid_attempt(txn, row.id).await?,
                };
                self.start_refund(txn, row, &attempt, cause, amount_minor).await
            }
            Effect::CancelRefund => {
                let refund = own_refund(txn, row.id).await?.ok_or(Error::NotFound("refund"))?;
                let reference = format!("refund-{}", refund.id);
                let posting = self.posting(row, Kind::RefundCancelled, reference, refund.amount_minor);
                let mut change: refund::ActiveModel = refund.into();
                change.state = Set(refund_state::CANCELLED.into());
                change.due_ms = Set(None);
                change.update_without_returning(txn).await?;
                ledger::post(txn, posting).await
            }
            Effect::AcceptSuspense => self.accept_suspense(txn, row, paid).await,
            Effect::RetryRefund => {
                let refund = own_refund(txn, row.id).await?.ok_or(Error::NotFound("refund"))?;
                let mut change: refund::ActiveModel = refund.into();
                // The provider is asked about it first: a person may have acted there.
                change.state = Set(refund_state::SUBMITTED.into());
                change.tries = Set(0);
                change.due_ms = Set(Some(self.now_ms()));
                change.update_without_returning(txn).await?;
                Ok(())
            }
            Effect::PostLoss => {
                let lost = match given_back_minor(txn, row.id).await? {
                    0 => row.amount_minor,
                    given_back_minor => given_back_minor,
                };
                ledger::post(txn, self.posting(row, Kind::Loss, format!("sale-{}", row.id), lost)).await
            }
            Effect::Alarm(message) => {
                after.alarm(row.operator_id, Some(row.machine_id), format!("{message}: sale {}", row.token));
                Ok(())
            }
        }
    }

    /// Decides a refund of an attempt, never of more than is left of what was paid. While a dispute is open it is held back:
    /// the payer's bank has the money.
    pub(crate) async fn start_refund(
        &self,
        txn: &DatabaseTransaction,
        row: &sale::Model,
        attempt: &attempt::Model,
        cause: Cause,
        amount_minor: i64,
    ) -> Result<()> {
        let amount_minor = amount_minor.min(left_minor(txn, attempt).await?);
        if amount_minor <= 0 {
            return Err(Error::Conflict("what is left to refund"));
        }
        let held = row.dispute == dispute_state::OPENED;
        let cause_word = cause_word(txn, attempt.id, cause).await?;
        let refund = refund::ActiveModel {
            sale_id: Set(row.id),
            attempt_id: Set(attempt.id),
            account_id: Set(attempt.account_id),
            out_refund_no: Set(refunds::free_number(txn, attempt, &cause_word).await?),
            cause: Set(cause_word),
            amount_minor: Set(amount_minor),
            currency: Set(attempt.taken_currency().into()),
            state: Set(if held { refund_state::HELD } else { refund_state::PENDING }.into()),
            note: Set(String::new()),
            tries: Set(0),
            due_ms: Set((!held).then(|| self.now_ms())),
            created_ms: Set(self.wall_ms()),
            ..Default::default()
        };
        let refund_id = refund::Entity::insert(refund).exec(txn).await?.last_insert_id;
        let (kind, _) = refund_kinds(attempt);
        ledger::post(txn, self.posting(row, kind, format!("refund-{refund_id}"), amount_minor)).await
    }

    /// A payment that was in suspense is the sale's own from now on, for the amount that was paid; and what went back of it
    /// went back of the sale.
    async fn accept_suspense(
        &self,
        txn: &DatabaseTransaction,
        row: &sale::Model,
        paid: Option<(&attempt::Model, i64)>,
    ) -> Result<()> {
        let (attempt, amount_minor) = paid.ok_or(Error::NotFound("payment to book"))?;
        let reference = format!("attempt-{}", attempt.id);
        ledger::post(txn, self.posting(row, Kind::SuspenseAccepted, reference, amount_minor)).await?;
        for refund in refunds_of(txn, attempt.id).await? {
            for kind in [Kind::SuspenseRefundCancelled, Kind::Refund] {
                let reference = format!("refund-{}-accepted", refund.id);
                ledger::post(txn, self.posting(row, kind, reference, refund.amount_minor)).await?;
            }
        }
        let mut change: attempt::ActiveModel = attempt.clone().into();
        change.state = Set(attempt_state::PAID.into());
        change.amount_minor = Set(amount_minor);
        change.update_without_returning(txn).await?;
        let mut change: sale::ActiveModel = row.clone().into();
        change.amount_minor = Set(amount_minor);
        change.update_without_returning(txn).await?;
        Ok(())
    }

    /// A posting of a sale's.
    pub(crate) fn posting(&self, row: &sale::Model, kind: Kind, reference: String, amount_minor: i64) -> Posting {
        Posting {
            kind,
            reference,
            operator_id: row.operator_id,
            sale_id: Some(row.id),
            machine_id: Some(row.machine_id),
            amount_minor,
            currency: row.currency.clone(),
            at_ms: self.wall_ms(),
        }
    }
}

/// Whether an event may lead to money going back, where so many pulses were bought.
fn gives_back(event: Event, bought: i32) -> bool {
    match event {
        Event::CreditDone { pulses } => pulses < bought,
        other => matches!(other, Event::CreditFailed { .. } | Event::CreditExpired | Event::CreditSilent),
    }
}

/// How a refund of an attempt is booked, and how it is when it does not come about.
pub(crate) fn refund_kinds(attempt: &attempt::Model) -> (Kind, Kind) {
    if attempt.state == attempt_state::PAID_WRONG {
        (Kind::SuspenseRefund, Kind::SuspenseRefundCancelled)
    } else {
        (Kind::Refund, Kind::RefundCancelled)
    }
}

/// What went back, or is going back, of the sale's own payment: by us, by people, and by refunds made at the provider.
async fn given_back_minor(txn: &DatabaseTransaction, sale_id: i64) -> Result<i64> {
    let refunds = refund::Entity::find()
        .filter(refund::Column::SaleId.eq(sale_id))
        .filter(refund::Column::Cause.ne(Cause::SecondPayment.as_str()))
        .filter(refund::Column::State.ne(refund_state::CANCELLED))
        .all(txn)
        .await?;
    Ok(refunds.iter().map(|refund| refund.amount_minor).sum())
}

/// What went back, or is going back, of a sale by refunds made at the provider.
async fn refunded_elsewhere_minor(txn: &DatabaseTransaction, sale_id: i64) -> Result<i64> {
    let refunds = refund::Entity::find()
        .filter(refund::Column::SaleId.eq(sale_id))
        .filter(refund::Column::OutsideId.ne(""))
        .filter(refund::Column::State.ne(refund_state::CANCELLED))
        .all(txn)
        .await?;
    Ok(refunds.iter().map(|refund| refund.amount_minor).sum())
}

/// What is gone of a sale's payment past us.
async fn returned_elsewhere_minor(txn: &DatabaseTransaction, row: &sale::Model) -> Result<i64> {
    let refunded_minor = refunded_elsewhere_minor(txn, row.id).await?;
    if row.dispute.is_empty() {
        return Ok(refunded_minor);
    }
    let disputes = dispute::Entity::find().filter(dispute::Column::SaleId.eq(row.id)).all(txn).await?;
    let lost = disputes.iter().filter(|dispute| dispute.state == dispute_state::LOST);
    Ok(refunded_minor + lost.map(|dispute| dispute.amount_minor).sum::<i64>())
}

/// The refund that the sale's way asked for: not one made elsewhere, nor that of a second payment, nor what people gave back
/// beside it.
pub(super) async fn own_refund(txn: &DatabaseTransaction, sale_id: i64) -> Result<Option<refund::Model>> {
    Ok(refund::Entity::find()
        .filter(refund::Column::SaleId.eq(sale_id))
        .filter(refund::Column::OutsideId.eq(""))
        .filter(refund::Column::Cause.ne(Cause::SecondPayment.as_str()))
        .filter(refund::Column::Cause.not_like(format!("{}%", Cause::ByHand.as_str())))
        .filter(refund::Column::State.ne(refund_state::CANCELLED))
        .one(txn)
        .await?)
}

/// The attempt that paid the sale: of several paid ones the first, the others were refunded at once.
pub(crate) async fn paid_attempt(txn: &DatabaseTransaction, sale_id: i64) -> Result<attempt::Model> {
    let paid = attempt::Entity::find()
        .filter(attempt::Column::SaleId.eq(sale_id))
        .filter(attempt::Column::State.eq(attempt_state::PAID))
        .all(txn)
        .await?;
    let refunded: Vec<i64> = refund::Entity::find()
        .filter(refund::Column::SaleId.eq(sale_id))
        .filter(refund::Column::Cause.eq(Cause::SecondPayment.as_str()))
        .all(txn)
        .await?
        .into_iter()
        .map(|refund| refund.attempt_id)
        .collect();
    paid.into_iter().find(|attempt| !refunded.contains(&attempt.id)).ok_or(Error::NotFound("paid attempt"))
}
