//! The application under test: one shop with an account at each provider, on a socket.

use super::{
    actors::{acting_for, system},
    books,
    bus::{Message, RecordingBus},
    clock::{ManualClock, SeededRandom},
    module::done,
    own_sandbox::{self, OwnSandbox},
    provider::{Provider, Standing},
    shop::{PRICE_MINOR, PRICE_PULSES, Shop, open_shop},
    store::Store,
};

use backend::{
    Parts, Result, Rules,
    clock::Clock,
    db::Db,
    flows::{
        operate::merchant,
        place_order::{self, Checkout, OrderRequest},
        probe_module, take_message,
    },
    ids::{AccountId, SaleToken},
    jobs,
    live::{LiveEvent, LiveKind},
    payments::{RealProviders, accounts::merchant_accounts, method::PayerApp},
    sales::{shapes::SaleRow, views},
};
use protocol::messages::{Command, Stage};
use sandbox::Sandbox;
use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::sync::broadcast;
use tokio_util::sync::{CancellationToken, DropGuard};
use web::{Limits, TrustedProxies, WebConfig};

/// The longest that something which comes by itself may take, on however busy a machine.
const WAIT_TIMEOUT: Duration = Duration::from_secs(60);
/// How often it is looked for.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// The application under test.
pub struct TestApp {
    pub backend: backend::Context,
    pub shop: Shop,
    pub clock: Arc<ManualClock>,
    pub bus: Arc<RecordingBus>,
    pub db: Db,
    /// Where the web listens.
    pub url: String,
    start_ms: i64,
    own: OwnSandbox,
    forms: AtomicU32,
    live: Mutex<broadcast::Receiver<LiveEvent>>,
    _web: DropGuard,
    // Last, so that everything that is connected to it goes first.
    _store: Store,
}

impl TestApp {
    /// A shop with its module online, and accounts with both providers.
    pub async fn start() -> Self {
        let store = Store::create().await;
        let db = store.open().await;
        let own = own_sandbox::start().await;
        let start_ms = now_ms();
        let clock = Arc::new(ManualClock::starting_at(start_ms));
        let random = Arc::new(SeededRandom::new(2026));
        let bus = Arc::new(RecordingBus::default());
        let bound = web::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let url = format!("http://{}", bound.local_addr());
        let backend = backend::Context::new(Parts {
            db: db.clone(),
            clock: clock.clone(),
            random: random.clone(),
            bus: bus.clone(),
            providers: Arc::new(RealProviders::new(clock.clone(), random).unwrap()),
            secret_key: [42; 32],
            public_url: url.clone(),
            rules: Rules::default(),
        });
        // Payments are told to the second: one of the second in which we started would count as from before it.
        clock.advance(1_000);
        let shutdown = CancellationToken::new();
        web::serve(bound, config(&url), backend.clone(), shutdown.clone()).unwrap();
        let shop = open_shop(&backend, &own.sandbox).await;
        let live = Mutex::new(backend.watch());
        let (forms, web) = (AtomicU32::new(0), shutdown.drop_guard());
        let app = Self { backend, shop, clock, bus, db, url, start_ms, own, forms, live, _web: web, _store: store };
        app.deliver(&app.shop.module.status(&app, |_| ())).await;
        app
    }

    pub fn sandbox(&self) -> &Sandbox {
        &self.own.sandbox
    }

    pub fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// The module booted a day before the test began.
    pub fn uptime_ms(&self) -> u64 {
        u64::try_from(self.now_ms() - self.start_ms + 24 * 3_600_000).unwrap_or(0)
    }

    /// Lets time pass at once, here and at the providers, and works on what is due then.
    pub async fn skip_ms(&self, ms: i64) {
        self.sandbox().advance(Duration::from_millis(u64::try_from(ms).unwrap()));
        self.clock.advance(ms);
        jobs::run_due(&self.backend).await.unwrap();
    }

    /// Lets time pass in steps, working on what is due at each.
    pub async fn pass_ms(&self, ms: i64, step_ms: i64) {
        for _ in 0..ms / step_ms {
            self.skip_ms(step_ms).await;
        }
    }

    /// Waits for something that comes by itself, over the network.
    pub async fn until(&self, what: &str, mut condition: impl AsyncFnMut() -> bool) {
        let since = Instant::now();
        while !condition().await {
            assert!(since.elapsed() < WAIT_TIMEOUT, "did not come: {what}");
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Waits until a sale is in a state.
    pub async fn until_state(&self, token: &SaleToken, state: &str) {
        let what = format!("the sale is {state}");
        self.until(&what, async || self.state(token).await == state).await;
    }

    /// Lets time pass until a sale is in a state, as polling and refunds need it.
    pub async fn pass_until_state(&self, token: &SaleToken, state: &str) {
        for _ in 0..200 {
            if self.state(token).await == state {
                return;
            }
            self.skip_ms(1_000).await;
        }
        panic!("the sale is {} and not {state}", self.state(token).await);
    }

    /// Lets hours pass until the bills of today and before were read; what is due besides is worked on too.
    pub async fn next_statement(&self) {
        let day = (self.now_ms() + 8 * 3_600_000) / (24 * 3_600_000);
        let read = format!("SELECT COUNT(*) FROM statements WHERE day = {day} AND due_ms IS NULL");
        self.skip_hours_until(async || books::number_of(self.db.read(), &read).await > 0).await;
    }

    /// Lets hours pass, three at a time, until something is so.
    pub async fn skip_hours_until(&self, mut condition: impl AsyncFnMut() -> bool) {
        for _ in 0..40 {
            if condition().await {
                return;
            }
            self.skip_ms(3 * 3_600_000).await;
        }
        panic!("it did not come about in five days");
    }

    /// A message comes in from the bus.
    pub async fn deliver(&self, message: &Message) {
        take_message::on_message(&self.backend, &message.topic, &message.payload).await.unwrap();
    }

    /// The module answers a probe, so that its machine is ready for a while.
    pub async fn make_ready(&self) {
        if probe_module::start_probe(&self.backend, self.shop.module.id).await.unwrap().is_none() {
            let probe = self.shop.module.probes(self).pop().expect("a probe was sent");
            self.deliver(&self.shop.module.ack(self, &probe, |ack| ack.stage = Stage::Done)).await;
        }
    }

    /// A consumer orders by a way to pay.
    pub async fn try_order(&self, way: &str) -> Result<Checkout> {
        self.order_instead(way, None).await
    }

    /// A consumer orders by a way to pay, in place of an order made before.
    pub async fn order_instead(&self, way: &str, instead_of: Option<&SaleToken>) -> Result<Checkout> {
        self.make_ready().await;
        let request = OrderRequest {
            code: self.shop.code.clone(),
            price_id: self.shop.price_id,
            amount_minor: PRICE_MINOR,
            form_key: format!("form-key-{:08}", self.forms.fetch_add(1, Ordering::Relaxed)),
            payer_ip: Ipv4Addr::new(203, 0, 113, 7).into(),
            app: PayerApp::Browser,
            way: Some(way.to_owned()),
            payer: None,
            instead_of: instead_of.cloned(),
        };
        place_order::order(&self.backend, request).await
    }

    /// A consumer orders, to pay by a code.
    pub async fn order(&self, provider: Provider) -> SaleToken {
        self.try_order(provider.by_code()).await.unwrap().token
    }

    /// The payer of a sale pays.
    pub async fn pay(&self, provider: Provider, token: &SaleToken) {
        provider.pay(self.sandbox(), &self.number(token).await).unwrap();
    }

    /// Orders and pays; the callback arrives. Gives the sale's token.
    pub async fn paid_sale(&self, provider: Provider) -> SaleToken {
        let token = self.order(provider).await;
        self.pay(provider, &token).await;
        self.until_state(&token, "paid").await;
        token
    }

    /// The one credit that the module is sent, repeats of it included.
    pub async fn next_credit(&self) -> Command {
        let mut credits = vec![];
        self.until("a credit is sent", async || {
            credits.extend(self.shop.module.credits(self));
            !credits.is_empty()
        })
        .await;
        assert!(credits.iter().all(|credit| credit.id == credits[0].id), "one credit was expected: {credits:?}");
        credits[0]
    }

    /// The module gives the one credit that it was sent.
    pub async fn give_credit(&self) {
        let credit = self.next_credit().await;
        self.deliver(&self.shop.module.ack(self, &credit, done(PRICE_PULSES))).await;
    }

    /// A sale that is paid, and credited. Gives its token.
    pub async fn credited_sale(&self, provider: Provider) -> SaleToken {
        let token = self.paid_sale(provider).await;
        self.give_credit().await;
        assert_eq!(self.state(&token).await, "credited");
        token
    }

    /// The newest sale of the shop.
    pub async fn newest(&self) -> SaleToken {
        let sales = views::sales(&self.backend, &system(), self.shop.operator_id, Default::default()).await.unwrap();
        sales[0].view.token.clone()
    }

    /// A sale, as its operator sees it.
    pub async fn row(&self, token: &SaleToken) -> SaleRow {
        views::operator_sale(&self.backend, &acting_for(self.shop.operator_id), token).await.unwrap()
    }

    pub async fn state(&self, token: &SaleToken) -> &'static str {
        self.row(token).await.view.state.as_str()
    }

    /// Where a sale stands, and why.
    pub async fn state_and_reason(&self, token: &SaleToken) -> (&'static str, &'static str) {
        let view = self.row(token).await.view;
        (view.state.as_str(), view.reason.as_str())
    }

    /// The number of a sale's attempt at the provider.
    pub async fn number(&self, token: &SaleToken) -> String {
        self.row(token).await.out_trade_no.unwrap()
    }

    /// How a sale's payment stands at its provider.
    pub async fn standing(&self, provider: Provider, token: &SaleToken) -> Standing {
        provider.standing(self.sandbox(), &self.number(token).await)
    }

    /// The shop's account with a provider.
    pub async fn account_id(&self, provider: Provider) -> AccountId {
        let accounts = merchant_accounts(&self.backend, &system(), Some(self.shop.operator_id)).await.unwrap();
        accounts.iter().find(|account| account.provider == provider.word()).unwrap().account_id
    }

    /// Enters an account's configuration anew.
    pub async fn enter(&self, provider: Provider, config: &str) {
        let operator_id = self.shop.operator_id;
        merchant::set_merchant_account(&self.backend, &system(), operator_id, provider.word(), config).await.unwrap();
    }

    /// What was kept of callbacks, by what came of them.
    pub async fn inbox(&self) -> BTreeMap<String, usize> {
        let mut inbox = BTreeMap::new();
        for row in super::store::rows(self.db.read(), "SELECT outcome FROM callback_inbox").await {
            *inbox.entry(row.try_get_by_index(0).unwrap()).or_default() += 1;
        }
        inbox
    }

    /// Waits for an alarm that says so. Gives those that came since the last look.
    pub async fn until_alarm(&self, says: &str) -> Vec<String> {
        let mut alarms: Vec<String> = vec![];
        self.until(&format!("an alarm: {says}"), async || {
            alarms.extend(self.alarms());
            alarms.iter().any(|alarm| alarm.contains(says))
        })
        .await;
        alarms
    }

    /// Alarms since the last look.
    pub fn alarms(&self) -> Vec<String> {
        let mut live = self.live.lock().unwrap();
        let events = std::iter::from_fn(|| live.try_recv().ok());
        let alarm = |event: LiveEvent| if let LiveKind::Alarm { message } = event.what { Some(message) } else { None };
        events.filter_map(alarm).collect()
    }

    /// The balances, by account. Every posting sums to zero, or this panics.
    pub async fn books(&self) -> BTreeMap<String, i128> {
        books::balances(self.db.read()).await
    }

    /// Whether no refund is under way.
    pub async fn is_at_rest(&self) -> bool {
        self.books().await.get("refund_clearing").copied().unwrap_or(0) == 0
    }

    /// At rest: the books balance, and say of the providers what the providers say; and no sale was credited twice.
    pub async fn assert_books(&self) {
        let twice = "SELECT COUNT(*) FROM (SELECT sale_id FROM commands WHERE sale_id IS NOT NULL \
                     GROUP BY sale_id HAVING COUNT(*) > 1) AS twice";
        assert_eq!(books::number_of(self.db.read(), twice).await, 0, "a sale has two credits");
        let books = self.books().await;
        let clearing_minor = books.get("provider_clearing").copied().unwrap_or(0);
        assert_eq!(clearing_minor, i128::from(self.net_fen().await), "{books:?}");
        assert_eq!(books.get("refund_clearing").copied().unwrap_or(0), 0, "a refund is under way: {books:?}");
    }

    /// What both providers have of the shop's payers.
    async fn net_fen(&self) -> i64 {
        let mut net_fen = 0;
        for row in super::store::rows(self.db.read(), "SELECT out_trade_no FROM payment_attempts").await {
            let number: String = row.try_get_by_index(0).unwrap();
            for provider in [Provider::Wechat, Provider::Alipay] {
                if [Standing::Paid, Standing::Returned].contains(&provider.standing(self.sandbox(), &number)) {
                    net_fen += PRICE_MINOR - provider.returned_fen(self.sandbox(), &number);
                }
            }
        }
        net_fen
    }
}

fn now_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap() - 1_000
}

fn config(url: &str) -> WebConfig {
    WebConfig {
        public_url: url.to_owned(),
        proxies: TrustedProxies::none(),
        secure_cookies: false,
        csrf_key: [3; 32],
        limits: Limits::default(),
        mqtt: None,
        admins: vec![],
        demo: None,
        metrics: None,
    }
}
