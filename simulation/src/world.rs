//! The driver: simulated time, what is planned in it, and one thing done after the other.

use crate::{
    Mutation, Options, Outcome, Sales,
    backups::Backups,
    chance::{Chance, SeededRandom},
    check::Checker,
    consumer_pool::ConsumerPool,
    disk::StoreDisk,
    fault_rates::FaultRates,
    machine::{Link, Machine},
    operators::Order,
    provider::{Message, ProviderBooks, manner::ALIPAY},
    server::{Bus, Server},
    store::Store,
    time::Time,
    trace::Trace,
};
use backend::db::Db;
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Once nothing fails any more, everything comes to rest within this time, in milliseconds: a refund that was put off
/// the longest is tried again after 10 minutes, and asked about after as long; a status that was lost is made up for by
/// the next, half an hour later.
pub const REST_WITHIN_MS: u64 = 45 * 60_000;
/// Time for the last statuses to be said, in milliseconds: a changed coin total is said within a minute.
const SETTLE_MS: u64 = 90_000;
/// How often it is looked at whether all is at rest, in microseconds.
const REST_LOOK_US: u64 = 20_000_000;
/// Things that happen in a run at most: beyond, something spins.
const EVENTS_MAX: u64 = 2_000_000;
/// What a coin pulse is worth, in minor units.
pub(crate) const COIN_MINOR: i64 = 100;

/// A promise was broken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Violation(pub String);

impl From<String> for Violation {
    fn from(text: String) -> Self {
        Violation(text)
    }
}

impl From<backend::Error> for Violation {
    /// Tells where, since the error says only why.
    #[track_caller]
    fn from(error: backend::Error) -> Self {
        let place = std::panic::Location::caller();
        Violation(format!("the backend failed ({}:{}): {error}", place.file(), place.line()))
    }
}

impl From<sea_orm::DbErr> for Violation {
    fn from(error: sea_orm::DbErr) -> Self {
        Violation(format!("the store failed: {error}"))
    }
}

pub(crate) type Checked<T = ()> = Result<T, Violation>;

/// Something planned.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// A module is to be polled.
    Poll { machine: usize, polls: u64 },
    /// A message reaches a module.
    ToModule { machine: usize, payload: Vec<u8> },
    /// The broker passes a module's message on to the server.
    ToServer { machine: usize, topic: String, payload: Vec<u8> },
    /// A module hears that the broker has a message.
    Acknowledged { machine: usize, link: u64, token: module_firmware::Token },
    /// A module's connection breaks.
    LinkBreaks { machine: usize, link: u64 },
    /// The broker finds that a module is gone.
    Missed { machine: usize, link: u64 },
    /// A module tries to connect.
    Reconnect { machine: usize, powered: u64 },
    /// A module loses power.
    Cut { machine: usize, powered: u64 },
    /// A module gets power.
    Power { machine: usize },
    /// A coin falls.
    Coin { machine: usize },
    /// The coin line changes.
    CoinEdge { machine: usize, powered: u64, active: bool, real: bool },
    /// A coin pulse is over for long enough.
    CoinSeen { machine: usize, powered: u64 },
    /// A consumer's next step.
    Consumer(usize),
    /// A payer comes to the provider with an order.
    Begin { out_trade_no: String },
    /// A payer pays.
    Pay { out_trade_no: String },
    /// The provider tells the server.
    Callback { message: Message, tries: usize },
    /// A forged callback.
    Forgery { out_trade_no: String },
    /// Somebody gives money back in the provider's console.
    Console { out_trade_no: String },
    /// A payment can no longer be refunded at the provider.
    Finish { out_trade_no: String },
    /// A refund goes through at the provider.
    Settle { out_refund_no: String },
    /// The server looks for due work.
    Due { plan: u64 },
    /// The provider answers a merchant account nothing for a while.
    Outage { account: usize, for_us: u64 },
    /// A call that waits for simulated time goes on.
    Wake { call: usize },
    /// The server goes down, and comes up again.
    ServerDown,
    /// The server starts.
    ServerUp,
    /// The server's clock jumps.
    ClockJumps { by_ms: i64 },
    /// Somebody sets the server's clock right.
    ClockIsSetRight,
    /// A module's timer jumps ahead.
    TimerJumps { machine: usize, by_us: u64 },
    /// The operator locks a machine, or unlocks it.
    Lock { machine: usize, locked: bool },
    /// The operator orders something else of a module.
    Order { machine: usize, order: Order },
    /// The server's disk begins to fail.
    DiskFails { fault: failing_disk::Fault, skip: u64, times: u64, for_us: u64 },
    /// The server's disk works again.
    DiskMends,
    /// A copy of the store is taken.
    Copy,
    /// The store is put back from the copy.
    Restore,
    /// Nothing fails any more.
    StopFaults,
    /// A look at whether all has come to rest.
    Rested,
}

#[derive(Debug)]
struct Planned {
    at_us: u64,
    order: u64,
    event: Event,
}

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}

impl Eq for Planned {}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Planned {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at_us, self.order).cmp(&(other.at_us, other.order))
    }
}

/// Everything there is.
pub(crate) struct World {
    pub options: Options,
    pub time: Arc<Time>,
    pub trace: Trace,
    pub fault_rates: FaultRates,
    pub net: Chance,
    pub power: Chance,
    pub server: Server,
    pub provider_books: Arc<Mutex<ProviderBooks>>,
    pub machines: Vec<Machine>,
    pub consumer_pool: ConsumerPool,
    pub checker: Checker,
    pub backups: Backups,
    pub disk: StoreDisk,
    /// The status the broker retains of each module.
    pub retained: BTreeMap<usize, (String, Vec<u8>)>,
    pub links: u64,
    pub faults_stopped_us: Option<u64>,
    pub at_rest_us: Option<u64>,
    planned: BinaryHeap<Reverse<Planned>>,
    order: u64,
}

pub(crate) async fn run(seed: u64, options: &Options) -> anyhow::Result<Outcome> {
    let mut world = World::new(seed, options).await?;
    let violation = world.run().await.err();
    if let Some(violation) = &violation {
        let now_us = world.time.now_us();
        world.trace.note(now_us, format_args!("VIOLATION {violation}"));
    }
    let sales: Sales = world.checker.sales();
    Ok(Outcome {
        seed,
        violation: violation.map(|violation| violation.0),
        hash: world.trace.hash(),
        trace: world.trace.into_lines(),
        sales,
    })
}

impl World {
    async fn new(seed: u64, options: &Options) -> anyhow::Result<Self> {
        let time = Arc::new(Time::default());
        let mut chance = Chance::new(seed, "weather");
        let mut waits = Chance::new(seed, "waits");
        let fault_rates = FaultRates::of(&mut chance).with_waits(&mut waits);
        let mut provider_books = ProviderBooks::new(seed, time.clone(), fault_rates);
        provider_books.forgets_payments = options.mutation == Some(Mutation::ForgetsPayments);
        provider_books.refunds_twice = options.mutation == Some(Mutation::RefundsTwice);
        let provider_books = Arc::new(Mutex::new(provider_books));
        let disk = StoreDisk::new();
        let db = Db::open(&disk.url()).await?;
        db.migrate().await?;
        let random = Arc::new(SeededRandom::new(seed));
        let server = Server::new(db, time.clone(), random, Arc::new(Bus::default()), provider_books.clone());
        let mut world = Self {
            options: options.clone(),
            trace: Trace::new(options.trace),
            fault_rates,
            net: Chance::new(seed, "network"),
            power: Chance::new(seed, "power"),
            server,
            provider_books,
            machines: vec![],
            consumer_pool: ConsumerPool::new(seed),
            checker: Checker::new(Store::open(&disk.url()).await?),
            backups: Backups::default(),
            disk,
            retained: BTreeMap::new(),
            links: 0,
            faults_stopped_us: None,
            at_rest_us: None,
            planned: BinaryHeap::new(),
            order: 0,
            time,
        };
        world.set_up(seed, &mut chance).await?;
        world.plan_all(&mut chance);
        world.plan_waits(&mut waits);
        world.plan_outages(&mut Chance::new(seed, "more outages"), &ALIPAY);
        world.plan_orders(&mut Chance::new(seed, "operators"));
        world.plan_disk(&mut Chance::new(seed, "disk"));
        world.plan_backups(&mut Chance::new(seed, "copies"));
        let fault_rates = world.fault_rates;
        world.trace.note(0, format_args!("seed {seed}: {fault_rates:?}"));
        Ok(world)
    }

    pub fn plan(&mut self, at_us: u64, event: Event) {
        self.order += 1;
        self.planned.push(Reverse(Planned { at_us, order: self.order, event }));
    }

    pub fn plan_in(&mut self, after_us: u64, event: Event) {
        self.plan(self.time.now_us().saturating_add(after_us), event);
    }

    pub fn provider_books(&self) -> MutexGuard<'_, ProviderBooks> {
        self.provider_books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(&mut self) -> Checked {
        for _ in 0..EVENTS_MAX {
            let Some(Reverse(next)) = self.planned.pop() else {
                return Err(Violation("nothing more is planned, and all is not at rest".into()));
            };
            self.time.set_us(next.at_us.max(self.time.now_us()));
            if self.handle(next.event).await? {
                return Ok(());
            }
        }
        Err(Violation(format!("{EVENTS_MAX} things happened, and all is not at rest")))
    }

    /// Does the next thing, and what follows at once; true if the run is over.
    async fn handle(&mut self, event: Event) -> Checked<bool> {
        match event {
            Event::Poll { machine, polls } if self.machines[machine].polls == polls => self.poll(machine).await?,
            Event::Poll { .. } => {}
            Event::ToModule { machine, payload } => self.module_hears(machine, &payload).await?,
            Event::ToServer { machine, topic, payload } => {
                self.server_hears(machine, topic, payload).await?;
            }
            Event::Acknowledged { machine, link, token } => self.acknowledged(machine, link, token).await?,
            Event::LinkBreaks { machine, link } => self.link_breaks(machine, link),
            Event::Missed { machine, link } => self.missed(machine, link),
            Event::Reconnect { machine, powered } => self.try_reconnect(machine, powered).await?,
            Event::Cut { machine, powered } => self.cut(machine, powered),
            Event::Power { machine } => self.give_power(machine).await?,
            Event::Coin { machine } => self.coin_falls(machine)?,
            Event::CoinEdge { machine, powered, active, real } => {
                self.coin_edge(machine, powered, active, real).await?
            }
            Event::CoinSeen { machine, powered } => self.coin_seen(machine, powered)?,
            Event::Consumer(index) => self.consumer(index).await?,
            Event::Begin { out_trade_no } => self.begin(&out_trade_no),
            Event::Pay { out_trade_no } => self.pay(&out_trade_no),
            Event::Callback { message, tries } => self.callback(message, tries).await?,
            Event::Forgery { out_trade_no } => self.forgery(&out_trade_no).await?,
            Event::Console { out_trade_no } => self.provider_books().refund_in_console(&out_trade_no),
            Event::Finish { out_trade_no } => self.provider_books().finish(&out_trade_no),
            Event::Settle { out_refund_no } => self.provider_books().settle(&out_refund_no),
            Event::Due { plan } => self.due(plan).await?,
            Event::Outage { account, for_us } => self.outage(account, for_us),
            Event::Wake { call } => self.wake(call).await?,
            Event::ServerDown => self.server_down().await?,
            Event::ServerUp => self.server_up().await?,
            Event::ClockJumps { by_ms } if self.faults_stopped_us.is_none() => self.clock_jumps(by_ms),
            Event::ClockJumps { .. } => {}
            Event::ClockIsSetRight => self.clock_jumps(-self.time.server_offset_ms()),
            Event::TimerJumps { machine, by_us } => self.timer_jumps(machine, by_us).await?,
            Event::Lock { machine, locked } => self.lock(machine, locked).await?,
            Event::Order { machine, order } => self.order_of(machine, order).await?,
            Event::DiskFails { fault, skip, times, for_us } => self.disk_fails(fault, skip, times, for_us),
            Event::DiskMends => self.disk_mends(),
            Event::Copy => self.copy(),
            Event::Restore => self.restore().await?,
            Event::StopFaults => self.stop_faults().await?,
            Event::Rested => return self.rested().await,
        }
        self.follow_up().await?;
        Ok(false)
    }

    /// What the last thing left to do: messages to send, callbacks to make, and the checks.
    async fn follow_up(&mut self) -> Checked {
        self.send_commands();
        self.follow_provider()?;
        if !self.server.touched() {
            return Ok(());
        }
        let due_ms = self.checker.check_step(&self.provider_books, &self.machines, self.server.backend()).await?;
        self.note_sales();
        self.plan_due(due_ms);
        Ok(())
    }

    fn outage(&mut self, account: usize, for_us: u64) {
        if self.faults_stopped_us.is_none() {
            let now_us = self.time.now_us();
            self.trace.note(now_us, format_args!("provider: answers account {account} nothing for {for_us} us"));
            self.provider_books().fall_silent(account, for_us);
        }
    }

    fn note_sales(&mut self) {
        let now_us = self.time.now_us();
        for line in self.checker.take_moves() {
            self.trace.note(now_us, format_args!("{line}"));
        }
    }

    async fn stop_faults(&mut self) -> Checked {
        let now_us = self.time.now_us();
        self.trace.note(now_us, format_args!("healed: nothing fails any more"));
        self.faults_stopped_us = Some(now_us);
        self.fault_rates = self.fault_rates.without_faults();
        self.disk.mend();
        let fault_rates = self.fault_rates;
        self.provider_books().stop_faults(fault_rates);
        for machine in 0..self.machines.len() {
            // A fault that was planned for flash is called off.
            self.machines[machine].flash.mend();
            let powered = self.machines[machine].powered;
            match (self.machines[machine].module.is_some(), self.machines[machine].link) {
                (true, Link::Down) => self.plan_in(1_000_000, Event::Reconnect { machine, powered }),
                (false, _) => self.plan_in(1_000_000, Event::Power { machine }),
                (true, Link::Up(_)) => {}
            }
        }
        if self.server.backend().is_none() {
            self.plan_in(1_000_000, Event::ServerUp);
        }
        // Somebody sets the server's clock right: a step like any other.
        self.plan_in(2_000_000, Event::ClockIsSetRight);
        self.plan_in(REST_LOOK_US, Event::Rested);
        Ok(())
    }

    /// Whether all is at rest, and has been for long enough; an error if it takes too long.
    async fn rested(&mut self) -> Checked<bool> {
        let now_us = self.time.now_us();
        let faults_stopped_us = self.faults_stopped_us.unwrap_or(now_us);
        let open = self.checker.open(&self.provider_books, &self.machines, self.server.backend()).await?;
        let resting = open.is_empty() && self.server.calls.is_empty();
        self.at_rest_us = if resting { self.at_rest_us.or(Some(now_us)) } else { None };
        if let Some(at_rest_us) = self.at_rest_us
            && now_us >= at_rest_us + SETTLE_MS * 1000
        {
            self.checker.check_step(&self.provider_books, &self.machines, self.server.backend()).await?;
            self.checker.check_rest(&self.provider_books, &self.machines, self.server.backend()).await?;
            self.trace.note(now_us, format_args!("at rest: {:?}", self.checker.sales()));
            return Ok(true);
        }
        if now_us > faults_stopped_us + (REST_WITHIN_MS + SETTLE_MS) * 1000 {
            return Err(Violation(format!(
                "not at rest {REST_WITHIN_MS} ms after all was healed: {}",
                open.join("; ")
            )));
        }
        self.plan_in(REST_LOOK_US, Event::Rested);
        Ok(false)
    }
}
