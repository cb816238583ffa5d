//! What holds for every message and any bytes.
#![allow(clippy::unwrap_used)]

use minicbor::{Decode, Decoder, Encode, Encoder, data::Type, decode, encode};
use proptest::{collection::vec, option, prelude::*};
use protocol::{
    MessageKey, ModuleId, ModuleSecret, OpenError,
    limits::{FIRMWARE_MAX_CHARS, PAYLOAD_MAX_BYTES, TAG_BYTES},
    messages::*,
    open, seal,
    topics::{self, Kind},
};
use std::fmt::Debug;

fn key() -> MessageKey {
    ModuleSecret::new([7; 32]).message_key(ModuleId::from_bits(99))
}

fn sealed<T: Encode<()>>(topic: &str, message: &T) -> Vec<u8> {
    let mut buffer = [0; PAYLOAD_MAX_BYTES];
    let length = seal(&key(), topic, message, &mut buffer).unwrap();
    buffer[..length].to_vec()
}

/// A body that is signed as it is, whatever it is.
struct Raw<'a>(&'a [u8]);

impl<C> Encode<C> for Raw<'_> {
    fn encode<W: encode::Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
        e.writer_mut().write_all(self.0).map_err(encode::Error::write)
    }
}

fn mark() -> impl Strategy<Value = Mark> {
    any::<(u32, u32, u32)>().prop_map(|(boot, session, sequence)| Mark { boot, session, sequence })
}

fn totals() -> impl Strategy<Value = Totals> {
    any::<(u64, u64, u64)>().prop_map(|(coin_pulses, credit_pulses, noise_edges)| Totals {
        coin_pulses,
        credit_pulses,
        noise_edges,
    })
}

fn profile() -> impl Strategy<Value = CoinProfile> {
    any::<(bool, [u16; 6])>().prop_map(|(idle_high, ms)| CoinProfile {
        idle_high,
        width_min_ms: ms[0],
        width_max_ms: ms[1],
        gap_min_ms: ms[2],
        burst_end_ms: ms[3],
        credit_width_ms: ms[4],
        credit_gap_ms: ms[5],
    })
}

fn spread() -> impl Strategy<Value = Spread> {
    any::<[u16; 3]>().prop_map(|[min, median, max]| Spread { min, median, max })
}

fn learned() -> impl Strategy<Value = Learned> {
    let progress = any::<(u8, u32, u8, u8, Option<u8>)>();
    let measured = (option::of(profile()), [option::of(spread()), option::of(spread()), option::of(spread())]);
    (progress, measured, any::<(u16, u16, u16, Option<bool>)>()).prop_map(
        |((stage, command, coins, coins_asked, failure), (profile, spreads), numbers)| Learned {
            stage: LearnStage::from_code(stage),
            command,
            coins,
            coins_asked,
            failure: failure.map(LearnFailure::from_code),
            profile,
            widths_ms: spreads[0],
            gaps_ms: spreads[1],
            coin_pulses: spreads[2],
            bounce_us: numbers.0,
            noise_edges: numbers.1,
            test_pulses: numbers.2,
            confirmed: numbers.3,
        },
    )
}

/// Counters, zero half of the time.
fn counters() -> impl Strategy<Value = [u32; 12]> {
    prop::array::uniform12(prop_oneof![Just(0), any::<u32>()])
}

fn diagnostics() -> impl Strategy<Value = Diagnostics> {
    (any::<(Option<u8>, Option<(u32, u32)>, Option<u32>)>(), counters()).prop_map(
        |((reset_cause, panic, uptime_before_s), n)| Diagnostics {
            reset_cause: reset_cause.map(ResetCause::from_code),
            panic: panic.map(|(file_hash, line)| Panic { file_hash, line }),
            uptime_before_s,
            bad_tags: n[0],
            bad_payloads: n[1],
            flash_failures: n[2],
            flash_writes: n[3],
            sessions: n[4],
            modem_restarts: n[5],
            modem_timeouts: n[6],
            modem_garbage: n[7],
            edges_lost: n[8],
            credits_capped: n[9],
            modem_errors: n[10],
            links_lost: n[11],
        },
    )
}

/// What may be in a status beside: one of the two, or neither.
fn detail() -> impl Strategy<Value = (Option<Learned>, Option<Diagnostics>)> {
    prop_oneof![
        Just((None, None)),
        learned().prop_map(|learned| (Some(learned), None)),
        diagnostics().prop_map(|diagnostics| (None, Some(diagnostics))),
    ]
}

/// A status without its firmware version, which is borrowed.
fn status() -> impl Strategy<Value = (Status<'static>, String)> {
    let times = (any::<u64>(), option::of(any::<u64>()));
    let numbers = (any::<u32>(), any::<u32>(), any::<u32>());
    let optional = (option::of(any::<u8>()), option::of(any::<u16>()), option::of(any::<bool>()));
    let firmware = vec(prop::char::range(' ', '~'), 0..=FIRMWARE_MAX_CHARS).prop_map(String::from_iter);
    (mark(), any::<bool>(), times, numbers, optional, totals(), firmware, detail()).prop_map(
        |(mark, online, (uptime_ms, at_ms), numbers, (signal_csq, supply_mv, locked), totals, firmware, detail)| {
            let (last_command, settings_version, faults) = numbers;
            let status = Status {
                mark,
                online,
                uptime_ms,
                at_ms,
                last_command,
                settings_version,
                firmware: "",
                signal_csq,
                supply_mv,
                totals,
                faults,
                locked,
                learned: detail.0,
                diagnostics: detail.1,
            };
            (status, firmware)
        },
    )
}

fn pulse() -> impl Strategy<Value = Pulse> {
    (mark(), any::<(u64, Option<u64>, u16, u64, u16, u16)>()).prop_map(
        |(mark, (uptime_ms, at_ms, pulses, coin_pulses_total, width_ms, gap_ms))| Pulse {
            mark,
            uptime_ms,
            at_ms,
            pulses,
            coin_pulses_total,
            width_ms,
            gap_ms,
        },
    )
}

fn ack() -> impl Strategy<Value = Ack> {
    let codes = (any::<u8>(), option::of(any::<u8>()), option::of(any::<u8>()));
    (any::<(u64, u32, u32, u64, Option<u64>, Option<u16>)>(), codes).prop_map(
        |((command, sequence, boot, uptime_ms, at_ms, pulses), (stage, reason, first))| Ack {
            command,
            sequence,
            stage: Stage::from_code(stage),
            boot,
            uptime_ms,
            at_ms,
            pulses,
            reason: reason.map(Reason::from_code),
            first: first.map(Stage::from_code),
        },
    )
}

fn settings() -> impl Strategy<Value = Settings> {
    (any::<(u32, u16, u16, bool, u16, u16, u16)>(), profile()).prop_map(
        |((version, credit_pulses_max, status_period_s, sense, per_minute, keepalive_s, settle_ms), profile)| {
            Settings {
                version,
                profile,
                credit_pulses_max,
                status_period_s,
                sense,
                credit_pulses_per_minute_max: per_minute,
                keepalive_s,
                settle_ms,
            }
        },
    )
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        Just(Action::Probe),
        any::<u16>().prop_map(|pulses| Action::Credit { pulses }),
        any::<(u64, u32, u64)>().prop_map(|(server_ms, echo_boot, echo_uptime_ms)| Action::Sync(Sync {
            server_ms,
            echo_boot,
            echo_uptime_ms
        })),
        settings().prop_map(Action::Settings),
        any::<bool>().prop_map(|locked| Action::Lock { locked }),
        Just(Action::Reboot),
        Just(Action::Locate),
        any::<(u8, bool, u8)>().prop_map(|(coins, confirm, test_pulses)| Action::Learn(Learn {
            coins,
            confirm,
            test_pulses
        })),
        Just(Action::Diagnose),
        prop_oneof![Just(0), 10..=u8::MAX].prop_map(Action::Unknown),
    ]
}

fn command() -> impl Strategy<Value = Command> {
    (any::<(u64, u32, u32)>(), 0..=u64::MAX - u64::from(u32::MAX), action()).prop_map(
        |((id, sequence, lifetime_ms), issued_ms, action)| Command {
            id,
            sequence,
            issued_ms,
            expires_ms: issued_ms + u64::from(lifetime_ms),
            action,
        },
    )
}

/// A body of any kind of message.
fn body() -> impl Strategy<Value = (Kind, Vec<u8>)> {
    let status = status().prop_map(|(status, firmware)| encoded(&Status { firmware: &firmware, ..status }));
    prop_oneof![
        status.prop_map(|body| (Kind::Status, body)),
        pulse().prop_map(|message| (Kind::Pulse, encoded(&message))),
        ack().prop_map(|message| (Kind::Ack, encoded(&message))),
        command().prop_map(|message| (Kind::Command, encoded(&message))),
    ]
}

fn encoded<T: Encode<()>>(message: &T) -> Vec<u8> {
    let sealed = sealed("", message);
    sealed[..sealed.len() - TAG_BYTES].to_vec()
}

fn round_trip<'a, T>(topic: &str, message: &T, payload: &'a [u8]) -> Result<(), TestCaseError>
where
    T: Decode<'a, ()> + PartialEq + Debug,
{
    let read = open::<T>(&key(), topic, payload);
    prop_assert_eq!(read.as_ref(), Ok(message));
    Ok(())
}

/// Reads a body as the message of its kind; only whether it is one.
fn reads(kind: Kind, topic: &str, payload: &[u8]) -> Result<(), OpenError> {
    match kind {
        Kind::Status => open::<Status>(&key(), topic, payload).map(drop),
        Kind::Pulse => open::<Pulse>(&key(), topic, payload).map(drop),
        Kind::Ack => open::<Ack>(&key(), topic, payload).map(drop),
        Kind::Command => open::<Command>(&key(), topic, payload).map(drop),
    }
}

/// Any CBOR item but arrays and maps of indefinite length, which the contract leaves out.
fn item() -> impl Strategy<Value = Vec<u8>> {
    let leaf = prop_oneof![
        any::<u64>().prop_map(|n| minicbor_bytes(|e| drop(e.u64(n)))),
        any::<i64>().prop_map(|n| minicbor_bytes(|e| drop(e.i64(n)))),
        any::<bool>().prop_map(|b| minicbor_bytes(|e| drop(e.bool(b)))),
        any::<f64>().prop_map(|x| minicbor_bytes(|e| drop(e.f64(x)))),
        any::<u16>().prop_map(|x| [vec![0xF9], x.to_be_bytes().to_vec()].concat()),
        Just(vec![0xF6]),
        "\\PC{0,12}".prop_map(|s| minicbor_bytes(|e| drop(e.str(&s)))),
        vec(any::<u8>(), 0..12).prop_map(|b| minicbor_bytes(|e| drop(e.bytes(&b)))),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(|items| [vec![0x80 | items.len() as u8], items.concat()].concat()),
            vec((inner.clone(), inner.clone()), 0..3).prop_map(|entries| {
                let items = entries.iter().map(|(k, v)| [k.clone(), v.clone()].concat()).collect::<Vec<_>>();
                [vec![0xA0 | items.len() as u8], items.concat()].concat()
            }),
            inner.prop_map(|item| [vec![0xC1], item].concat()),
        ]
    })
}

fn minicbor_bytes(write: impl FnOnce(&mut Encoder<&mut [u8]>)) -> Vec<u8> {
    let mut buffer = [0; 64];
    let mut e = Encoder::new(&mut buffer[..]);
    write(&mut e);
    let left = e.into_writer().len();
    buffer[..64 - left].to_vec()
}

/// Copies one item of a body, giving every map in it unknown entries and every array unknown elements.
fn extend(d: &mut Decoder, out: &mut Vec<u8>, key: u32, item: &[u8]) -> Result<(), decode::Error> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "all else is copied as it is")]
    match d.datatype()? {
        Type::Map => {
            let count = d.map()?.unwrap();
            assert!(count < 22, "the head stays one byte");
            out.push(0xA0 | (count as u8 + 2));
            let entry = |out: &mut Vec<u8>, key: u32| {
                out.extend(minicbor_bytes(|e| drop(e.u32(key))));
                out.extend(item);
            };
            entry(out, key);
            for _ in 0..count {
                extend(d, out, key, item)?;
                extend(d, out, key, item)?;
            }
            entry(out, key.wrapping_add(1).max(32));
        }
        Type::Array => {
            let count = d.array()?.unwrap();
            out.push(0x80 | (count as u8 + 1));
            for _ in 0..count {
                extend(d, out, key, item)?;
            }
            out.extend(item);
        }
        _ => {
            let start = d.position();
            d.skip()?;
            out.extend(&d.input()[start..d.position()]);
        }
    }
    Ok(())
}

fn ignores_unknown<T>(message: &T, key: u32, item: &[u8]) -> Result<(), TestCaseError>
where
    T: Encode<()> + for<'b> Decode<'b, ()> + PartialEq + Debug,
{
    let body = encoded(message);
    let mut longer = Vec::new();
    extend(&mut Decoder::new(&body), &mut longer, key, item).unwrap();
    prop_assert!(longer.len() > body.len());
    // Not through `open`: with unknown items in every corner the body may pass the size limit.
    let mut d = Decoder::new(&longer);
    prop_assert_eq!(&d.decode::<T>().unwrap(), message);
    prop_assert_eq!(d.position(), longer.len());
    Ok(())
}

const KINDS: [Kind; 4] = [Kind::Status, Kind::Pulse, Kind::Ack, Kind::Command];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn every_message_comes_back(
        id in any::<u64>(), (status, firmware) in status(), pulse in pulse(), ack in ack(), command in command()
    ) {
        let module = ModuleId::from_bits(id);
        let topic = |kind| topics::topic(module, kind);
        let status = Status { firmware: &firmware, ..status };
        round_trip(&topic(Kind::Status), &status, &sealed(&topic(Kind::Status), &status))?;
        round_trip(&topic(Kind::Pulse), &pulse, &sealed(&topic(Kind::Pulse), &pulse))?;
        round_trip(&topic(Kind::Ack), &ack, &sealed(&topic(Kind::Ack), &ack))?;
        round_trip(&topic(Kind::Command), &command, &sealed(&topic(Kind::Command), &command))?;
    }

    #[test]
    fn sealing_uses_no_byte_it_was_not_given(ack in ack(), room in 0..PAYLOAD_MAX_BYTES) {
        let whole = sealed("t", &ack);
        let mut buffer = vec![0; room];
        match seal(&key(), "t", &ack, &mut buffer) {
            Ok(length) => prop_assert_eq!(&buffer[..length], &whole[..]),
            Err(_) => prop_assert!(room < whole.len()),
        }
    }

    #[test]
    fn any_bytes_are_answered(bytes in vec(any::<u8>(), 0..PAYLOAD_MAX_BYTES + 40), topic in "\\PC{0,40}") {
        for kind in KINDS {
            prop_assert!(reads(kind, &topic, &bytes).is_err());
            // Signed: whatever comes of it, it is an answer.
            let body = &bytes[..bytes.len().min(PAYLOAD_MAX_BYTES - TAG_BYTES)];
            prop_assert_ne!(reads(kind, &topic, &sealed(&topic, &Raw(body))), Err(OpenError::Tag));
        }
    }

    #[test]
    fn a_damaged_body_that_is_signed_is_answered(
        (kind, mut body) in body(), at in any::<prop::sample::Index>(), bit in 0..8u8, cut in any::<prop::sample::Index>()
    ) {
        let index = at.index(body.len());
        body[index] ^= 1 << bit;
        prop_assert_ne!(reads(kind, "t", &sealed("t", &Raw(&body))), Err(OpenError::Tag));
        body[index] ^= 1 << bit;
        body.truncate(cut.index(body.len()));
        prop_assert_eq!(reads(kind, "t", &sealed("t", &Raw(&body))), Err(OpenError::Body));
    }

    #[test]
    fn a_flipped_bit_is_refused(
        (kind, body) in body(), id in any::<u64>(), at in any::<prop::sample::Index>(), bit in 0..8u8, low in 0..7u8
    ) {
        let topic = topics::topic(ModuleId::from_bits(id), kind);
        let mut payload = sealed(&topic, &Raw(&body));
        prop_assert_eq!(reads(kind, &topic, &payload), Ok(()));

        // In the topic only bits below the eighth, so that it stays a text.
        let mut other = topic.as_bytes().to_vec();
        let index = at.index(other.len());
        other[index] ^= 1 << low;
        prop_assert_eq!(reads(kind, std::str::from_utf8(&other).unwrap(), &payload), Err(OpenError::Tag));

        let index = at.index(payload.len());
        payload[index] ^= 1 << bit;
        prop_assert_eq!(reads(kind, &topic, &payload), Err(OpenError::Tag));
    }

    #[test]
    fn another_key_is_refused((kind, body) in body(), secret in any::<[u8; 32]>(), id in any::<u64>()) {
        let other = ModuleSecret::new(secret).message_key(ModuleId::from_bits(id));
        let mut payload = [0; PAYLOAD_MAX_BYTES];
        let length = seal(&other, "t", &Raw(&body), &mut payload).unwrap();
        prop_assert_eq!(reads(kind, "t", &payload[..length]), Err(OpenError::Tag));
    }

    #[test]
    fn unknown_fields_are_ignored(
        (status, firmware) in status(), pulse in pulse(), ack in ack(), command in command(),
        key in 32..u32::MAX, item in item(),
    ) {
        let status = Status { firmware: &firmware, ..status };
        let mut longer = Vec::new();
        extend(&mut Decoder::new(&encoded(&status)), &mut longer, key, &item).unwrap();
        prop_assert_eq!(minicbor::decode::<Status>(&longer).unwrap(), status);
        ignores_unknown(&pulse, key, &item)?;
        ignores_unknown(&ack, key, &item)?;
        ignores_unknown(&command, key, &item)?;
    }

    #[test]
    fn any_text_as_id_or_topic(text in "\\PC{0,24}", bytes in vec(any::<u8>(), 0..40)) {
        for text in [text.as_str(), &String::from_utf8_lossy(&bytes)] {
            if let Ok(id) = ModuleId::parse(text) {
                prop_assert_eq!(id.as_str(), text);
            }
            if let Ok(id) = ModuleId::parse_typed(text) {
                prop_assert_eq!(ModuleId::parse(id.as_str()), Ok(id));
            }
            if let Some((id, kind)) = topics::parse(text) {
                let written = topics::topic(id, kind);
                prop_assert_eq!(written.as_str(), text);
            }
        }
    }

    #[test]
    fn ids_are_read_as_people_type_them(bits in 0..1u64 << 50, dash in 0..10usize) {
        let id = ModuleId::from_bits(bits);
        prop_assert_eq!(ModuleId::parse(id.as_str()), Ok(id));
        let mut typed = id.as_str().to_ascii_lowercase().replace('0', "o").replace('1', "l");
        typed.insert(dash, '-');
        prop_assert_eq!(ModuleId::parse_typed(&typed), Ok(id));
        for kind in KINDS {
            prop_assert_eq!(topics::parse(&topics::topic(id, kind)), Some((id, kind)));
        }
    }

    #[test]
    fn an_overlong_firmware_version_is_cut((status, _) in status(), firmware in "\\PC{25,40}") {
        let status = Status { learned: None, diagnostics: None, ..status };
        let message = Status { firmware: &firmware, ..status };
        let body = encoded(&message);
        let read = minicbor::decode::<Status>(&body).unwrap();
        prop_assert!(firmware.starts_with(read.firmware));
        prop_assert!((FIRMWARE_MAX_CHARS - 3..=FIRMWARE_MAX_CHARS).contains(&read.firmware.len()));
        prop_assert_eq!(Status { firmware: "", ..read }, status);
    }
}
