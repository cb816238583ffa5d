//! The store's files: its key, who may read them, and a write-ahead log that was lost.

use crate::{
    coinwire::{Ended, Running, coinwire, run_with_input},
    demo::Demo,
    settings::working_settings,
    until,
};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

/// A store with a module in it, and its settings.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("coinwire.toml"), working_settings(dir.path())).unwrap();
        Self { dir }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = coinwire(args);
        command.env("COINWIRE_CONFIG", self.file("coinwire.toml"));
        command
    }

    fn run(&self, args: &[&str]) -> Ended {
        run_with_input(&mut self.command(args), "")
    }

    async fn serve(&self) -> Running {
        let mut running = Running::start(&mut self.command(&["serve"]));
        until("it to serve", async || {
            running.must_run();
            running.stderr().contains(" http=").then_some(())
        })
        .await;
        running
    }
}

/// Every command that opens the store refuses it, names the file, says what to do, and changes nothing.
fn all_refuse(place: &Place, words: &[&str]) {
    let commands: [&[&str]; 5] = [
        &["serve"],
        &["migrate"],
        &["add", "operator", "others", "Others"],
        &["add", "module"],
        &["module", "disable", "0123456789"],
    ];
    for command in commands {
        let ended = place.run(command);
        assert!(!ended.success, "{command:?}");
        for word in words.iter().copied().chain(["coinwire.key"]) {
            assert!(ended.stderr.contains(word), "{command:?}: {word:?} is not in: {}", ended.stderr);
        }
        assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    }
}

#[test]
fn without_its_key_file_a_store_is_refused_and_no_new_key_is_made() {
    let place = Place::new();
    // Nothing is sealed yet: a lost key is no loss.
    assert!(place.run(&["add", "operator", "rides", "Happy Rides"]).success);
    fs::remove_file(place.file("coinwire.key")).unwrap();
    let ended = place.run(&["add", "module"]);
    assert!(ended.success, "{}", ended.stderr);
    fs::rename(place.file("coinwire.key"), place.file("elsewhere")).unwrap();
    all_refuse(&place, &["secret_key_file", "Put this file back"]);
    assert!(!place.file("coinwire.key").exists(), "no other key was made");
    fs::rename(place.file("elsewhere"), place.file("coinwire.key")).unwrap();
    assert!(place.run(&["add", "module"]).success);
}

#[test]
fn with_another_key_file_a_store_is_refused() {
    let place = Place::new();
    assert!(place.run(&["add", "module"]).success);
    let key = fs::read_to_string(place.file("coinwire.key")).unwrap();
    let other = "ab".repeat(32);
    fs::write(place.file("coinwire.key"), &other).unwrap();
    all_refuse(&place, &["secret_key_file", "does not open"]);
    assert_eq!(fs::read_to_string(place.file("coinwire.key")).unwrap(), other);
    fs::write(place.file("coinwire.key"), key).unwrap();
    assert!(place.run(&["add", "module"]).success);
}

/// Files in a folder and below.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[tokio::test]
async fn only_the_owner_may_read_what_is_kept_whatever_the_umask() {
    let dir = tempfile::tempdir().unwrap();
    // As an earlier version left it.
    fs::write(dir.path().join("coinwire.db"), "").unwrap();
    fs::set_permissions(dir.path().join("coinwire.db"), fs::Permissions::from_mode(0o666)).unwrap();
    let demo = Demo::start_with_umask(dir.path(), "000").await;
    let visitor = demo.facts.visitor();
    let bought = visitor.buy(&demo.facts.machines[0].code).await;
    visitor.sale_state(&bought.path, &["credited"]).await;
    until("the mark", async || dir.path().join("coinwire.db-mark").exists().then_some(())).await;
    let open_to_others: Vec<_> = files(dir.path())
        .into_iter()
        .filter(|file| fs::metadata(file).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0))
        // A certificate is for everybody.
        .filter(|file| file.extension().is_none_or(|extension| extension != "pem"))
        .collect();
    assert!(files(dir.path()).len() > 5 && open_to_others.is_empty(), "others may read {open_to_others:?}");
}

#[tokio::test]
async fn an_emptied_write_ahead_log_is_named_at_start() {
    let place = Place::new();
    let mark = place.file("coinwire.db-mark");
    let mut running = place.serve().await;
    until("the mark", async || mark.exists().then_some(())).await;
    running.kill();
    let again = place.serve().await;
    assert!(!again.stderr().contains("has lost"), "nothing was lost: {}", again.stderr());
    drop(again);
    let wal = place.file("coinwire.db-wal");
    assert!(fs::metadata(&wal).unwrap().len() > 0, "what was committed is in the log");
    fs::write(&wal, "").unwrap();
    let warned = place.serve().await;
    let said = warned.stderr();
    for word in ["has lost", "coinwire.db-wal", "coinwire.db-mark", "stop the server"] {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
}

#[tokio::test]
async fn an_orderly_end_leaves_everything_in_the_database_file() {
    let place = Place::new();
    let mut running = place.serve().await;
    let (status, _) = running.terminate().await;
    assert!(status.success(), "{status}: {}", running.stderr());
    assert!(!place.file("coinwire.db-wal").exists(), "the log was copied into the database and removed");
}
