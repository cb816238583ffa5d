//! The console's frames: what is written is read again, and nothing else is.
#![allow(clippy::unwrap_used)]
#![allow(missing_docs)]

use proptest::{collection::vec, prelude::*};
use protocol::{
    ModuleId, ModuleSecret,
    console::{
        APN_MAX_BYTES, CREDENTIAL_MAX_BYTES, Deframer, FRAME_MAX_BYTES, FrameError, HOST_MAX_BYTES, Hardware, Info,
        REQUEST_MAX_BYTES, Refusal, Reply, Request, Server, frame, parse,
    },
    messages::{
        CoinProfile, Diagnostics, LearnFailure, LearnStage, Learned, Panic, ResetCause, Settings, Spread, Totals,
    },
};

fn id() -> ModuleId {
    ModuleId::parse("7K2M9QXW4D").unwrap()
}

fn settings() -> Settings {
    Settings { version: u32::MAX, profile: widest(), ..Settings::default() }
}

fn widest() -> CoinProfile {
    let widest = 2_000;
    CoinProfile {
        idle_high: false,
        width_min_ms: widest,
        width_max_ms: widest,
        gap_min_ms: widest,
        burst_end_ms: widest,
        credit_width_ms: widest,
        credit_gap_ms: widest,
    }
}

fn requests<'a>(host: &'a str, apn: &'a str, credential: &'a str) -> Vec<Request<'a>> {
    let server = Server { host, port: u16::MAX, apn, user: credential, password: credential };
    vec![
        Request::Info,
        Request::SetIdentity { id: id(), secret: ModuleSecret::new([0xA5; 32]), replace: true },
        Request::SetServer(server),
        Request::SetSettings(settings()),
        Request::Reboot,
        Request::Erase,
    ]
}

/// All that a reader of so long frames makes of bytes.
fn bodies<const MAX: usize>(bytes: &[u8]) -> Vec<Result<Vec<u8>, FrameError>> {
    let mut deframer = Deframer::<MAX>::default();
    bytes.iter().filter_map(|byte| deframer.push(*byte).map(|body| body.map(<[u8]>::to_vec))).collect()
}

fn only_body<const MAX: usize>(bytes: &[u8]) -> Vec<u8> {
    let bodies = bodies::<MAX>(bytes);
    assert_eq!(bodies.len(), 1);
    bodies[0].clone().unwrap()
}

#[test]
fn requests_come_through_and_the_longest_fits() {
    let (host, apn, credential) =
        ("h".repeat(HOST_MAX_BYTES), "a".repeat(APN_MAX_BYTES), "c".repeat(CREDENTIAL_MAX_BYTES));
    for request in requests(&host, &apn, &credential) {
        let frame = frame(u32::MAX, &request).unwrap();
        let body = only_body::<REQUEST_MAX_BYTES>(&frame);
        assert_eq!(parse::<Request<'_>>(&body), Some((u32::MAX, Some(request))));
    }
}

#[test]
fn the_longest_reply_fits() {
    let (host, apn, credential) =
        ("h".repeat(HOST_MAX_BYTES), "a".repeat(APN_MAX_BYTES), "c".repeat(CREDENTIAL_MAX_BYTES));
    let most = u32::MAX;
    let spread = Spread { min: u16::MAX, median: u16::MAX, max: u16::MAX };
    let info = Info {
        firmware: "123456789012345678901234",
        board: "123456789012345678901234",
        id: Some(id()),
        server: Some(Server { host: &host, port: u16::MAX, apn: &apn, user: &credential, password: "" }),
        uptime_ms: u64::MAX,
        boot: most,
        connected: true,
        faults: most,
        totals: Totals { coin_pulses: u64::MAX, credit_pulses: u64::MAX, noise_edges: u64::MAX },
        settings: settings(),
        learned: Some(Learned {
            stage: LearnStage::Failed,
            command: most,
            coins: u8::MAX,
            coins_asked: u8::MAX,
            failure: Some(LearnFailure::Unknown(u8::MAX)),
            profile: Some(widest()),
            widths_ms: Some(spread),
            gaps_ms: Some(spread),
            coin_pulses: Some(spread),
            bounce_us: u16::MAX,
            noise_edges: u16::MAX,
            test_pulses: u16::MAX,
            confirmed: Some(true),
        }),
        diagnostics: Diagnostics {
            reset_cause: Some(ResetCause::Unknown(u8::MAX)),
            panic: Some(Panic { file_hash: most, line: most }),
            uptime_before_s: Some(most),
            bad_tags: most,
            bad_payloads: most,
            flash_failures: most,
            flash_writes: most,
            sessions: most,
            modem_restarts: most,
            modem_timeouts: most,
            modem_garbage: most,
            edges_lost: most,
            credits_capped: most,
            modem_errors: most,
            links_lost: most,
        },
        hardware: Hardware {
            emulated: true,
            stack_unused_bytes: most,
            flash_bad_words: most,
            modem_overruns: most,
            console_overruns: most,
            bad_frames: most,
        },
    };
    for reply in [Reply::Info(info), Reply::Done, Reply::Refused(Refusal::Flash)] {
        let frame = frame(most, &reply).unwrap();
        let body = only_body::<FRAME_MAX_BYTES>(&frame);
        assert_eq!(parse::<Reply<'_>>(&body), Some((most, Some(reply))));
    }
}

#[test]
fn a_golden_frame() {
    // Number 7, info: the array [7, [0, []]], its CRC-32, stuffed, between zero bytes.
    let golden = [0, 4, 0x82, 7, 0x82, 6, 0x80, 0x98, 0x60, 0xDA, 0x9F, 0];
    assert_eq!(frame(7, &Request::Info).unwrap(), golden);
}

#[test]
fn what_no_reader_may_take_is_refused() {
    for (host, apn) in [("", "a"), ("h\"", "a"), ("h", "a,b"), ("h", "a b"), ("h\r\nAT", "a"), ("h", "ä")] {
        let server = Server { host, port: 1, apn, user: "", password: "" };
        assert!(!server.is_valid(), "{host:?} {apn:?}");
    }
    assert!(Server { host: "broker.example", port: 1883, apn: "", user: "", password: "" }.is_valid());
    assert!(!Server { host: "broker.example", port: 0, apn: "", user: "", password: "" }.is_valid());
}

#[test]
fn a_frame_too_long_is_told_and_the_next_is_read() {
    let mut bytes = vec![0x55; REQUEST_MAX_BYTES + 1];
    bytes.extend(frame(3, &Request::Reboot).unwrap());
    let bodies = bodies::<REQUEST_MAX_BYTES>(&bytes);
    assert_eq!(bodies[0], Err(FrameError::Length));
    assert_eq!(parse::<Request<'_>>(bodies[1].as_ref().unwrap()), Some((3, Some(Request::Reboot))));
}

proptest! {
    #[test]
    fn garbage_is_survived_and_a_frame_behind_it_is_read(garbage in vec(any::<u8>(), 0..2000), number in any::<u32>()) {
        let mut bytes = garbage;
        bytes.extend(frame(number, &Request::Info).unwrap());
        let last = bodies::<REQUEST_MAX_BYTES>(&bytes).pop().unwrap().unwrap();
        prop_assert_eq!(parse::<Request<'_>>(&last), Some((number, Some(Request::Info))));
    }

    #[test]
    fn a_changed_byte_is_never_taken(at in 1_usize..60, change in 1_u8.., replace in any::<bool>()) {
        let request = Request::SetIdentity { id: id(), secret: ModuleSecret::new([7; 32]), replace };
        let mut bytes = frame(9, &request).unwrap();
        let at = 1 + at % (bytes.len() - 2);
        bytes[at] ^= change;
        for body in bodies::<REQUEST_MAX_BYTES>(&bytes) {
            prop_assert!(body.is_err(), "{body:?}");
        }
    }

    #[test]
    fn any_body_is_parsed_without_harm(body in vec(any::<u8>(), 0..400)) {
        let _ = parse::<Request<'_>>(&body);
        let _ = parse::<Reply<'_>>(&body);
    }

    #[test]
    fn any_bytes_are_stuffed_and_come_back(bytes in vec(prop_oneof![Just(0_u8), any::<u8>()], 0..300)) {
        let bytes: &minicbor::bytes::ByteSlice = bytes.as_slice().into();
        let frame = frame(1, &bytes).unwrap();
        prop_assert!(!frame[1..frame.len() - 1].contains(&0));
        let body = only_body::<FRAME_MAX_BYTES>(&frame);
        prop_assert_eq!(parse::<&minicbor::bytes::ByteSlice>(&body), Some((1, Some(bytes))));
    }
}
