//! Limits on guessing, on floods from one address, and on modules that talk too much.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use broker::{Config, Limits};
use common::{Logins, Raw, WAIT_TIMEOUT, login, start_with, until};
use mqtt_protocol_core::mqtt::packet::Qos;
use tokio::net::TcpStream;

#[tokio::test]
async fn logins_from_a_guessing_address_are_refused_without_a_check_in_both_versions() {
    let running = start_with(Limits { failed_logins_per_address: 3, ..Limits::default() }).await;
    let at = running.address;
    let mut there = Raw::client5(at, "ben", "there").await;
    for _ in 0..3 {
        let guess = login("anna", "x").password("guess").v5();
        assert_eq!(Raw::open(at).await.connect5(guess).await.reason_code() as u8, 0x86);
    }
    assert_eq!(Raw::open(at).await.connect5(login("anna", "x").v5()).await.reason_code() as u8, 0x9f);
    assert_eq!(Raw::open(at).await.connect4(login("anna", "x").v4()).await.return_code() as u8, 3);
    there.ping().await;
}

#[tokio::test]
async fn guesses_at_once_are_no_more_than_guesses_in_a_row() {
    let at = start_with(Limits { failed_logins_per_address: 3, ..Limits::default() }).await.address;
    let guesses: Vec<_> = (0..10)
        .map(|_| {
            tokio::spawn(async move {
                let guess = login("slow", "x").password("guess").v5();
                Raw::open(at).await.connect5(guess).await.reason_code() as u8
            })
        })
        .collect();
    let mut codes = Vec::new();
    for guess in guesses {
        codes.push(guess.await.unwrap());
    }
    codes.sort_unstable();
    assert_eq!(codes, [[0x86; 3].as_slice(), &[0x9f; 7]].concat());
}

#[tokio::test]
async fn guessing_locks_out_neither_modules_nor_users_known_at_that_address() {
    let limits = Limits { failed_logins_per_address: 3, failed_logins_per_name: 2, ..Limits::default() };
    let at = start_with(limits).await.address;
    let _known = Raw::client5(at, "anna", "known").await;
    let guess = async |user: &str| {
        let guess = login(user, "x").password("guess").v5();
        Raw::open(at).await.connect5(guess).await.reason_code() as u8
    };
    for _ in 0..3 {
        assert_eq!(guess("ben").await, 0x86);
    }
    assert_eq!(guess("ben").await, 0x9f);
    let _module = Raw::client5(at, "module-one", "one").await;
    let _again = Raw::client5(at, "anna", "again").await;
    // Nor may a known name be guessed at without end.
    for _ in 0..2 {
        assert_eq!(guess("anna").await, 0x86);
    }
    assert_eq!(guess("anna").await, 0x9f);
}

#[tokio::test]
async fn credentials_longer_than_any_are_wrong() {
    let at = start_with(Limits { user_name_bytes: 8, password_bytes: 8, ..Limits::default() }).await.address;
    let long_name = login("module-long", "long");
    let long_password = login("anna", "a").password("password!");
    for login in [long_name, long_password] {
        assert_eq!(Raw::open(at).await.connect5(login.v5()).await.reason_code() as u8, 0x86);
        assert_eq!(Raw::open(at).await.connect4(login.v4()).await.return_code() as u8, 4);
    }
    let _fits = Raw::client5(at, "observer", "o").await;
}

#[tokio::test]
async fn guesses_at_a_name_are_answered_late_and_its_owner_at_once() {
    let delay = Duration::from_secs(2);
    let limits = Limits { failed_logins_per_name: 2, failed_login_delay: delay, ..Limits::default() };
    let at = start_with(limits).await.address;
    let guess = async || {
        let begun = Instant::now();
        let guess = login("anna", "x").password("guess").v5();
        assert_eq!(Raw::open(at).await.connect5(guess).await.reason_code() as u8, 0x86);
        begun.elapsed()
    };
    for _ in 0..2 {
        guess().await;
    }
    let mut guessing = std::pin::pin!(guess());
    // Her login goes through while the guess still waits for its answer.
    tokio::select! {
        biased;
        _ = &mut guessing => panic!("it was answered at once"),
        _ = Raw::client5(at, "anna", "x") => {}
    }
    assert!(guessing.await >= delay);
}

#[tokio::test]
async fn an_address_has_so_many_connections_and_gets_its_places_back() {
    let running = start_with(Limits { connections_per_address: 2, ..Limits::default() }).await;
    let at = running.address;
    let mut first = Raw::client5(at, "anna", "first").await;
    let second = Raw::client5(at, "anna", "second").await;
    let refused = TcpStream::connect(at).await.unwrap();
    tokio::time::timeout(WAIT_TIMEOUT, refused.readable()).await.unwrap().unwrap();
    assert_eq!(refused.try_read(&mut [0]).unwrap(), 0, "it is closed");
    first.ping().await;
    drop(second);
    until("its place is free", || running.broker.connections().len() == 1).await;
    let again = async {
        loop {
            let mut raw = Raw::open(at).await;
            raw.send(&login("anna", "third").v5().to_continuous_buffer()).await;
            if raw.packet().await.is_some() {
                return;
            }
        }
    };
    tokio::time::timeout(WAIT_TIMEOUT, again).await.expect("there is room again");
}

#[tokio::test]
async fn a_module_that_publishes_too_much_is_told_and_cut_and_no_other_notices() {
    let running = start_with(Limits { device_publishes_per_minute: 5, ..Limits::default() }).await;
    let at = running.address;
    let mut backend = Raw::client5(at, "backend", "backend").await;
    backend.subscribed5("m/#", Qos::AtMostOnce).await;
    let mut other = Raw::client5(at, "module-two", "two").await;
    let mut module = Raw::client5(at, "module-one", "one").await;
    for _ in 0..5 {
        assert_eq!(module.publish5("m/one/pulse", b"x", false, vec![]).await, 0);
        backend.received5().await;
    }
    module.send(b"\x30\x0f\0\x0bm/one/pulse\0x").await;
    assert_eq!(module.closed().await, Some(0x96));
    // Reconnecting does not allow more.
    let mut module = Raw::client5(at, "module-one", "one").await;
    module.send(&b"\x30\x0f\0\x0bm/one/pulse\0x".repeat(5)).await;
    assert_eq!(module.closed().await, Some(0x96));
    assert_eq!(other.publish5("m/two/pulse", b"x", false, vec![]).await, 0);
}

#[tokio::test]
async fn publishes_outside_the_grants_count_for_a_modules_rate() {
    let running = start_with(Limits { device_publishes_per_minute: 5, ..Limits::default() }).await;
    let mut module = Raw::client5(running.address, "module-one", "one").await;
    for _ in 0..6 {
        module.send(b"\x30\x0f\0\x0bm/two/pulse\0x").await;
    }
    assert_eq!(module.closed().await, Some(0x96));
}

#[tokio::test]
async fn limits_that_cannot_work_are_refused_at_start() {
    let limits = Limits { client_in_flight: 0, ..Limits::default() };
    let refused = broker::start(Config { limits, ..Config::default() }, Arc::new(Logins)).await;
    let said = refused.err().expect("it did not start").to_string();
    assert!(said.contains("client_in_flight = 0") && said.contains("at least 1"), "{said}");
}
