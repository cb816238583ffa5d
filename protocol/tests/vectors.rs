//! The golden vectors, both ways: the library makes the bytes that `vectors/make.py` made without it, and reads them
//! back; and it refuses what is not a message.
#![allow(clippy::unwrap_used)]

use hmac::{Hmac, KeyInit, Mac};
use minicbor::{Decode, Encode};
use protocol::{
    ModuleId, ModuleSecret, OpenError,
    limits::{PAYLOAD_MAX_BYTES, TAG_BYTES},
    messages::*,
    open, seal,
    topics::{self, Kind},
};
use serde_json::{Map, Value};
use std::fmt::Debug;

fn read(file: &str) -> Vec<Value> {
    let path = format!("{}/vectors/{file}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn text<'a>(vector: &'a Value, name: &str) -> &'a str {
    vector[name].as_str().unwrap_or_else(|| panic!("{name} of {vector}"))
}

fn bytes(hex: &str) -> Vec<u8> {
    hex::decode(hex).unwrap()
}

fn module_of(vector: &Value) -> (ModuleId, ModuleSecret) {
    let secret = bytes(text(vector, "secret_hex")).try_into().unwrap();
    (ModuleId::parse(text(vector, "module")).unwrap(), ModuleSecret::new(secret))
}

/// The tag as the contract words it, with the key that stands in the vector.
fn tag(vector: &Value, topic: &str, body: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&bytes(text(vector, "message_key_hex"))).unwrap();
    mac.update(topic.as_bytes());
    mac.update(&[0]);
    mac.update(body);
    mac.finalize().into_bytes()[..TAG_BYTES].to_vec()
}

/// A message's fields as they stand in a vector. Each is taken once; one left over fails the test.
struct Fields(Map<String, Value>);

impl Fields {
    fn of(value: &Value) -> Self {
        Self(value.as_object().unwrap().clone())
    }

    fn take(&mut self, name: &str) -> Value {
        self.0.remove(name).unwrap_or_else(|| panic!("{name} is missing"))
    }

    fn number<T: TryFrom<u64, Error: Debug>>(&mut self, name: &str) -> T {
        self.take(name).as_u64().unwrap().try_into().unwrap()
    }

    fn maybe<T: TryFrom<u64, Error: Debug>>(&mut self, name: &str) -> Option<T> {
        self.0.contains_key(name).then(|| self.number(name))
    }

    fn truth(&mut self, name: &str) -> bool {
        self.take(name).as_bool().unwrap()
    }

    fn nested<T>(&mut self, name: &str, build: impl FnOnce(&mut Fields) -> T) -> T {
        let mut fields = Fields::of(&self.take(name));
        let built = build(&mut fields);
        fields.end();
        built
    }

    fn end(self) {
        assert!(self.0.is_empty(), "left over: {:?}", self.0);
    }
}

fn mark(f: &mut Fields) -> Mark {
    Mark { boot: f.number("boot"), session: f.number("session"), sequence: f.number("sequence") }
}

fn status<'a>(f: &mut Fields, firmware: &'a str) -> Status<'a> {
    assert_eq!(f.take("firmware"), firmware);
    Status {
        mark: f.nested("mark", mark),
        online: f.truth("online"),
        uptime_ms: f.number("uptime_ms"),
        at_ms: f.maybe("at_ms"),
        last_command: f.number("last_command"),
        settings_version: f.number("settings_version"),
        firmware,
        signal_csq: f.maybe("signal_csq"),
        supply_mv: f.maybe("supply_mv"),
        totals: f.nested("totals", |f| Totals {
            coin_pulses: f.number("coin_pulses"),
            credit_pulses: f.number("credit_pulses"),
            noise_edges: f.number("noise_edges"),
        }),
        faults: f.number("faults"),
        locked: f.0.contains_key("locked").then(|| f.truth("locked")),
        learned: f.0.contains_key("learned").then(|| f.nested("learned", learned)),
        diagnostics: f.0.contains_key("diagnostics").then(|| f.nested("diagnostics", diagnostics)),
    }
}

fn spread(f: &mut Fields) -> Spread {
    Spread { min: f.number("min"), median: f.number("median"), max: f.number("max") }
}

fn learned(f: &mut Fields) -> Learned {
    Learned {
        stage: word_or_code(&f.take("stage"), &LEARN_STAGES, LearnStage::as_str, LearnStage::from_code),
        command: f.maybe("command").unwrap_or(0),
        coins: f.number("coins"),
        coins_asked: f.number("coins_asked"),
        failure: f
            .0
            .remove("failure")
            .map(|v| word_or_code(&v, &LEARN_FAILURES, LearnFailure::as_str, LearnFailure::from_code)),
        profile: f.0.contains_key("profile").then(|| f.nested("profile", profile)),
        widths_ms: f.0.contains_key("widths_ms").then(|| f.nested("widths_ms", spread)),
        gaps_ms: f.0.contains_key("gaps_ms").then(|| f.nested("gaps_ms", spread)),
        coin_pulses: f.0.contains_key("coin_pulses").then(|| f.nested("coin_pulses", spread)),
        bounce_us: f.maybe("bounce_us").unwrap_or(0),
        noise_edges: f.maybe("noise_edges").unwrap_or(0),
        test_pulses: f.maybe("test_pulses").unwrap_or(0),
        confirmed: f.0.contains_key("confirmed").then(|| f.truth("confirmed")),
    }
}

fn diagnostics(f: &mut Fields) -> Diagnostics {
    let mut counter = |name| f.maybe(name).unwrap_or(0);
    Diagnostics {
        bad_tags: counter("bad_tags"),
        bad_payloads: counter("bad_payloads"),
        flash_failures: counter("flash_failures"),
        flash_writes: counter("flash_writes"),
        sessions: counter("sessions"),
        modem_restarts: counter("modem_restarts"),
        modem_timeouts: counter("modem_timeouts"),
        modem_garbage: counter("modem_garbage"),
        edges_lost: counter("edges_lost"),
        credits_capped: counter("credits_capped"),
        modem_errors: counter("modem_errors"),
        links_lost: counter("links_lost"),
        reset_cause: f
            .0
            .remove("reset_cause")
            .map(|v| word_or_code(&v, &RESET_CAUSES, ResetCause::as_str, ResetCause::from_code)),
        panic: f
            .0
            .contains_key("panic")
            .then(|| f.nested("panic", |f| Panic { file_hash: f.number("file_hash"), line: f.number("line") })),
        uptime_before_s: f.maybe("uptime_before_s"),
    }
}

fn pulse(f: &mut Fields) -> Pulse {
    Pulse {
        mark: f.nested("mark", mark),
        uptime_ms: f.number("uptime_ms"),
        at_ms: f.maybe("at_ms"),
        pulses: f.number("pulses"),
        coin_pulses_total: f.number("coin_pulses_total"),
        width_ms: f.number("width_ms"),
        gap_ms: f.number("gap_ms"),
    }
}

const STAGES: [Stage; 6] =
    [Stage::Received, Stage::Done, Stage::Failed, Stage::Expired, Stage::Duplicate, Stage::Clock];

const REASONS: [Reason; 11] = [
    Reason::PowerLost,
    Reason::Locked,
    Reason::Busy,
    Reason::Fault,
    Reason::Unsupported,
    Reason::TooOld,
    Reason::Superseded,
    Reason::Invalid,
    Reason::MachineSilent,
    Reason::Flash,
    Reason::SlowSync,
];

const LEARN_STAGES: [LearnStage; 5] =
    [LearnStage::Quiet, LearnStage::Sampling, LearnStage::Confirming, LearnStage::Stored, LearnStage::Failed];

const LEARN_FAILURES: [LearnFailure; 11] = [
    LearnFailure::NoCoins,
    LearnFailure::LineStuck,
    LearnFailure::Noise,
    LearnFailure::Uneven,
    LearnFailure::Unconfirmed,
    LearnFailure::Cancelled,
    LearnFailure::Restarted,
    LearnFailure::Locked,
    LearnFailure::Fault,
    LearnFailure::Flash,
    LearnFailure::Settings,
];

const RESET_CAUSES: [ResetCause; 7] = [
    ResetCause::PowerOn,
    ResetCause::BrownOut,
    ResetCause::ResetPin,
    ResetCause::Software,
    ResetCause::Watchdog,
    ResetCause::Panic,
    ResetCause::Other,
];

/// Reads a word of an open enumeration, or the code of a later version's.
fn word_or_code<T: Copy>(value: &Value, all: &[T], word: fn(T) -> &'static str, from_code: fn(u8) -> T) -> T {
    match value.as_u64() {
        Some(code) => from_code(code.try_into().unwrap()),
        None => *all.iter().find(|one| value == word(**one)).unwrap(),
    }
}

fn stage(value: &Value) -> Stage {
    word_or_code(value, &STAGES, Stage::as_str, Stage::from_code)
}

fn reason(value: &Value) -> Reason {
    word_or_code(value, &REASONS, Reason::as_str, Reason::from_code)
}

fn ack(f: &mut Fields) -> Ack {
    Ack {
        command: f.number("command"),
        sequence: f.number("sequence"),
        stage: stage(&f.take("stage")),
        boot: f.number("boot"),
        uptime_ms: f.number("uptime_ms"),
        at_ms: f.maybe("at_ms"),
        pulses: f.maybe("pulses"),
        reason: f.0.remove("reason").map(|v| reason(&v)),
        first: f.0.remove("first").map(|v| stage(&v)),
    }
}

fn profile(f: &mut Fields) -> CoinProfile {
    CoinProfile {
        idle_high: f.truth("idle_high"),
        width_min_ms: f.number("width_min_ms"),
        width_max_ms: f.number("width_max_ms"),
        gap_min_ms: f.number("gap_min_ms"),
        burst_end_ms: f.number("burst_end_ms"),
        credit_width_ms: f.number("credit_width_ms"),
        credit_gap_ms: f.number("credit_gap_ms"),
    }
}

fn settings(f: &mut Fields) -> Settings {
    Settings {
        version: f.number("version"),
        profile: f.nested("profile", profile),
        credit_pulses_max: f.number("credit_pulses_max"),
        status_period_s: f.number("status_period_s"),
        sense: f.truth("sense"),
        credit_pulses_per_minute_max: f.maybe("credit_pulses_per_minute_max").unwrap_or(0),
        keepalive_s: f.maybe("keepalive_s").unwrap_or(0),
        settle_ms: f.maybe("settle_ms").unwrap_or(0),
    }
}

fn action(f: &mut Fields) -> Action {
    let action = f.take("action");
    match action.as_str() {
        None => Action::Unknown(action.as_u64().unwrap().try_into().unwrap()),
        Some("probe") => Action::Probe,
        Some("credit") => Action::Credit { pulses: f.number("pulses") },
        Some("sync") => Action::Sync(f.nested("sync", |f| Sync {
            server_ms: f.number("server_ms"),
            echo_boot: f.number("echo_boot"),
            echo_uptime_ms: f.number("echo_uptime_ms"),
        })),
        Some("settings") => Action::Settings(f.nested("settings", settings)),
        Some("lock") => Action::Lock { locked: f.truth("locked") },
        Some("reboot") => Action::Reboot,
        Some("locate") => Action::Locate,
        Some("learn") => Action::Learn(f.nested("learn", |f| Learn {
            coins: f.number("coins"),
            confirm: f.truth("confirm"),
            test_pulses: f.maybe("test_pulses").unwrap_or(0),
        })),
        Some("diagnose") => Action::Diagnose,
        Some(other) => panic!("no such action: {other}"),
    }
}

fn command(f: &mut Fields) -> Command {
    Command {
        id: f.number("id"),
        sequence: f.number("sequence"),
        issued_ms: f.number("issued_ms"),
        expires_ms: f.number("expires_ms"),
        action: action(f),
    }
}

/// Holds one vector to the library: keys, topic, body, payload, and the way back.
fn hold<'a, T>(vector: &Value, kind: Kind, message: T, payload: &'a [u8])
where
    T: Encode<()> + Decode<'a, ()> + PartialEq + Debug,
{
    let name = text(vector, "name");
    let (module, secret) = module_of(vector);
    let key = secret.message_key(module);
    let topic = topics::topic(module, kind);
    assert_eq!(topic, text(vector, "topic"), "{name}");
    assert_eq!(topics::parse(text(vector, "topic")), Some((module, kind)), "{name}");

    let body = bytes(text(vector, "body_hex"));
    assert_eq!(payload, [body.clone(), tag(vector, &topic, &body)].concat(), "{name}");
    assert_eq!(open::<T>(&key, &topic, payload).as_ref(), Ok(&message), "{name}");

    if vector.get("decode_only").is_none() {
        let mut buffer = [0; PAYLOAD_MAX_BYTES];
        let length = seal(&key, &topic, &message, &mut buffer).unwrap();
        assert_eq!(hex::encode(&buffer[..length]), text(vector, "payload_hex"), "{name}");
    }
}

/// Holds all vectors of a file, as many as there must at least be.
fn hold_all(file: &str, least: usize, mut hold_one: impl FnMut(&Value, &mut Fields, &[u8])) {
    let vectors = read(file);
    assert!(vectors.len() >= least, "{file} has {} vectors", vectors.len());
    for vector in &vectors {
        let mut fields = Fields::of(&vector["message"]);
        hold_one(vector, &mut fields, &bytes(text(vector, "payload_hex")));
        fields.end();
    }
}

#[test]
fn keys_and_passwords() {
    let vectors = read("keys.json");
    assert!(vectors.len() >= 4);
    for vector in vectors {
        let (module, secret) = module_of(&vector);
        assert_eq!(secret.mqtt_password(module), text(&vector, "mqtt_password"));
        let topic = topics::topic(module, Kind::Status);
        let mut payload = [0; PAYLOAD_MAX_BYTES];
        let length = seal(&secret.message_key(module), &topic, &Stage::Done, &mut payload).unwrap();
        assert_eq!(payload[..length], [vec![2], tag(&vector, &topic, &[2])].concat());
    }
}

#[test]
fn statuses() {
    let mut seen = std::collections::HashSet::new();
    hold_all("status.json", 28, |vector, fields, payload| {
        let firmware = text(&vector["message"], "firmware");
        let status = status(fields, firmware);
        seen.extend(status.learned.map(|l| l.stage.as_str()));
        seen.extend(status.learned.and_then(|l| l.failure).map(LearnFailure::as_str));
        seen.extend(status.diagnostics.and_then(|d| d.reset_cause).map(ResetCause::as_str));
        hold(vector, Kind::Status, status, payload);
    });
    assert_eq!(seen.len(), 5 + 11 + 7 + 1, "every stage, failure and cause, and unknown: {seen:?}");
}

#[test]
fn pulses() {
    hold_all("pulse.json", 4, |vector, fields, payload| hold(vector, Kind::Pulse, pulse(fields), payload));
}

#[test]
fn acks() {
    let mut seen = std::collections::HashSet::new();
    hold_all("ack.json", 22, |vector, fields, payload| {
        let ack = ack(fields);
        seen.insert(ack.stage.as_str());
        seen.extend(ack.reason.map(Reason::as_str));
        hold(vector, Kind::Ack, ack, payload);
    });
    assert_eq!(seen.len(), 6 + 11 + 1, "every stage, every reason, and unknown: {seen:?}");
}

#[test]
fn commands() {
    let mut seen = std::collections::HashSet::new();
    hold_all("command.json", 24, |vector, fields, payload| {
        let command = command(fields);
        seen.insert(command.action.as_str());
        hold(vector, Kind::Command, command, payload);
    });
    assert_eq!(seen.len(), 9 + 1, "every action, and unknown: {seen:?}");
}

#[test]
fn refusals() {
    let vectors = read("refused.json");
    assert!(vectors.len() >= 40);
    let mut seen = std::collections::HashSet::new();
    for vector in vectors {
        let name = text(&vector, "name");
        let (module, secret) = module_of(&vector);
        let (key, topic) = (secret.message_key(module), text(&vector, "topic"));
        let payload = bytes(text(&vector, "payload_hex"));
        let error = match text(&vector, "kind") {
            "status" => open::<Status>(&key, topic, &payload).unwrap_err(),
            "command" => open::<Command>(&key, topic, &payload).unwrap_err(),
            other => panic!("no refusals of kind {other}"),
        };
        let word = match error {
            OpenError::Length => "length",
            OpenError::Tag => "tag",
            OpenError::Body => "body",
        };
        assert_eq!(word, text(&vector, "error"), "{name}");
        seen.insert(word);
    }
    assert_eq!(seen.len(), 3);
}

/// The contract in words has the same codes and the same CDDL as the library and its vectors.
#[test]
fn the_document_agrees() {
    let root = env!("CARGO_MANIFEST_DIR");
    let document = std::fs::read_to_string(format!("{root}/../docs/PROTOCOL.md")).unwrap();
    let cddl = std::fs::read_to_string(format!("{root}/vectors/messages.cddl")).unwrap();
    assert!(document.contains(&format!("```cddl\n{cddl}```")), "the CDDL of docs/PROTOCOL.md is another");

    let learning = LEARN_STAGES.map(|s| (s.code(), s.as_str())).into_iter();
    let learning = learning.chain(LEARN_FAILURES.map(|f| (f.code(), f.as_str())));
    let rows = STAGES.map(|s| (s.code(), s.as_str())).into_iter().chain(REASONS.map(|r| (r.code(), r.as_str())));
    let rows = rows.chain(learning).chain(RESET_CAUSES.map(|c| (c.code(), c.as_str())));
    let sync = Sync { server_ms: 0, echo_boot: 0, echo_uptime_ms: 0 };
    let actions = [
        Action::Probe,
        Action::Credit { pulses: 1 },
        Action::Sync(sync),
        Action::Settings(Settings::default()),
        Action::Lock { locked: true },
        Action::Reboot,
        Action::Locate,
        Action::Learn(Learn { coins: 10, confirm: true, test_pulses: 0 }),
        Action::Diagnose,
    ];
    for (code, word) in rows.chain(actions.map(|a| (a.code(), a.as_str()))) {
        assert!(document.contains(&format!("\n| {code} | `{word}` |")), "{code} {word}");
    }
}
