//! `coinwire serve`, without demo data: from an empty directory to a signed-in operator.

use crate::{
    WAIT_TIMEOUT,
    coinwire::{Ended, Running, coinwire, coinwire_with_files, run_with_input},
    settings::working_settings,
    until,
    visitor::Visitor,
};
use reqwest::Url;
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const EMAIL: &str = "owner@example.com";
const PASSWORD: &str = "correct horse battery";

struct Operation {
    dir: tempfile::TempDir,
}

impl Operation {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("coinwire.toml"), working_settings(dir.path())).unwrap();
        Self { dir }
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("coinwire.toml")
    }

    fn add(&self, args: &[&str], input: &str) -> Ended {
        let config = self.config();
        let all: Vec<_> = ["add", "--config", config.to_str().unwrap()].iter().chain(args).copied().collect();
        run_with_input(&mut coinwire(&all), input)
    }

    /// Adds, and gives the words that it prints behind `name`.
    fn added(&self, args: &[&str], input: &str, name: &str) -> String {
        let ended = self.add(args, input);
        assert!(ended.success, "{args:?}: {}", ended.stderr);
        let line = ended.stdout.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        assert!(!line.is_empty(), "{args:?} printed no {name:?}: {}", ended.stdout);
        line.trim().to_owned()
    }

    /// Serves, and gives the address from the log.
    async fn serve(&self) -> (Running, Visitor) {
        serve(&mut coinwire(&["serve", "--config", self.config().to_str().unwrap()])).await
    }
}

async fn serve(command: &mut std::process::Command) -> (Running, Visitor) {
    let mut running = Running::start(command);
    let base = until("the address in the log", async || {
        running.must_run();
        http_address(&running)
    })
    .await;
    (running, Visitor::new(base))
}

/// Where its pages are, from its log, once it serves.
fn http_address(running: &Running) -> Option<Url> {
    let log = running.stderr();
    let (_, rest) = log.split_once(" http=")?;
    let (address, _) = rest.split_once(' ')?;
    Some(format!("http://{address}").parse().unwrap())
}

#[tokio::test]
async fn from_nothing_to_a_signed_in_operator_with_a_machine() {
    let operation = Operation::new();
    let operator = operation.added(&["operator", "rides", "Happy Rides"], "", "operator ");
    operation.added(&["member", &operator, EMAIL], PASSWORD, "member ");
    let module = operation.added(&["module"], "", "id ");
    let code = operation.added(
        &["machine", &operator, "--module", &module, "--price", "One ride,200,2", "Rocket", "Mall"],
        "",
        "code ",
    );
    operation.added(&["integrator", &operator], "an integrator's password", "password set");

    let (mut running, visitor) = operation.serve().await;
    for path in ["/healthz", "/readyz"] {
        assert!(visitor.get(path).await.status.is_success(), "{path}");
    }
    let scan = visitor.get(&format!("/s/{code}")).await;
    assert_eq!((scan.texts("h1"), scan.texts(".status")), (vec!["Rocket".into()], vec!["Not on sale".into()]));
    assert!(scan.forms("/order").is_empty(), "an operator without a merchant account takes no money");
    assert!(visitor.get("/operator").await.location.is_some_and(|to| to.path() == "/sign-in"));
    assert!(visitor.sign_in(EMAIL, "wrong").await.is_none());
    let member = visitor.sign_in(EMAIL, PASSWORD).await.expect("the password is right");
    assert!(member.get("/operator").await.html.contains("Rocket"));
    assert_eq!(visitor.get("/demo").await.status, 404, "what serves for real has no demo");
    let (status, _) = running.terminate().await;
    assert!(status.success(), "{status}");
}

#[test]
fn what_cannot_be_added_is_named() {
    let operation = Operation::new();
    let operator = operation.added(&["operator", "rides", "Happy Rides"], "", "operator ");
    let module = operation.added(&["module"], "", "id ");
    let account = operation.dir.path().join("account.json");
    fs::write(&account, "{\"mchid\": \"1900000001\", \"secret\": \"hunter2\"}").unwrap();
    let account = account.to_str().unwrap();
    let cases: [(&[&str], &str, &str); 11] = [
        (&["operator", "Rides!", "Happy Rides"], "", "slug"),
        (&["operator", "rides", "Twice"], "", "taken"),
        (&["operator", "others", "Others", "--currency", "XYZ"], "", "currency"),
        (&["member", "999", EMAIL], PASSWORD, "operator"),
        (&["member", &operator, EMAIL], "x", "password"),
        (&["machine", &operator, "--module", &module, "--price", "One ride", "Rocket", "Mall"], "", "--price"),
        (&["machine", "999", "--price", "One ride,200,2", "Rocket", "Mall"], "", "operator"),
        (&["module", "--existing", "0123456789", "00"], "", "secret"),
        (&["merchant", &operator, "wechat", "/nowhere.json"], "", "/nowhere.json"),
        (&["merchant", &operator, "wechat", account], "", "account"),
        (&["merchant", &operator, "nopay", account], "", "provider"),
    ];
    for (args, input, word) in cases {
        let ended = operation.add(args, input);
        assert!(!ended.success, "{args:?} was taken");
        assert!(ended.stderr.to_lowercase().contains(word), "{word:?} is not named for {args:?}: {}", ended.stderr);
        assert!(!ended.stderr.contains("panicked") && !ended.stderr.contains("hunter2"), "{}", ended.stderr);
    }
}

#[test]
fn migrating_twice_applies_nothing_the_second_time() {
    let operation = Operation::new();
    let config = operation.config();
    let migrate = || run_with_input(&mut coinwire(&["migrate", "--config", config.to_str().unwrap()]), "");
    let first = migrate();
    assert!(first.success, "{first:?}");
    assert!(!first.stdout.starts_with('0'), "{}", first.stdout);
    let second = migrate();
    assert!(second.success && second.stdout.starts_with('0'), "{second:?}");
}

#[tokio::test]
async fn all_printed_settings_together_and_the_environment_above_them_serve() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("all.toml");
    fs::write(&file, crate::coinwire::run(&["config"]).stdout).unwrap();
    let mut command = coinwire(&["serve"]);
    command.current_dir(dir.path()).env("COINWIRE_CONFIG", &file);
    command.envs([("COINWIRE_HTTP_LISTEN", "127.0.0.1:0"), ("COINWIRE_MQTT_LISTEN", "127.0.0.1:0")]);
    let (mut running, visitor) = serve(&mut command).await;
    assert!(visitor.get("/readyz").await.status.is_success());
    assert!(is_private(&dir.path().join("coinwire.key")), "others may read the key");
    let (status, _) = running.terminate().await;
    assert!(status.success(), "{status}");
}

/// The embedded broker does not accept a packet longer than its setting.
#[tokio::test]
async fn the_limits_of_the_broker_are_settings() {
    let operation = Operation::new();
    let mut settings = fs::OpenOptions::new().append(true).open(operation.config()).unwrap();
    settings.write_all(b"[mqtt_limits]\npacket_bytes = 512\ntopic_levels = 9\n").unwrap();
    let mut command = coinwire(&["serve", "--config", operation.config().to_str().unwrap()]);
    command.env("COINWIRE_MQTT_LIMITS__PACKET_BYTES", "1024");
    let (mut running, visitor) = serve(&mut command).await;
    // The beginning of an MQTT 5 CONNECT, with the length of the rest.
    let connect = |length: [u8; 2]| [&[0x10][..], &length, b"\x00\x04MQTT\x05"].concat();
    let mqtt = mqtt_address(&running);
    let mut too_long = TcpStream::connect(&mqtt).await.unwrap();
    too_long.write_all(&connect([0x80, 0x10])).await.unwrap();
    let mut answer = [0; 4];
    too_long.read_exact(&mut answer).await.expect("it is told, before it has sent the rest");
    assert_eq!((answer[0], answer[3]), (0x20, 0x95), "CONNACK, packet too large");
    // The environment is above the file.
    let mut longer_than_in_the_file = TcpStream::connect(&mqtt).await.unwrap();
    longer_than_in_the_file.write_all(&connect([0x80, 0x05])).await.unwrap();
    longer_than_in_the_file.write_all(&[0; 640]).await.unwrap();
    longer_than_in_the_file.read_exact(&mut answer).await.expect("it is answered");
    assert_ne!(answer[3], 0x95);
    until("the backend is ready", async || visitor.get("/readyz").await.status.is_success().then_some(())).await;
    let (status, _) = running.terminate().await;
    assert!(status.success(), "{status}");
}

/// Sockets that say nothing take no file from pages and store, however many they are.
#[tokio::test]
async fn silent_sockets_leave_open_files_for_others() {
    let operation = Operation::new();
    // Of our own, too, many are open here.
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let mut command = coinwire_with_files(1_000, &["serve", "--config", operation.config().to_str().unwrap()]);
    // They are not cut for their silence while this looks.
    command.env("COINWIRE_MQTT_LIMITS__CONNECT_TIMEOUT_S", "3600");
    let (mut running, _) = serve(&mut command).await;
    let said = running.stderr();
    let told = "mqtt_connections is 19000, and is held to 657: this process may have 1000 files";
    assert!(said.contains(told) && said.contains("LimitNOFILE"), "{said}");
    let mqtt = mqtt_address(&running);
    let mut silent = Vec::new();
    for _ in 0..1_500 {
        silent.push(TcpStream::connect(&mqtt).await.unwrap());
    }
    let gives_way = tokio::time::timeout(WAIT_TIMEOUT, silent[0].read(&mut [0])).await;
    assert!(matches!(gives_way, Ok(Ok(0))), "the oldest gives way to those that come: {gives_way:?}");
    let newcomer = Visitor::new(http_address(&running).unwrap());
    for path in ["/healthz", "/readyz", "/sign-in"] {
        until(path, async || newcomer.get(path).await.status.is_success().then_some(())).await;
    }
    let (status, _) = running.terminate().await;
    assert!(status.success(), "{status}");
}

/// The same on the web's own port, where they stop in the middle of a request.
#[tokio::test]
async fn silent_visitors_leave_open_files_for_others() {
    let operation = Operation::new();
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let mut command = coinwire_with_files(1_000, &["serve", "--config", operation.config().to_str().unwrap()]);
    let (mut running, visitor) = serve(&mut command).await;
    let told = "http_connections is 12000, and is held to 218: this process may have 1000 files";
    assert!(running.stderr().contains(told), "{}", running.stderr());
    let http = http_address(&running).unwrap();
    let http = format!("{}:{}", http.host_str().unwrap(), http.port().unwrap());
    let mut silent = Vec::new();
    for _ in 0..1_500 {
        let mut socket = TcpStream::connect(&http).await.unwrap();
        socket.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nX: ").await.unwrap();
        silent.push(socket);
    }
    let gives_way = tokio::time::timeout(WAIT_TIMEOUT, silent[0].read(&mut [0])).await;
    assert!(matches!(gives_way, Ok(Ok(0) | Err(_))), "the oldest gives way to those that come: {gives_way:?}");
    for path in ["/healthz", "/readyz", "/sign-in"] {
        until(path, async || visitor.get(path).await.status.is_success().then_some(())).await;
    }
    let (status, _) = running.terminate().await;
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn metrics_may_have_an_address_of_their_own() {
    let operation = Operation::new();
    // Whoever takes it meanwhile makes the server say so, and the test fail.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = coinwire(&["serve", "--config", operation.config().to_str().unwrap()]);
    let (mut running, visitor) = serve(command.env("COINWIRE_METRICS_LISTEN", free.to_string())).await;
    assert_eq!(visitor.get("/metrics").await.status, 404);
    let prometheus = Visitor::new(format!("http://{free}").parse().unwrap());
    let metrics = prometheus.get("/metrics").await;
    assert!(metrics.status.is_success() && metrics.html.contains("web_requests_total"), "{}", metrics.html);
    assert_eq!(prometheus.get("/healthz").await.status, 404, "and nothing else is there");
    let (status, _) = running.terminate().await;
    assert!(status.success(), "{status}");
}

/// Where it takes MQTT, from its log.
fn mqtt_address(running: &Running) -> String {
    let log = running.stderr();
    let (_, rest) = log.split_once(" mqtt=Some(").expect("it says so when it serves");
    rest.split_once(')').expect("an address").0.to_owned()
}

/// Whether only its owner may read a file.
fn is_private(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(file).unwrap().permissions().mode() & 0o077 == 0
}
