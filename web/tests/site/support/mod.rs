//! A site with a real backend on SQLite in memory; modules and the payment provider are played.
#![allow(dead_code)]

mod browser;
mod field;

pub use browser::{Answer, Browser};
pub use field::{Credit, Field};

use async_trait::async_trait;
use backend::{
    Parts, Rules,
    access::{actor::Actor, role::Role},
    clock::{SystemClock, SystemRandom},
    db::Db,
    flows::operate::{
        machine::{self, NewMachine},
        member, merchant,
        operator::{self, NewOperator},
        register_module,
    },
    ids::{MachineId, OperatorId, PriceId},
    machines::{fleet, shapes::PriceChange},
    money::Currency,
    sales::views,
    zones::Zone,
};
use poem::Response;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use tokio_util::sync::CancellationToken;
use web::{DemoControl, DemoLearning, DemoModule, DemoPanel, Limits, TrustedProxies, WebConfig};

pub const EMAIL: &str = "owner@example.com";
pub const PASSWORD: &str = "correct horse battery";
pub const PUBLIC_URL: &str = "http://pay.example";

/// Whoever has a shell on the server.
pub fn system() -> Actor {
    Actor::system("the tests")
}

/// One operator's business: a machine, its module, its merchant account.
pub struct Shop {
    pub operator_id: OperatorId,
    pub account: String,
    pub machine_id: MachineId,
    pub code: String,
    pub price_id: PriceId,
    pub module: String,
}

/// The site under test.
pub struct Site {
    pub backend: backend::Context,
    pub field: Arc<Field>,
    pub shop: Shop,
    pub shutdown: CancellationToken,
    pub app: Arc<dyn poem::endpoint::DynEndpoint<Output = Response>>,
}

/// A configuration without limits and without https.
pub fn config() -> WebConfig {
    WebConfig {
        public_url: PUBLIC_URL.into(),
        proxies: TrustedProxies::none(),
        secure_cookies: false,
        csrf_key: [3; 32],
        limits: Limits {
            scans_per_minute: 0,
            orders_per_minute: 0,
            sign_ins_per_minute: 0,
            sign_ins_per_email_per_minute: 0,
            ..Limits::default()
        },
        mqtt: None,
        admins: vec![],
        demo: None,
        metrics: None,
    }
}

impl Site {
    pub async fn open() -> Self {
        Self::open_with(|_| ()).await
    }

    pub async fn open_with(change: impl FnOnce(&mut WebConfig)) -> Self {
        // Longer than any tester's machine takes: a module that is there answers at once.
        let rules = Rules { probe_wait_ms: 20_000, order_answer_ms: 20_000, ..Rules::default() };
        Self::open_under(rules, change).await
    }

    /// One that does not wait long for a module that does not answer.
    pub async fn open_with_short_waits() -> Self {
        Self::open_under(Rules { probe_wait_ms: 200, order_answer_ms: 20_000, ..Rules::default() }, |_| ()).await
    }

    pub async fn open_under(rules: Rules, change: impl FnOnce(&mut WebConfig)) -> Self {
        let db = Db::open("sqlite::memory:").await.unwrap();
        db.migrate().await.unwrap();
        let field = Arc::new(Field::default());
        let backend = backend::Context::new(Parts {
            db,
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom),
            bus: field.clone(),
            providers: field.clone(),
            secret_key: [1; 32],
            public_url: PUBLIC_URL.into(),
            rules,
        });
        field.attach(&backend);
        let shop = open_shop(&backend, &field, "sunny").await;
        member::add_member(&backend, &system(), shop.operator_id, EMAIL, PASSWORD, Role::Owner).await.unwrap();
        let mut config = config();
        change(&mut config);
        let shutdown = CancellationToken::new();
        let app = web::app(config, backend.clone(), shutdown.clone()).unwrap();
        let app = Arc::new(poem::endpoint::ToDynEndpoint(app));
        Self { backend, field, shop, shutdown, app }
    }

    pub fn browser(&self) -> Browser {
        Browser::new(self.app.clone())
    }

    /// A browser in which the operator is signed in.
    pub async fn operator(&self) -> Browser {
        let browser = self.browser();
        let page = browser.get("/sign-in").await;
        let answer = browser.post("/sign-in", &page, &[("email", EMAIL), ("password", PASSWORD), ("next", "")]).await;
        assert_eq!(answer.location(), "/operator");
        browser
    }

    /// A consumer orders at the shop; gives the sale's token.
    pub async fn order(&self) -> String {
        let browser = self.browser();
        let page = browser.get(&format!("/s/{}", self.shop.code)).await;
        let answer = browser.submit(&page, 0).await;
        assert_eq!(answer.status, 303, "{}", answer.text);
        let sales = views::sales(&self.backend, &system(), self.shop.operator_id, Default::default()).await.unwrap();
        sales[0].view.token.to_string()
    }

    /// The provider calls back: the newest order is paid.
    pub async fn pay(&self) -> Answer {
        let order = self.field.last_order();
        let body = self.field.paid_callback(&order);
        let path = format!("/callbacks/wechat/{}", self.shop.account);
        self.browser().raw_post(&path, &[("x-test-signature", "good")], body).await
    }
}

/// Opens a shop whose module is online.
pub async fn open_shop(backend: &backend::Context, field: &Arc<Field>, slug: &str) -> Shop {
    let operator = NewOperator {
        slug: slug.into(),
        name: "Sunny Rides".into(),
        currency: Currency::Cny,
        time_zone: Zone::default_for(Currency::Cny),
        refund_remainder: false,
    };
    let operator_id = operator::add_operator(backend, &system(), operator).await.unwrap();
    let account = merchant::set_merchant_account(backend, &system(), operator_id, "wechat", "{}").await.unwrap();
    let identity = register_module::provision_module(backend, &system(), None).await.unwrap();
    let price = |label: &str, amount_minor, pulses| PriceChange { label: label.into(), amount_minor, pulses };
    let machine = NewMachine {
        operator_id,
        module: Some(identity.id),
        name: "Carousel".into(),
        site: "East Gate Mall".into(),
        coin_value_minor: 100,
        prices: vec![price("One ride", 100, 1), price("Three rides", 250, 3)],
    };
    let (machine_id, code) = machine::add_machine(backend, &system(), machine).await.unwrap();
    let price_id = fleet::machine(backend, &system(), machine_id).await.unwrap().prices[0].id;
    let module = identity.id.to_string();
    field.connect(identity).await;
    Shop { operator_id, account, machine_id, code, price_id, module }
}

/// A demo's control that counts what it is told.
#[derive(Default)]
pub struct FakeDemo {
    pub pulses: AtomicU64,
    pub taught: AtomicU64,
    pub stopped: AtomicU64,
}

#[async_trait]
impl DemoControl for FakeDemo {
    fn modules(&self) -> Vec<DemoModule> {
        vec![DemoModule {
            id: "0123456789".into(),
            machine: "Carousel".into(),
            code: "CODE".into(),
            on: self.stopped.load(Ordering::SeqCst) == 0,
            pulses: self.pulses.load(Ordering::SeqCst),
            learning_result: (self.taught.load(Ordering::SeqCst) > 0).then_some(DemoLearning {
                stage: "sampling",
                ended: false,
                coins: 4,
                coins_asked: 10,
            }),
        }]
    }

    async fn stop(&self, _: &str) {
        self.stopped.store(1, Ordering::SeqCst);
    }

    async fn start(&self, _: &str) {
        panic!("the test wants a panic in a handler");
    }

    async fn coin(&self, _: &str) {
        self.pulses.fetch_add(1, Ordering::SeqCst);
    }

    async fn teach(&self, _: &str) {
        self.taught.fetch_add(1, Ordering::SeqCst);
    }
}

/// A demo's panel over that control.
pub fn panel(control: Arc<FakeDemo>) -> DemoPanel {
    DemoPanel {
        control,
        operator_email: EMAIL.into(),
        operator_password: PASSWORD.into(),
        mqtt_url: "mqtt://127.0.0.1:1883".into(),
        integrator_username: "sunny".into(),
        integrator_password: "integrator".into(),
        integrator_topics: "v1/sunny/#".into(),
        sandbox_url: "http://127.0.0.1:8090".into(),
    }
}
