//! The server: the real backend over one store, its bus, its restarts; and the provider's callbacks to it.

use crate::{
    chance::SeededRandom,
    provider::{Intent, SIGNATURE, SIGNATURE_HEADER, SimProvider, Till},
    time::{ServerClock, Time},
    world::{Checked, Event, Violation, World},
};
use async_trait::async_trait;
use backend::{
    Backend, Error, Parts, Rules,
    db::Db,
    payments::{CallbackFailure, provider::RawCallback},
    sales::{Checkout, OrderRequest},
};
use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
};

/// Longest time the server is down, in microseconds.
const DOWN_MAX_US: u64 = 30_000_000;
/// Waits before an unanswered callback is made again, in seconds; then the provider gives up.
const CALLBACK_RETRIES_S: [u64; 7] = [15, 15, 30, 180, 600, 1200, 1800];
/// A late callback comes so long after the fact at most, in microseconds.
const CALLBACK_LATE_MAX_US: u64 = 400_000_000;

/// The bus: keeps what is published until the driver takes it.
#[derive(Default)]
pub(crate) struct Bus(Mutex<Vec<(String, Vec<u8>)>>);

#[async_trait]
impl backend::bus::Bus for Bus {
    async fn publish(&self, topic: &str, payload: Vec<u8>, _: bool, _: Option<u32>) -> backend::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((topic.to_owned(), payload));
        Ok(())
    }

    fn connected(&self) -> bool {
        true
    }
}

/// The server, up or down.
pub(crate) struct Server {
    db: Db,
    time: Arc<Time>,
    random: Arc<SeededRandom>,
    bus: Arc<Bus>,
    till: Arc<Mutex<Till>>,
    backend: Option<Backend>,
    touched: bool,
    due_plan: u64,
    due_at_us: Option<u64>,
}

impl Server {
    pub fn new(db: Db, time: Arc<Time>, random: Arc<SeededRandom>, bus: Arc<Bus>, till: Arc<Mutex<Till>>) -> Self {
        Self { db, time, random, bus, till, backend: None, touched: false, due_plan: 0, due_at_us: None }
    }

    /// Starts a backend over the store: it knows nothing but what is stored.
    pub fn start(&mut self) -> Backend {
        let backend = Backend::new(Parts {
            db: self.db.clone(),
            clock: Arc::new(ServerClock(self.time.clone())),
            random: self.random.clone(),
            bus: self.bus.clone(),
            providers: Arc::new(SimProvider::new(self.till.clone(), self.time.clone())),
            secret_key: [7; 32],
            public_url: "https://coinwire.example".into(),
            rules: Rules::default(),
        });
        self.backend = Some(backend.clone());
        self.touched = true;
        backend
    }

    /// The backend, if the server is up.
    pub fn backend(&self) -> Option<&Backend> {
        self.backend.as_ref()
    }

    /// The backend, if the server is up, to have it do something.
    pub fn reach(&mut self) -> Option<Backend> {
        self.touched = true;
        self.backend.clone()
    }

    pub fn touch(&mut self) {
        self.touched = true;
    }

    /// Whether the backend was asked to do anything since the last call.
    pub fn touched(&mut self) -> bool {
        std::mem::take(&mut self.touched)
    }

    pub fn take_published(&self) -> Vec<(String, Vec<u8>)> {
        std::mem::take(&mut *self.bus.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// How far a call came.
pub(crate) enum Step {
    /// It is over.
    Done(Result<Checkout, Error>),
    /// It waits for simulated time.
    Waits { until_us: u64 },
}

/// An order on its way through the backend.
pub(crate) struct Call(Pin<Box<dyn Future<Output = Result<Checkout, Error>>>>);

impl Call {
    pub fn order(backend: Backend, request: OrderRequest) -> Self {
        Self(Box::pin(async move { backend.order(request).await }))
    }

    /// Goes on until the call is over or waits for simulated time. What it waits for otherwise is the store alone.
    pub async fn run(&mut self, time: &Time) -> Step {
        poll_fn(|context| {
            let polled = self.0.as_mut().poll(context);
            let parked = time.take_parked();
            match (polled, parked) {
                (Poll::Ready(outcome), _) => Poll::Ready(Step::Done(outcome)),
                (Poll::Pending, Some(until_us)) => Poll::Ready(Step::Waits { until_us }),
                (Poll::Pending, None) => Poll::Pending,
            }
        })
        .await
    }
}

impl World {
    /// Plans when the server looks for due work next: at its next tick after something is due.
    pub fn plan_due(&mut self, due_ms: Option<i64>) {
        let tick_us = Rules::default().tick_ms * 1000;
        let next_us = self.time.now_us() / tick_us * tick_us + tick_us;
        let at_us =
            due_ms.map(|due_ms| self.time.when_us(due_ms).div_ceil(tick_us).saturating_mul(tick_us).max(next_us));
        if at_us == self.server.due_at_us {
            return;
        }
        self.server.due_at_us = at_us;
        self.server.due_plan += 1;
        if let Some(at_us) = at_us {
            let plan = self.server.due_plan;
            self.plan(at_us, Event::Due { plan });
        }
    }

    pub async fn due(&mut self, plan: u64) -> Checked {
        if plan != self.server.due_plan {
            return Ok(());
        }
        self.server.due_at_us = None;
        match self.server.reach() {
            Some(backend) => Ok(backend.run_due().await?),
            None => Ok(()),
        }
    }

    /// The server is killed: whatever it was waiting for is lost, and what is sent to it meanwhile.
    pub fn server_down(&mut self) {
        if self.healed_us.is_some() || self.server.backend.is_none() {
            return;
        }
        let now_us = self.time.now_us();
        self.trace.note(now_us, format_args!("server: goes down, {} orders under way", self.people.calls.len()));
        self.people.calls.clear();
        self.server.backend = None;
        let after_us = self.net.between(100_000..=DOWN_MAX_US);
        self.plan_in(after_us, Event::ServerUp);
    }

    pub async fn server_up(&mut self) -> Checked {
        if self.server.backend.is_some() {
            return Ok(());
        }
        let now_us = self.time.now_us();
        self.trace.note(now_us, format_args!("server: comes up"));
        let backend = self.server.start();
        self.server.due_at_us = None;
        backend.forget_presence().await?;
        for (machine, (topic, payload)) in self.retained.clone() {
            self.server_hears(machine, topic, payload, false).await?;
        }
        Ok(())
    }

    pub fn clock_jumps(&mut self, by_ms: i64) {
        let now_us = self.time.now_us();
        self.trace.note(now_us, format_args!("server: its clock jumps by {by_ms} ms"));
        self.time.shift_server_ms(by_ms);
        self.server.touch();
    }

    /// The operator locks a machine or unlocks it, if the server is there to be asked.
    pub async fn lock(&mut self, machine: usize, locked: bool) -> Checked {
        let Some(backend) = self.server.reach() else { return Ok(()) };
        let now_us = self.time.now_us();
        self.trace.note(now_us, format_args!("operator: module {machine} locked {locked}"));
        self.machines[machine].lock_ordered = locked;
        let (operator_id, machine_id) = self.checker.ids(machine);
        Ok(backend.set_locked(operator_id, machine_id, locked).await?)
    }

    /// Plans what the provider is to do next, and notes what it did.
    pub fn follow_provider(&mut self) -> Checked {
        let now_us = self.time.now_us();
        let (notes, intents, violation) = {
            let mut till = self.till();
            (std::mem::take(&mut till.notes), std::mem::take(&mut till.intents), till.violations.first().cloned())
        };
        for note in notes {
            self.trace.note(now_us, format_args!("{note}"));
        }
        for intent in intents {
            match intent {
                Intent::Notify { account_token, body } => self.plan_callback(account_token, body),
                Intent::PayEarly { out_trade_no, after_ms } => {
                    self.plan_in(after_ms * 1000, Event::Pay { out_trade_no });
                }
                Intent::Console { out_trade_no, after_ms } => {
                    self.plan_in(after_ms * 1000, Event::Console { out_trade_no });
                }
                Intent::Settle { out_refund_no, after_ms } => {
                    self.plan_in(after_ms * 1000, Event::Settle { out_refund_no });
                }
            }
        }
        violation.map_or(Ok(()), |violation| Err(Violation(format!("the provider was asked for {violation}"))))
    }

    fn plan_callback(&mut self, account_token: String, body: String) {
        let event = Event::Callback { account_token, body, tries: 0 };
        let fast_us = self.net.between(20_000..=400_000);
        if self.net.percent(self.weather.callback) {
            match self.net.between(0..=2) {
                // Never to come.
                0 => return,
                1 => {
                    let late_us = self.net.between(0..=CALLBACK_LATE_MAX_US);
                    return self.plan_in(late_us, event);
                }
                _ => self.plan_in(fast_us, event.clone()),
            }
        }
        self.plan_in(fast_us, event);
    }

    fn plan_callback_again(&mut self, account_token: String, body: String, tries: usize) {
        if let Some(wait_s) = CALLBACK_RETRIES_S.get(tries) {
            self.plan_in(wait_s * 1_000_000, Event::Callback { account_token, body, tries: tries + 1 });
        }
    }

    pub async fn callback(&mut self, account_token: String, body: String, tries: usize) -> Checked {
        let now_us = self.time.now_us();
        let lost = self.net.percent(self.weather.callback);
        let Some(backend) = self.server.reach().filter(|_| !lost) else {
            self.plan_callback_again(account_token, body, tries);
            return Ok(());
        };
        self.trace.note(now_us, format_args!("callback: {body}"));
        let headers = [(SIGNATURE_HEADER.to_owned(), SIGNATURE.to_owned())];
        backend
            .callback(&account_token, RawCallback { headers: &headers, body: body.as_bytes() })
            .await
            .map_err(|error| Violation(format!("an authentic callback was refused: {error}")))?;
        // The answer may be lost: the provider makes it again.
        if self.net.percent(self.weather.callback) {
            self.plan_callback_again(account_token, body, tries);
        }
        Ok(())
    }

    pub async fn forgery(&mut self, out_trade_no: &str) -> Checked {
        let Some((account_token, body)) = self.till().forged(out_trade_no) else { return Ok(()) };
        let Some(backend) = self.server.reach() else { return Ok(()) };
        let headers = [(SIGNATURE_HEADER.to_owned(), "forged".to_owned())];
        match backend.callback(&account_token, RawCallback { headers: &headers, body: body.as_bytes() }).await {
            Err(CallbackFailure::Untrusted(_)) => Ok(()),
            other => Err(Violation(format!("a forged callback was answered {other:?}"))),
        }
    }
}
