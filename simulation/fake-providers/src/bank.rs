//! The provider of the suite: honest by default, and as faulty as a test wants it.

use crate::{
    account::{Account, Act, Asked, Conduct, no_content},
    book::{Book, Disputed, Habits, Refund, ToldReturned, Trade, refused},
};
use async_trait::async_trait;
use backend::{
    Error, Result,
    payments::{
        method::{HandoffKind, Method, PayerApp},
        provider::{Calendar, Fact, PaymentRequest, Provider, ProviderError, RefundState, TradeState},
    },
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
};
use tokio::sync::{Semaphore, watch};

pub use crate::{
    account::Call,
    notice::{Callback, Config, Notice, Standing, What},
};

const HOUR_MS: i64 = 3_600_000;
/// The bank's days are those of UTC; their statements are there an hour later.
const CALENDAR: Calendar = Calendar { ahead_ms: 0, day_ms: 24 * HOUR_MS, ready_after_ms: HOUR_MS };
const HABITS: Habits = Habits {
    methods: &[PAGE],
    attach_max_bytes: 128,
    taken: no_content,
    begins_with_order: true,
    refunds_at_once: false,
    has_statements: true,
    calendar: CALENDAR,
    returned: ToldReturned::Back,
    states_own_refunds: false,
    states_empty_days: false,
};
/// A page of the provider's, wherever the payer is.
pub const PAGE: Method = Method {
    word: "page",
    apps: &[PayerApp::Wechat, PayerApp::Alipay, PayerApp::Browser],
    handoff: HandoffKind::Redirect,
    payer_scope: None,
};

/// The bank's day.
pub fn day_of(at_ms: i64) -> i64 {
    CALENDAR.day_of(at_ms)
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

/// How calls are to be met, and which there were.
#[derive(Default)]
struct Script {
    calls: Vec<(Call, String)>,
    faults: BTreeMap<Call, VecDeque<Fault>>,
    /// Merchants whose calls are never answered.
    silent: BTreeSet<String>,
}

/// The provider's side, one for all accounts.
pub struct Bank {
    book: Mutex<Book>,
    script: Mutex<Script>,
    held: watch::Sender<usize>,
    releases: Semaphore,
}

impl Default for Bank {
    fn default() -> Self {
        let (book, script) = (Mutex::default(), Mutex::default());
        Self { book, script, held: watch::Sender::new(0), releases: Semaphore::new(0) }
    }
}

impl Bank {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap()
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }

    /// The next calls of that kind meet these faults, in this order.
    pub fn fault(&self, call: Call, faults: impl IntoIterator<Item = Fault>) {
        self.script().faults.entry(call).or_default().extend(faults);
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
        self.script().calls.iter().filter(|(made, _)| *made == call).map(|(_, number)| number.clone()).collect()
    }

    /// Somebody pays. Gives what the provider would tell about it.
    pub fn pay(&self, number: &str, now_ms: i64) -> What {
        let amount_minor = self.trade(number).request.amount.amount_minor;
        self.pay_other(number, amount_minor, now_ms)
    }

    /// Somebody pays another amount than was asked. Gives what the provider would tell about it.
    pub fn pay_other(&self, number: &str, amount_minor: i64, now_ms: i64) -> What {
        What::paid(self.book().pay(number, amount_minor, now_ms))
    }

    /// Somebody gives money back at the bank's counter. Gives what the bank would tell about it.
    pub fn refund_outside(&self, trade: &str, number: &str, amount_minor: i64, now_ms: i64) -> What {
        self.begin_outside(trade, number, amount_minor, now_ms);
        self.move_outside(number, RefundState::Done);
        What::Outside { trade: trade.into(), amount_minor, state: Standing::Done }
    }

    /// As [`Bank::refund_outside`], and it is under way yet.
    pub fn begin_outside(&self, trade: &str, number: &str, amount_minor: i64, now_ms: i64) -> What {
        self.book().begin_outside(trade, number, amount_minor, now_ms);
        What::Outside { trade: trade.into(), amount_minor, state: Standing::Processing }
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
        Notice { event: self.book().next_event(), merchant: merchant.into(), number: number.into(), what }
    }

    /// From now on no call of that merchant's is answered, or all are again.
    pub fn silence(&self, merchant: &str, silent: bool) {
        let mut script = self.script();
        let all = &mut script.silent;
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
                TradeState::NotPaid
                | TradeState::NotFound
                | TradeState::Closed
                | TradeState::PaidUnknownCurrency(_) => 0,
            })
            .sum();
        let disputed: i64 = book.disputes.values().map(|dispute| dispute.taken_minor + dispute.fee_minor).sum();
        paid - book.returned_minor(None) - disputed
    }
}

/// How the bank meets a merchant's calls.
struct Scripted {
    bank: Arc<Bank>,
    merchant: String,
}

#[async_trait]
impl Conduct for Scripted {
    async fn meet(&self, asked: Asked<'_>, act: &mut Act<'_>) -> Result<(), ProviderError> {
        let bank = &*self.bank;
        let fault = {
            let mut script = bank.script();
            script.calls.push((asked.call(), asked.number()));
            if script.silent.contains(&self.merchant) {
                None
            } else {
                Some(script.faults.get_mut(&asked.call()).and_then(VecDeque::pop_front))
            }
        };
        let Some(fault) = fault else { return std::future::pending().await };
        if matches!(fault, None | Some(Fault::LostAnswer | Fault::Held)) {
            act(&mut bank.book());
        }
        match fault {
            None => Ok(()),
            Some(Fault::LostAnswer | Fault::LostCall) => Err(ProviderError::Unknown("no answer".into())),
            Some(Fault::Refused) => Err(refused("RULE", "not like this")),
            Some(Fault::Busy) => Err(ProviderError::Busy("slow down".into())),
            Some(Fault::Balance) => Err(ProviderError::InsufficientBalance),
            Some(Fault::Held) => {
                bank.held.send_modify(|held| *held += 1);
                bank.releases.acquire().await.unwrap().forget();
                bank.held.send_modify(|held| *held -= 1);
                Ok(())
            }
        }
    }

    fn sign(&self, _: &PaymentRequest, act: &mut Act<'_>) {
        act(&mut self.bank.book());
    }
}

/// Opens an account at the bank.
///
/// # Errors
/// If the configuration is none.
pub fn open(bank: Arc<Bank>, config: &str) -> Result<Arc<dyn Provider>> {
    let config: Config =
        serde_json::from_str(config).map_err(|error| Error::invalid("merchant account", error.to_string()))?;
    let conduct = Scripted { bank, merchant: config.merchant.clone() };
    Ok(Arc::new(Account::new(conduct, config, HABITS, "https://bank.test/pay/")))
}
