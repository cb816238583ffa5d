//! The server under load: built as by `coinwire serve`, with stopwatches at the web's entry and on the wire.

use crate::{
    callbacks::Door,
    stopwatch::{ARRIVED, Callbacks, TimedBus},
};
use anyhow::{Context, Result};
use async_trait::async_trait;
use backend::{
    Parts, Rules,
    access::actor::Actor,
    bus::{MqttBus, MqttConfig},
    clock::{SystemClock, SystemRandom, random_text},
    db::Db,
    flows::{
        operate::{
            machine::{self, NewMachine},
            merchant,
            operator::{self, NewOperator},
            register_module,
        },
        place_order::OrderRequest,
        scan_machine,
    },
    ids::{MachineId, OperatorId, PriceId},
    jobs::{self, in_progress::Job},
    machines::{fleet, shapes::PriceChange},
    modules::{Admission, admission},
    money::Currency,
    payments::{RealProviders, method::PayerApp, wechat},
    sales::readiness::Readiness,
    zones::Zone,
};
use broker::{Authenticate, ClientIdRule, Grants, Lane, Login, Refusal};
use module_host::{Config, Flash, VirtualModule};
use poem::{Endpoint, EndpointExt, Request, Server, listener::TcpAcceptor};
use protocol::{
    ModuleId,
    topics::{Kind, topic},
};
use serde_json::json;
use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// The actor that sets everything up.
pub fn system() -> Actor {
    Actor::system("the benchmark")
}

/// A machine under load.
pub struct Slot {
    /// Its module.
    pub module: ModuleId,
    /// Its number.
    pub machine_id: MachineId,
    /// Its scan code.
    pub code: String,
    /// Its only price.
    pub price_id: PriceId,
}

/// What a sale costs, in fen.
pub const AMOUNT_MINOR: i64 = 200;
/// Pulses a sale gives: one, so that the machine's own time is as short as it can be.
const PULSES: i32 = 1;
const PASSWORD: &str = "bench";

/// What is started.
#[derive(clap::Args)]
pub struct ServerOptions {
    /// Virtual modules.
    #[arg(long, default_value_t = 300)]
    modules: usize,
    /// The store; without it SQLite in a temporary directory. `mysql://...` for MariaDB or MySQL (an empty database).
    #[arg(long)]
    database: Option<String>,
}

impl Slot {
    /// The form of an order at this machine, by a way to pay or the best.
    pub fn form(&self, way: Option<&str>) -> OrderRequest {
        OrderRequest {
            code: self.code.clone(),
            price_id: self.price_id,
            amount_minor: AMOUNT_MINOR,
            form_key: random_text(&SystemRandom, 20),
            payer_ip: Ipv4Addr::LOCALHOST.into(),
            app: PayerApp::Browser,
            way: way.map(str::to_owned),
            payer: None,
            instead_of: None,
        }
    }
}

/// Everything, running.
pub struct ServerUnderTest {
    pub backend: backend::Context,
    /// The web's address.
    pub http: String,
    pub door: Arc<Door>,
    /// Configurations of the merchant accounts, by the provider's word.
    pub configs: HashMap<&'static str, String>,
    operator_id: OperatorId,
    pub sandbox: sandbox::Sandbox,
    pub slots: Vec<Slot>,
    pub callbacks: Arc<Callbacks>,
    pub mqtt: SocketAddr,
    machines: HashMap<String, MachineId>,
    modules: Mutex<Vec<VirtualModule>>,
    broker: broker::Broker,
    tasks: Vec<JoinHandle<()>>,
    closing: CancellationToken,
}

/// Accepts logins of modules, of the backend, and of the stopwatch that reads commands on the wire.
struct Authenticator(OnceLock<backend::Context>);

#[async_trait]
impl Authenticate for Authenticator {
    async fn authenticate(&self, login: &Login) -> Result<Grants, Refusal> {
        let username = login.username.as_deref().ok_or(Refusal::BadCredentials)?;
        let password = login.password.as_deref().ok_or(Refusal::BadCredentials)?;
        let client = |publish: &[&str], subscribe: &[&str]| Grants {
            credential: username.into(),
            lane: Lane::Client,
            client_id: ClientIdRule::Any,
            publish: publish.iter().map(|filter| (*filter).into()).collect(),
            subscribe: subscribe.iter().map(|filter| (*filter).into()).collect(),
            shared: false,
        };
        match username {
            "backend" if password == PASSWORD.as_bytes() => {
                Ok(client(&["m/+/command", "v1/#"], &["m/+/status", "m/+/pulse", "m/+/ack"]))
            }
            "stopwatch" if password == PASSWORD.as_bytes() => Ok(client(&[], &["m/+/command"])),
            _ => {
                let module = ModuleId::parse(username).map_err(|_| Refusal::BadCredentials)?;
                let backend = self.0.get().ok_or(Refusal::Unavailable)?;
                let admission =
                    admission::admit_module(backend, module, password).await.map_err(|_| Refusal::Unavailable)?;
                if admission != Admission::Admitted {
                    return Err(Refusal::BadCredentials);
                }
                let own = |kind| topic(module, kind).as_str().to_owned();
                Ok(Grants {
                    credential: username.into(),
                    lane: Lane::Device,
                    client_id: ClientIdRule::Exactly(username.into()),
                    publish: vec![own(Kind::Status), own(Kind::Pulse), own(Kind::Ack)],
                    subscribe: vec![own(Kind::Command)],
                    shared: false,
                })
            }
        }
    }
}

impl ServerUnderTest {
    /// Starts everything and waits until every module answers a probe.
    pub async fn start(options: &ServerOptions, dir: &Path) -> Result<Self> {
        println!("{} modules, store {}", options.modules, options.database.as_deref().map_or("SQLite", |_| "MySQL"));
        let url = match &options.database {
            Some(url) => url.clone(),
            None => format!("sqlite://{}?mode=rwc", dir.join("bench.db").display()),
        };
        let db = Db::open(&url).await?;
        db.migrate().await?;
        let loopback: SocketAddr = "127.0.0.1:0".parse()?;
        let listener = TcpListener::bind(loopback).await?;
        let http = format!("http://{}", listener.local_addr()?);
        let sandbox = sandbox::start(sandbox::Config {
            listen: loopback,
            public_host: None,
            data_dir: None,
            speed: 20.0,
            seed: 1,
        })
        .await?;
        let authenticator = Arc::new(Authenticator(OnceLock::new()));
        let broker =
            broker::start(broker::Config { listen: vec![loopback], ..Default::default() }, authenticator.clone())
                .await?;
        let mqtt = *broker.local_addrs().first().context("the broker listens")?;
        let (bus, reader) = MqttBus::new(MqttConfig {
            host: mqtt.ip().to_string(),
            port: mqtt.port(),
            client_id: "backend".into(),
            username: "backend".into(),
            password: PASSWORD.into(),
            tls: false,
        })?;
        let callbacks = Arc::new(Callbacks::default());
        let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
        let backend = backend::Context::new(Parts {
            db,
            providers: Arc::new(RealProviders::new(clock.clone(), random.clone())?),
            clock,
            random,
            bus: Arc::new(TimedBus { bus, callbacks: callbacks.clone() }),
            secret_key: [1; 32],
            public_url: http.clone(),
            rules: Rules::default(),
        });
        let _ = authenticator.0.set(backend.clone());
        let closing = CancellationToken::new();
        let door = Arc::new(Door::default());
        let mut tasks = vec![
            tokio::spawn(backend::flows::listen::listen(backend.clone(), reader)),
            serve_web(listener, http.clone(), backend.clone(), closing.clone(), door.clone())?,
        ];
        for job in Job::ALL {
            let backend = backend.clone();
            tasks.push(tokio::spawn(async move { jobs::run_job(&backend, job).await }));
        }
        let (operator_id, config) = operator(&backend, &sandbox).await?;
        let configs = HashMap::from([("wechat", config)]);
        let (slots, modules) = machines(&backend, operator_id, options.modules, mqtt).await?;
        let machines = slots.iter().map(|slot| (slot.module.to_string(), slot.machine_id)).collect();
        let modules = Mutex::new(modules);
        let server = Self {
            backend,
            http,
            door,
            configs,
            operator_id,
            sandbox,
            slots,
            callbacks,
            mqtt,
            machines,
            modules,
            broker,
            tasks,
            closing,
        };
        server.until_ready().await?;
        Ok(server)
    }

    async fn until_ready(&self) -> Result<()> {
        let begun = Instant::now();
        for slot in &self.slots {
            while scan_machine::scan(&self.backend, &slot.code, PayerApp::Browser).await?.readiness != Readiness::Ready
            {
                anyhow::ensure!(begun.elapsed() < Duration::from_secs(60), "modules did not connect within 60 s");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        println!("all modules connected and answering after {:.1} s", begun.elapsed().as_secs_f64());
        // A module gives no credit before its coin line has settled after the start.
        let settled = Duration::from_millis(u64::from(protocol::limits::SETTLE_DEFAULT_MS) + 500);
        tokio::time::sleep(settled).await;
        Ok(())
    }

    /// The machine that a module drives.
    pub fn machine_of(&self, module: &str) -> Option<MachineId> {
        self.machines.get(module).copied()
    }

    /// An account with Alipay beside the one with WeChat Pay.
    pub async fn add_alipay(&mut self) -> Result<()> {
        let account = self.sandbox.alipay();
        let config = json!({
            "base_url": account.base_url,
            "app_id": account.app_id,
            "seller_id": account.seller_id,
            "app_private_key_pem": account.app_private_key_pem,
            "alipay_public_keys": [account.alipay_public_key_pem],
        });
        let config = config.to_string();
        merchant::set_merchant_account(&self.backend, &system(), self.operator_id, "alipay", &config).await?;
        self.configs.insert("alipay", config);
        Ok(())
    }

    /// Switches all modules off.
    pub async fn switch_modules_off(&self) {
        let modules = std::mem::take(&mut *self.modules.lock().unwrap_or_else(PoisonError::into_inner));
        for module in modules {
            module.shutdown().await;
        }
    }

    /// Ends everything.
    pub async fn shutdown(self) {
        self.closing.cancel();
        self.switch_modules_off().await;
        for task in self.tasks {
            task.abort();
        }
        self.broker.shutdown().await;
        self.sandbox.shutdown().await;
    }
}

fn serve_web(
    listener: TcpListener,
    public_url: String,
    backend: backend::Context,
    closing: CancellationToken,
    door: Arc<Door>,
) -> Result<JoinHandle<()>> {
    let config = web::WebConfig {
        public_url,
        proxies: web::TrustedProxies::none(),
        secure_cookies: false,
        csrf_key: [2; 32],
        limits: web::Limits::default(),
        mqtt: None,
        admins: vec![],
        demo: None,
        metrics: None,
    };
    let app = web::app(config, backend, closing)?
        .around(async |inner, request| ARRIVED.scope(Instant::now(), inner.call(request)).await)
        .around(move |inner, request: Request| {
            let door = door.clone();
            async move { if door.holds(&request) { door.hold(request).await } else { inner.call(request).await } }
        });
    let acceptor = TcpAcceptor::from_tokio(listener)?;
    Ok(tokio::spawn(async move {
        if let Err(error) = Server::new_with_acceptor(acceptor).run(app).await {
            eprintln!("web: {error}");
        }
    }))
}

async fn operator(backend: &backend::Context, sandbox: &sandbox::Sandbox) -> Result<(OperatorId, String)> {
    let operator_id = operator::add_operator(
        backend,
        &system(),
        NewOperator {
            slug: "bench".into(),
            name: "Bench".into(),
            currency: Currency::Cny,
            time_zone: Zone::default_for(Currency::Cny),
            refund_remainder: false,
        },
    )
    .await?;
    let merchant = sandbox.merchant();
    let account = wechat::Account {
        base_url: sandbox.base_url().into(),
        appid: merchant.appid,
        mchid: merchant.mchid,
        merchant_serial: merchant.merchant_serial,
        merchant_private_key_pem: merchant.merchant_private_key_pem,
        api_v3_key: merchant.api_v3_key,
        platform_keys: merchant.platform_keys.into_iter().map(|(id, pem)| wechat::PlatformKey { id, pem }).collect(),
        ..Default::default()
    };
    let config = serde_json::to_string(&account)?;
    merchant::set_merchant_account(backend, &system(), operator_id, "wechat", &config).await?;
    Ok((operator_id, config))
}

async fn machines(
    backend: &backend::Context,
    operator_id: OperatorId,
    count: usize,
    mqtt: SocketAddr,
) -> Result<(Vec<Slot>, Vec<VirtualModule>)> {
    let (mut slots, mut modules) = (vec![], vec![]);
    for number in 0..count {
        let it = register_module::provision_module(backend, &system(), None).await?;
        let prices = vec![PriceChange { label: "One".into(), amount_minor: AMOUNT_MINOR, pulses: PULSES }];
        let (machine_id, code) = machine::add_machine(
            backend,
            &system(),
            NewMachine {
                operator_id,
                module: Some(it.id),
                name: format!("Machine {number}"),
                site: "Bench".into(),
                coin_value_minor: 100,
                prices,
            },
        )
        .await?;
        let price_id = fleet::machine(backend, &system(), machine_id).await?.prices.first().context("a price")?.id;
        slots.push(Slot { module: it.id, machine_id, code, price_id });
        let seed = number as u64;
        let config = Config { id: it.id, secret: it.secret, broker: mqtt, flash: Flash::Memory, seed };
        modules.push(VirtualModule::start(config).await?);
    }
    Ok((slots, modules))
}
