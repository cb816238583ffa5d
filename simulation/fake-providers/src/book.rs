//! What a provider took and gave back. How calls fail is not its matter.

use backend::payments::{
    method::Method,
    provider::{
        Calendar, CallbackAnswer, CloseOutcome, Fact, Paid, PaymentRequest, ProviderError, RefundAnswer, RefundDetails,
        RefundRequest, RefundState, Statement, ToldTrade, TradeState,
    },
};
use std::collections::{BTreeMap, VecDeque};

/// A payment at the provider.
#[derive(Debug, Clone)]
pub struct Trade {
    pub request: PaymentRequest,
    pub state: TradeState,
    /// Those of the account that it is of.
    pub habits: Habits,
    /// It was paid, and can no longer be refunded.
    pub is_finished: bool,
}

/// A refund that the merchant asked for.
#[derive(Debug, Clone)]
pub struct Refund {
    pub request: RefundRequest,
    pub state: RefundState,
    day: i64,
}

/// A refund that somebody made at the provider's counter.
#[derive(Debug, Clone)]
pub struct Outside {
    pub trade: String,
    pub amount_minor: i64,
    pub state: RefundState,
    pub day: i64,
}

/// A dispute: what the provider took, and its fee.
#[derive(Debug, Clone, Copy, Default)]
pub struct Disputed {
    pub taken_minor: i64,
    pub fee_minor: i64,
}

/// When a trade says that money of it went back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToldReturned {
    /// Once it is back.
    Back,
    /// As soon as a refund was taken.
    Taken,
    /// Once all of it is back.
    Whole,
}

/// What providers do differently.
#[derive(Debug, Clone, Copy)]
pub struct Habits {
    pub methods: &'static [Method],
    /// How much an order carries for the merchant, in bytes.
    pub attach_max_bytes: usize,
    /// What it wants to be answered to a callback.
    pub taken: fn() -> CallbackAnswer,
    /// Whether a trade begins with its order. If not, it begins once the payer comes with the order, which is nothing but
    /// signed until then.
    pub begins_with_order: bool,
    /// Whether a refund is through with its answer. Then only a question about it says how much it is of.
    pub refunds_at_once: bool,
    pub has_statements: bool,
    pub calendar: Calendar,
    pub returned: ToldReturned,
    /// Whether statements have the refunds that the merchant asked for.
    pub states_own_refunds: bool,
    /// Whether there is a statement of a day on which nothing happened.
    pub states_empty_days: bool,
}

/// The provider's books.
#[derive(Default)]
pub struct Book {
    pub trades: BTreeMap<String, Trade>,
    /// Orders that payers may come with.
    pub carried: BTreeMap<String, Trade>,
    pub refunds: BTreeMap<String, Refund>,
    pub outside: BTreeMap<String, Outside>,
    pub disputes: BTreeMap<String, Disputed>,
    /// What stands in statements beside what happened here.
    pub also: BTreeMap<i64, Vec<Fact>>,
    /// Lines of statements that nobody can read.
    pub unread: usize,
    /// What new refunds become, in this order; `Done` beyond.
    pub refund_states: VecDeque<RefundState>,
    /// The provider's clock, where it has one: a statement of today is not there yet.
    pub now_ms: Option<i64>,
    /// From now on trades do not say that money of them went back.
    pub hides_returns: bool,
    events: u64,
}

impl Book {
    /// The number of the next event.
    pub fn next_event(&mut self) -> String {
        self.events += 1;
        format!("E{}", self.events)
    }

    /// Takes an order. The first of a number stands.
    pub fn create(&mut self, request: &PaymentRequest, habits: Habits) {
        let trade = Trade { request: request.clone(), state: TradeState::NotPaid, habits, is_finished: false };
        let orders = if habits.begins_with_order { &mut self.trades } else { &mut self.carried };
        orders.entry(request.out_trade_no.clone()).or_insert(trade);
    }

    /// A payer comes with an order: it is a trade from now on, if it was none and is not too old. False if there is none.
    pub fn begin(&mut self, number: &str, now_ms: i64) -> bool {
        let carried = self.carried.get(number).filter(|order| now_ms <= order.request.expires_at_ms);
        if let (false, Some(order)) = (self.trades.contains_key(number), carried) {
            self.trades.insert(number.to_owned(), order.clone());
        }
        self.trades.contains_key(number)
    }

    /// The payment of a trade, if it was made.
    pub fn paid(&self, number: &str) -> Option<&Paid> {
        match &self.trades.get(number)?.state {
            TradeState::Paid(paid) => Some(paid),
            TradeState::NotPaid
            | TradeState::NotFound
            | TradeState::Closed
            | TradeState::PaidUnknownCurrency(_)
            | TradeState::Refunded(_) => None,
        }
    }

    /// Somebody pays an amount. Gives the payment.
    pub fn pay(&mut self, number: &str, amount_minor: i64, now_ms: i64) -> Paid {
        let trade = self.trades.get_mut(number).unwrap();
        assert_eq!(trade.state, TradeState::NotPaid, "{number} cannot be paid");
        let mut amount = trade.request.amount;
        amount.amount_minor = amount_minor;
        let attach = trade.request.attach.clone();
        let paid = Paid { provider_txn_id: format!("T{number}"), amount, paid_at_ms: now_ms, attach };
        trade.state = TradeState::Paid(paid.clone());
        paid
    }

    /// What is said of a trade.
    pub fn state(&self, number: &str) -> TradeState {
        let Some(trade) = self.trades.get(number) else { return TradeState::NotFound };
        let returned = match (trade.habits.returned, &trade.state) {
            _ if self.hides_returns => false,
            (ToldReturned::Back, _) => self.returned_minor(Some(number)) > 0,
            (ToldReturned::Taken, _) => self.asked_back_minor(number, true) + self.asked_back_minor(number, false) > 0,
            (ToldReturned::Whole, TradeState::Paid(paid)) => {
                self.returned_minor(Some(number)) >= paid.amount.amount_minor
            }
            (ToldReturned::Whole, _) => false,
        };
        if returned && let TradeState::Paid(paid) = &trade.state {
            TradeState::Refunded(paid.clone())
        } else {
            trade.state.clone()
        }
    }

    /// Makes a trade unpayable.
    ///
    /// # Errors
    /// If there is no such trade.
    pub fn close(&mut self, number: &str) -> Result<CloseOutcome, ProviderError> {
        let none = || refused("TRADE", "there is none");
        let trade = self.trades.get_mut(number).ok_or_else(none)?;
        match trade.state {
            TradeState::NotPaid | TradeState::Closed => {
                trade.state = TradeState::Closed;
                Ok(CloseOutcome::Closed)
            }
            TradeState::Paid(_) | TradeState::PaidUnknownCurrency(_) | TradeState::Refunded(_) => {
                Ok(CloseOutcome::AlreadyPaid)
            }
            TradeState::NotFound => Err(none()),
        }
    }

    /// Whether a trade can no longer be paid.
    pub fn is_closed(&self, number: &str) -> bool {
        self.trades.get(number).is_some_and(|trade| trade.state == TradeState::Closed)
    }

    /// A refund as a strict provider takes it: once a number, never more than was paid.
    ///
    /// # Errors
    /// If it is another than was asked for under that number, or more than is left.
    pub fn refund(&mut self, request: &RefundRequest) -> Result<RefundAnswer, ProviderError> {
        let (trade, number) = (&request.numbers.trade.out_trade_no, &request.numbers.out_refund_no);
        if let Some(known) = self.refunds.get(number) {
            let same = RefundRequest { numbers: known.request.numbers.clone(), ..request.clone() };
            return if known.request == same && known.request.numbers.trade.out_trade_no == *trade {
                Ok(known.answer())
            } else {
                Err(refused("PARAM", "this number asked for something else"))
            };
        }
        let Some(paid) = self.paid(trade).cloned() else { return Err(refused("TRADE", "was not paid")) };
        let Trade { habits, is_finished, .. } = self.trades[trade];
        if is_finished {
            return Err(refused("TRADE", "can no longer be refunded"));
        }
        let returned_minor = self.returned_minor(Some(trade));
        if request.total_minor != paid.amount.amount_minor
            || request.refund_minor + returned_minor > request.total_minor
        {
            return Err(refused("AMOUNT", "is more than was paid"));
        }
        let state = self.refund_states.pop_front().unwrap_or(RefundState::Done);
        if state == RefundState::NotFound {
            return Ok(state.into());
        }
        let day = self.now_ms.map_or(0, |now_ms| habits.calendar.day_of(now_ms));
        let refund = Refund { request: request.clone(), state, day };
        let answer = if habits.refunds_at_once { state.into() } else { refund.answer() };
        self.refunds.insert(number.clone(), refund);
        Ok(answer)
    }

    /// What is said of a refund, whoever made it.
    pub fn refund_answer(&self, number: &str) -> RefundAnswer {
        let ours = self.refunds.get(number).map(Refund::answer);
        let outside = self.outside.get(number).map(|refund| amounting(refund.state, refund.amount_minor));
        outside.or(ours).unwrap_or(RefundState::NotFound.into())
    }

    /// Somebody begins to give money back at the counter.
    pub fn begin_outside(&mut self, trade: &str, number: &str, amount_minor: i64, now_ms: i64) {
        let paid_minor = self.paid(trade).unwrap().amount.amount_minor;
        let returned_minor = self.returned_minor(Some(trade));
        assert!(returned_minor + amount_minor <= paid_minor, "more than was paid");
        let day = self.trades[trade].habits.calendar.day_of(now_ms);
        let outside = Outside { trade: trade.to_owned(), amount_minor, state: RefundState::Processing, day };
        assert!(self.outside.insert(number.into(), outside).is_none());
    }

    /// A refund that was begun at the counter is through.
    pub fn end_outside(&mut self, number: &str) {
        self.outside.get_mut(number).unwrap().state = RefundState::Done;
    }

    /// A refund of the merchant's that is under way is through. Gives of which trade, and how much.
    pub fn end_refund(&mut self, number: &str) -> Option<(String, i64)> {
        let refund = self.refunds.get_mut(number).filter(|refund| refund.state == RefundState::Processing)?;
        refund.state = RefundState::Done;
        Some((refund.trade().to_owned(), refund.request.refund_minor))
    }

    /// Whether anything was asked back of a trade.
    pub fn has_refund(&self, of: &str) -> bool {
        self.given().any(|(trade, _, _)| trade == of)
    }

    /// What went back of a trade, or of all, in minor units.
    pub fn returned_minor(&self, of: Option<&str>) -> i64 {
        let done = |state| state == RefundState::Done;
        let all = self.given().filter(|(trade, _, state)| done(*state) && of.is_none_or(|of| of == *trade));
        all.map(|(_, amount_minor, _)| amount_minor).sum()
    }

    /// What is back of a trade or on its way, in minor units: of refunds made at the counter, or of the merchant's.
    pub fn asked_back_minor(&self, of: &str, outside: bool) -> i64 {
        let lives = |state| state != RefundState::Closed;
        if outside {
            let all = self.outside.values().filter(|refund| refund.trade == of && lives(refund.state));
            return all.map(|refund| refund.amount_minor).sum();
        }
        let all = self.refunds.values().filter(|refund| refund.trade() == of && lives(refund.state));
        all.map(|refund| refund.request.refund_minor).sum()
    }

    /// All refunds: of which trade, how much, and where they stand.
    fn given(&self) -> impl Iterator<Item = (&str, i64, RefundState)> {
        let ours = self.refunds.values().map(|refund| (refund.trade(), refund.request.refund_minor, refund.state));
        ours.chain(self.outside.values().map(|refund| (&*refund.trade, refund.amount_minor, refund.state)))
    }

    /// Everything of a day: refunds as they stood when they were begun.
    pub fn statement(&self, day: i64, habits: Habits) -> Statement {
        if self.now_ms.is_some_and(|now_ms| habits.calendar.day_of(now_ms) <= day) {
            return Statement::NotYet;
        }
        let is_stated = |number: &str| self.trades.get(number).is_none_or(|trade| trade.habits.has_statements);
        let paid = self.trades.iter().filter_map(|(number, trade)| {
            let TradeState::Paid(paid) = &trade.state else { return None };
            let is_of_day = is_stated(number) && habits.calendar.day_of(paid.paid_at_ms) == day;
            is_of_day.then(|| Fact::Payment { out_trade_no: number.clone(), state: TradeState::Paid(paid.clone()) })
        });
        let of_day = |refund: &Refund| habits.states_own_refunds && refund.day == day && is_stated(refund.trade());
        let ours = self
            .refunds
            .iter()
            .filter(|(_, refund)| of_day(refund))
            .map(|(number, refund)| begun(number, refund.trade(), refund.request.refund_minor));
        let outside = self.outside.iter().filter(|(_, refund)| refund.day == day && is_stated(&refund.trade));
        let outside = outside.map(|(number, refund)| begun(number, &refund.trade, refund.amount_minor));
        let also = self.also.get(&day).into_iter().flatten().cloned();
        // The refunds first: nobody says in which order the lines come.
        let facts: Vec<Fact> = outside.chain(ours).chain(paid).chain(also).collect();
        if facts.is_empty() && self.unread == 0 && !habits.states_empty_days {
            return Statement::Nothing;
        }
        Statement::Facts { facts, unread: self.unread }
    }
}

impl Refund {
    fn trade(&self) -> &str {
        &self.request.numbers.trade.out_trade_no
    }

    fn answer(&self) -> RefundAnswer {
        amounting(self.state, self.request.refund_minor)
    }
}

fn begun(number: &str, trade: &str, amount_minor: i64) -> Fact {
    let told = Some(details(number, trade, amount_minor));
    Fact::Refund { out_refund_no: number.to_owned(), state: RefundState::Processing, told }
}

fn amounting(state: RefundState, amount_minor: i64) -> RefundAnswer {
    RefundAnswer { amount_minor: Some(amount_minor), ..state.into() }
}

/// What is told of a refund beside its number.
pub fn details(number: &str, trade: &str, amount_minor: i64) -> RefundDetails {
    RefundDetails {
        trade: ToldTrade::Ours(trade.to_owned()),
        provider_refund_id: format!("B{number}"),
        amount_minor,
        is_total: false,
        payment: None,
    }
}

/// A refusal.
pub fn refused(code: &str, message: &str) -> ProviderError {
    ProviderError::Refused { code: code.into(), message: message.into() }
}
