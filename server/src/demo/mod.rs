//! The demo: the real server, a payment provider with play money, and virtual modules wired to virtual machines.

mod addresses;
mod certificate;
mod fleet;
mod state;
mod teacher;

use crate::{
    config::{Secret, Settings, write_private},
    server::{Server, ServerBuilder, shutdown_signal},
};
use addresses::{DemoAddresses, PublicAddress, own_address, reachable, read_public_url};
use anyhow::{Context, Result, bail};
use backend::{flows::scan_machine, payments::method::PayerApp, sales::readiness::Readiness};
use certificate::{CA_FILE, Certificate};
use clap::Args;
use fleet::Fleet;
use serde_json::json;
use state::State;
use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use web::{DemoControl, DemoPanel};

/// The default port of the provider's pages, if it is free.
const SANDBOX_PORT: u16 = 8090;
/// How much faster than real time the provider's retries and refunds run.
const SANDBOX_SPEED: f64 = 20.0;
/// How long the modules may take to connect before the demo gives up.
const WAIT_TIMEOUT: Duration = Duration::from_secs(50);
/// More virtual modules than this are for a benchmark, not for a demo.
const MODULES_MAX: u16 = 1000;
/// How many files and sockets a demo and its visitors may have open.
const MQTT_CONNECTIONS_MAX: usize = 2_000;
const HTTP_CONNECTIONS_MAX: u32 = 800;
const LIVE_STREAMS_MAX: u32 = 500;

/// How the demo runs.
#[derive(Args)]
pub struct Options {
    /// Where the pages are. Port 0 takes a free one. With 0.0.0.0:8080 a phone on the same network gets there.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    http: SocketAddr,
    /// Where phones reach the pages, http://192.168.1.5:8080, if that is not where --http says. The provider's pages are
    /// taken to be at the same host.
    #[arg(long, value_name = "URL", value_parser = read_public_url)]
    public_url: Option<url::Url>,
    /// Where modules and integrators connect by MQTT. Port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:1883")]
    mqtt: SocketAddr,
    /// Where they connect by MQTT over TLS, with a certificate of the demo's own. Port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    mqtt_tls: SocketAddr,
    /// Where they connect by MQTT over WebSocket. Port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    mqtt_ws: SocketAddr,
    /// The directory for the data; a second start with it continues where it stopped. Without it, a temporary directory
    /// is used and removed at the end.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The server's database, instead of a file in the data directory.
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// How many virtual modules run.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=i64::from(MODULES_MAX)))]
    modules: u16,
    /// How much is logged.
    #[arg(long, default_value = "warn")]
    pub log: String,
}

/// Runs the demo until it is asked to end.
pub async fn run(options: Options) -> Result<()> {
    let temporary;
    let dir = match &options.data {
        Some(dir) => dir.as_path(),
        None => {
            temporary = tempfile::tempdir().context("cannot make a temporary directory")?;
            temporary.path()
        }
    };
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make the data directory {}", dir.display()))?;
    let facts_file = dir.join("demo.json");
    // What an earlier demo left there is out of date.
    let _ = std::fs::remove_file(&facts_file);
    let state = State::load_or_make(dir, options.modules)?;
    let builder = ServerBuilder::bind(options.http).await?;
    let public = PublicAddress::of(builder.http(), options.public_url.as_ref(), own_address);
    let settings = settings(&options, dir, &public)?;
    let sandbox = start_sandbox(dir, options.http.ip(), &public.host).await?;
    let mut fleet = None;
    let server = Server::start(&settings, builder, async |backend, mqtt| {
        let mqtt = reachable(mqtt.context("the demo's broker does not listen")?);
        let machines = state.seed(backend, &sandbox).await?;
        let started = Arc::new(Fleet::start(dir, &state, machines, mqtt, backend).await?);
        fleet = Some(started.clone());
        Ok(Some(panel(&state, started, mqtt, &sandbox)))
    })
    .await?;
    let fleet = fleet.context("the demo's modules were not started")?;
    let addresses = DemoAddresses::of(public, &server)?;
    wait_until_ready(&server.backend, &fleet).await?;
    let facts = facts(&addresses, dir, &sandbox, &state, &fleet);
    write_private(&facts_file, serde_json::to_string_pretty(&facts)?.as_bytes())
        .with_context(|| format!("cannot write demo.json in {}", dir.display()))?;
    print_welcome(&addresses, &sandbox, &state, &fleet, dir);

    shutdown_signal().await?;
    println!("ending");
    let _ = std::fs::remove_file(&facts_file);
    server.shutdown().await;
    fleet.shutdown().await;
    sandbox.shutdown().await;
    Ok(())
}

fn settings(options: &Options, dir: &Path, public: &PublicAddress) -> Result<Settings> {
    let mut settings = Settings::defaults()?;
    let path = |name: &str| text(&dir.join(name));
    settings.database_url = Secret(match &options.database {
        Some(url) => url.clone(),
        None => format!("sqlite://{}?mode=rwc", path("coinwire.db")?),
    });
    settings.secret_key_file = path("coinwire.key")?;
    settings.public_url = public.origin.clone();
    settings.admins = vec![state::EMAIL.into()];
    // A demo has few visitors, so it does not warn about the limits that ordinary computers have.
    settings.mqtt_connections = MQTT_CONNECTIONS_MAX;
    settings.http_connections = HTTP_CONNECTIONS_MAX;
    settings.live_streams = LIVE_STREAMS_MAX;
    settings.mqtt_listen = Some(options.mqtt);
    let certificate = Certificate::load_or_make(dir)?;
    settings.mqtt_tls_listen = Some(options.mqtt_tls);
    settings.mqtt_tls_certificate = text(&certificate.certificate)?;
    settings.mqtt_tls_key = text(&certificate.key)?;
    settings.mqtt_ws_listen = Some(options.mqtt_ws);
    Ok(settings)
}

fn text(path: &Path) -> Result<String> {
    Ok(path.to_str().context("the data directory's name must be readable text")?.to_owned())
}

/// Its pages have the same interface and host name as ours.
async fn start_sandbox(dir: &Path, ip: IpAddr, public_host: &str) -> Result<sandbox::Sandbox> {
    let config = |port| sandbox::Config {
        listen: SocketAddr::new(ip, port),
        public_host: Some(public_host.to_owned()),
        data_dir: Some(dir.join("sandbox")),
        speed: SANDBOX_SPEED,
        seed: 1,
    };
    match sandbox::start(config(SANDBOX_PORT)).await {
        Err(sandbox::StartError::Listen { .. }) => Ok(sandbox::start(config(0)).await?),
        started => Ok(started?),
    }
}

fn panel(state: &State, fleet: Arc<Fleet>, mqtt: SocketAddr, sandbox: &sandbox::Sandbox) -> DemoPanel {
    DemoPanel {
        control: fleet,
        operator_email: state.email.clone(),
        operator_password: state.password.clone(),
        mqtt_url: format!("mqtt://{mqtt}"),
        integrator_username: state::OPERATOR_SLUG.into(),
        integrator_password: state.integrator_password.clone(),
        integrator_topics: state::TOPICS.into(),
        sandbox_url: sandbox.public_url().into(),
    }
}

/// Waits until every machine answers a probe.
async fn wait_until_ready(backend: &backend::Context, fleet: &Fleet) -> Result<()> {
    let all = async {
        for module in fleet.modules() {
            while scan_machine::scan(backend, &module.code, PayerApp::Browser).await?.readiness != Readiness::Ready {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        anyhow::Ok(())
    };
    match tokio::time::timeout(WAIT_TIMEOUT, all).await {
        Ok(outcome) => outcome,
        Err(_) => bail!("the virtual modules did not connect within {} s", WAIT_TIMEOUT.as_secs()),
    }
}

fn facts(
    addresses: &DemoAddresses,
    dir: &Path,
    sandbox: &sandbox::Sandbox,
    state: &State,
    fleet: &Fleet,
) -> serde_json::Value {
    let http = &addresses.public.origin;
    let machines: Vec<_> = fleet
        .modules()
        .into_iter()
        .map(|m| json!({"code": m.code, "page": format!("{http}/s/{}", m.code), "machine": m.machine, "module": m.id}))
        .collect();
    let spare = &state.spare;
    json!({
        "http": http,
        "mqtt": format!("mqtt://{}", addresses.mqtt),
        "mqtt_tls": format!("mqtts://{}", addresses.mqtt_tls),
        "mqtt_ws": format!("ws://{}/mqtt", addresses.mqtt_ws),
        "mqtt_ca": dir.join(CA_FILE),
        "sandbox": sandbox.public_url(),
        "operator": {"email": state.email, "password": state.password},
        "integrator": {
            "username": state::OPERATOR_SLUG,
            "password": state.integrator_password,
            "topics": state::TOPICS,
        },
        "machines": machines,
        "spare_module": {
            "id": spare.id,
            "username": spare.id,
            "password": spare.identity().map(|it| it.secret.mqtt_password(it.id).as_str().to_owned()).unwrap_or_default(),
            "secret_hex": spare.secret_hex,
        },
    })
}

fn print_welcome(addresses: &DemoAddresses, sandbox: &sandbox::Sandbox, state: &State, fleet: &Fleet, dir: &Path) {
    let (http, mqtt) = (&addresses.public.origin, addresses.mqtt);
    println!("Coinwire's demo runs. Nothing here costs money.\n");
    if let Some(notice) = addresses.public.notice {
        println!("{notice}\n");
    }
    println!("  overview    {http}/demo");
    println!("  operator    {http}/operator   {} / {}", state.email, state.password);
    println!("  provider    {} (play money)", sandbox.public_url());
    println!(
        "  integrator  mosquitto_sub -V 5 -h {} -p {} -u {} -P {} -t '{}' -v",
        mqtt.ip(),
        mqtt.port(),
        state::OPERATOR_SLUG,
        state.integrator_password,
        state::TOPICS
    );
    println!("  as well     mqtts://{} (trust {})", addresses.mqtt_tls, dir.join(CA_FILE).display());
    println!("              ws://{}/mqtt", addresses.mqtt_ws);
    println!("  facts       {}\n", dir.join("demo.json").display());
    for module in fleet.modules().iter().take(10) {
        println!("  scan        {http}/s/{}   {} (module {})", module.code, module.machine, module.id);
    }
    println!("\nCtrl-C ends it.");
}
