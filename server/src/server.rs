//! The server: broker, backend and web in one process. `serve` and `demo` both start it here.

use crate::{
    authenticator::{Authenticator, BACKEND_USER, COMMAND_TOPICS, broadcast_member_changes, drop_revoked},
    config::Settings,
    connections::LiveBroker,
    files, key_file,
};
use anyhow::{Context, Result, bail};
use backend::{
    Parts, Rules,
    bus::{MqttBus, MqttConfig, MqttReader},
    clock::{SystemClock, SystemRandom, random_text},
    db::{CommitMark, Db},
    jobs::{self, in_progress::Job},
    modules::registry,
    payments::RealProviders,
};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use web::{DemoPanel, Limits, WebConfig};

/// How often the store is written to for a proof that it can be: what a lost write-ahead log held is noticed up to this.
const STORE_MARK_EVERY: Duration = Duration::from_secs(5);
/// Characters of the password the backend makes for itself at each start.
const PASSWORD_CHARS: usize = 32;

/// What serves payments, running.
pub struct Server {
    pub backend: backend::Context,
    pub http: SocketAddr,
    pub mqtt: Option<SocketAddr>,
    /// Where MQTT over TLS and over WebSocket is served.
    pub mqtt_tls: Option<SocketAddr>,
    pub mqtt_ws: Option<SocketAddr>,
    web: web::Web,
    /// Metrics, where they have an address of their own.
    metrics: Option<web::Web>,
    broker: Option<broker::Broker>,
    tasks: Vec<JoinHandle<()>>,
    closing: CancellationToken,
}

/// Sockets taken before anything is served, so that their ports are known.
pub struct ServerBuilder {
    bound: web::Bound,
    metrics: PrometheusHandle,
}

impl ServerBuilder {
    /// Takes the HTTP address and starts collecting metrics. To be called once in a process.
    pub async fn bind(http: SocketAddr) -> Result<Self> {
        let bound =
            web::bind(http).await.context("set another http_listen (or --http), or stop the program that uses it")?;
        let metrics = PrometheusBuilder::new().install_recorder().context("metrics")?;
        Ok(Self { bound, metrics })
    }

    pub fn http(&self) -> SocketAddr {
        self.bound.local_addr()
    }
}

/// Opens the store, checks that its key file belongs to it, and migrates it. Used by every command.
pub async fn open_store(settings: &Settings) -> Result<Db> {
    let db = Db::open(&settings.database_url.0).await.context("cannot open database_url")?;
    key_file::check(settings, &db).await?;
    if let CommitMark::Behind { file, wal } = db.check_mark().await.context("cannot read the database")? {
        tracing::error!(
            "the database has lost what was written to it last: it is older than {file} says. Its write-ahead log {wal} \
            was cut, emptied or left behind, or the database was put back from an older copy. If it was not you who put \
            it back: stop the server now, put the database back together with its -wal file (or from the last backup), \
            and start again. Sales since then are asked for at the providers and the modules as docs/OPERATING.md says.",
            file = file.display(),
            wal = wal.display(),
        );
    }
    db.migrate().await.context("cannot migrate the tables")?;
    Ok(db)
}

/// A backend on an open store, and the reader that brings it the bus's messages.
pub fn backend_of(settings: &Settings, db: Db, bus: MqttConfig) -> Result<(backend::Context, MqttReader)> {
    let clock = Arc::new(SystemClock);
    let random = Arc::new(SystemRandom);
    let (bus, reader) = MqttBus::new(bus)?;
    let backend = backend::Context::new(Parts {
        db,
        providers: Arc::new(RealProviders::new(clock.clone(), random.clone())?),
        clock,
        random,
        bus: Arc::new(bus),
        secret_key: key_file::secret_key(settings)?,
        public_url: settings.public_url.trim_end_matches('/').into(),
        rules: Rules::default(),
    });
    Ok((backend, reader))
}

/// A backend for a command that changes the store beside a running server. It sends nothing: the server sends what is
/// due.
pub async fn backend_without_bus(settings: &Settings) -> Result<backend::Context> {
    let nowhere = MqttConfig {
        host: "localhost".into(),
        port: 1883,
        client_id: String::new(),
        username: String::new(),
        password: String::new(),
        tls: false,
    };
    let (backend, _reader) = backend_of(settings, open_store(settings).await?, nowhere)?;
    Ok(backend)
}

impl Server {
    /// Starts everything. `demo` makes the demo's panel once the backend is there.
    pub async fn start(
        settings: &Settings,
        builder: ServerBuilder,
        demo: impl AsyncFnOnce(&backend::Context, Option<SocketAddr>) -> Result<Option<DemoPanel>>,
    ) -> Result<Self> {
        let settings = &files::within(files::raise_limit()?, settings);
        let db = open_store(settings).await?;
        let closing = CancellationToken::new();
        let own_password = random_text(&SystemRandom, PASSWORD_CHARS);
        let authenticator = Arc::new(Authenticator::new(own_password.clone(), &settings.admins));
        let broker = match settings.mqtt_listen {
            Some(address) => Some(start_broker(settings, address, authenticator.clone()).await?),
            None => None,
        };
        let mqtt = broker.as_ref().and_then(|broker| broker.local_addrs().first().copied());
        let mqtt_tls = broker.as_ref().and_then(|broker| broker.tls_addrs().first().copied());
        let mqtt_ws = broker.as_ref().and_then(|broker| broker.web_socket_addrs().first().copied());
        let bus = match mqtt {
            Some(address) => own_bus(address, own_password),
            None => external_bus(settings)?,
        };
        let (backend, reader) = backend_of(settings, db, bus)?;
        registry::mark_modules_offline(&backend).await?;
        authenticator.set_backend(backend.clone());
        let mut tasks = vec![
            tokio::spawn(backend::flows::listen::listen(backend.clone(), reader)),
            tokio::spawn(broadcast_member_changes(backend.clone(), closing.clone())),
            tokio::spawn(save_store_mark(backend.clone(), closing.clone())),
        ];
        for job in Job::ALL {
            let backend = backend.clone();
            tasks.push(tokio::spawn(async move { jobs::run_job(&backend, job).await }));
        }
        if let Some(broker) = &broker {
            tasks.push(tokio::spawn(drop_revoked(broker.clone(), backend.clone(), closing.clone())));
            #[cfg(all(debug_assertions, unix))]
            tasks.push(tokio::spawn(inject_core_fault_on_signal(broker.clone())));
        }
        let panel = demo(&backend, mqtt).await?;
        let http = builder.http();
        let embedded = broker.clone().map(|broker| Arc::new(LiveBroker(broker)) as Arc<dyn web::EmbeddedBroker>);
        let text = metrics_text(builder.metrics);
        let metrics = match settings.metrics_listen {
            Some(address) => {
                let bound =
                    web::bind(address).await.context("set another metrics_listen, or stop the program that uses it")?;
                Some(web::serve_metrics(bound, text.clone(), closing.clone()))
            }
            None => None,
        };
        let text = metrics.is_none().then_some(text);
        let config = web_config(settings, text, embedded, panel)?;
        let web = web::serve(builder.bound, config, backend.clone(), closing.clone())?;
        Ok(Self { backend, http, mqtt, mqtt_tls, mqtt_ws, web, metrics, broker, tasks, closing })
    }

    /// Ends everything in order: no new requests, what is under way is answered, then the bus, then the broker.
    pub async fn shutdown(self) {
        self.closing.cancel();
        for web in self.metrics.into_iter().chain([self.web]) {
            if let Err(error) = web.done.await {
                tracing::warn!(%error, "the web server ended with an error");
            }
        }
        for task in self.tasks {
            task.abort();
            let _ = task.await;
        }
        if let Some(broker) = self.broker {
            broker.shutdown().await;
        }
        self.backend.close_store().await;
    }
}

/// Waits for SIGTERM or Ctrl-C.
pub async fn shutdown_signal() -> Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        tokio::select! {
            _ = terminate.recv() => {}
            interrupted = tokio::signal::ctrl_c() => interrupted.context("cannot listen for Ctrl-C")?,
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await.context("cannot listen for Ctrl-C")?;
    Ok(())
}

/// Tests kill the broker's core with SIGUSR1, and make it stick for a while with SIGUSR2; release builds have no such
/// thing.
#[cfg(all(debug_assertions, unix))]
async fn inject_core_fault_on_signal(broker: broker::Broker) {
    use tokio::signal::unix::{SignalKind, signal};
    const STUCK: Duration = Duration::from_secs(4);
    let signals = signal(SignalKind::user_defined1()).and_then(|kill| Ok((kill, signal(SignalKind::user_defined2())?)));
    match signals {
        Ok((mut kill, mut stick)) => loop {
            tokio::select! {
                Some(()) = kill.recv() => broker.kill_core(),
                Some(()) = stick.recv() => broker.stall_core(STUCK).await,
                else => return,
            }
        },
        Err(error) => tracing::warn!(%error, "cannot listen for SIGUSR1 and SIGUSR2"),
    }
}

async fn start_broker(
    settings: &Settings,
    address: SocketAddr,
    authenticator: Arc<Authenticator>,
) -> Result<broker::Broker> {
    let files = settings.mqtt_tls_listen.map(|_| broker::TlsFiles {
        certificate: (&settings.mqtt_tls_certificate).into(),
        key: (&settings.mqtt_tls_key).into(),
        client_ca: Some(&settings.mqtt_tls_client_ca).filter(|path| !path.is_empty()).map(Into::into),
    });
    let config = broker::Config {
        listen: vec![address],
        listen_tls: settings.mqtt_tls_listen.into_iter().collect(),
        listen_web_socket: settings.mqtt_ws_listen.into_iter().collect(),
        tls: files,
        device_topics: COMMAND_TOPICS.to_owned(),
        limits: settings.broker_limits(),
    };
    let set_another = "set another mqtt_listen (or --mqtt), mqtt_tls_listen or mqtt_ws_listen, or stop what has it";
    broker::start(config, authenticator).await.map_err(|error| {
        let is_listen = matches!(error, broker::StartError::Listen { .. });
        let error = anyhow::Error::new(error);
        if is_listen { error.context(set_another) } else { error }
    })
}

fn own_bus(address: SocketAddr, password: String) -> MqttConfig {
    let host = if address.ip().is_unspecified() { "127.0.0.1".to_owned() } else { address.ip().to_string() };
    MqttConfig {
        host,
        port: address.port(),
        client_id: BACKEND_USER.into(),
        username: BACKEND_USER.into(),
        password,
        tls: false,
    }
}

fn external_bus(settings: &Settings) -> Result<MqttConfig> {
    let url = url::Url::parse(&settings.broker_url).context("broker_url is not an address such as mqtt://host:1883")?;
    let tls = match url.scheme() {
        "mqtt" => false,
        "mqtts" => true,
        other => bail!("broker_url must begin with mqtt:// or mqtts://, not {other}://"),
    };
    Ok(MqttConfig {
        host: url.host_str().context("broker_url has no host")?.to_owned(),
        port: url.port().unwrap_or(if tls { 8883 } else { 1883 }),
        client_id: format!("{BACKEND_USER}-{}", random_text(&SystemRandom, 8)),
        username: settings.broker_username.clone(),
        password: settings.broker_password.0.clone(),
        tls,
    })
}

/// The metrics as text, whenever somebody asks.
fn metrics_text(metrics: PrometheusHandle) -> web::MetricsText {
    Arc::new(move || {
        metrics.run_upkeep();
        metrics.render()
    })
}

fn web_config(
    settings: &Settings,
    metrics: Option<web::MetricsText>,
    mqtt: Option<Arc<dyn web::EmbeddedBroker>>,
    demo: Option<DemoPanel>,
) -> Result<WebConfig> {
    Ok(WebConfig {
        public_url: settings.public_url.clone(),
        proxies: settings.proxies()?,
        secure_cookies: settings.public_url.starts_with("https:"),
        csrf_key: derived_key(&key_file::secret_key(settings)?, b"csrf"),
        limits: Limits {
            scans_per_minute: settings.scans_per_minute,
            orders_per_minute: settings.orders_per_minute,
            sign_ins_per_minute: settings.sign_ins_per_minute,
            sign_ins_per_email_per_minute: settings.sign_ins_per_email_per_minute,
            connections: settings.http_connections,
            connections_per_address: settings.http_connections_per_address,
            live_streams: settings.live_streams,
            live_streams_per_address: settings.live_streams_per_address,
            live_streams_per_member: settings.live_streams_per_member,
            live_streams_per_sale: settings.live_streams_per_sale,
        },
        mqtt,
        admins: settings.admins.iter().map(|email| email.trim().to_lowercase()).collect(),
        demo,
        metrics,
    })
}

/// A key for another purpose, from the one in the key file.
fn derived_key(secret: &[u8; 32], purpose: &[u8]) -> [u8; 32] {
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
    aws_lc_rs::hmac::sign(&key, purpose).as_ref().try_into().expect("HMAC-SHA256 has 32 bytes")
}

/// Proves now and then that the store can be written to, and keeps a mark of how far it has come.
async fn save_store_mark(backend: backend::Context, closing: CancellationToken) {
    while !closing.is_cancelled() {
        backend.save_store_mark().await;
        tokio::select! {
            () = tokio::time::sleep(STORE_MARK_EVERY) => {}
            () = closing.cancelled() => {}
        }
    }
}
