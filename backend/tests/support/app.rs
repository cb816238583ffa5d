//! The application under test, its shops, and the common steps of a sale.

use super::{
    actors::{acting_for, system},
    bank::{Bank, Callback, Config, What, day_of},
    books,
    bus::{Message, RecordingBus},
    clock::{ManualClock, START_MS, SeededRandom},
    module::TestModule,
    providers::TestProviders,
    store::{self, Store},
};
use backend::{
    Parts, Result, Rules,
    clock::Clock,
    db::Db,
    flows::{
        operate::{
            machine::{self, NewMachine},
            merchant,
            operator::{self, NewOperator},
            register_module,
        },
        place_order::{self, Checkout, OrderRequest},
        probe_module, scan_machine,
        take_callback::{self, CallbackFailure},
        take_message,
    },
    ids::{MachineId, OperatorId, PriceId, SaleToken},
    jobs,
    live::{LiveEvent, LiveKind},
    machines::{fleet, shapes::PriceChange},
    modules::registry,
    money::Currency,
    payments::{RealProviders, method::PayerApp},
    sales::{
        shapes::{SaleRow, ScanView},
        views,
    },
    zones::Zone,
};
use fake_providers::kiosk::Kiosk;
use protocol::messages::Stage;
use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};
use tokio::sync::broadcast;

/// The key under which secrets are stored.
pub const SECRET_KEY: [u8; 32] = [42; 32];

/// What a test wants otherwise.
#[derive(Default)]
pub struct Options {
    pub rules: Rules,
    /// The shop's operator refunds the remainder only.
    pub refund_remainder: bool,
    /// The store; that of the environment if none.
    pub store: Option<Store>,
}

/// An operator with a merchant account, a machine with a module and one price: 5.00 for 5 pulses.
pub struct Shop {
    pub operator_id: OperatorId,
    pub account_token: String,
    pub account: Config,
    pub machine_id: MachineId,
    pub code: String,
    pub price_id: PriceId,
    pub module: TestModule,
}

/// What the price of a shop costs, in minor units.
pub const PRICE_MINOR: i64 = 500;
/// Pulses of the price of a shop.
pub const PRICE_PULSES: u16 = 5;
/// What a coin pulse of a shop is worth, in minor units.
pub const COIN_MINOR: i64 = 100;

/// The application under test.
pub struct TestApp {
    pub backend: backend::Context,
    pub shop: Shop,
    pub clock: Arc<ManualClock>,
    pub bus: Arc<RecordingBus>,
    pub bank: Arc<Bank>,
    pub kiosk: Arc<Kiosk>,
    pub db: Db,
    random: Arc<SeededRandom>,
    pub rules: Rules,
    public_url: String,
    forms: AtomicU32,
    live: Mutex<broadcast::Receiver<LiveEvent>>,
    // Last, so that everything that is connected to it goes first.
    pub store: Store,
}

impl TestApp {
    /// A backend with one shop, its module online.
    pub async fn start() -> Self {
        Self::start_with(Options::default()).await
    }

    pub async fn start_with(options: Options) -> Self {
        let store = match options.store {
            Some(store) => store,
            None => Store::create().await,
        };
        let db = store.open().await;
        let world = World::default();
        let backend = world.backend(db.clone(), options.rules.clone(), SECRET_KEY);
        let shop = open_shop(&backend, "acme", options.refund_remainder).await;
        let live = Mutex::new(backend.watch());
        let World { clock, bus, bank, kiosk, random, public_url } = world;
        let (rules, forms) = (options.rules, AtomicU32::new(0));
        let app = Self { backend, shop, clock, bus, bank, kiosk, db, random, rules, public_url, forms, live, store };
        app.deliver(&app.shop.module.status(&app, |_| ())).await;
        app
    }

    /// Another operator with all it needs, its module online.
    pub async fn open_shop(&self, slug: &str) -> Shop {
        let shop = open_shop(&self.backend, slug, false).await;
        self.deliver(&shop.module.status(self, |_| ())).await;
        shop
    }

    /// Ends the backend and starts another on the same store, as after a crash: nothing is handed over.
    pub async fn restart(&mut self) {
        if !self.store.is_volatile() {
            self.db.read().clone().close().await.unwrap();
            self.db = self.store.open().await;
        }
        self.backend = self.another(SECRET_KEY);
        self.live = Mutex::new(self.backend.watch());
        registry::mark_modules_offline(&self.backend).await.unwrap();
    }

    /// Keeps a copy of the store as it is now.
    pub async fn copy_store(&self) {
        store::copy(self.db.read()).await;
    }

    /// Ends the backend, puts the store back to its copy, and starts another backend on it.
    pub async fn restore(&mut self) {
        store::restore(self.db.read()).await;
        self.restart().await;
    }

    /// Restarts under another public address.
    pub async fn move_to(&mut self, public_url: &str) {
        self.public_url = public_url.into();
        self.restart().await;
    }

    /// A second backend beside the first, on the same store.
    pub fn another(&self, secret_key: [u8; 32]) -> backend::Context {
        let world = World {
            clock: self.clock.clone(),
            bus: self.bus.clone(),
            bank: self.bank.clone(),
            kiosk: self.kiosk.clone(),
            random: self.random.clone(),
            public_url: self.public_url.clone(),
        };
        world.backend(self.db.clone(), self.rules.clone(), secret_key)
    }

    pub fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// All modules booted a day before the test began.
    pub fn uptime_ms(&self) -> u64 {
        u64::try_from(self.now_ms() - START_MS + 24 * 3_600_000).unwrap_or(0)
    }

    /// Lets time pass, in the steps of the server's ticks, working on what is due.
    pub async fn pass_ms(&self, ms: i64) {
        let tick_ms = i64::try_from(self.rules.tick_ms).unwrap();
        let until_ms = self.now_ms() + ms;
        while self.now_ms() < until_ms {
            self.clock.advance(tick_ms.min(until_ms - self.now_ms()));
            jobs::run_due(&self.backend).await.unwrap();
        }
    }

    /// Lets time pass at once, and works on what is due then.
    pub async fn skip_ms(&self, ms: i64) {
        self.clock.advance(ms);
        jobs::run_due(&self.backend).await.unwrap();
    }

    /// Lets time pass until the statement of today was read; what is due besides is worked on too.
    pub async fn next_statement(&self) {
        let today = day_of(self.now_ms());
        // The account's first statement is that of some days ago; each step reads one.
        for _ in 0..40 {
            let read = format!("SELECT COUNT(*) FROM statements WHERE day = {today} AND due_ms IS NULL");
            if self.number_of(&read).await > 0 {
                return;
            }
            self.skip_ms(3 * 3_600_000).await;
        }
        panic!("the statement of day {today} was not read");
    }

    /// A message comes in from the bus.
    pub async fn deliver(&self, message: &Message) {
        take_message::on_message(&self.backend, &message.topic, &message.payload).await.unwrap();
    }

    /// The shop's module answers a probe, so that its machine is ready for a while.
    pub async fn make_ready(&self, shop: &Shop) {
        if probe_module::start_probe(&self.backend, shop.module.id).await.unwrap().is_none() {
            let probe = shop.module.probes(self).pop().expect("a probe was sent");
            self.deliver(&shop.module.ack(self, &probe, |ack| ack.stage = Stage::Done)).await;
        }
    }

    /// An order's form, filled in.
    pub fn form(&self, shop: &Shop) -> OrderRequest {
        OrderRequest {
            code: shop.code.clone(),
            price_id: shop.price_id,
            amount_minor: PRICE_MINOR,
            form_key: format!("form-key-{:08}", self.forms.fetch_add(1, Ordering::Relaxed)),
            payer_ip: Ipv4Addr::new(203, 0, 113, 7).into(),
            app: PayerApp::Browser,
            way: None,
            payer: None,
            instead_of: None,
        }
    }

    /// A consumer orders at the shop; its module answers the probe.
    pub async fn try_order(&self) -> Result<Checkout> {
        self.make_ready(&self.shop).await;
        place_order::order(&self.backend, self.form(&self.shop)).await
    }

    /// As [`TestApp::try_order`]; gives the sale's token.
    pub async fn order(&self) -> SaleToken {
        self.try_order().await.unwrap().token
    }

    /// The only sale of the shop.
    pub async fn only_token(&self) -> SaleToken {
        let sales = views::sales(&self.backend, &system(), self.shop.operator_id, Default::default()).await.unwrap();
        assert_eq!(sales.len(), 1);
        sales[0].view.token.clone()
    }

    /// A sale of the shop, as its operator sees it.
    pub async fn row(&self, token: &SaleToken) -> SaleRow {
        views::operator_sale(&self.backend, &acting_for(self.shop.operator_id), token).await.unwrap()
    }

    pub async fn state(&self, token: &SaleToken) -> &'static str {
        self.row(token).await.view.state.as_str()
    }

    /// The number of a sale's attempt at the provider.
    pub async fn number(&self, token: &SaleToken) -> String {
        self.row(token).await.out_trade_no.unwrap()
    }

    /// The provider's word about one of the shop's payments or refunds, signed, under a new event's number.
    pub fn notice(&self, number: &str, what: What) -> Callback {
        self.bank.notice(&self.shop.account.merchant, number, what).signed(&self.shop.account.key)
    }

    /// The consumer pays. Gives the callback on its way.
    pub async fn pay(&self, token: &SaleToken) -> Callback {
        let number = self.number(token).await;
        let what = self.bank.pay(&number, self.now_ms());
        self.notice(&number, what)
    }

    /// A callback for the shop's account arrives.
    pub async fn callback(&self, callback: &Callback) -> Result<(), CallbackFailure> {
        callback_to(&self.backend, &self.shop.account_token, callback).await
    }

    /// The scan page of a machine, in a browser.
    pub async fn scan(&self, code: &str) -> Result<ScanView> {
        scan_machine::scan(&self.backend, code, PayerApp::Browser).await
    }

    /// Orders and pays, the callback arrives: gives the sale's token.
    pub async fn paid_sale(&self) -> SaleToken {
        let token = self.order().await;
        let callback = self.pay(&token).await;
        self.callback(&callback).await.unwrap();
        token
    }

    /// Alarms since the last look.
    pub fn alarms(&self) -> Vec<String> {
        self.events()
            .into_iter()
            .filter_map(|event| match event.what {
                LiveKind::Alarm { message } => Some(message),
                LiveKind::Status
                | LiveKind::Module
                | LiveKind::Members
                | LiveKind::Pulse { .. }
                | LiveKind::Sale { .. } => None,
            })
            .collect()
    }

    /// Live events since the last look.
    pub fn events(&self) -> Vec<LiveEvent> {
        let mut live = self.live.lock().unwrap();
        std::iter::from_fn(|| live.try_recv().ok()).collect()
    }

    /// A number out of the store, past the backend.
    pub async fn number_of(&self, sql: &str) -> i64 {
        books::number_of(self.db.read(), sql).await
    }

    /// What is expected in the boxes, in minor units.
    pub async fn cash_minor(&self) -> i128 {
        self.books().await.get("cash_box").copied().unwrap_or(0)
    }

    /// The balances over all operators, by account. Every posting sums to zero, or this panics.
    pub async fn books(&self) -> BTreeMap<String, i128> {
        books::balances(self.db.read()).await
    }

    /// At rest: the books balance, and say of the provider what the provider says.
    pub async fn assert_books(&self) {
        let books = self.books().await;
        let clearing_minor = books.get("provider_clearing").copied().unwrap_or(0);
        assert_eq!(clearing_minor, i128::from(self.bank.net_minor() + self.kiosk.net_minor()), "{books:?}");
        assert_eq!(books.get("refund_clearing").copied().unwrap_or(0), 0, "a refund is under way: {books:?}");
    }
}

/// A callback of the bank's arrives for an account, by its token.
pub async fn callback_to(backend: &backend::Context, token: &str, callback: &Callback) -> Result<(), CallbackFailure> {
    let taken = take_callback::callback(backend, "bank", token, callback.raw()).await;
    taken.map(|_| ()).map_err(|rejected| rejected.cause)
}

/// What the backend is put into.
struct World {
    clock: Arc<ManualClock>,
    bus: Arc<RecordingBus>,
    bank: Arc<Bank>,
    kiosk: Arc<Kiosk>,
    random: Arc<SeededRandom>,
    public_url: String,
}

impl Default for World {
    fn default() -> Self {
        let random = Arc::new(SeededRandom::new(2026));
        let public_url = "https://coinwire.test".into();
        let (bank, kiosk) = (Arc::default(), Arc::default());
        Self { clock: Arc::default(), bus: Arc::default(), bank, kiosk, random, public_url }
    }
}

impl World {
    fn backend(&self, db: Db, rules: Rules, secret_key: [u8; 32]) -> backend::Context {
        let real = RealProviders::new(self.clock.clone(), self.random.clone()).unwrap();
        backend::Context::new(Parts {
            db,
            clock: self.clock.clone(),
            random: self.random.clone(),
            bus: self.bus.clone(),
            providers: Arc::new(TestProviders { bank: self.bank.clone(), kiosk: self.kiosk.clone(), real }),
            secret_key,
            public_url: self.public_url.clone(),
            rules,
        })
    }
}

async fn open_shop(backend: &backend::Context, slug: &str, refund_remainder: bool) -> Shop {
    let operator = NewOperator {
        slug: slug.into(),
        name: format!("{slug} rides"),
        currency: Currency::Cny,
        time_zone: Zone::default_for(Currency::Cny),
        refund_remainder,
    };
    let operator_id = operator::add_operator(backend, &system(), operator).await.unwrap();
    let account = Config { merchant: format!("merchant of {slug}"), key: format!("callback key of {slug}") };
    let json = serde_json::to_string(&account).unwrap();
    let account_token = merchant::set_merchant_account(backend, &system(), operator_id, "bank", &json).await.unwrap();
    let module = TestModule::new(register_module::provision_module(backend, &system(), None).await.unwrap());
    let price = PriceChange { label: "One ride".into(), amount_minor: PRICE_MINOR, pulses: PRICE_PULSES.into() };
    let machine = NewMachine {
        operator_id,
        module: Some(module.id),
        name: "Rocket".into(),
        site: "Mall".into(),
        coin_value_minor: COIN_MINOR,
        prices: vec![price],
    };
    let (machine_id, code) = machine::add_machine(backend, &system(), machine).await.unwrap();
    let price_id = fleet::machine(backend, &acting_for(operator_id), machine_id).await.unwrap().prices[0].id;
    Shop { operator_id, account_token, account, machine_id, code, price_id, module }
}
