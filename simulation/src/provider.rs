//! The payment provider, simulated: it takes money, gives it back, tells of it, and fails in the ways providers do.
//!
//! [`ProviderBooks`] holds what the provider really took and returned; the checkers compare the ledger with it.

use crate::{chance::Chance, fault_rates::FaultRates, time::Time};
use async_trait::async_trait;
use backend::{
    money::{Currency, Money},
    payments::{
        Providers,
        provider::{
            CallbackError, CloseOutcome, Fact, Handoff, Paid, PaymentRequest, Provider, ProviderError, RawCallback,
            RefundDetails, RefundRequest, RefundState, Statement, TradeState, VerifiedCallback,
        },
    },
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Where payers are sent; the attempt's number follows.
pub const PAY_URL: &str = "https://pay.example/";
/// The header that stands for a signature.
pub const SIGNATURE_HEADER: &str = "sim-signature";
/// Its value if the callback is authentic.
pub const SIGNATURE: &str = "authentic";
/// A slow call takes so long, in milliseconds.
const SLOW_MS: std::ops::RangeInclusive<u64> = 100..=30_000;
/// Longer than anybody waits, in milliseconds.
const NEVER_MS: u64 = 24 * 3_600_000;
/// The provider's days are this long, so that a run has some, and statements of them.
const DAY_MS: i64 = 10 * 60_000;
/// A statement is to be had so long after its day, in milliseconds.
const STATEMENT_AFTER_MS: i64 = 60_000;
/// A payer who was already paying is let finish so long after expiry, in milliseconds.
const PAY_SLACK_MS: i64 = 90_000;

/// What an attempt is to the provider.
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
    currency: Currency,
    expires_at_ms: i64,
    paid_at_ms: i64,
    closed: bool,
    /// A refund was taken, and is done or under way.
    refunding: bool,
    /// The provider does not know that it took the money (a mutation).
    unrecorded: bool,
    account_token: String,
    attach: String,
    /// It was to go back when the merchant's store was put back from a copy: the merchant may have forgotten that.
    pub refund_forgotten: bool,
}

#[derive(Debug, Clone)]
struct Refund {
    trade: String,
    minor: i64,
    state: RefundState,
    /// Made in the provider's console.
    elsewhere: bool,
    day: i64,
}

/// What follows from a call, for the driver to schedule.
#[derive(Debug, Clone)]
pub enum Intent {
    /// Tell the merchant.
    Notify {
        /// The merchant account's token, as in the notify address.
        account_token: String,
        /// The callback's body.
        body: String,
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
    refunds: BTreeMap<String, Refund>,
    chance: Chance,
    ways: Chance,
    /// Until when an account is answered nothing, by the account's number, in microseconds.
    silent_until_us: BTreeMap<usize, u64>,
    console: Chance,
    events: u64,
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
            refunds: BTreeMap::new(),
            chance: Chance::new(seed, "provider"),
            ways: Chance::new(seed, "ways to the provider"),
            silent_until_us: BTreeMap::new(),
            console: Chance::new(seed, "console"),
            events: 0,
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
        let Some(trade) = self.trades.get_mut(out_trade_no) else { return false };
        if trade.closed || trade.taken_minor > 0 || now_ms > trade.expires_at_ms + PAY_SLACK_MS {
            return false;
        }
        trade.taken_minor = trade.asked_minor + if wrong { 1 } else { 0 };
        trade.paid_at_ms = now_ms;
        if self.forgets_payments {
            trade.unrecorded = true;
            return true;
        }
        self.notify_payment(out_trade_no);
        for _ in 0..2 {
            if self.console.percent(self.fault_rates.console) {
                let after_ms = self.console.between(0..=600_000);
                self.intents.push(Intent::Console { out_trade_no: out_trade_no.to_owned(), after_ms });
            }
        }
        true
    }

    /// The merchant's store was put back from a copy.
    pub fn forget_refunds(&mut self) {
        for refund in self.refunds.values() {
            if let Some(trade) = self.trades.get_mut(&refund.trade) {
                trade.refund_forgotten = true;
            }
        }
    }

    /// Somebody gives back what is left of a payment, or a part, in the provider's console. Mostly nobody is told.
    pub fn refund_in_console(&mut self, out_trade_no: &str) {
        let day = day_of(self.time.true_ms());
        let Some(trade) = self.trades.get(out_trade_no) else { return };
        let left_minor = trade.taken_minor - self.asked_back_minor(out_trade_no, |_| true);
        if left_minor <= 0 {
            return;
        }
        let (taken_minor, account_token) = (trade.taken_minor, trade.account_token.clone());
        let whole = left_minor == 1 || self.console.percent(50);
        let minor =
            if whole { left_minor } else { 1 + left_minor.min(self.console.between(1..=1_000) as i64) % left_minor };
        let number = format!("C{}", self.refunds.len());
        let refund = Refund { trade: out_trade_no.to_owned(), minor, state: RefundState::Done, elsewhere: true, day };
        self.refunds.insert(number.clone(), refund);
        self.give_back(out_trade_no, minor);
        if let Some(trade) = self.trades.get_mut(out_trade_no) {
            trade.elsewhere_minor += minor;
        }
        self.notes.push(format!("console: {minor} of {taken_minor} of {out_trade_no} go back as {number}"));
        if self.console.percent(30) {
            self.events += 1;
            let body = json!({
                "event": format!("E{}", self.events), "kind": "refund", "number": number, "trade": out_trade_no,
                "minor": minor,
            });
            self.intents.push(Intent::Notify { account_token, body: body.to_string() });
        }
    }

    /// What is back of a payment or on its way, in minor units, of the refunds that are meant.
    fn asked_back_minor(&self, out_trade_no: &str, meant: impl Fn(&Refund) -> bool) -> i64 {
        let lives = |refund: &&Refund| refund.trade == out_trade_no && refund.state != RefundState::Closed;
        self.refunds.values().filter(lives).filter(|refund| meant(refund)).map(|refund| refund.minor).sum()
    }

    fn statement(&mut self, day: i64) -> Result<Statement, ProviderError> {
        if self.fails() {
            return Err(if self.chance.percent(50) { busy() } else { timed_out() });
        }
        if day_of(self.time.true_ms()) <= day {
            return Ok(Statement::NotYet);
        }
        let paid = self.trades.iter().filter(|(_, trade)| trade.taken_minor > 0 && !trade.unrecorded);
        let paid = paid.filter(|(_, trade)| day_of(trade.paid_at_ms) == day).map(|(number, trade)| Fact::Payment {
            out_trade_no: number.clone(),
            state: TradeState::Paid(trade.paid(number)),
        });
        let back = self.refunds.iter().filter(|(_, refund)| refund.day == day).map(|(number, refund)| Fact::Refund {
            out_refund_no: number.clone(),
            state: RefundState::Processing,
            told: Some(refund.told(number)),
        });
        Ok(Statement::Facts { facts: back.chain(paid).collect(), unread: 0 })
    }

    fn notify_payment(&mut self, out_trade_no: &str) {
        self.events += 1;
        let Some(trade) = self.trades.get(out_trade_no) else { return };
        let body = payment_body(self.events, out_trade_no, trade);
        self.intents.push(Intent::Notify { account_token: trade.account_token.clone(), body });
    }

    /// A refund that was on its way goes through.
    pub fn settle(&mut self, out_refund_no: &str) {
        let Some(refund) = self.refunds.get_mut(out_refund_no) else { return };
        if refund.state != RefundState::Processing {
            return;
        }
        refund.state = RefundState::Done;
        let (number, minor) = (refund.trade.clone(), refund.minor);
        self.give_back(&number, minor);
        self.events += 1;
        let Some(trade) = self.trades.get(&number) else { return };
        let body = json!({ "event": format!("E{}", self.events), "kind": "refund", "number": out_refund_no });
        self.intents.push(Intent::Notify { account_token: trade.account_token.clone(), body: body.to_string() });
    }

    fn give_back(&mut self, out_trade_no: &str, minor: i64) {
        let times = if self.refunds_twice { 2 } else { 1 };
        if let Some(trade) = self.trades.get_mut(out_trade_no) {
            trade.returned_minor += minor * times;
        }
    }

    /// A forged callback that claims an attempt was paid.
    pub fn forged(&mut self, out_trade_no: &str) -> Option<(String, String)> {
        let trade = self.trades.get(out_trade_no)?;
        Some((trade.account_token.clone(), payment_body(1_000_000, out_trade_no, trade)))
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

    /// How long the answer takes, and what it is.
    fn create(&mut self, request: &PaymentRequest) -> (u64, Result<Handoff, ProviderError>) {
        let number = request.out_trade_no.clone();
        let answer = Ok(Handoff::Redirect { url: format!("{PAY_URL}{number}") });
        let trade = Trade {
            asked_minor: request.amount.amount_minor,
            taken_minor: 0,
            returned_minor: 0,
            elsewhere_minor: 0,
            abnormal: false,
            currency: request.amount.currency,
            expires_at_ms: request.expires_at_ms,
            paid_at_ms: 0,
            closed: false,
            refunding: false,
            unrecorded: false,
            account_token: request.notify_url.rsplit('/').next().unwrap_or_default().to_owned(),
            attach: request.attach.clone(),
            refund_forgotten: false,
        };
        if !self.fails() {
            self.trades.insert(number, trade);
            return (0, answer);
        }
        match self.chance.between(0..=6) {
            0 => (0, Err(busy())),
            1 => (10_000, Err(timed_out())),
            2 => (0, Err(ProviderError::Refused { code: "RULE_LIMIT".into(), message: "not now".into() })),
            3 | 4 => {
                self.trades.insert(number, trade);
                (self.chance.between(0..=10_000), Err(timed_out()))
            }
            _ => {
                self.trades.insert(number.clone(), trade);
                let slow_ms = self.chance.between(500..=8_000);
                let after_ms = self.chance.between(0..=slow_ms);
                self.intents.push(Intent::PayEarly { out_trade_no: number, after_ms });
                (slow_ms, answer)
            }
        }
    }

    fn query(&mut self, out_trade_no: &str) -> Result<TradeState, ProviderError> {
        if self.fails() {
            return Err(if self.chance.percent(50) { busy() } else { timed_out() });
        }
        let Some(trade) = self.trades.get(out_trade_no) else { return Ok(TradeState::NotFound) };
        Ok(trade.state(out_trade_no))
    }

    fn close(&mut self, out_trade_no: &str) -> Result<CloseOutcome, ProviderError> {
        let fails = self.fails();
        let after_success = self.chance.percent(50);
        if fails && !after_success {
            return Err(busy());
        }
        let Some(trade) = self.trades.get_mut(out_trade_no) else {
            return Err(ProviderError::Refused { code: "ORDER_NOT_EXIST".into(), message: "no such order".into() });
        };
        if trade.taken_minor > 0 && !trade.unrecorded {
            return Ok(CloseOutcome::AlreadyPaid);
        }
        trade.closed = true;
        if fails { Err(timed_out()) } else { Ok(CloseOutcome::Closed) }
    }

    fn refund(&mut self, request: &RefundRequest) -> Result<RefundState, ProviderError> {
        if let Some(known) = self.refunds.get(&request.out_refund_no) {
            return Ok(known.state);
        }
        let fails = self.fails();
        let kind = self.chance.between(0..=5);
        match kind {
            0 if fails => return Err(busy()),
            1 if fails => return Err(timed_out()),
            2 if fails => return Err(ProviderError::InsufficientBalance),
            3 if fails => return Err(ProviderError::Refused { code: "FREQUENCY".into(), message: "later".into() }),
            _ => {}
        }
        let Some(trade) = self.trades.get(&request.out_trade_no) else {
            self.violations.push(format!("a refund of {}, which was never ordered", request.out_trade_no));
            return Err(ProviderError::Refused { code: "ORDER_NOT_EXIST".into(), message: "no such order".into() });
        };
        let asked_minor = self.asked_back_minor(&request.out_trade_no, |refund| !refund.elsewhere);
        let in_console_minor = self.asked_back_minor(&request.out_trade_no, |refund| refund.elsewhere);
        if in_console_minor > 0 && asked_minor + in_console_minor + request.refund_minor > trade.taken_minor {
            // The merchant need not know what was done in the console.
            return Err(ProviderError::Refused { code: "INVALID_REQUEST".into(), message: "more than is left".into() });
        }
        let is_too_much = asked_minor + request.refund_minor > trade.taken_minor;
        if is_too_much && trade.refund_forgotten {
            return Err(ProviderError::Refused { code: "INVALID_REQUEST".into(), message: "more than is left".into() });
        }
        if asked_minor > 0 && !trade.refund_forgotten || is_too_much || request.refund_minor <= 0 {
            let (number, taken_minor) = (&request.out_trade_no, trade.taken_minor);
            self.violations.push(format!(
                "a refund of {} on {number}: taken {taken_minor}, asked back before {asked_minor}",
                request.refund_minor
            ));
            return Err(ProviderError::Refused { code: "NOT_ENOUGH".into(), message: "more than was paid".into() });
        }
        let state = match (fails, self.chance.between(0..=9)) {
            (true, 0) => RefundState::Abnormal,
            (true, 1 | 2) => RefundState::Closed,
            (_, 3..=6) => RefundState::Processing,
            _ => RefundState::Done,
        };
        self.take_refund(request, state);
        if fails && self.chance.percent(50) { Err(timed_out()) } else { Ok(state) }
    }

    fn take_refund(&mut self, request: &RefundRequest, state: RefundState) {
        let number = request.out_refund_no.clone();
        let day = day_of(self.time.true_ms());
        let (trade, minor) = (request.out_trade_no.clone(), request.refund_minor);
        let refund = Refund { trade, minor, state, elsewhere: false, day };
        self.refunds.insert(number.clone(), refund);
        if let Some(trade) = self.trades.get_mut(&request.out_trade_no) {
            trade.refunding |= state != RefundState::Closed;
        }
        match state {
            RefundState::Done => self.give_back(&request.out_trade_no, request.refund_minor),
            RefundState::Processing => {
                let after_ms = self.chance.between(100..=60_000);
                self.intents.push(Intent::Settle { out_refund_no: number, after_ms });
            }
            RefundState::Abnormal => {
                if let Some(trade) = self.trades.get_mut(&request.out_trade_no) {
                    trade.abnormal = true;
                }
            }
            RefundState::Closed | RefundState::NotFound => {}
        }
    }

    fn query_refund(&mut self, out_refund_no: &str) -> Result<RefundState, ProviderError> {
        if self.fails() {
            return Err(busy());
        }
        Ok(self.refunds.get(out_refund_no).map_or(RefundState::NotFound, |refund| refund.state))
    }
}

impl Trade {
    fn state(&self, out_trade_no: &str) -> TradeState {
        if self.unrecorded || self.taken_minor == 0 {
            return if self.closed { TradeState::Closed } else { TradeState::NotPaid };
        }
        if self.refunding || self.returned_minor > 0 {
            return TradeState::Refunded(self.paid(out_trade_no));
        }
        TradeState::Paid(self.paid(out_trade_no))
    }

    fn paid(&self, out_trade_no: &str) -> Paid {
        Paid {
            provider_txn_id: format!("T{out_trade_no}"),
            amount: Money::new(self.taken_minor, self.currency),
            paid_at_ms: self.paid_at_ms,
            attach: self.attach.clone(),
        }
    }
}

impl Refund {
    fn told(&self, number: &str) -> RefundDetails {
        RefundDetails {
            out_trade_no: self.trade.clone(),
            provider_refund_id: format!("P{number}"),
            amount_minor: self.minor,
            payment: None,
        }
    }
}

fn day_of(at_ms: i64) -> i64 {
    at_ms.div_euclid(DAY_MS)
}

fn busy() -> ProviderError {
    ProviderError::Busy("come back later".into())
}

fn timed_out() -> ProviderError {
    ProviderError::Unknown("no answer".into())
}

fn payment_body(event: u64, out_trade_no: &str, trade: &Trade) -> String {
    json!({
        "event": format!("E{event}"),
        "kind": "payment",
        "number": out_trade_no,
        "txn": format!("T{out_trade_no}"),
        "amount_minor": trade.taken_minor,
        "currency": trade.currency.code(),
        "paid_at_ms": trade.paid_at_ms,
        "attach": trade.attach,
    })
    .to_string()
}

fn read_body(body: &[u8]) -> Option<VerifiedCallback> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let text = |field: &str| value.get(field).and_then(Value::as_str).map(str::to_owned);
    let number = text("number")?;
    let fact = match text("kind")?.as_str() {
        "payment" => Fact::Payment {
            out_trade_no: number,
            state: TradeState::Paid(Paid {
                provider_txn_id: text("txn")?,
                amount: Money::new(value.get("amount_minor")?.as_i64()?, Currency::parse(&text("currency")?)?),
                paid_at_ms: value.get("paid_at_ms")?.as_i64()?,
                attach: text("attach")?,
            }),
        },
        "refund" => {
            let told = text("trade").zip(value.get("minor").and_then(Value::as_i64)).map(|(trade, minor)| {
                let (state, elsewhere, day) = (RefundState::Done, true, 0);
                Refund { trade, minor, state, elsewhere, day }.told(&number)
            });
            Fact::Refund { out_refund_no: number, state: RefundState::Done, told }
        }
        _ => return None,
    };
    Some(VerifiedCallback { event_id: text("event")?, fact, plaintext: String::from_utf8_lossy(body).into_owned() })
}

/// The provider as the backend reaches it, for one account.
#[derive(Clone)]
pub struct SimProvider {
    provider_books: Arc<Mutex<ProviderBooks>>,
    time: Arc<Time>,
    account: usize,
}

impl SimProvider {
    /// The provider over a till.
    pub fn new(provider_books: Arc<Mutex<ProviderBooks>>, time: Arc<Time>) -> Self {
        Self { provider_books, time, account: 0 }
    }

    fn provider_books(&self) -> MutexGuard<'_, ProviderBooks> {
        self.provider_books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call, and its answer: each on its way for some time. Whoever no longer waits for it has it dropped.
    async fn call<T: std::fmt::Debug>(&self, what: &str, number: &str, act: impl FnOnce(&mut ProviderBooks) -> T) -> T {
        let Way { there_ms, back_ms } = self.provider_books().way(self.account);
        self.time.sleep_ms(there_ms).await;
        let answer = {
            let mut provider_books = self.provider_books();
            let answer = act(&mut provider_books);
            provider_books.notes.push(format!("provider {what} {number}: {answer:?}, {back_ms} ms later"));
            answer
        };
        self.time.sleep_ms(back_ms).await;
        answer
    }
}

/// The configuration of an account, by its number.
pub fn account_config(account: usize) -> String {
    json!({ "account": account }).to_string()
}

impl Providers for SimProvider {
    fn open(&self, _: &str, config: &str) -> backend::Result<Arc<dyn Provider>> {
        let config: Option<Value> = serde_json::from_str(config).ok();
        let account = config.as_ref().and_then(|config| config.get("account")).and_then(Value::as_u64);
        let account = account.and_then(|account| usize::try_from(account).ok());
        let account = account.ok_or_else(|| backend::Error::invalid("merchant account", "names no account"))?;
        Ok(Arc::new(Self { account, ..self.clone() }))
    }
}

#[async_trait]
impl Provider for SimProvider {
    async fn create(&self, request: &PaymentRequest) -> Result<Handoff, ProviderError> {
        let (slow_ms, answer) =
            self.call("create", &request.out_trade_no, |provider_books| provider_books.create(request)).await;
        self.time.sleep_ms(slow_ms).await;
        answer
    }

    async fn query(&self, out_trade_no: &str) -> Result<TradeState, ProviderError> {
        self.call("query", out_trade_no, |provider_books| provider_books.query(out_trade_no)).await
    }

    async fn close(&self, out_trade_no: &str) -> Result<CloseOutcome, ProviderError> {
        self.call("close", out_trade_no, |provider_books| provider_books.close(out_trade_no)).await
    }

    async fn refund(&self, request: &RefundRequest) -> Result<RefundState, ProviderError> {
        self.call("refund", &request.out_refund_no, |provider_books| provider_books.refund(request)).await
    }

    async fn query_refund(&self, out_refund_no: &str) -> Result<RefundState, ProviderError> {
        self.call("query_refund", out_refund_no, |provider_books| provider_books.query_refund(out_refund_no)).await
    }

    fn day_of(&self, at_ms: i64) -> i64 {
        day_of(at_ms)
    }

    fn statement_ready_ms(&self, day: i64) -> i64 {
        (day + 1) * DAY_MS + STATEMENT_AFTER_MS
    }

    async fn statement(&self, day: i64) -> Result<Statement, ProviderError> {
        self.call("statement", &day.to_string(), |provider_books| provider_books.statement(day)).await
    }

    fn verify_callback(&self, raw: RawCallback<'_>, _: i64) -> Result<VerifiedCallback, CallbackError> {
        match raw.header(SIGNATURE_HEADER) {
            Some(SIGNATURE) => read_body(raw.body).ok_or_else(|| CallbackError::Content("not understood".into())),
            Some(_) => Err(CallbackError::Signature),
            None => Err(CallbackError::Header(SIGNATURE_HEADER)),
        }
    }
}
