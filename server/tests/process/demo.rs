//! The demo as a process, and what it says of itself in `demo.json`.

use crate::{
    coinwire::{Running, coinwire},
    until,
    visitor::Visitor,
};
use serde::Deserialize;
use std::{fs, net::SocketAddr, path::Path, process::Command, time::Instant};

/// `demo.json`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Facts {
    pub http: String,
    pub mqtt: String,
    pub mqtt_tls: String,
    /// The file of what to trust there.
    pub mqtt_ca: String,
    pub sandbox: String,
    pub operator: Operator,
    pub integrator: Integrator,
    pub machines: Vec<Machine>,
    pub spare_module: SpareModule,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Operator {
    pub email: String,
    pub password: String,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Integrator {
    pub username: String,
    pub password: String,
    pub topics: String,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Machine {
    pub code: String,
    pub page: String,
    pub machine: String,
    pub module: String,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct SpareModule {
    pub id: String,
    pub username: String,
    pub password: String,
    pub secret_hex: String,
}

impl Facts {
    /// The broker's address.
    pub fn mqtt_address(&self) -> SocketAddr {
        self.mqtt.strip_prefix("mqtt://").unwrap().parse().unwrap()
    }

    /// Where the broker speaks TLS.
    pub fn mqtt_tls_address(&self) -> SocketAddr {
        self.mqtt_tls.strip_prefix("mqtts://").unwrap().parse().unwrap()
    }

    pub fn visitor(&self) -> Visitor {
        Visitor::new(self.http.parse().unwrap())
    }

    /// The operator's member, signed in.
    pub async fn member(&self) -> Visitor {
        let Operator { email, password } = &self.operator;
        self.visitor().sign_in(email, password).await.expect("the operator's login")
    }
}

/// A demo that runs.
pub struct Demo {
    pub running: Running,
    pub facts: Facts,
}

impl Demo {
    /// Starts it on `dir` and waits until it is payable.
    pub async fn start(dir: &Path) -> Self {
        Self::start_with(dir, 2).await
    }

    /// Starts it with so many modules.
    pub async fn start_with(dir: &Path, modules: usize) -> Self {
        Self::start_on(dir, modules, None).await
    }

    /// Starts it on a database elsewhere, if one is named.
    pub async fn start_on(dir: &Path, modules: usize, database: Option<&str>) -> Self {
        let modules = modules.to_string();
        let mut args = arguments(dir, &modules);
        args.extend(database.iter().flat_map(|url| ["--database", url]));
        Self::run(dir, &mut coinwire(&args)).await
    }

    /// Starts it in a process whose new files others may use as the umask says.
    pub async fn start_with_umask(dir: &Path, umask: &str) -> Self {
        let plain = coinwire(&arguments(dir, "2"));
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("umask {umask} && exec \"$0\" \"$@\"")).arg(plain.get_program());
        Self::run(dir, command.args(plain.get_args())).await
    }

    /// Starts it with other addresses of its pages.
    pub async fn start_at(dir: &Path, addresses: &[&str]) -> Self {
        let data = dir.to_str().unwrap();
        let args = [&["demo", "--mqtt", "127.0.0.1:0", "--data", data, "--modules", "1"], addresses].concat();
        Self::run(dir, &mut coinwire(&args)).await
    }

    async fn run(dir: &Path, command: &mut Command) -> Self {
        // One that was killed has left its own.
        let _ = fs::remove_file(dir.join("demo.json"));
        let begun = Instant::now();
        let mut running = Running::start(command);
        let facts = until("demo.json", async || {
            running.must_run();
            read(&dir.join("demo.json"))
        })
        .await;
        println!("payable {} ms after the start", begun.elapsed().as_millis());
        Self { running, facts }
    }
}

fn arguments<'a>(dir: &'a Path, modules: &'a str) -> Vec<&'a str> {
    let data = dir.to_str().unwrap();
    vec!["demo", "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--data", data, "--modules", modules]
}

/// What the file says, once it is there and whole.
pub fn read(file: &Path) -> Option<Facts> {
    let text = fs::read_to_string(file).ok()?;
    serde_json::from_str(&text).ok()
}
