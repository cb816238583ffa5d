//! Amounts and times: one form is taken, and no other.

use super::super::messages::{Buyer, china_time, fen, unix_ms, yuan};
use super::*;
use proptest::prelude::*;

#[test]
fn yuan_have_exactly_two_decimals() {
    for (text, expected) in
        [("0.00", 0), ("0.01", 1), ("1.05", 105), ("10.00", 1_000), ("88.88", 8_888), ("100000000.00", 10_000_000_000)]
    {
        assert_eq!(fen(text), Some(expected), "{text}");
        assert_eq!(yuan(expected), text);
    }
    for bad in [
        "",
        ".",
        "1",
        "1.",
        "1.0",
        "1.050",
        ".50",
        "01.05",
        "00.50",
        "-1.05",
        "+1.05",
        "1.5e1",
        "1,05",
        " 1.05",
        "1.05 ",
        "1.0五",
        "1.05.00",
        "100000000.01",
        "1000000000.00",
        "NaN",
        "0x1.00",
        "１.05",
    ] {
        assert_eq!(fen(bad), None, "{bad}");
    }
}

#[test]
fn times_are_chinas() {
    assert_eq!(china_time(NOW_MS + 999).unwrap(), "2026-11-23 12:00:00");
    assert_eq!(unix_ms("2026-11-23 12:00:00"), Some(NOW_MS));
    assert_eq!(china_time(-1), None);
    assert_eq!(china_time(i64::MAX), None);
    for bad in ["", "2026-11-23", "2026-11-23T12:00:00", "2026-11-23 12:00:00.123", "2026-13-23 12:00:00"] {
        assert_eq!(unix_ms(bad), None, "{bad}");
    }
}

#[test]
fn a_payer_is_read_as_written() {
    for buyer in [Buyer::User("2088102534368455"), Buyer::Open("0746nEbU_-x1")] {
        assert_eq!(Buyer::read(&buyer.write()), Some(buyer));
    }
    let long = format!("open {}", "1".repeat(129));
    for bad in ["", "user", "user ", "2088102534368455", "guest 1", "open a b", "open \"", long.as_str()] {
        assert_eq!(Buyer::read(bad), None, "{bad}");
    }
}

proptest! {
    #[test]
    fn amounts_come_back(amount in 0..=10_000_000_000_i64) {
        prop_assert_eq!(fen(&yuan(amount)), Some(amount));
    }

    #[test]
    fn any_text_is_read_without_a_crash(text in ".*") {
        let _ = (fen(&text), unix_ms(&text), Buyer::read(&text).is_some());
    }

    #[test]
    fn forms_come_back(pairs in prop::collection::btree_map(".*", ".*", 1..8)) {
        let body = form::encoded(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        prop_assert_eq!(form::decoded(body.as_bytes()), Ok(pairs));
    }

    #[test]
    fn any_bytes_are_split_without_a_crash(body in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = form::decoded(&body);
    }
}

#[test]
fn forms_are_decoded_once_and_strictly() {
    let read = |body: &str| form::decoded(body.as_bytes()).map(|form| form["a"].clone());
    for (body, expected) in
        [("a=b+c", "b c"), ("a=%2B%25%3d", "+%="), ("a=b=c=", "b=c="), ("a=", ""), ("a=%2541", "%41")]
    {
        assert_eq!(read(body).unwrap(), expected, "{body}");
    }
    for bad in ["", "a", "&a=1", "a=1&", "a=1&a=1", "a=1&%61=2", "a=%", "a=%2", "a=%zz", "a=%+1", "a=%ff", "%ff=a"] {
        assert!(read(bad).is_err(), "{bad}");
    }
}
