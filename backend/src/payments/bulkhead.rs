//! Bulkheads: a slow or silent provider delays only the merchant account that uses it. Each account has a bound of
//! calls under way in each lane, and a breaker.

use crate::{
    Rules,
    clock::Clock,
    ids::AccountId,
    payments::{
        breaker::{Breaker, Entry},
        limits,
        method::{Handoff, Method, Payer},
        provider::{
            CallbackError, CloseOutcome, Created, PaymentRequest, Profile, Provider, ProviderError, RawCallback,
            RefundAnswer, RefundNumbers, RefundRequest, Statement, TradeNumbers, TradeState, VerifiedCallback,
        },
    },
};
use async_trait::async_trait;
use std::{
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Kinds of work with a provider, each with its own bound, so that questions and refunds do not delay an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Taking an order, for which a payer waits.
    Order,
    /// Asking what became of payments.
    Poll,
    /// Refunding.
    Refund,
    /// Reading a daily statement.
    Statement,
    /// Asking who pays: a service of its own, beside the one that takes orders.
    Identity,
}

#[derive(Default)]
struct Inside {
    breaker: Breaker,
    orders: usize,
    polls: usize,
    refunds: usize,
    statements: usize,
    identities: usize,
}

impl Inside {
    fn under_way(&mut self, lane: Lane) -> &mut usize {
        match lane {
            Lane::Order => &mut self.orders,
            Lane::Poll => &mut self.polls,
            Lane::Refund => &mut self.refunds,
            Lane::Statement => &mut self.statements,
            Lane::Identity => &mut self.identities,
        }
    }
}

/// A merchant account's bulkhead.
pub(crate) struct Bulkhead {
    account_id: AccountId,
    clock: Arc<dyn Clock>,
    rules: Arc<Rules>,
    inside: Mutex<Inside>,
}

impl Bulkhead {
    pub fn new(account_id: AccountId, clock: Arc<dyn Clock>, rules: Arc<Rules>) -> Self {
        Self { account_id, clock, rules, inside: Mutex::default() }
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a piece of work with the provider; `None` if too much is under way, or the breaker refuses calls.
    pub fn acquire(self: &Arc<Self>, lane: Lane) -> Option<CallPermit> {
        let mut inside = self.inside();
        let entry = self.entry(&mut inside, lane)?;
        inside.breaker.began(entry);
        *inside.under_way(lane) += 1;
        Some(CallPermit { bulkhead: self.clone(), lane, is_probe: entry == Entry::Probe })
    }

    /// Whether a piece of work could begin now.
    pub fn has_room(&self, lane: Lane) -> bool {
        self.entry(&mut self.inside(), lane).is_some()
    }

    fn entry(&self, inside: &mut Inside, lane: Lane) -> Option<Entry> {
        let most = match lane {
            Lane::Order | Lane::Identity => self.rules.account_orders_max,
            Lane::Poll | Lane::Refund => self.rules.account_calls_max,
            Lane::Statement => 1,
        };
        let entry = match lane {
            // Another service answers: the breaker says nothing of it, and learns nothing from it.
            Lane::Identity => Entry::Free,
            Lane::Order | Lane::Poll | Lane::Refund | Lane::Statement => {
                inside.breaker.entry(&self.rules, self.clock.now_ms())?
            }
        };
        // A statement takes long, so it is not used to test whether payments can be taken again.
        if lane == Lane::Statement && entry == Entry::Probe {
            return None;
        }
        (*inside.under_way(lane) < most).then_some(entry)
    }

    /// The account has another configuration: what the breaker learned with the old one does not apply.
    pub fn forget_failures(&self) {
        self.inside().breaker = Breaker::default();
        self.show(false);
    }

    fn answered(&self) {
        let was_tripped = {
            let mut inside = self.inside();
            let was_tripped = inside.breaker.is_tripped();
            inside.breaker.answered();
            was_tripped
        };
        if was_tripped {
            tracing::info!(account = %self.account_id, "the payment provider of a merchant account answers again");
            self.show(false);
        }
    }

    fn failed(&self) {
        let opened = self.inside().breaker.failed(&self.rules, self.clock.now_ms());
        if opened {
            tracing::warn!(
                account = %self.account_id,
                "the payment provider of a merchant account does not answer: its orders are refused until it does"
            );
            metrics::counter!("coinwire_provider_breaker_openings_total").increment(1);
            self.show(true);
        }
    }

    fn show(&self, open: bool) {
        let account = self.account_id.to_string();
        metrics::gauge!("coinwire_provider_breaker_open", "account" => account).set(if open { 1.0 } else { 0.0 });
    }
}

/// A piece of work under way; over when dropped.
pub(crate) struct CallPermit {
    bulkhead: Arc<Bulkhead>,
    lane: Lane,
    is_probe: bool,
}

impl Drop for CallPermit {
    fn drop(&mut self) {
        let now_ms = self.bulkhead.clock.now_ms();
        let mut inside = self.bulkhead.inside();
        *inside.under_way(self.lane) -= 1;
        if self.is_probe {
            inside.breaker.abandoned(now_ms);
        }
    }
}

/// A provider whose calls are bounded in time by the rules, and whose bulkhead learns whether it answers.
pub(crate) struct MonitoredProvider {
    provider: Arc<dyn Provider>,
    bulkhead: Arc<Bulkhead>,
}

/// A call under way.
struct Waiting<'a> {
    bulkhead: &'a Bulkhead,
    since_ms: i64,
    is_over: bool,
}

impl Drop for Waiting<'_> {
    /// The caller gave up, because a page was closed.
    fn drop(&mut self) {
        let waited_ms = self.bulkhead.clock.now_ms() - self.since_ms;
        if !self.is_over && waited_ms >= self.bulkhead.rules.provider_slow_ms {
            self.bulkhead.failed();
        }
    }
}

impl MonitoredProvider {
    pub fn new(provider: Arc<dyn Provider>, bulkhead: Arc<Bulkhead>) -> Self {
        Self { provider, bulkhead }
    }

    /// Waits for an answer for so long, and tells the breaker nothing.
    async fn answer_within<T>(
        &self,
        wait_ms: u64,
        call: impl Future<Output = Result<T, ProviderError>>,
    ) -> Result<T, ProviderError> {
        tokio::select! {
            biased;
            outcome = call => outcome,
            () = self.bulkhead.clock.sleep_ms(wait_ms) => Err(ProviderError::Unknown(format!("no answer in {wait_ms} ms"))),
        }
    }

    /// Waits for an answer, and does not believe one that `check` finds wrong.
    async fn watch<T>(
        &self,
        call: impl Future<Output = Result<T, ProviderError>>,
        check: impl Fn(&T) -> Result<(), String>,
    ) -> Result<T, ProviderError> {
        let bulkhead = &*self.bulkhead;
        let mut waiting = Waiting { bulkhead, since_ms: bulkhead.clock.now_ms(), is_over: false };
        let outcome = self.answer_within(bulkhead.rules.provider_wait_ms, call).await;
        waiting.is_over = true;
        let outcome = outcome.and_then(|answer| check(&answer).map(|()| answer).map_err(ProviderError::Unknown));
        match &outcome {
            Ok(_)
            | Err(ProviderError::Refused { .. } | ProviderError::InsufficientBalance | ProviderError::Busy(_)) => {
                bulkhead.answered();
            }
            Err(ProviderError::Unknown(_) | ProviderError::Untrusted(_)) => bulkhead.failed(),
        }
        outcome
    }
}

#[async_trait]
impl Provider for MonitoredProvider {
    fn profile(&self) -> &Profile {
        self.provider.profile()
    }

    fn identity_url(&self, method: &Method, return_url: &str, state: &str) -> Option<String> {
        self.provider.identity_url(method, return_url, state)
    }

    /// Not reported to the breaker: whoever tells who pays is a service of its own, and other methods do without.
    async fn exchange_identity(
        &self,
        method: &Method,
        parameters: &[(String, String)],
    ) -> Result<Payer, ProviderError> {
        let wait_ms = self.bulkhead.rules.provider_wait_ms;
        let payer = self.answer_within(wait_ms, self.provider.exchange_identity(method, parameters)).await?;
        limits::payer(&payer).map(|()| payer).map_err(ProviderError::Unknown)
    }

    async fn create(&self, request: &PaymentRequest) -> Result<Created, ProviderError> {
        self.watch(self.provider.create(request), limits::created).await
    }

    fn renew(&self, handoff: Handoff, wall_ms: i64) -> Handoff {
        self.provider.renew(handoff, wall_ms)
    }

    async fn query(&self, trade: &TradeNumbers) -> Result<TradeState, ProviderError> {
        self.watch(self.provider.query(trade), limits::trade).await
    }

    async fn close(&self, trade: &TradeNumbers) -> Result<CloseOutcome, ProviderError> {
        self.watch(self.provider.close(trade), |_| Ok(())).await
    }

    async fn refund(&self, request: &RefundRequest) -> Result<RefundAnswer, ProviderError> {
        self.watch(self.provider.refund(request), limits::refund).await
    }

    async fn query_refund(&self, refund: &RefundNumbers) -> Result<RefundAnswer, ProviderError> {
        self.watch(self.provider.query_refund(refund), limits::refund).await
    }

    /// Not reported to the breaker: a late or damaged statement says nothing about whether payments can be taken.
    async fn statement(&self, day: i64) -> Result<Statement, ProviderError> {
        let wait_ms = self.bulkhead.rules.statement_wait_ms;
        self.answer_within(wait_ms, self.provider.statement(day)).await.map(limits::statement)
    }

    fn verify_callback(&self, raw: RawCallback<'_>, wall_ms: i64) -> Result<VerifiedCallback, CallbackError> {
        self.provider.verify_callback(raw, wall_ms).map(|verified| limits::callback(raw, verified))
    }
}
