//! The payment provider, simulated: it takes money, gives it back, tells of it, and fails in the ways providers do.
//!
//! Its books and its accounts are those of `fake-providers`; here is by what chance calls are met. [`ProviderBooks`] also
//! holds what the provider really took and returned; the checkers compare the ledger with it.

use crate::{chance::Chance, fault_rates::FaultRates, time::Time};
use async_trait::async_trait;
use backend::payments::{
    Providers,
    provider::{Calendar, PaymentRequest, Provider, ProviderError, RefundRequest, RefundState},
};
use fake_providers::{
    account::{Account, Act, Asked, Conduct},
    book::{Book, Habits, ToldReturned, refused},
    notice::{Callback, Config, Notice, Standing, What},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The provider's word, in accounts and in the addresses of callbacks.
pub const PROVIDER: &str = "wechat";
/// Where payers are sent; the attempt's number follows.
pub const PAY_URL: &str = "https://pay.example/";
/// A slow call takes so long, in milliseconds.
const SLOW_MS: std::ops::RangeInclusive<u64> = 100..=30_000;
/// Longer than anybody waits, in milliseconds.
const NEVER_MS: u64 = 24 * 3_600_000;
/// The provider's days are this long, so that a run has some, and statements of them.
const DAY_MS: i64 = 10 * 60_000;
/// A statement is to be had so long after its day, in milliseconds.
const STATEMENT_AFTER_MS: i64 = 60_000;
const HABITS: Habits = Habits {
    calendar: Calendar { ahead_ms: 0, day_ms: DAY_MS, ready_after_ms: STATEMENT_AFTER_MS },
    returned: ToldReturned::Taken,
    states_own_refunds: true,
    states_empty_days: true,
};
/// The key of an account that nobody has.
const FORGERS_KEY: &str = "guessed";
/// A payer who was already paying is let finish so long after expiry, in milliseconds.
const PAY_SLACK_MS: i64 = 90_000;

/// What a payment really came to, for the checkers.
#[derive(Debug, Clone)]
pub struct Trade {
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
    /// It was to go back when the merchant's store was put back from a copy: the merchant may have forgotten that.
    pub refund_forgotten: bool,
}

/// What follows from a call, for the driver to schedule.
#[derive(Debug, Clone)]
pub enum Intent {
    /// Tell the merchant.
    Notify {
        /// The merchant account's token, as in the notify address.
        account_token: String,
        /// What is told, signed.
        callback: Callback,
    },
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
    time: Arc<Time>,
}

/// How long a call takes before it is done, and how long its answer takes then, in milliseconds.
#[derive(Debug, Clone, Copy, Default)]
struct Way {
    there_ms: u64,
    back_ms: u64,
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
            book: Book::new(HABITS),
            chance: Chance::new(seed, "provider"),
            ways: Chance::new(seed, "ways to the provider"),
            silent_until_us: BTreeMap::new(),
            console: Chance::new(seed, "console"),
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

    /// Money taken and money given back, in minor units, of one merchant account.
    pub fn sums_minor(&self, account_token: &str) -> (i64, i64) {
        let of_account = self.trades.values().filter(|trade| trade.account_token == account_token);
        of_account.fold((0, 0), |(taken, back), trade| (taken + trade.taken_minor, back + trade.returned_minor))
    }

    /// A payer pays. False if the provider does not let them.
    pub fn pay(&mut self, out_trade_no: &str) -> bool {
        let now_ms = self.time.true_ms();
        let wrong = self.chance.percent(self.fault_rates.provider.min(2));
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
        let paid = self.book.pay(out_trade_no, taken_minor, now_ms);
        self.notify(out_trade_no, out_trade_no, What::paid(paid));
        for _ in 0..2 {
            if self.console.percent(self.fault_rates.console) {
                let after_ms = self.console.between(0..=600_000);
                self.intents.push(Intent::Console { out_trade_no: out_trade_no.to_owned(), after_ms });
            }
        }
        true
    }

    /// Plans to tell the merchant of a trade about one of its numbers.
    fn notify(&mut self, out_trade_no: &str, number: &str, what: What) {
        let Some(trade) = self.trades.get(out_trade_no) else { return };
        let (merchant, number) = (trade.config.merchant.clone(), number.to_owned());
        let notice = Notice { event: self.book.next_event(), merchant, number, what };
        let callback = notice.signed(&trade.config.key);
        self.intents.push(Intent::Notify { account_token: trade.account_token.clone(), callback });
    }

    /// The merchant's store was put back from a copy.
    pub fn forget_refunds(&mut self) {
        for (number, trade) in &mut self.trades {
            trade.refund_forgotten |= self.book.has_refund(number);
        }
    }

    /// Somebody gives back what is left of a payment, or a part, in the provider's console. Mostly nobody is told.
    pub fn refund_in_console(&mut self, out_trade_no: &str) {
        let now_ms = self.time.true_ms();
        let Some(trade) = self.trades.get(out_trade_no) else { return };
        let asked_back_minor = [true, false].map(|outside| self.book.asked_back_minor(out_trade_no, outside));
        let left_minor = trade.taken_minor - asked_back_minor.iter().sum::<i64>();
        if left_minor <= 0 {
            return;
        }
        let taken_minor = trade.taken_minor;
        let whole = left_minor == 1 || self.console.percent(50);
        let minor =
            if whole { left_minor } else { 1 + left_minor.min(self.console.between(1..=1_000) as i64) % left_minor };
        let number = format!("C{}", self.book.refunds.len() + self.book.outside.len());
        self.book.begin_outside(out_trade_no, &number, minor, now_ms);
        self.book.end_outside(&number);
        self.give_back(out_trade_no, minor);
        if let Some(trade) = self.trades.get_mut(out_trade_no) {
            trade.elsewhere_minor += minor;
        }
        self.notes.push(format!("console: {minor} of {taken_minor} of {out_trade_no} go back as {number}"));
        if self.console.percent(30) {
            let (trade, state) = (out_trade_no.to_owned(), Standing::Done);
            self.notify(out_trade_no, &number, What::Outside { trade, amount_minor: minor, state });
        }
    }

    /// A refund that was on its way goes through.
    pub fn settle(&mut self, out_refund_no: &str) {
        let Some((out_trade_no, minor)) = self.book.end_refund(out_refund_no) else { return };
        self.give_back(&out_trade_no, minor);
        self.notify(&out_trade_no, out_refund_no, What::RefundDone);
    }

    fn give_back(&mut self, out_trade_no: &str, minor: i64) {
        let times = if self.refunds_twice { 2 } else { 1 };
        if let Some(trade) = self.trades.get_mut(out_trade_no) {
            trade.returned_minor += minor * times;
        }
    }

    /// A forged callback that claims an attempt was paid, and the token of its account.
    pub fn forged(&mut self, out_trade_no: &str) -> Option<(String, Callback)> {
        let trade = self.trades.get(out_trade_no)?;
        let (txn, paid_at_ms) = (format!("T{out_trade_no}"), self.time.true_ms());
        let what = What::Paid { txn, amount_minor: trade.asked_minor, paid_at_ms, attach: String::new() };
        let (event, merchant) = ("E1000000".into(), trade.config.merchant.clone());
        let notice = Notice { event, merchant, number: out_trade_no.to_owned(), what };
        Some((trade.account_token.clone(), notice.signed(FORGERS_KEY)))
    }

    /// From now on the provider answers an account nothing for so long. What it is asked may be done nevertheless.
    pub fn fall_silent(&mut self, account: usize, for_us: u64) {
        self.silent_until_us.insert(account, self.time.now_us() + for_us);
    }

    fn way(&mut self, account: usize) -> Way {
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
    fn met(&mut self, config: &Config, asked: Asked<'_>, act: &mut Act<'_>) -> (u64, Result<(), ProviderError>) {
        self.book.now_ms = Some(self.time.true_ms());
        match asked {
            Asked::Create(request) => self.create(config, request, act),
            Asked::Query(_) => (0, self.query(act)),
            Asked::Close(_) => (0, self.close(act)),
            Asked::Refund(request) => (0, self.refund(request, act)),
            Asked::QueryRefund(_) => (0, self.query_refund(act)),
            Asked::Statement(_) => (0, self.query(act)),
        }
    }

    fn create(
        &mut self,
        config: &Config,
        request: &PaymentRequest,
        act: &mut Act<'_>,
    ) -> (u64, Result<(), ProviderError>) {
        let number = request.out_trade_no.clone();
        let trade = Trade {
            asked_minor: request.amount.amount_minor,
            taken_minor: 0,
            returned_minor: 0,
            elsewhere_minor: 0,
            abnormal: false,
            expires_at_ms: request.expires_at_ms,
            account_token: request.notify_url.rsplit('/').next().unwrap_or_default().to_owned(),
            config: config.clone(),
            refund_forgotten: false,
        };
        let mut take = |books: &mut Self| {
            act(&mut books.book);
            books.trades.entry(number.clone()).or_insert(trade.clone());
        };
        if !self.fails() {
            take(self);
            return (0, Ok(()));
        }
        match self.chance.between(0..=6) {
            0 => (0, Err(busy())),
            1 => (10_000, Err(timed_out())),
            2 => (0, Err(refused("RULE_LIMIT", "not now"))),
            3 | 4 => {
                take(self);
                (self.chance.between(0..=10_000), Err(timed_out()))
            }
            _ => {
                take(self);
                let slow_ms = self.chance.between(500..=8_000);
                let after_ms = self.chance.between(0..=slow_ms);
                self.intents.push(Intent::PayEarly { out_trade_no: number, after_ms });
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

    fn close(&mut self, act: &mut Act<'_>) -> Result<(), ProviderError> {
        let fails = self.fails();
        let after_success = self.chance.percent(50);
        if fails && !after_success {
            return Err(busy());
        }
        act(&mut self.book);
        if fails { Err(timed_out()) } else { Ok(()) }
    }

    fn refund(&mut self, request: &RefundRequest, act: &mut Act<'_>) -> Result<(), ProviderError> {
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
            RefundState::Done => self.give_back(trade_number, request.refund_minor),
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

/// The provider as the backend reaches it.
pub struct SimProvider {
    provider_books: Arc<Mutex<ProviderBooks>>,
    time: Arc<Time>,
}

impl SimProvider {
    /// The provider over a till.
    pub fn new(provider_books: Arc<Mutex<ProviderBooks>>, time: Arc<Time>) -> Self {
        Self { provider_books, time }
    }
}

/// The configuration of an account, by its number.
pub fn account_config(account: usize) -> Config {
    Config { merchant: account.to_string(), key: format!("key of {account}") }
}

impl Providers for SimProvider {
    fn open(&self, _: &str, config: &str) -> backend::Result<Arc<dyn Provider>> {
        let wrong = |what: String| backend::Error::invalid("merchant account", what);
        let config: Config = serde_json::from_str(config).map_err(|error| wrong(error.to_string()))?;
        let account = config.merchant.parse().map_err(|_| wrong("names no account".into()))?;
        let (provider_books, time) = (self.provider_books.clone(), self.time.clone());
        let conduct = ByChance { provider_books, time, account, config: config.clone() };
        Ok(Arc::new(Account::new(conduct, config, HABITS, PAY_URL)))
    }
}

/// How calls of an account are met.
struct ByChance {
    provider_books: Arc<Mutex<ProviderBooks>>,
    time: Arc<Time>,
    account: usize,
    config: Config,
}

impl ByChance {
    fn provider_books(&self) -> MutexGuard<'_, ProviderBooks> {
        self.provider_books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Conduct for ByChance {
    /// A call, and its answer: each on its way for some time. Whoever no longer waits for it has it dropped.
    async fn meet(&self, asked: Asked<'_>, act: &mut Act<'_>) -> Result<(), ProviderError> {
        let Way { there_ms, back_ms } = self.provider_books().way(self.account);
        self.time.sleep_ms(there_ms).await;
        let (slow_ms, answer) = {
            let mut provider_books = self.provider_books();
            let (slow_ms, answer) = provider_books.met(&self.config, asked, act);
            let (call, number) = (asked.call(), asked.number());
            provider_books.notes.push(format!("provider {call:?} {number}: {answer:?}, {back_ms} ms later"));
            (slow_ms, answer)
        };
        self.time.sleep_ms(back_ms).await;
        self.time.sleep_ms(slow_ms).await;
        answer
    }
}
