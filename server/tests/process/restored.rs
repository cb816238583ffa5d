//! The database is put back from a copy that is older than a sale: no second pulse, and no money back.

use crate::{demo::Demo, visitor::Form};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The demo's database file.
fn database(dir: &Path) -> PathBuf {
    let is_database = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "db");
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).find(is_database).expect("the demo has a database")
}

/// Puts a copy in the place of the database of a demo that is stopped.
fn restore(dir: &Path, copy: &Path) {
    let database = database(dir);
    for ending in ["-wal", "-shm"] {
        let _ = fs::remove_file(format!("{}{ending}", database.display()));
    }
    fs::copy(copy, database).unwrap();
}

/// The payer's page at the provider, wherever the provider listens by now.
fn moved(payment: &Form, sandbox: &str) -> Form {
    let mut moved = payment.clone();
    let (sandbox, mut action) = (reqwest::Url::parse(sandbox).unwrap(), payment.action.clone());
    action.set_port(sandbox.port()).unwrap();
    moved.action = action;
    moved
}

#[tokio::test]
async fn a_sale_that_the_copy_does_not_know_to_be_served_is_credited_again_without_a_pulse() {
    let dir = tempfile::tempdir().unwrap();
    let copies = tempfile::tempdir().unwrap();
    let copy = copies.path().join("copy");

    // Ordered, and not paid, when the copy is taken.
    let mut demo = Demo::start(dir.path()).await;
    let machine = demo.facts.machines[0].clone();
    demo.facts.visitor().price_forms(&machine.code).await;
    let payment = demo.facts.visitor().try_order(&machine.code).await.unwrap().expect("the machine is ready");
    assert!(demo.running.terminate().await.0.success());
    fs::copy(database(dir.path()), &copy).unwrap();

    let mut demo = Demo::start(dir.path()).await;
    let path = demo.facts.visitor().approve(&moved(&payment, &demo.facts.sandbox)).await;
    demo.facts.visitor().sale_state(&path, &["credited"]).await;
    assert!(demo.running.terminate().await.0.success());

    restore(dir.path(), &copy);
    let demo = Demo::start(dir.path()).await;
    let visitor = demo.facts.visitor();
    let before = visitor.machine_pulses(&machine.module).await;
    visitor.sale_state(&path, &["credited"]).await;
    assert!(visitor.metric("coinwire_sale_steps_total").await > 0.0, "it was settled anew");
    assert_eq!(visitor.machine_pulses(&machine.module).await, before, "{}", demo.running.stderr());
    assert!(visitor.get(&path).await.texts(".receipt dt").iter().all(|word| word != "Returned"), "money went back");

    // It sells on, and the module takes it for what it is: another sale.
    let next = visitor.buy(&machine.code).await;
    visitor.sale_state(&next.path, &["credited"]).await;
    assert_eq!(visitor.machine_pulses(&machine.module).await, before + next.pulses);
}
