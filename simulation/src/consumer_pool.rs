//! Consumers: they scan, order, pay at once, late or not at all, look at the sale's page, and send forms twice.

use crate::{
    chance::Chance,
    provider::{PAY_URL, manner::Manner},
    server::{Call, rules},
    world::{Checked, Event, Violation, World},
};
use backend::{
    Error,
    flows::{
        place_order::{Checkout, OrderRequest},
        probe_module, show_sale,
    },
    ids::SaleToken,
    payments::method::{Handoff, PayerApp},
    sales::{readiness::Readiness, shapes::PriceView},
};
use protocol::ModuleId;
use std::{collections::BTreeSet, net::Ipv4Addr};

/// A page waits for a probe's answer this long, in microseconds, and asks this often.
const SCAN_US: u64 = 2_000_000;
const SCAN_STEP_US: u64 = 250_000;
/// A consumer who finds a machine not ready comes back this often.
const VISITS_MAX: u32 = 4;
/// Looks at a sale's page.
const LOOKS_MAX: u32 = 3;

/// What a consumer will do once the order is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Payer {
    Pays,
    PaysLate,
    Leaves,
    LeavesAndForges,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Scanning { since_us: u64 },
    Looking { left: u32 },
    Gone,
}

/// Somebody with a phone.
#[derive(Debug, Clone)]
pub(crate) struct Consumer {
    machine: usize,
    price: usize,
    payer: Payer,
    sends_twice: bool,
    stage: Stage,
    visits: u32,
    token: Option<SaleToken>,
    /// Was sent to the provider for the sale, or shown a code to scan, and not only shown its page.
    handed_over: bool,
    /// The ways to pay with which the form was sent.
    ways: BTreeSet<Option<String>>,
    /// The attempt whose code was scanned.
    scanned: Option<String>,
    /// Until when the sale can be paid, by the server's clock; not later than the server itself has it.
    payable_until_ms: i64,
}

impl Consumer {
    /// A consumer as chance has it.
    pub fn new(consumer_pool: &mut ConsumerPool) -> Self {
        let machine = consumer_pool.pick_machine();
        let chance = &mut consumer_pool.chance;
        let often = [Payer::Pays; 7];
        let seldom = [Payer::PaysLate, Payer::Leaves, Payer::LeavesAndForges];
        let payer = if chance.percent(80) { chance.pick(&often) } else { chance.pick(&seldom) };
        Self {
            machine,
            price: usize::try_from(chance.between(0..=2)).unwrap_or(0),
            payer,
            sends_twice: chance.percent(15),
            stage: Stage::Scanning { since_us: 0 },
            visits: 0,
            token: None,
            handed_over: false,
            ways: BTreeSet::new(),
            scanned: None,
            payable_until_ms: 0,
        }
    }
}

/// What a consumer sees of a machine.
pub(crate) struct Seen {
    code: String,
    module: ModuleId,
    prices: Vec<PriceView>,
    /// The ways to pay, where there are several.
    ways: Vec<&'static str>,
}

/// All consumers, and what they know.
pub(crate) struct ConsumerPool {
    pub chance: Chance,
    /// Which way to pay they take, and when they come to the provider with an order.
    ways: Chance,
    pub consumers: Vec<Consumer>,
    machines: Vec<Seen>,
}

impl ConsumerPool {
    pub fn new(seed: u64) -> Self {
        let (chance, ways) = (Chance::new(seed, "people"), Chance::new(seed, "ways to pay"));
        Self { chance, ways, consumers: vec![], machines: vec![] }
    }

    pub fn register_machine(
        &mut self,
        code: String,
        module: ModuleId,
        prices: Vec<PriceView>,
        manners: &[&'static Manner],
    ) {
        let ways = manners.iter().flat_map(|manner| manner.ways).copied().collect();
        self.machines.push(Seen { code, module, prices, ways });
    }

    /// The way that a consumer takes this time: of several any, also where the form was sent before with another.
    fn way(&mut self, machine: usize) -> Option<String> {
        let ways = &self.machines[machine].ways;
        let named = ways.len() > 1 && self.ways.percent(80);
        named.then(|| self.ways.pick(ways).to_owned())
    }

    pub fn pick_machine(&mut self) -> usize {
        let last = self.machines.len().saturating_sub(1);
        usize::try_from(self.chance.between(0..=last as u64)).unwrap_or(0)
    }

    fn between_us(&mut self, from_ms: u64, to_ms: u64) -> u64 {
        self.chance.between(from_ms * 1000..=to_ms * 1000)
    }
}

impl World {
    pub async fn consumer(&mut self, index: usize) -> Checked {
        match self.consumer_pool.consumers[index].stage {
            Stage::Scanning { since_us } => self.scan(index, since_us).await,
            Stage::Looking { left } => self.look(index, left).await,
            Stage::Gone => Ok(()),
        }
    }

    async fn scan(&mut self, index: usize, since_us: u64) -> Checked {
        let now_us = self.time.now_us();
        let module = self.consumer_pool.machines[self.consumer_pool.consumers[index].machine].module;
        let readiness = match self.server.reach() {
            Some(backend) => {
                let outcome = probe_module::start_probe(&backend, module).await;
                self.unless_disk_fails(outcome)?.flatten()
            }
            None => None,
        };
        if readiness == Some(Readiness::Ready) {
            return self.order(index).await;
        }
        let since_us = if since_us == 0 { now_us } else { since_us };
        let consumer = &mut self.consumer_pool.consumers[index];
        consumer.stage = Stage::Scanning { since_us };
        if now_us < since_us + SCAN_US {
            self.plan_in(SCAN_STEP_US, Event::Consumer(index));
            return Ok(());
        }
        consumer.visits += 1;
        consumer.stage = if consumer.visits < VISITS_MAX { Stage::Scanning { since_us: 0 } } else { Stage::Gone };
        let visits = consumer.visits;
        self.trace.note(now_us, format_args!("consumer {index}: not ready ({readiness:?}), visit {visits}"));
        let after_us = self.consumer_pool.between_us(5_000, 60_000);
        self.plan_in(after_us, Event::Consumer(index));
        Ok(())
    }

    async fn order(&mut self, index: usize) -> Checked {
        let now_us = self.time.now_us();
        let Some(backend) = self.server.reach() else { return Ok(()) };
        let way = self.consumer_pool.way(self.consumer_pool.consumers[index].machine);
        self.consumer_pool.consumers[index].ways.insert(way.clone());
        let consumer = &self.consumer_pool.consumers[index];
        let seen = &self.consumer_pool.machines[consumer.machine];
        let price = &seen.prices[consumer.price];
        let request = OrderRequest {
            code: seen.code.clone(),
            price_id: price.id,
            amount_minor: price.amount.amount_minor,
            form_key: format!("form-of-consumer-{index:04}"),
            payer_ip: Ipv4Addr::LOCALHOST.into(),
            app: PayerApp::Browser,
            way,
            payer: None,
            instead_of: None,
        };
        self.trace.note(now_us, format_args!("consumer {index}: orders {}{}", price.label, by(&request)));
        if consumer.token.is_none() {
            let payable_until_ms = backend.now_ms() + rules().order_lifetime_ms;
            self.consumer_pool.consumers[index].payable_until_ms = payable_until_ms;
        }
        self.go_on(Call::order(index, backend, request)).await
    }

    pub fn ordered(&mut self, index: usize, outcome: Result<Checkout, Error>) -> Checked {
        if self.order_not_stored(&outcome) {
            // The page says so, and the form is sent again.
            let now_us = self.time.now_us();
            self.trace.note(now_us, format_args!("consumer {index}: no order: the store fails"));
            self.consumer_pool.consumers[index].stage = Stage::Scanning { since_us: 0 };
            let after_us = self.consumer_pool.between_us(1_000, 20_000);
            self.plan_in(after_us, Event::Consumer(index));
            return Ok(());
        }
        let now_us = self.time.now_us();
        let checkout = match outcome {
            Ok(checkout) => checkout,
            // The way may have been closed meanwhile, another being open.
            Err(error @ (Error::NotReady(_) | Error::Provider(_) | Error::Conflict("the way to pay"))) => {
                self.trace.note(now_us, format_args!("consumer {index}: no order: {error}"));
                let sends_again = self.consumer_pool.consumers[index].sends_twice;
                self.consumer_pool.consumers[index].sends_twice = false;
                self.consumer_pool.consumers[index].stage = Stage::Scanning { since_us: 0 };
                if sends_again {
                    let after_us = self.consumer_pool.between_us(1_000, 20_000);
                    self.plan_in(after_us, Event::Consumer(index));
                }
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let url = &checkout.next;
        self.trace.note(now_us, format_args!("consumer {index}: sale {}, sent to {url}", checkout.token));
        let consumer = &mut self.consumer_pool.consumers[index];
        // A form whose sale is over buys another, also where only its time is and the server has not closed it yet: the
        // clock may have jumped ahead. So does one whose order the provider never answered, as far as the store knows, and one
        // that is sent with another way to pay, which leaves the first order. And a store that was put back may have forgotten
        // the form.
        let is_over = consumer.token.as_ref().is_some_and(|token| self.checker.is_over(&token.0));
        let is_late = self.server.backend().is_some_and(|backend| backend.now_ms() >= consumer.payable_until_ms);
        let changed_way = consumer.ways.len() > 1;
        let may_be_new = is_over || is_late || changed_way || !consumer.handed_over || self.backups.restored > 0;
        if !may_be_new && consumer.token.as_ref().is_some_and(|token| *token != checkout.token) {
            return Err(Violation(format!("consumer {index} sent one form twice and has two sales")));
        }
        consumer.token = Some(checkout.token);
        consumer.handed_over |= url.starts_with(PAY_URL);
        if consumer.sends_twice {
            consumer.sends_twice = false;
            consumer.stage = Stage::Scanning { since_us: 0 };
        } else {
            consumer.stage = Stage::Looking { left: LOOKS_MAX };
        }
        let after_us = self.consumer_pool.between_us(1_000, 8_000);
        self.plan_in(after_us, Event::Consumer(index));
        if let Some(out_trade_no) = url.strip_prefix(PAY_URL) {
            self.plan_payment(index, out_trade_no.to_owned());
        }
        Ok(())
    }

    fn plan_payment(&mut self, index: usize, out_trade_no: String) {
        let begins_later = self.provider_books().begins_later(&out_trade_no);
        let consumer_pool = &mut self.consumer_pool;
        // Also one who leaves may have come there first.
        if begins_later && consumer_pool.ways.percent(70) {
            let after_us = consumer_pool.ways.between(100_000..=40_000_000);
            self.plan_in(after_us, Event::Begin { out_trade_no: out_trade_no.clone() });
        }
        let consumer_pool = &mut self.consumer_pool;
        match consumer_pool.consumers[index].payer {
            Payer::Pays => {
                let after_us = consumer_pool.between_us(500, 40_000);
                self.plan_in(after_us, Event::Pay { out_trade_no });
            }
            Payer::PaysLate => {
                let after_us = consumer_pool.between_us(270_000, 400_000);
                self.plan_in(after_us, Event::Pay { out_trade_no });
            }
            Payer::Leaves => {}
            Payer::LeavesAndForges => self.plan_in(3_000_000, Event::Forgery { out_trade_no }),
        }
    }

    async fn look(&mut self, index: usize, left: u32) -> Checked {
        let token = self.consumer_pool.consumers[index].token.clone();
        if let (Some(token), Some(backend)) = (token, self.server.reach()) {
            match show_sale::sale(&backend, &token).await {
                Err(Error::NotFound(_)) if self.backups.restored > 0 => {}
                shown => self.scan_code(index, shown?.handoff),
            }
        }
        self.consumer_pool.consumers[index].stage =
            if left > 1 { Stage::Looking { left: left - 1 } } else { Stage::Gone };
        let after_us = self.consumer_pool.between_us(2_000, 10_000);
        self.plan_in(after_us, Event::Consumer(index));
        Ok(())
    }

    /// A consumer scans the code that a sale's page shows, once.
    fn scan_code(&mut self, index: usize, handoff: Option<Handoff>) {
        let Some(Handoff::Code { text }) = handoff else { return };
        let Some(out_trade_no) = text.strip_prefix(PAY_URL).map(str::to_owned) else { return };
        let consumer = &mut self.consumer_pool.consumers[index];
        consumer.handed_over = true;
        if consumer.scanned.as_ref() != Some(&out_trade_no) {
            consumer.scanned = Some(out_trade_no.clone());
            self.plan_payment(index, out_trade_no);
        }
    }

    pub fn begin(&mut self, out_trade_no: &str) {
        let now_us = self.time.now_us();
        let is_there = self.provider_books().begin(out_trade_no);
        let came = if is_there { "is there" } else { "comes too late" };
        self.trace.note(now_us, format_args!("payer: comes with {out_trade_no}, {came}"));
    }

    pub fn pay(&mut self, out_trade_no: &str) {
        let now_us = self.time.now_us();
        let paid = self.provider_books().pay(out_trade_no);
        self.trace.note(now_us, format_args!("payer: {out_trade_no} {}", if paid { "paid" } else { "not taken" }));
    }
}

fn by(request: &OrderRequest) -> String {
    request.way.as_ref().map_or(String::new(), |way| format!(" by {way}"))
}
