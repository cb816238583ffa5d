//! What the messages cost: worst cases within the limit, and a sale within the design's 600 bytes.
#![allow(clippy::unwrap_used)]

use minicbor::Encode;
use protocol::{
    ModuleId, ModuleSecret,
    limits::{FIRMWARE_MAX_CHARS, PAYLOAD_MAX_BYTES, TOPIC_MAX_BYTES},
    messages::*,
    seal,
    topics::{self, Kind},
};

const LARGEST_MARK: Mark = Mark { boot: u32::MAX, session: u32::MAX, sequence: u32::MAX };

fn payload_bytes<T: Encode<()>>(kind: Kind, message: &T) -> usize {
    let module = ModuleId::from_bits(5);
    let key = ModuleSecret::new([1; 32]).message_key(module);
    seal(&key, &topics::topic(module, kind), message, &mut [0; PAYLOAD_MAX_BYTES]).unwrap()
}

/// Bytes of the PUBLISH and its PUBACK (MQTT 5, QoS 1): fixed head, topic, packet id, properties, payload.
fn mqtt_bytes<T: Encode<()>>(kind: Kind, message: &T) -> usize {
    let topic = topics::topic(ModuleId::from_bits(5), kind).len();
    let properties = if kind == Kind::Command { 1 + 5 } else { 1 };
    let rest = 2 + topic + 2 + properties + payload_bytes(kind, message);
    let puback = 4;
    1 + if rest < 128 { 1 } else { 2 } + rest + puback
}

fn largest_command(action: Action) -> Command {
    Command {
        id: u64::MAX,
        sequence: u32::MAX,
        issued_ms: u64::MAX - u64::from(u32::MAX),
        expires_ms: u64::MAX,
        action,
    }
}

#[test]
fn the_largest_of_each_fits() {
    let status = Status {
        mark: LARGEST_MARK,
        online: true,
        uptime_ms: u64::MAX,
        at_ms: Some(u64::MAX),
        last_command: u32::MAX,
        settings_version: u32::MAX,
        firmware: "123456789012345678901234",
        signal_csq: Some(u8::MAX),
        supply_mv: Some(u16::MAX),
        totals: Totals { coin_pulses: u64::MAX, credit_pulses: u64::MAX, noise_edges: u64::MAX },
        faults: u32::MAX,
        locked: Some(true),
        learned: None,
        diagnostics: None,
    };
    assert_eq!(status.firmware.len(), FIRMWARE_MAX_CHARS);
    let pulse = Pulse {
        mark: LARGEST_MARK,
        uptime_ms: u64::MAX,
        at_ms: Some(u64::MAX),
        pulses: u16::MAX,
        coin_pulses_total: u64::MAX,
        width_ms: u16::MAX,
        gap_ms: u16::MAX,
    };
    let ack = Ack {
        command: u64::MAX,
        sequence: u32::MAX,
        stage: Stage::Unknown(u8::MAX),
        boot: u32::MAX,
        uptime_ms: u64::MAX,
        at_ms: Some(u64::MAX),
        pulses: Some(u16::MAX),
        reason: Some(Reason::Unknown(u8::MAX)),
        first: Some(Stage::Unknown(u8::MAX)),
    };
    let ms = u16::MAX;
    let profile = CoinProfile {
        idle_high: true,
        width_min_ms: ms,
        width_max_ms: ms,
        gap_min_ms: ms,
        burst_end_ms: ms,
        credit_width_ms: ms,
        credit_gap_ms: ms,
    };
    let settings = Settings {
        version: u32::MAX,
        profile,
        credit_pulses_max: u16::MAX,
        status_period_s: u16::MAX,
        sense: true,
        credit_pulses_per_minute_max: u16::MAX,
        keepalive_s: u16::MAX,
        settle_ms: u16::MAX,
    };
    let spread = Spread { min: ms, median: ms, max: ms };
    let learned = Learned {
        stage: LearnStage::Unknown(u8::MAX),
        command: u32::MAX,
        coins: u8::MAX,
        coins_asked: u8::MAX,
        failure: Some(LearnFailure::Unknown(u8::MAX)),
        profile: Some(profile),
        widths_ms: Some(spread),
        gaps_ms: Some(spread),
        coin_pulses: Some(spread),
        bounce_us: u16::MAX,
        noise_edges: u16::MAX,
        test_pulses: u16::MAX,
        confirmed: Some(true),
    };
    let diagnostics = Diagnostics {
        reset_cause: Some(ResetCause::Unknown(u8::MAX)),
        panic: Some(Panic { file_hash: u32::MAX, line: u32::MAX }),
        uptime_before_s: Some(u32::MAX),
        bad_tags: u32::MAX,
        bad_payloads: u32::MAX,
        flash_failures: u32::MAX,
        flash_writes: u32::MAX,
        sessions: u32::MAX,
        modem_restarts: u32::MAX,
        modem_timeouts: u32::MAX,
        modem_garbage: u32::MAX,
        edges_lost: u32::MAX,
        credits_capped: u32::MAX,
        modem_errors: u32::MAX,
        links_lost: u32::MAX,
    };
    let learn = Learn { coins: u8::MAX, confirm: true, test_pulses: u8::MAX };
    let sync = Sync { server_ms: u64::MAX, echo_boot: u32::MAX, echo_uptime_ms: u64::MAX };

    // The figures stand in docs/PROTOCOL.md; a change here is a change there.
    assert_eq!(payload_bytes(Kind::Status, &status), 142);
    assert_eq!(payload_bytes(Kind::Status, &Status { learned: Some(learned), ..status }), 237);
    assert_eq!(payload_bytes(Kind::Status, &Status { diagnostics: Some(diagnostics), ..status }), 237);
    assert_eq!(payload_bytes(Kind::Pulse, &pulse), 76);
    assert_eq!(payload_bytes(Kind::Ack, &ack), 72);
    assert_eq!(payload_bytes(Kind::Command, &largest_command(Action::Settings(settings))), 109);
    assert_eq!(payload_bytes(Kind::Command, &largest_command(Action::Sync(sync))), 79);
    assert_eq!(payload_bytes(Kind::Command, &largest_command(Action::Credit { pulses: u16::MAX })), 55);
    assert_eq!(payload_bytes(Kind::Command, &largest_command(Action::Learn(learn))), 61);
    assert_eq!(payload_bytes(Kind::Command, &largest_command(Action::Unknown(u8::MAX))), 52);
}

#[test]
fn topics_fit_their_limit() {
    for kind in [Kind::Status, Kind::Pulse, Kind::Ack, Kind::Command] {
        assert!(topics::topic(ModuleId::from_bits(u64::MAX), kind).len() <= TOPIC_MAX_BYTES);
    }
}

#[test]
fn a_sale_costs_at_most_600_bytes() {
    let issued_ms = 1_795_392_000_000;
    // Ids as large as they come: 64 random bits.
    let command =
        |action| Command { id: u64::MAX, sequence: 100_000, issued_ms, expires_ms: issued_ms + 90_000, action };
    let ack = |stage, pulses| Ack {
        command: u64::MAX,
        sequence: 100_000,
        stage,
        boot: 300,
        uptime_ms: 30 * 86_400_000,
        at_ms: Some(issued_ms),
        pulses,
        reason: None,
        first: None,
    };
    let parts = [
        mqtt_bytes(Kind::Command, &command(Action::Probe)),
        mqtt_bytes(Kind::Ack, &ack(Stage::Done, None)),
        mqtt_bytes(Kind::Command, &command(Action::Credit { pulses: 30 })),
        mqtt_bytes(Kind::Ack, &ack(Stage::Received, None)),
        mqtt_bytes(Kind::Ack, &ack(Stage::Done, Some(30))),
    ];
    assert_eq!(parts, [87, 82, 90, 82, 85]);
    assert!(parts.iter().sum::<usize>() <= 600);
}
