//! The log: whoever reads it, or does not, holds nothing up; and no stranger fills it.

use crate::{
    coinwire::{Running, coinwire, run, unwritable_dir},
    demo::{self, Demo},
    until,
};
use std::io::{PipeReader, PipeWriter, Read, Write};

/// A pipe that holds no byte more, and what it takes to fill it.
fn full_pipe() -> (PipeReader, PipeWriter, usize) {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut filling = writer.try_clone().unwrap();
    // It stops somewhere, and goes on for as long as the test reads.
    std::thread::spawn(move || {
        let _ = filling.write_all(&vec![b'\n'; 1 << 20]);
    });
    let mut first = [0];
    reader.read_exact(&mut first).unwrap();
    (reader, writer, (1 << 20) - 1)
}

#[tokio::test]
async fn an_unread_log_blocks_neither_payments_nor_shutdown() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    let (mut reader, writer, filled) = full_pipe();
    let args = ["demo", "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--data", data, "--log", "debug"];
    let mut running = Running::start_with_log(&mut coinwire(&args), writer);
    let facts = until("demo.json", async || {
        running.must_run();
        demo::read(&dir.path().join("demo.json"))
    })
    .await;
    let visitor = facts.visitor();
    for _ in 0..300 {
        assert_eq!(visitor.get("/nowhere").await.status, 404);
    }
    assert!(visitor.get("/healthz").await.status.is_success());
    let bought = visitor.buy(&facts.machines[0].code).await;
    visitor.sale_state(&bought.path, &["credited"]).await;
    let (status, took) = running.terminate().await;
    assert!(status.success(), "{status} after {took:?}");
    // What found room came through, as far as the process lived: nothing of it before what filled the pipe.
    let mut log = vec![];
    reader.read_to_end(&mut log).unwrap();
    assert!(log.len() >= filled);
}

#[tokio::test]
async fn what_a_stranger_causes_is_logged_so_often_and_then_counted() {
    let dir = tempfile::tempdir().unwrap();
    let mut demo = Demo::start(dir.path()).await;
    let stranger = demo.facts.visitor();
    for _ in 0..400 {
        assert_eq!(stranger.post("/callbacks/wechat/NOSUCHACCOUNT", "{}").await, 404);
    }
    let (status, _) = demo.running.terminate().await;
    assert!(status.success(), "{status}");
    let log = demo.running.stderr();
    let lines = log.lines().filter(|line| line.contains("a callback was refused") && !line.contains("left out"));
    assert!((1..200).contains(&lines.count()), "{log}");
    assert!(log.contains("lines were left out like this one: web::callbacks: a callback was refused"), "{log}");
}

#[test]
fn a_failure_is_said_once_and_last() {
    let dir = tempfile::tempdir().unwrap();
    let data = unwritable_dir(dir.path());
    let ended = run(&["demo", "--http", "127.0.0.1:0", "--data", data.to_str().unwrap()]);
    assert!(!ended.success);
    assert!(ended.stderr.starts_with("Error: cannot make the data directory"), "{}", ended.stderr);
}
