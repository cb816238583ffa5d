//! A payment provider played by the test: honest by default, and as faulty as a test wants it.

use async_trait::async_trait;
use aws_lc_rs::hmac;
use backend::{
    Error, Result,
    money::{Currency, Money},
    payments::{
        Providers,
        provider::{
            CallbackError, CloseOutcome, DisputeDetails, DisputeState, Fact, Handoff, Paid, PaymentRequest, Provider,
            ProviderError, RawCallback, RefundDetails, RefundRequest, RefundState, Statement, TradeState,
            UnknownCurrencyPayment, VerifiedCallback,
        },
    },
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
};
use tokio::sync::{Semaphore, watch};

/// A merchant account's configuration, as stored.
#[derive(Clone, Serialize, Deserialize)]
pub struct Config {
    pub merchant: String,
    /// Signs callbacks.
    pub key: String,
}

/// A call to the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    Create,
    Query,
    Close,
    Refund,
    QueryRefund,
    Statement,
}

/// What goes wrong with a call.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// It is done, but the answer is lost.
    LostAnswer,
    /// It never arrives.
    LostCall,
    /// It is refused.
    Refused,
    /// The provider is too busy for it.
    Busy,
    /// The merchant's balance does not cover it.
    Balance,
    /// It is done, and answered only once the test releases it.
    Held,
}

/// A payment at the provider.
#[derive(Debug, Clone)]
pub struct Trade {
    pub request: PaymentRequest,
    pub state: TradeState,
}

/// A refund at the provider.
#[derive(Debug, Clone)]
pub struct Refund {
    pub request: RefundRequest,
    pub state: RefundState,
}

/// A refund that somebody made at the bank's counter.
#[derive(Debug, Clone)]
struct Outside {
    trade: String,
    amount_minor: i64,
    state: RefundState,
    day: i64,
}

/// A dispute at the bank: what it took, what it gave back, its fee.
#[derive(Debug, Clone, Copy, Default)]
struct Disputed {
    taken_minor: i64,
    fee_minor: i64,
}

#[derive(Default)]
struct Book {
    trades: BTreeMap<String, Trade>,
    refunds: BTreeMap<String, Refund>,
    outside: BTreeMap<String, Outside>,
    disputes: BTreeMap<String, Disputed>,
    /// What stands in statements beside what happened here.
    also: BTreeMap<i64, Vec<Fact>>,
    unread: usize,
    /// Trades do not say (yet) that money of them went back.
    hides_returns: bool,
    calls: Vec<(Call, String)>,
    faults: BTreeMap<Call, VecDeque<Fault>>,
    refund_states: VecDeque<RefundState>,
    events: u64,
}

/// The provider's side, one for all accounts.
pub struct Bank {
    book: Mutex<Book>,
    held: watch::Sender<usize>,
    releases: Semaphore,
    /// Merchants whose calls are never answered.
    silent: Mutex<BTreeSet<String>>,
}

impl Default for Bank {
    fn default() -> Self {
        let silent = Mutex::default();
        Self { book: Mutex::default(), held: watch::Sender::new(0), releases: Semaphore::new(0), silent }
    }
}

/// A callback on its way.
#[derive(Debug, Clone)]
pub struct Callback {
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Callback {
    pub fn raw(&self) -> RawCallback<'_> {
        RawCallback { headers: &self.headers, body: &self.body }
    }
}

/// What a callback says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Notice {
    pub event: String,
    pub merchant: String,
    pub number: String,
    pub what: What,
}

/// The fact in a callback.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum What {
    Paid {
        txn: String,
        amount_minor: i64,
        paid_at_ms: i64,
        #[serde(default)]
        attach: String,
    },
    Closed,
    RefundDone,
    RefundClosed,
    RefundAbnormal,
    /// A refund that was made at the counter.
    Outside {
        trade: String,
        amount_minor: i64,
        state: Standing,
    },
    /// Paid in a currency that nobody here knows.
    PaidUnknownCurrency {
        amount_minor: i64,
        currency: String,
    },
    Dispute {
        trade: String,
        amount_minor: i64,
        fee_minor: i64,
        state: Standing,
    },
    /// Something new of next year.
    Novelty,
}

/// Where something stands, in a callback.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    Processing,
    Done,
    Closed,
    Opened,
    Won,
    Lost,
}

impl Standing {
    fn of_refund(self) -> RefundState {
        match self {
            Standing::Processing => RefundState::Processing,
            Standing::Done => RefundState::Done,
            Standing::Closed => RefundState::Closed,
            Standing::Opened | Standing::Won | Standing::Lost => panic!("{self:?} is no state of a refund"),
        }
    }

    fn of_dispute(self) -> DisputeState {
        match self {
            Standing::Opened => DisputeState::Opened,
            Standing::Won => DisputeState::Won,
            Standing::Lost => DisputeState::Lost,
            Standing::Processing | Standing::Done | Standing::Closed => panic!("{self:?} is no state of a dispute"),
        }
    }
}

impl Notice {
    /// Signs it with an account's key.
    pub fn signed(&self, key: &str) -> Callback {
        let body = serde_json::to_vec(self).unwrap();
        Callback { headers: vec![("bank-signature".into(), tag_of(&body, key))], body }
    }
}

fn tag_of(body: &[u8], key: &str) -> String {
    hex::encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()), body))
}

impl Bank {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap()
    }

    /// The next calls of that kind meet these faults, in this order.
    pub fn fault(&self, call: Call, faults: impl IntoIterator<Item = Fault>) {
        self.book().faults.entry(call).or_default().extend(faults);
    }

    /// What new refunds become, in this order; `Done` beyond.
    pub fn refunds_become(&self, states: impl IntoIterator<Item = RefundState>) {
        self.book().refund_states.extend(states);
    }

    /// A refund moves at the provider.
    pub fn move_refund(&self, number: &str, state: RefundState) {
        self.book().refunds.get_mut(number).unwrap().state = state;
    }

    /// A trade moves at the provider.
    pub fn move_trade(&self, number: &str, state: TradeState) {
        self.book().trades.get_mut(number).unwrap().state = state;
    }

    /// Completes once a call is held.
    pub async fn holds(&self) {
        self.held.subscribe().wait_for(|held| *held > 0).await.unwrap();
    }

    /// Answers one held call.
    pub fn release(&self) {
        self.releases.add_permits(1);
    }

    pub fn trade(&self, number: &str) -> Trade {
        self.book().trades[number].clone()
    }

    /// The payer was sent to a second trade of the same content.
    pub fn copy_trade(&self, number: &str, copy: &str) {
        let mut trade = self.trade(number);
        trade.request.out_trade_no = copy.into();
        self.book().trades.insert(copy.into(), trade);
    }

    pub fn trades(&self) -> Vec<Trade> {
        self.book().trades.values().cloned().collect()
    }

    pub fn refunds(&self) -> Vec<Refund> {
        self.book().refunds.values().cloned().collect()
    }

    /// The numbers of the calls of that kind so far, in order.
    pub fn called(&self, call: Call) -> Vec<String> {
        self.book().calls.iter().filter(|(made, _)| *made == call).map(|(_, number)| number.clone()).collect()
    }

    /// Somebody pays. Gives what the provider would tell about it.
    pub fn pay(&self, number: &str, now_ms: i64) -> What {
        let mut book = self.book();
        let trade = book.trades.get_mut(number).unwrap();
        assert_eq!(trade.state, TradeState::NotPaid, "{number} cannot be paid");
        let amount_minor = trade.request.amount.amount_minor;
        let attach = trade.request.attach.clone();
        let paid = Paid {
            provider_txn_id: format!("T{number}"),
            amount: trade.request.amount,
            paid_at_ms: now_ms,
            attach: attach.clone(),
        };
        trade.state = TradeState::Paid(paid);
        What::Paid { txn: format!("T{number}"), amount_minor, paid_at_ms: now_ms, attach }
    }

    /// Somebody pays another amount than was asked. Gives what the provider would tell about it.
    pub fn pay_other(&self, number: &str, amount_minor: i64, now_ms: i64) -> What {
        let What::Paid { txn, paid_at_ms, attach, .. } = self.pay(number, now_ms) else { panic!("it is paid") };
        let mut book = self.book();
        if let TradeState::Paid(paid) = &mut book.trades.get_mut(number).unwrap().state {
            paid.amount.amount_minor = amount_minor;
        }
        What::Paid { txn, amount_minor, paid_at_ms, attach }
    }

    /// Somebody gives money back at the bank's counter. Gives what the bank would tell about it.
    pub fn refund_outside(&self, trade: &str, number: &str, amount_minor: i64, now_ms: i64) -> What {
        self.begin_outside(trade, number, amount_minor, now_ms);
        self.move_outside(number, RefundState::Done);
        What::Outside { trade: trade.into(), amount_minor, state: Standing::Done }
    }

    /// As [`Bank::refund_outside`], and it is under way yet.
    pub fn begin_outside(&self, trade: &str, number: &str, amount_minor: i64, now_ms: i64) -> What {
        let mut book = self.book();
        let TradeState::Paid(paid) = book.trades[trade].state.clone() else { panic!("{trade} was not paid") };
        let returned_minor = book.returned_minor(Some(trade));
        assert!(returned_minor + amount_minor <= paid.amount.amount_minor, "more than was paid");
        let (trade, state) = (trade.to_owned(), RefundState::Processing);
        let outside = Outside { trade: trade.clone(), amount_minor, state, day: day_of(now_ms) };
        assert!(book.outside.insert(number.into(), outside).is_none());
        What::Outside { trade, amount_minor, state: Standing::Processing }
    }

    pub fn move_outside(&self, number: &str, state: RefundState) {
        self.book().outside.get_mut(number).unwrap().state = state;
    }

    /// The bank takes money back for a payer's dispute, or gives it back.
    pub fn dispute(&self, number: &str, taken_minor: i64, fee_minor: i64) {
        self.book().disputes.insert(number.into(), Disputed { taken_minor, fee_minor });
    }

    /// A fact stands in a day's statement beside what happened here.
    pub fn also_states(&self, day: i64, fact: Fact) {
        self.book().also.entry(day).or_default().push(fact);
    }

    /// From now on trades do not say that money of them went back.
    pub fn hide_returns(&self) {
        self.book().hides_returns = true;
    }

    /// Statements have so many lines that nobody can read.
    pub fn states_unread(&self, unread: usize) {
        self.book().unread = unread;
    }

    /// Words for a fact, under a new event's number.
    pub fn notice(&self, merchant: &str, number: &str, what: What) -> Notice {
        let mut book = self.book();
        book.events += 1;
        Notice { event: format!("E{}", book.events), merchant: merchant.into(), number: number.into(), what }
    }

    /// From now on no call of that merchant's is answered, or all are again.
    pub fn silence(&self, merchant: &str, silent: bool) {
        let mut all = self.silent.lock().unwrap();
        if silent {
            all.insert(merchant.into());
        } else {
            all.remove(merchant);
        }
    }

    /// What consumers paid less what went back, in minor units.
    pub fn net_minor(&self) -> i64 {
        let book = self.book();
        let paid: i64 = book
            .trades
            .values()
            .map(|trade| match &trade.state {
                TradeState::Paid(paid) | TradeState::Refunded(paid) => paid.amount.amount_minor,
                _ => 0,
            })
            .sum();
        let disputed: i64 = book.disputes.values().map(|dispute| dispute.taken_minor + dispute.fee_minor).sum();
        paid - book.returned_minor(None) - disputed
    }

    async fn meet(&self, call: Call, number: &str, act: impl FnOnce(&mut Book)) -> Result<(), ProviderError> {
        let fault = {
            let mut book = self.book();
            book.calls.push((call, number.to_owned()));
            let fault = book.faults.get_mut(&call).and_then(VecDeque::pop_front);
            if matches!(fault, None | Some(Fault::LostAnswer | Fault::Held)) {
                act(&mut book);
            }
            fault
        };
        match fault {
            None => Ok(()),
            Some(Fault::LostAnswer | Fault::LostCall) => Err(ProviderError::Unknown("no answer".into())),
            Some(Fault::Refused) => Err(refused("RULE", "not like this")),
            Some(Fault::Busy) => Err(ProviderError::Busy("slow down".into())),
            Some(Fault::Balance) => Err(ProviderError::InsufficientBalance),
            Some(Fault::Held) => {
                self.held.send_modify(|held| *held += 1);
                self.releases.acquire().await.unwrap().forget();
                self.held.send_modify(|held| *held -= 1);
                Ok(())
            }
        }
    }
}

impl Book {
    fn returned_minor(&self, of: Option<&str>) -> i64 {
        let ours = self
            .refunds
            .values()
            .filter(|refund| refund.state == RefundState::Done)
            .map(|refund| (&refund.request.out_trade_no, refund.request.refund_minor));
        let outside = self
            .outside
            .values()
            .filter(|refund| refund.state == RefundState::Done)
            .map(|refund| (&refund.trade, refund.amount_minor));
        let of_trade = |(trade, _): &(&String, i64)| of.is_none_or(|of| of == *trade);
        ours.chain(outside).filter(of_trade).map(|(_, amount_minor)| amount_minor).sum()
    }

    /// Everything of a day, as the statement has it: refunds as they stood when they were begun.
    fn statement(&self, day: i64) -> Vec<Fact> {
        let paid = self.trades.iter().filter_map(|(number, trade)| match &trade.state {
            TradeState::Paid(paid) if day_of(paid.paid_at_ms) == day => {
                Some(Fact::Payment { out_trade_no: number.clone(), state: TradeState::Paid(paid.clone()) })
            }
            _ => None,
        });
        let back = self.outside.iter().filter(|(_, refund)| refund.day == day).map(|(number, refund)| Fact::Refund {
            out_refund_no: number.clone(),
            state: RefundState::Processing,
            told: Some(refund.told(number)),
        });
        let also = self.also.get(&day).into_iter().flatten().cloned();
        // The refunds first: nobody says in which order the lines come.
        back.chain(paid).chain(also).collect()
    }

    /// A refund as a strict provider takes it: once a number, never more than was paid.
    fn refund(&mut self, request: &RefundRequest) -> Result<RefundState, ProviderError> {
        if let Some(known) = self.refunds.get(&request.out_refund_no) {
            return if known.request == *request {
                Ok(known.state)
            } else {
                Err(refused("PARAM", "this number asked for something else"))
            };
        }
        let paid = self.trades.get(&request.out_trade_no).map(|trade| trade.state.clone());
        let Some(TradeState::Paid(paid)) = paid else { return Err(refused("TRADE", "was not paid")) };
        let returned_minor = self.returned_minor(Some(&request.out_trade_no));
        if request.total_minor != paid.amount.amount_minor
            || request.refund_minor + returned_minor > request.total_minor
        {
            return Err(refused("AMOUNT", "is more than was paid"));
        }
        let state = self.refund_states.pop_front().unwrap_or(RefundState::Done);
        self.refunds.insert(request.out_refund_no.clone(), Refund { request: request.clone(), state });
        Ok(state)
    }
}

impl Outside {
    fn told(&self, number: &str) -> RefundDetails {
        RefundDetails {
            out_trade_no: self.trade.clone(),
            provider_refund_id: format!("B{number}"),
            amount_minor: self.amount_minor,
            payment: None,
        }
    }
}

/// The bank's day: that of UTC.
pub fn day_of(at_ms: i64) -> i64 {
    at_ms.div_euclid(24 * 3_600_000)
}

fn refused(code: &str, message: &str) -> ProviderError {
    ProviderError::Refused { code: code.into(), message: message.into() }
}

/// An account at the bank.
struct Account {
    bank: Arc<Bank>,
    config: Config,
}

impl Account {
    async fn meet(&self, call: Call, number: &str, act: impl FnOnce(&mut Book)) -> Result<(), ProviderError> {
        if self.bank.silent.lock().unwrap().contains(&self.config.merchant) {
            self.bank.book().calls.push((call, number.to_owned()));
            std::future::pending::<()>().await;
        }
        self.bank.meet(call, number, act).await
    }
}

#[async_trait]
impl Provider for Account {
    async fn create(&self, request: &PaymentRequest) -> Result<Handoff, ProviderError> {
        let number = &request.out_trade_no;
        let record = |book: &mut Book| {
            let trade = Trade { request: request.clone(), state: TradeState::NotPaid };
            book.trades.entry(number.clone()).or_insert(trade);
        };
        self.meet(Call::Create, number, record).await?;
        Ok(Handoff::Redirect { url: format!("https://bank.test/pay/{number}") })
    }

    async fn query(&self, out_trade_no: &str) -> Result<TradeState, ProviderError> {
        let mut state = TradeState::NotFound;
        let look = |book: &mut Book| {
            if let Some(trade) = book.trades.get(out_trade_no) {
                state = match &trade.state {
                    TradeState::Paid(paid) if !book.hides_returns && book.returned_minor(Some(out_trade_no)) > 0 => {
                        TradeState::Refunded(paid.clone())
                    }
                    state => state.clone(),
                };
            }
        };
        self.meet(Call::Query, out_trade_no, look).await?;
        Ok(state)
    }

    async fn close(&self, out_trade_no: &str) -> Result<CloseOutcome, ProviderError> {
        let mut outcome = Err(refused("TRADE", "there is none"));
        let close = |book: &mut Book| {
            let Some(trade) = book.trades.get_mut(out_trade_no) else { return };
            outcome = match trade.state {
                TradeState::NotPaid | TradeState::Closed => {
                    trade.state = TradeState::Closed;
                    Ok(CloseOutcome::Closed)
                }
                TradeState::Paid(_) | TradeState::PaidUnknownCurrency(_) | TradeState::Refunded(_) => {
                    Ok(CloseOutcome::AlreadyPaid)
                }
                TradeState::NotFound => return,
            };
        };
        self.meet(Call::Close, out_trade_no, close).await?;
        outcome
    }

    async fn refund(&self, request: &RefundRequest) -> Result<RefundState, ProviderError> {
        let mut outcome = Ok(RefundState::NotFound);
        self.meet(Call::Refund, &request.out_refund_no, |book| outcome = book.refund(request)).await?;
        outcome
    }

    async fn query_refund(&self, out_refund_no: &str) -> Result<RefundState, ProviderError> {
        let mut state = RefundState::NotFound;
        let look = |book: &mut Book| {
            if let Some(refund) = book.refunds.get(out_refund_no) {
                state = refund.state;
            }
            if let Some(refund) = book.outside.get(out_refund_no) {
                state = refund.state;
            }
        };
        self.meet(Call::QueryRefund, out_refund_no, look).await?;
        Ok(state)
    }

    fn day_of(&self, at_ms: i64) -> i64 {
        day_of(at_ms)
    }

    /// An hour after the day is over.
    fn statement_ready_ms(&self, day: i64) -> i64 {
        (day + 1) * 24 * 3_600_000 + 3_600_000
    }

    async fn statement(&self, day: i64) -> Result<Statement, ProviderError> {
        let mut statement = Statement::Nothing;
        let write = |book: &mut Book| {
            let facts = book.statement(day);
            if !facts.is_empty() || book.unread > 0 {
                statement = Statement::Facts { facts, unread: book.unread };
            }
        };
        self.meet(Call::Statement, &day.to_string(), write).await?;
        Ok(statement)
    }

    fn verify_callback(&self, raw: RawCallback<'_>, _: i64) -> Result<VerifiedCallback, CallbackError> {
        let tag = raw.header("bank-signature").ok_or(CallbackError::Header("bank-signature"))?;
        if tag_of(raw.body, &self.config.key) != tag {
            return Err(CallbackError::Signature);
        }
        let notice: Notice =
            serde_json::from_slice(raw.body).map_err(|error| CallbackError::Content(error.to_string()))?;
        if notice.merchant != self.config.merchant {
            return Err(CallbackError::Foreign(notice.merchant));
        }
        let number = notice.number;
        let fact = match notice.what {
            What::Paid { txn, amount_minor, paid_at_ms, attach } => {
                let amount = Money::new(amount_minor, Currency::Cny);
                let state = TradeState::Paid(Paid { provider_txn_id: txn, amount, paid_at_ms, attach });
                Fact::Payment { out_trade_no: number, state }
            }
            What::PaidUnknownCurrency { amount_minor, currency } => {
                let provider_txn_id = format!("T{number}");
                let paid = UnknownCurrencyPayment { provider_txn_id, amount_minor, currency };
                Fact::Payment { out_trade_no: number, state: TradeState::PaidUnknownCurrency(paid) }
            }
            What::Closed => Fact::Payment { out_trade_no: number, state: TradeState::Closed },
            What::RefundDone => Fact::Refund { out_refund_no: number, state: RefundState::Done, told: None },
            What::RefundClosed => Fact::Refund { out_refund_no: number, state: RefundState::Closed, told: None },
            What::RefundAbnormal => Fact::Refund { out_refund_no: number, state: RefundState::Abnormal, told: None },
            What::Outside { trade, amount_minor, state } => {
                let day = 0;
                let (state, trade) = (state.of_refund(), trade);
                let told = Outside { trade, amount_minor, state, day }.told(&number);
                Fact::Refund { out_refund_no: number, state, told: Some(told) }
            }
            What::Dispute { trade, amount_minor, fee_minor, state } => Fact::Dispute(DisputeDetails {
                dispute_id: number,
                out_trade_no: trade,
                amount_minor,
                fee_minor,
                state: state.of_dispute(),
            }),
            What::Novelty => return Err(CallbackError::Content("a novelty".into())),
        };
        let plaintext = String::from_utf8(raw.body.to_vec()).unwrap();
        Ok(VerifiedCallback { event_id: notice.event, fact, plaintext })
    }
}

/// Opens accounts at the bank under the word `bank`, and real providers under theirs.
pub struct TestProviders {
    pub bank: Arc<Bank>,
    pub real: backend::payments::RealProviders,
}

impl Providers for TestProviders {
    fn open(&self, provider: &str, config: &str) -> Result<Arc<dyn Provider>> {
        if provider != "bank" {
            return self.real.open(provider, config);
        }
        let config = serde_json::from_str(config)
            .map_err(|error| Error::Invalid { field: "merchant account", message: error.to_string() })?;
        Ok(Arc::new(Account { bank: self.bank.clone(), config }))
    }
}
