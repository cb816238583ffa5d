//! The broker alone, with logins and grants from a file: for trying it, and for running any MQTT suite against it.
//!
//! ```text
//! cargo build --workspace --example open
//! target/debug/examples/open --listen 127.0.0.1:1883 --rules rules.txt
//! ```
//!
//! Built with the workspace it shares the dependencies with everything else; `cargo run -p broker` compiles most of them
//! again, with fewer features.
//!
//! A line of the file is a login: user, password, lane (`client` or `device`), filters it may publish to and filters it
//! may subscribe to, each comma-separated; `-` stands for none (and, as a user, for a login without user name). `#` at the
//! start of a line begins a comment. Two examples:
//!
//! ```text
//! anna   secret  client  v1/op/#,m/+/command  v1/op/#,m/#
//! -      -       client  #                    #
//! ```

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use broker::{Authenticate, ClientIdRule, Config, Grants, Lane, Login, Refusal, TlsFiles};
use clap::Parser;

#[derive(Parser)]
struct Arguments {
    /// Address for MQTT over TCP; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:1883")]
    listen: SocketAddr,
    /// Address for MQTT over TLS; needs --certificate and --key.
    #[arg(long, requires = "certificate")]
    tls: Option<SocketAddr>,
    /// Address for MQTT over WebSocket.
    #[arg(long)]
    ws: Option<SocketAddr>,
    /// The server's certificate with its issuers, PEM.
    #[arg(long, requires = "key")]
    certificate: Option<PathBuf>,
    /// The certificate's private key, PEM.
    #[arg(long)]
    key: Option<PathBuf>,
    /// Issuers of client certificates, PEM.
    #[arg(long)]
    client_ca: Option<PathBuf>,
    /// File of logins and grants.
    #[arg(long)]
    rules: PathBuf,
}

struct Rule {
    user: Option<String>,
    password: Vec<u8>,
    lane: Lane,
    publish: Vec<String>,
    subscribe: Vec<String>,
}

struct Rules(Vec<Rule>);

fn parse(text: &str) -> anyhow::Result<Rules> {
    let filters = |text: &str| match text {
        "-" => Vec::new(),
        text => text.split(',').map(str::to_owned).collect(),
    };
    let mut rules = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let [user, password, lane, publish, subscribe] = words[..] else {
            bail!("line {}: expected user, password, lane, publish filters, subscribe filters", at + 1);
        };
        let lane =
            lane.parse().with_context(|| format!("line {}: {lane:?} is not a lane: client or device", at + 1))?;
        rules.push(Rule {
            user: (user != "-").then(|| user.to_owned()),
            password: if password == "-" { Vec::new() } else { password.into() },
            lane,
            publish: filters(publish),
            subscribe: filters(subscribe),
        });
    }
    Ok(Rules(rules))
}

#[async_trait::async_trait]
impl Authenticate for Rules {
    async fn authenticate(&self, login: &Login) -> Result<Grants, Refusal> {
        let password = login.password.as_deref().unwrap_or_default();
        let rule = self
            .0
            .iter()
            .find(|rule| rule.user == login.username && rule.password == password)
            .ok_or(Refusal::BadCredentials)?;
        Ok(Grants {
            credential: rule.user.clone().unwrap_or_else(|| "anonymous".to_owned()),
            lane: rule.lane,
            client_id: ClientIdRule::Any,
            publish: rule.publish.clone(),
            subscribe: rule.subscribe.clone(),
            shared: rule.lane == Lane::Client,
        })
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let filter =
        tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "broker=info,rumqttd=off,warn".into());
    tracing_subscriber::fmt().with_env_filter(filter).init();
    let arguments = Arguments::parse();
    // Each connection is an open file, and the usual limit is 1,024.
    rlimit::increase_nofile_limit(u64::MAX).context("cannot raise the limit of open files")?;
    let text = std::fs::read_to_string(&arguments.rules)
        .with_context(|| format!("cannot read the rules in {}", arguments.rules.display()))?;
    let rules = parse(&text).with_context(|| arguments.rules.display().to_string())?;
    let files = arguments.certificate.zip(arguments.key);
    let config = Config {
        listen: vec![arguments.listen],
        listen_tls: arguments.tls.into_iter().collect(),
        listen_web_socket: arguments.ws.into_iter().collect(),
        tls: files.map(|(certificate, key)| TlsFiles { certificate, key, client_ca: arguments.client_ca }),
        ..Config::default()
    };
    let broker = broker::start(config, Arc::new(rules)).await?;
    let listening = [("mqtt", broker.local_addrs()), ("mqtts", broker.tls_addrs()), ("ws", broker.web_socket_addrs())];
    for (scheme, addresses) in listening {
        for address in addresses {
            println!("{scheme}://{address}");
        }
    }
    tokio::signal::ctrl_c().await?;
    broker.shutdown().await;
    Ok(())
}
