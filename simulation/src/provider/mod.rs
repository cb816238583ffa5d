//! The payment providers, simulated: they take money, give it back, tell of it, and fail in the ways providers do. There are
//! two, each with a manner of its own (`manner`); books and accounts are those of `fake-providers`.
//!
//! `calls` is by what chance calls are met, `notices` what is told, `reach` how the backend gets there. [`ProviderBooks`] also
//! holds what the providers really took and returned; the checkers compare the ledger with it.

mod calls;
pub mod manner;
mod notices;
mod reach;

pub use notices::Message;
pub use reach::SimProvider;

use crate::{chance::Chance, fault_rates::FaultRates, time::Time};
use backend::payments::provider::PaymentRequest;
use calls::Caller;
use fake_providers::{
    book::Book,
    notice::{Config, Standing, What},
};
use manner::Manner;
use std::{collections::BTreeMap, sync::Arc};

/// Where payers are sent; the attempt's number follows.
pub const PAY_URL: &str = "https://pay.example/";
/// A payer who was already paying is let finish so long after expiry, in milliseconds.
const PAY_SLACK_MS: i64 = 90_000;
/// Of so many of a hundred payments it is told within the run that they can no longer be refunded, where that is told.
const FINISHED: u32 = 10;
/// When, in milliseconds after the payment.
const FINISHED_AFTER_MS: std::ops::RangeInclusive<u64> = 60_000..=900_000;

/// After so many of a hundred parts given back in the console another follows at once, where totals are told.
const ANOTHER_PART: u32 = 40;

/// What a payment really came to, for the checkers.
#[derive(Debug, Clone)]
pub struct Trade {
    /// How its provider does things.
    pub manner: &'static Manner,
    /// What is asked, in minor units.
    pub asked_minor: i64,
    /// What was taken, in minor units; 0 while unpaid.
    pub taken_minor: i64,
    /// What went back so far, in minor units.
    pub returned_minor: i64,
    /// What of it somebody gave back in the provider's console, in minor units.
    pub elsewhere_minor: i64,
    /// Refunds that will never go through by themselves.
    pub abnormal: bool,
    expires_at_ms: i64,
    account_token: String,
    config: Config,
    last_refund: Option<String>,
    /// It was to go back when the merchant's store was put back from a copy: the merchant may have forgotten that.
    pub refund_forgotten: bool,
    /// It was ordered when that happened, and paid.
    pub payment_forgotten: bool,
    order_forgotten: bool,
    is_untold: bool,
}

impl Trade {
    fn new(caller: &Caller, request: &PaymentRequest) -> Self {
        Self {
            manner: caller.manner,
            asked_minor: request.amount.amount_minor,
            taken_minor: 0,
            returned_minor: 0,
            elsewhere_minor: 0,
            abnormal: false,
            expires_at_ms: request.expires_at_ms,
            account_token: request.notify_url.rsplit('/').next().unwrap_or_default().to_owned(),
            config: caller.config.clone(),
            last_refund: None,
            refund_forgotten: false,
            payment_forgotten: false,
            order_forgotten: false,
            is_untold: false,
        }
    }

    /// The merchant may have forgotten its order, and no statement tells of it.
    pub fn may_be_unknown(&self) -> bool {
        self.order_forgotten && !self.manner.habits.has_statements
    }

    /// The merchant may never hear of all that went back: a message was lost, and no statement makes up for it.
    pub fn may_be_untold(&self) -> bool {
        self.is_untold && !self.manner.habits.has_statements
    }
}

/// What follows from a call, for the driver to schedule.
#[derive(Debug, Clone)]
pub enum Intent {
    /// Tell the merchant.
    Notify(Message),
    /// The payer pays before the merchant has its answer.
    PayEarly {
        /// The attempt.
        out_trade_no: String,
        /// So much later.
        after_ms: u64,
    },
    /// Somebody gives money back in the provider's console.
    Console {
        /// The attempt.
        out_trade_no: String,
        /// So much later.
        after_ms: u64,
    },
    /// A payment can no longer be refunded.
    Finish {
        /// The attempt.
        out_trade_no: String,
        /// So much later.
        after_ms: u64,
    },
    /// A refund goes through later.
    Settle {
        /// The refund.
        out_refund_no: String,
        /// So much later.
        after_ms: u64,
    },
}

/// The provider's books.
pub struct ProviderBooks {
    /// How often calls fail.
    pub fault_rates: FaultRates,
    /// Whether payments are taken and not recorded: for proving that the checkers see it.
    pub forgets_payments: bool,
    /// Whether refunds go out twice: for proving that the checkers see it.
    pub refunds_twice: bool,
    /// What the provider did, for the trace.
    pub notes: Vec<String>,
    /// What is to be scheduled.
    pub intents: Vec<Intent>,
    /// What a merchant must never ask for.
    pub violations: Vec<String>,
    trades: BTreeMap<String, Trade>,
    book: Book,
    chance: Chance,
    ways: Chance,
    /// Until when an account is answered nothing, by the account's number, in microseconds.
    silent_until_us: BTreeMap<usize, u64>,
    console: Chance,
    /// What is told, and when payments are finished, where totals are told.
    tells: Chance,
    time: Arc<Time>,
}

impl ProviderBooks {
    /// An empty till.
    pub fn new(seed: u64, time: Arc<Time>, fault_rates: FaultRates) -> Self {
        Self {
            fault_rates,
            forgets_payments: false,
            refunds_twice: false,
            notes: vec![],
            intents: vec![],
            violations: vec![],
            trades: BTreeMap::new(),
            book: Book::default(),
            chance: Chance::new(seed, "provider"),
            ways: Chance::new(seed, "ways to the provider"),
            silent_until_us: BTreeMap::new(),
            console: Chance::new(seed, "console"),
            tells: Chance::new(seed, "what is told"),
            time,
        }
    }

    /// From now on the provider is as well as this weather lets it be, to all accounts.
    pub fn stop_faults(&mut self, fault_rates: FaultRates) {
        self.fault_rates = fault_rates;
        self.silent_until_us.clear();
    }

    /// All attempts the provider knows.
    pub fn trades(&self) -> &BTreeMap<String, Trade> {
        &self.trades
    }

    /// The attempts of one merchant account.
    pub fn of_account(&self, account_token: &str) -> impl Iterator<Item = (&String, &Trade)> {
        self.trades.iter().filter(move |(_, trade)| trade.account_token == account_token)
    }

    /// Money taken and money given back, in minor units, of one merchant account.
    pub fn sums_minor(&self, account_token: &str) -> (i64, i64) {
        self.of_account(account_token)
            .fold((0, 0), |(taken, back), (_, trade)| (taken + trade.taken_minor, back + trade.returned_minor))
    }

    /// Whether an order is only a trade once its payer has come with it.
    pub fn begins_later(&self, out_trade_no: &str) -> bool {
        self.book.carried.contains_key(out_trade_no)
    }

    /// A payer comes with an order. False if it is none, or too old.
    pub fn begin(&mut self, out_trade_no: &str) -> bool {
        self.book.begin(out_trade_no, self.time.true_ms())
    }

    /// A payer pays. False if the provider does not let them.
    pub fn pay(&mut self, out_trade_no: &str) -> bool {
        let now_ms = self.time.true_ms();
        let wrong = self.chance.percent(self.fault_rates.provider.min(2));
        if !self.begin(out_trade_no) {
            return false;
        }
        let is_closed = self.book.is_closed(out_trade_no);
        let Some(trade) = self.trades.get_mut(out_trade_no) else { return false };
        if is_closed || trade.taken_minor > 0 || now_ms > trade.expires_at_ms + PAY_SLACK_MS {
            return false;
        }
        trade.taken_minor = trade.asked_minor + if wrong { 1 } else { 0 };
        if self.forgets_payments {
            return true;
        }
        let taken_minor = trade.taken_minor;
        let finishes = trade.manner.finishes;
        self.book.pay(out_trade_no, taken_minor, now_ms);
        self.tell_trade(out_trade_no);
        if finishes && self.tells.percent(FINISHED) {
            let after_ms = self.tells.between(FINISHED_AFTER_MS);
            self.intents.push(Intent::Finish { out_trade_no: out_trade_no.to_owned(), after_ms });
        }
        for _ in 0..2 {
            if self.console.percent(self.fault_rates.console) {
                let after_ms = self.console.between(0..=600_000);
                self.intents.push(Intent::Console { out_trade_no: out_trade_no.to_owned(), after_ms });
            }
        }
        true
    }

    /// The merchant's store was put back from a copy.
    pub fn forget(&mut self) {
        for (number, trade) in &mut self.trades {
            trade.refund_forgotten |= self.book.has_refund(number);
            trade.payment_forgotten |= trade.taken_minor > 0;
            trade.order_forgotten = true;
        }
    }

    /// A payment can no longer be refunded, which is told.
    pub fn finish(&mut self, out_trade_no: &str) {
        if let Some(trade) = self.book.trades.get_mut(out_trade_no) {
            trade.is_finished = true;
            self.notes.push(format!("provider: {out_trade_no} is finished"));
            self.tell_trade(out_trade_no);
        }
    }

    /// Somebody gives back what is left of a payment, or a part, in the provider's console. Mostly nobody is told.
    pub fn refund_in_console(&mut self, out_trade_no: &str) {
        let now_ms = self.time.true_ms();
        let Some(trade) = self.trades.get(out_trade_no) else { return };
        let asked_back_minor = [true, false].map(|outside| self.book.asked_back_minor(out_trade_no, outside));
        let left_minor = trade.taken_minor - asked_back_minor.iter().sum::<i64>();
        let is_finished = self.book.trades.get(out_trade_no).is_none_or(|trade| trade.is_finished);
        if left_minor <= 0 || is_finished {
            return;
        }
        let taken_minor = trade.taken_minor;
        let whole = left_minor == 1 || self.console.percent(50);
        let minor =
            if whole { left_minor } else { 1 + left_minor.min(self.console.between(1..=1_000) as i64) % left_minor };
        let number = format!("C{}", self.book.refunds.len() + self.book.outside.len());
        self.book.begin_outside(out_trade_no, &number, minor, now_ms);
        self.book.end_outside(&number);
        if let Some(trade) = self.trades.get_mut(out_trade_no) {
            trade.elsewhere_minor += minor;
        }
        self.give_back(out_trade_no, &number, minor);
        self.notes.push(format!("console: {minor} of {taken_minor} of {out_trade_no} go back as {number}"));
        let tells_totals = self.trades.get(out_trade_no).is_some_and(|trade| trade.manner.tells_totals);
        // Parts that go back one right after the other are told in any order.
        if tells_totals && !whole && self.tells.percent(ANOTHER_PART) {
            let after_ms = self.tells.between(0..=2_000);
            self.intents.push(Intent::Console { out_trade_no: out_trade_no.to_owned(), after_ms });
        }
        if !tells_totals && self.console.percent(30) {
            let (trade, state) = (out_trade_no.to_owned(), Standing::Done);
            self.notify(out_trade_no, &number, What::Outside { trade, amount_minor: minor, state });
        }
    }

    /// A refund that was on its way goes through.
    pub fn settle(&mut self, out_refund_no: &str) {
        let Some((out_trade_no, minor)) = self.book.end_refund(out_refund_no) else { return };
        self.give_back(&out_trade_no, out_refund_no, minor);
        self.notify(&out_trade_no, out_refund_no, What::RefundDone);
    }

    fn give_back(&mut self, out_trade_no: &str, number: &str, minor: i64) {
        let times = if self.refunds_twice { 2 } else { 1 };
        let Some(trade) = self.trades.get_mut(out_trade_no) else { return };
        trade.returned_minor += minor * times;
        trade.last_refund = Some(number.to_owned());
        if trade.manner.tells_totals {
            self.tell_trade(out_trade_no);
        }
    }
}
