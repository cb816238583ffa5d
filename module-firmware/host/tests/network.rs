//! Networks that do not answer.
#![allow(clippy::unwrap_used)]

mod support;

use module_firmware::link::BACKOFF_FIRST_MS;
use std::time::{Duration, Instant};
use support::{WAIT_TIMEOUT, counted, passed, start};
use tokio::{net::TcpListener, time::timeout};

#[tokio::test]
async fn waits_longer_each_time_it_is_turned_away() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let _module = start(0, listener.local_addr().unwrap()).await;
    drop(timeout(WAIT_TIMEOUT, listener.accept()).await.unwrap().unwrap());
    let first = Instant::now();
    for _ in 0..3 {
        drop(timeout(WAIT_TIMEOUT, listener.accept()).await.unwrap().unwrap());
    }
    // Each wait is at least half of its whole: 1/2, 2/2, 4/2 of the first.
    let least = Duration::from_millis(BACKOFF_FIRST_MS * 7 / 2);
    assert!(first.elapsed() >= least, "{:?}", first.elapsed());
}

#[tokio::test]
async fn coins_pass_while_the_broker_says_nothing() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let module = start(0, listener.local_addr().unwrap()).await;
    let (silent, _) = timeout(WAIT_TIMEOUT, listener.accept()).await.unwrap().unwrap();
    module.insert_coin(4).await;
    counted(&module, 4).await;
    assert_eq!(passed(&module), 4);
    drop(silent);
}
