//! The server: the real backend over one store, its bus, its restarts; and the provider's callbacks to it.

use crate::{
    chance::SeededRandom,
    operators::system,
    provider::{Intent, Message, ProviderBooks, SimProvider},
    time::{ServerClock, Time},
    world::{Checked, Event, Violation, World},
};
use async_trait::async_trait;
use backend::{
    Error, Parts, Rules,
    db::Db,
    flows::{
        operate::machine,
        place_order::{self, Checkout, OrderRequest},
        take_callback::{self, CallbackFailure},
    },
    jobs::{
        self,
        in_progress::{Job, Work},
    },
    modules::registry,
    payments::provider::CallbackAnswer,
};
use std::{
    collections::BTreeMap,
    future::{Future, poll_fn},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
};

/// Longest time the server is down, in microseconds.
const DOWN_MAX_US: u64 = 30_000_000;
/// The server looks for due work this often at least, if there is any, in milliseconds: what it finds then may be due
/// later by the store, but not by what is known of its clock.
const LOOKS_EVERY_MS: u64 = 5_000;
/// Steps of the server's wall clock, in milliseconds.
pub(crate) const CLOCK_STEPS_MS: [i64; 14] = [
    -30 * 86_400_000,
    -86_400_000,
    -8 * 3_600_000,
    -3_600_000,
    -600_000,
    -30_000,
    -2_000,
    2_000,
    30_000,
    600_000,
    3_600_000,
    8 * 3_600_000,
    86_400_000,
    30 * 86_400_000,
];
/// Waits before an unanswered callback is made again, in seconds; then the provider gives up.
const CALLBACK_RETRIES_S: [u64; 7] = [15, 15, 30, 180, 600, 1200, 1800];
/// The longest time after the fact at which a late callback comes, in microseconds.
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
    provider_books: Arc<Mutex<ProviderBooks>>,
    backend: Option<backend::Context>,
    touched: bool,
    due_plan: u64,
    due_at_us: Option<u64>,
    /// What waits for simulated time: orders and due work that are with the provider, by number.
    pub calls: BTreeMap<usize, Call>,
    next_call: usize,
}

/// The product's own rules, except for statements, because the provider's days are short here.
pub(crate) fn rules() -> Rules {
    Rules {
        statement_first_ms: 20_000,
        statement_max_ms: 120_000,
        statement_spread_ms: 60_000,
        statement_longest_ms: 20 * 60_000,
        ..Rules::default()
    }
}

impl Server {
    pub fn new(
        db: Db,
        time: Arc<Time>,
        random: Arc<SeededRandom>,
        bus: Arc<Bus>,
        provider_books: Arc<Mutex<ProviderBooks>>,
    ) -> Self {
        Self {
            db,
            time,
            random,
            bus,
            provider_books,
            backend: None,
            touched: false,
            due_plan: 0,
            due_at_us: None,
            calls: BTreeMap::new(),
            next_call: 0,
        }
    }

    /// Starts a backend over the store: it knows only what is stored.
    pub fn start(&mut self) -> backend::Context {
        let backend = backend::Context::new(Parts {
            db: self.db.clone(),
            clock: Arc::new(ServerClock::new(self.time.clone())),
            random: self.random.clone(),
            bus: self.bus.clone(),
            providers: Arc::new(SimProvider::new(self.provider_books.clone(), self.time.clone())),
            secret_key: [7; 32],
            public_url: "https://coinwire.example".into(),
            rules: rules(),
        });
        self.backend = Some(backend.clone());
        self.touched = true;
        backend
    }

    /// Ends the backend; false if the server was down.
    pub fn stop(&mut self) -> bool {
        self.touched = true;
        self.backend.take().is_some()
    }

    /// The backend, if the server is up.
    pub fn backend(&self) -> Option<&backend::Context> {
        self.backend.as_ref()
    }

    /// The backend, if the server is up, to have it do something.
    pub fn reach(&mut self) -> Option<backend::Context> {
        self.touched = true;
        self.backend.clone()
    }

    /// From the next start on it works on this store.
    pub fn set_db(&mut self, db: Db) {
        self.db = db;
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

/// The result of a call.
pub(crate) enum Ended {
    /// A consumer's order.
    Order { consumer: usize, outcome: Result<Checkout, Error> },
    /// Work that was due.
    Work,
}

/// The state of a call.
pub(crate) enum Step {
    /// It is over.
    Done(Ended),
    /// It waits for simulated time.
    Waits { until_us: u64 },
}

/// Something on its way through the backend.
pub(crate) struct Call(Pin<Box<dyn Future<Output = Ended>>>);

impl Call {
    pub fn order(consumer: usize, backend: backend::Context, request: OrderRequest) -> Self {
        Self(Box::pin(async move { Ended::Order { consumer, outcome: place_order::order(&backend, request).await } }))
    }

    pub fn work(work: Work) -> Self {
        Self(Box::pin(async move {
            work.await;
            Ended::Work
        }))
    }

    /// Continues until the call is over or waits for simulated time. The only other thing it waits for is the store.
    pub async fn run(&mut self, time: &Time) -> Step {
        poll_fn(|context| {
            let polled = self.0.as_mut().poll(context);
            let parked = time.take_wait_until();
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
    /// Has a call go on until it is over or waits for simulated time.
    pub async fn go_on(&mut self, mut call: Call) -> Checked {
        match call.run(&self.time).await {
            Step::Done(Ended::Order { consumer, outcome }) => self.ordered(consumer, outcome),
            Step::Done(Ended::Work) => Ok(()),
            Step::Waits { until_us } => {
                self.server.next_call += 1;
                let number = self.server.next_call;
                self.server.calls.insert(number, call);
                self.plan(until_us, Event::Wake { call: number });
                Ok(())
            }
        }
    }

    pub async fn wake(&mut self, call: usize) -> Checked {
        // Gone if the server went down meanwhile.
        let Some(call) = self.server.calls.remove(&call) else { return Ok(()) };
        self.server.touch();
        self.go_on(call).await
    }

    /// Plans when the server looks for due work next: at its next tick after something is due, and from time to time if
    /// that is a long time away.
    pub fn plan_due(&mut self, due_ms: Option<i64>) {
        let now_us = self.time.now_us();
        let tick_us = Rules::default().tick_ms * 1000;
        let (Some(due_ms), Some(backend)) = (due_ms, &self.server.backend) else { return };
        let wait_ms = u64::try_from(due_ms - backend.now_ms()).unwrap_or(0).min(LOOKS_EVERY_MS);
        let next_us = now_us / tick_us * tick_us + tick_us;
        let at_us = ((now_us + wait_ms * 1000).div_ceil(tick_us) * tick_us).max(next_us);
        if self.server.due_at_us.is_some_and(|planned_us| planned_us <= at_us) {
            return;
        }
        self.server.due_at_us = Some(at_us);
        self.server.due_plan += 1;
        let plan = self.server.due_plan;
        self.plan(at_us, Event::Due { plan });
    }

    /// The server looks for due work and begins it; it does not wait for it.
    pub async fn due(&mut self, plan: u64) -> Checked {
        if plan != self.server.due_plan {
            return Ok(());
        }
        self.server.due_at_us = None;
        let Some(backend) = self.server.reach() else { return Ok(()) };
        for job in Job::ALL {
            let outcome = jobs::due(&backend, job).await;
            let Some(due) = self.unless_disk_fails(outcome)? else { continue };
            for work in due.work {
                self.go_on(Call::work(work)).await?;
            }
        }
        Ok(())
    }

    /// The server is killed: everything it was waiting for is lost, and what is sent to it while it is down.
    pub async fn server_down(&mut self) -> Checked {
        if self.faults_stopped_us.is_some() || self.server.backend.is_none() {
            return Ok(());
        }
        let now_us = self.time.now_us();
        self.trace.note(now_us, format_args!("server: goes down, {} calls under way", self.server.calls.len()));
        self.server.calls.clear();
        self.server.backend = None;
        self.reopen_store().await?;
        let after_us = self.net.between(100_000..=DOWN_MAX_US);
        self.plan_in(after_us, Event::ServerUp);
        // Clocks are mostly set while a machine starts.
        if self.fault_rates.clock_steps > 0 {
            let by_ms = self.net.pick(&CLOCK_STEPS_MS);
            self.plan_in(after_us / 2, Event::ClockJumps { by_ms });
        }
        Ok(())
    }

    pub async fn server_up(&mut self) -> Checked {
        if self.server.backend.is_some() {
            return Ok(());
        }
        let now_us = self.time.now_us();
        self.trace.note(now_us, format_args!("server: comes up"));
        let backend = self.server.start();
        self.server.due_at_us = None;
        let ready = registry::mark_modules_offline(&backend).await;
        if self.unless_disk_fails(ready)?.is_none() {
            // It ends, and is started again.
            self.server.backend = None;
            self.plan_in(1_000_000, Event::ServerUp);
            return Ok(());
        }
        for (machine, (topic, payload)) in self.retained.clone() {
            self.server_hears(machine, topic, payload).await?;
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
        let Some(backend) = self.server.reach().filter(|_| !self.disk.is_failing()) else { return Ok(()) };
        let now_us = self.time.now_us();
        self.trace.note(now_us, format_args!("operator: module {machine} locked {locked}"));
        self.machines[machine].lock_ordered = locked;
        let machine_id = self.checker.machine_id(machine);
        Ok(machine::set_locked(&backend, &system(), machine_id, locked).await?)
    }

    /// Plans what the provider is to do next, and notes what it did.
    pub fn follow_provider(&mut self) -> Checked {
        let now_us = self.time.now_us();
        let (notes, intents, violation) = {
            let mut provider_books = self.provider_books();
            (
                std::mem::take(&mut provider_books.notes),
                std::mem::take(&mut provider_books.intents),
                provider_books.violations.first().cloned(),
            )
        };
        for note in notes {
            self.trace.note(now_us, format_args!("{note}"));
        }
        for intent in intents {
            match intent {
                Intent::Notify(message) => self.plan_callback(message),
                Intent::PayEarly { out_trade_no, after_ms } => {
                    self.plan_in(after_ms * 1000, Event::Pay { out_trade_no });
                }
                Intent::Console { out_trade_no, after_ms } => {
                    self.plan_in(after_ms * 1000, Event::Console { out_trade_no });
                }
                Intent::Finish { out_trade_no, after_ms } => {
                    self.plan_in(after_ms * 1000, Event::Finish { out_trade_no });
                }
                Intent::Settle { out_refund_no, after_ms } => {
                    self.plan_in(after_ms * 1000, Event::Settle { out_refund_no });
                }
            }
        }
        violation.map_or(Ok(()), |violation| Err(Violation(format!("the provider was asked for {violation}"))))
    }

    fn plan_callback(&mut self, message: Message) {
        let fast_us = self.net.between(20_000..=400_000);
        if self.net.percent(self.fault_rates.callback) {
            match self.net.between(0..=2) {
                // Never to come.
                0 => return self.provider_books().gave_up(&message),
                1 => {
                    let late_us = self.net.between(0..=CALLBACK_LATE_MAX_US);
                    return self.plan_in(late_us, Event::Callback { message, tries: 0 });
                }
                _ => self.plan_in(fast_us, Event::Callback { message: message.clone(), tries: 0 }),
            }
        }
        self.plan_in(fast_us, Event::Callback { message, tries: 0 });
    }

    fn plan_callback_again(&mut self, message: Message, tries: usize) {
        match CALLBACK_RETRIES_S.get(tries) {
            Some(wait_s) => self.plan_in(wait_s * 1_000_000, Event::Callback { message, tries: tries + 1 }),
            None => self.provider_books().gave_up(&message),
        }
    }

    pub async fn callback(&mut self, message: Message, tries: usize) -> Checked {
        let now_us = self.time.now_us();
        let lost = self.net.percent(self.fault_rates.callback);
        let Some(backend) = self.server.reach().filter(|_| !lost) else {
            self.plan_callback_again(message, tries);
            return Ok(());
        };
        self.trace.note(now_us, format_args!("callback: {}", String::from_utf8_lossy(&message.callback.body)));
        let outcome = deliver(&backend, &message).await;
        if self.callback_not_stored(&outcome) {
            self.plan_callback_again(message, tries);
            return Ok(());
        }
        let answer = outcome.map_err(|error| Violation(format!("an authentic callback was refused: {error}")))?;
        let wanted = (message.manner.habits.taken)();
        if answer != wanted {
            return Err(Violation(format!("a callback is answered {answer:?}, its provider wants {wanted:?}")));
        }
        // The answer may be lost: the provider makes it again.
        if self.net.percent(self.fault_rates.callback) {
            self.plan_callback_again(message, tries);
        }
        Ok(())
    }

    pub async fn forgery(&mut self, out_trade_no: &str) -> Checked {
        let Some(message) = self.provider_books().forged(out_trade_no) else { return Ok(()) };
        let Some(backend) = self.server.reach() else { return Ok(()) };
        match deliver(&backend, &message).await {
            Err(CallbackFailure::Untrusted(_)) => Ok(()),
            outcome if self.callback_not_stored(&outcome) => Ok(()),
            other => Err(Violation(format!("a forged callback was answered {other:?}"))),
        }
    }
}

/// A provider's message arrives. Gives what it is answered, or why it is not taken.
async fn deliver(backend: &backend::Context, message: &Message) -> Result<CallbackAnswer, CallbackFailure> {
    let (word, token) = (message.manner.word, &message.account_token);
    take_callback::callback(backend, word, token, message.callback.raw()).await.map_err(|rejected| rejected.cause)
}
