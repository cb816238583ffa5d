//! By what chance a provider meets calls: in time, late, never, with a fault, done or not.

use super::{Intent, ProviderBooks, Trade, manner::Manner};
use backend::payments::provider::{PaymentRequest, ProviderError, RefundRequest, RefundState};
use fake_providers::{
    account::{Act, Asked},
    book::refused,
    notice::{Config, What},
};

/// A slow call takes so long, in milliseconds.
const SLOW_MS: std::ops::RangeInclusive<u64> = 100..=30_000;
/// Longer than anybody waits, in milliseconds.
const NEVER_MS: u64 = 24 * 3_600_000;

/// Who calls.
#[derive(Clone)]
pub(super) struct Caller {
    pub account: usize,
    pub config: Config,
    pub manner: &'static Manner,
}

/// How long a call takes before it is done, and how long its answer takes then, in milliseconds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Way {
    pub there_ms: u64,
    pub back_ms: u64,
}

impl ProviderBooks {
    /// From now on the provider answers an account nothing for so long. What it is asked may be done nevertheless.
    pub fn fall_silent(&mut self, account: usize, for_us: u64) {
        self.silent_until_us.insert(account, self.time.now_us() + for_us);
    }

    pub(super) fn way(&mut self, account: usize) -> Way {
        let is_out = self.silent_until_us.get(&account).is_some_and(|until_us| self.time.now_us() < *until_us);
        if is_out || self.ways.percent(self.fault_rates.silent) {
            // Lost on the way there, or on the way back.
            let is_done = self.ways.percent(50);
            return if is_done {
                Way { there_ms: 0, back_ms: NEVER_MS }
            } else {
                Way { there_ms: NEVER_MS, back_ms: 0 }
            };
        }
        if !self.ways.percent(self.fault_rates.slow) {
            return Way::default();
        }
        let takes_ms = self.ways.between(SLOW_MS);
        let there_ms = self.ways.between(0..=takes_ms);
        Way { there_ms, back_ms: takes_ms - there_ms }
    }

    fn fails(&mut self) -> bool {
        self.chance.percent(self.fault_rates.provider)
    }

    /// Meets a call. Gives how long its answer takes beside the way, and what it is.
    pub(super) fn met(
        &mut self,
        caller: &Caller,
        asked: Asked<'_>,
        act: &mut Act<'_>,
    ) -> (u64, Result<(), ProviderError>) {
        self.book.now_ms = Some(self.time.true_ms());
        match asked {
            Asked::Create(request) => self.create(caller, request, act),
            Asked::Query(_) => (0, self.query(act)),
            Asked::Close(number) => (0, self.close(number, act)),
            Asked::Refund(request) => (0, self.refund(caller.manner, request, act)),
            Asked::QueryRefund(_) => (0, self.query_refund(act)),
            Asked::Statement(_) => (0, self.query(act)),
        }
    }

    /// An order is there from now on: with the provider, or with the payer.
    pub(super) fn take_order(&mut self, caller: &Caller, request: &PaymentRequest, act: &mut Act<'_>) {
        act(&mut self.book);
        let trade = Trade::new(caller, request);
        self.trades.entry(request.out_trade_no.clone()).or_insert(trade);
    }

    fn create(
        &mut self,
        caller: &Caller,
        request: &PaymentRequest,
        act: &mut Act<'_>,
    ) -> (u64, Result<(), ProviderError>) {
        if !self.fails() {
            self.take_order(caller, request, act);
            return (0, Ok(()));
        }
        match self.chance.between(0..=6) {
            0 => (0, Err(busy())),
            1 => (10_000, Err(timed_out())),
            2 => (0, Err(refused("RULE_LIMIT", "not now"))),
            3 | 4 => {
                self.take_order(caller, request, act);
                (self.chance.between(0..=10_000), Err(timed_out()))
            }
            _ => {
                self.take_order(caller, request, act);
                let slow_ms = self.chance.between(500..=8_000);
                let after_ms = self.chance.between(0..=slow_ms);
                // An order that the payer brings is not there before the answer.
                if caller.manner.habits.begins_with_order {
                    let out_trade_no = request.out_trade_no.clone();
                    self.intents.push(Intent::PayEarly { out_trade_no, after_ms });
                }
                (slow_ms, Ok(()))
            }
        }
    }

    fn query(&mut self, act: &mut Act<'_>) -> Result<(), ProviderError> {
        if self.fails() {
            return Err(if self.chance.percent(50) { busy() } else { timed_out() });
        }
        act(&mut self.book);
        Ok(())
    }

    fn close(&mut self, out_trade_no: &str, act: &mut Act<'_>) -> Result<(), ProviderError> {
        let fails = self.fails();
        let after_success = self.chance.percent(50);
        if fails && !after_success {
            return Err(busy());
        }
        let was_closed = self.book.is_closed(out_trade_no);
        act(&mut self.book);
        let is_told = self.trades.get(out_trade_no).is_some_and(|trade| trade.manner.tells_totals);
        if is_told && !was_closed && self.book.is_closed(out_trade_no) {
            self.notify(out_trade_no, out_trade_no, What::Closed);
        }
        if fails { Err(timed_out()) } else { Ok(()) }
    }

    fn refund(
        &mut self,
        manner: &'static Manner,
        request: &RefundRequest,
        act: &mut Act<'_>,
    ) -> Result<(), ProviderError> {
        let (number, trade_number) = (&request.numbers.out_refund_no, &request.numbers.trade.out_trade_no);
        if self.book.refunds.contains_key(number) {
            act(&mut self.book);
            return Ok(());
        }
        let fails = self.fails();
        let kind = self.chance.between(0..=5);
        match kind {
            0 if fails => return Err(busy()),
            1 if fails => return Err(timed_out()),
            2 if fails => return Err(ProviderError::InsufficientBalance),
            3 if fails => return Err(refused("FREQUENCY", "later")),
            _ => {}
        }
        if self.book.trades.get(trade_number).is_some_and(|trade| trade.is_finished) {
            // That is for a person.
            self.trades.entry(trade_number.clone()).and_modify(|trade| trade.abnormal = true);
            return Err(refused("TRADE_HAS_FINISHED", "can no longer be refunded"));
        }
        let Some(trade) = self.trades.get(trade_number) else {
            self.violations.push(format!("a refund of {trade_number}, which was never ordered"));
            return Err(refused("ORDER_NOT_EXIST", "no such order"));
        };
        let asked_minor = self.book.asked_back_minor(trade_number, false);
        let in_console_minor = self.book.asked_back_minor(trade_number, true);
        let is_too_much = asked_minor + request.refund_minor > trade.taken_minor;
        let exceeds_with_console = asked_minor + in_console_minor + request.refund_minor > trade.taken_minor;
        // The merchant need not know what was done in the console, and may have forgotten what it asked for.
        if in_console_minor > 0 && exceeds_with_console || is_too_much && trade.refund_forgotten {
            return Err(refused("INVALID_REQUEST", "more than is left"));
        }
        if asked_minor > 0 && !trade.refund_forgotten || is_too_much || request.refund_minor <= 0 {
            let taken_minor = trade.taken_minor;
            self.violations.push(format!(
                "a refund of {} on {trade_number}: taken {taken_minor}, asked back before {asked_minor}",
                request.refund_minor
            ));
            return Err(refused("NOT_ENOUGH", "more than was paid"));
        }
        let state = match (fails, self.chance.between(0..=9)) {
            // Not received after all, which only a question tells.
            (true, 0..=2) if manner.habits.refunds_at_once => RefundState::NotFound,
            _ if manner.habits.refunds_at_once => RefundState::Done,
            (true, 0) => RefundState::Abnormal,
            (true, 1 | 2) => RefundState::Closed,
            (_, 3..=6) => RefundState::Processing,
            _ => RefundState::Done,
        };
        self.book.refund_states.push_back(state);
        act(&mut self.book);
        // One that the books do not take moves nothing.
        self.book.refund_states.clear();
        if self.book.refunds.contains_key(number) {
            self.refund_begun(request, state);
        }
        if fails && self.chance.percent(50) { Err(timed_out()) } else { Ok(()) }
    }

    fn refund_begun(&mut self, request: &RefundRequest, state: RefundState) {
        let (number, trade_number) = (&request.numbers.out_refund_no, &request.numbers.trade.out_trade_no);
        match state {
            RefundState::Done => self.give_back(trade_number, number, request.refund_minor),
            RefundState::Processing => {
                let after_ms = self.chance.between(100..=60_000);
                self.intents.push(Intent::Settle { out_refund_no: number.clone(), after_ms });
            }
            RefundState::Abnormal => {
                if let Some(trade) = self.trades.get_mut(trade_number) {
                    trade.abnormal = true;
                }
            }
            RefundState::Closed | RefundState::NotFound => {}
        }
    }

    fn query_refund(&mut self, act: &mut Act<'_>) -> Result<(), ProviderError> {
        if self.fails() {
            return Err(busy());
        }
        act(&mut self.book);
        Ok(())
    }
}

fn busy() -> ProviderError {
    ProviderError::Busy("come back later".into())
}

fn timed_out() -> ProviderError {
    ProviderError::Unknown("no answer".into())
}
