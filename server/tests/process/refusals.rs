//! What it cannot do, it says: which address, which directory, which database; and it ends with an error.

use crate::coinwire::{Ended, run, unwritable_dir};
use std::net::TcpListener;

fn refused(ended: &Ended, words: &[&str]) {
    assert!(!ended.success, "{ended:?}");
    for word in words {
        assert!(ended.stderr.contains(word), "{word:?} is not in: {}", ended.stderr);
    }
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
}

#[test]
fn a_taken_port_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    refused(&run(&["demo", "--http", &address, "--mqtt", "127.0.0.1:0", "--data", data]), &[&address, "--http"]);
    refused(&run(&["demo", "--http", "127.0.0.1:0", "--mqtt", &address, "--data", data]), &[&address, "--mqtt"]);
}

#[test]
fn an_unwritable_data_directory_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let data = unwritable_dir(dir.path());
    let data = data.to_str().unwrap();
    refused(&run(&["demo", "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--data", data]), &[data]);
}

#[test]
fn a_damaged_memory_of_the_demo_is_named() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("demo-state.json"), "{").unwrap();
    let data = dir.path().to_str().unwrap();
    let ended = run(&["demo", "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--data", data]);
    refused(&ended, &["demo-state.json", "damaged"]);
}

#[test]
fn wrong_arguments_are_named() {
    refused(&run(&["demo", "--http", "here"]), &["--http", "here"]);
    refused(&run(&["demo", "--modules", "0"]), &["--modules"]);
    refused(&run(&["sing"]), &["sing"]);
    refused(&run(&[]), &["demo", "serve"]);
}
