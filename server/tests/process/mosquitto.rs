//! Mosquitto's command line clients.

use crate::WAIT_TIMEOUT;
use serde_json::Value;
use std::{net::SocketAddr, process::Stdio};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

/// A name and a password; nobody has neither.
pub type Login<'a> = Option<(&'a str, &'a str)>;

fn command(tool: &str, at: SocketAddr, login: Login, args: &[&str]) -> Command {
    // Its output comes line by line only if it is told so: it is no terminal that reads it.
    let mut command = Command::new("stdbuf");
    command.args(["-oL", tool, "-h", &at.ip().to_string(), "-p", &at.port().to_string()]);
    if let Some((username, password)) = login {
        command.args(["-u", username, "-P", password]);
    }
    command.args(args).stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// How a client ended, and all it said.
#[derive(Debug)]
pub struct Outcome {
    pub success: bool,
    pub said: String,
}

/// Runs a client to its end.
pub async fn run(tool: &str, at: SocketAddr, login: Login<'_>, args: &[&str]) -> Outcome {
    let running = command(tool, at, login, args).stdout(Stdio::piped()).stderr(Stdio::piped()).output();
    let output = timeout(WAIT_TIMEOUT, running).await.expect("the client ends").expect("coreutils are installed");
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    assert!(!said.contains("No such file"), "{tool} is not installed: cargo xtask setup");
    Outcome { success: output.status.success(), said }
}

/// `mosquitto_sub` with its subscription standing.
pub struct Subscriber {
    lines: Lines<BufReader<ChildStdout>>,
    _child: Child,
}

impl Subscriber {
    /// Subscribes, with MQTT `version` 311 or 5.
    pub async fn start(at: SocketAddr, login: Login<'_>, version: &str, topics: &str) -> Self {
        let args = ["-d", "-v", "-V", version, "-q", "1", "-t", topics];
        let mut child = command("mosquitto_sub", at, login, &args).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut it = Self { lines, _child: child };
        while !it.line().await.starts_with("Subscribed") {}
        it
    }

    async fn line(&mut self) -> String {
        let line = timeout(WAIT_TIMEOUT, self.lines.next_line()).await.expect("a line from mosquitto_sub").unwrap();
        line.expect("mosquitto_sub ended by itself (is it installed? cargo xtask setup)")
    }

    /// Waits until it ends by itself.
    pub async fn ended(&mut self) {
        while timeout(WAIT_TIMEOUT, self.lines.next_line()).await.expect("mosquitto_sub ends").unwrap().is_some() {}
    }

    /// The next message: topic and JSON.
    pub async fn message(&mut self) -> (String, Value) {
        loop {
            let line = self.line().await;
            // Debug lines begin with words: Client, Subscribed.
            if let Some((topic, payload)) = line.split_once(' ').filter(|(topic, _)| topic.contains('/')) {
                let json = serde_json::from_str(payload).unwrap_or_else(|_| panic!("no JSON: {line}"));
                return (topic.to_owned(), json);
            }
        }
    }

    /// Reads until a message of this kind (the topic's last level) satisfies.
    pub async fn until(&mut self, kind: &str, mut satisfies: impl FnMut(&Value) -> bool) -> Value {
        loop {
            let (topic, json) = self.message().await;
            if topic.ends_with(&format!("/{kind}")) && satisfies(&json) {
                return json;
            }
        }
    }
}
