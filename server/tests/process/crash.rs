//! `kill -9`, and the death of the broker's core, in the middle of sales: what was paid ends credited or refunded.

use crate::{POLL_INTERVAL, demo::Demo, until, until_or, visitor::Visitor};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};
use tokio::task::JoinSet;

const MACHINES: usize = 4;
const KILLS: usize = 3;
/// So many sales are paid between two kills.
const SALES: usize = 10;

/// Paths of sales that the provider has confirmed.
type Paid = Arc<Mutex<Vec<String>>>;

/// Buys at one machine until nobody answers.
async fn buy_on(visitor: Visitor, code: String, paid: Paid) {
    loop {
        match visitor.try_order(&code).await {
            Ok(Some(payment)) => match visitor.try_approve(&payment).await {
                Ok(Some(path)) => paid.lock().unwrap().push(path),
                Ok(None) | Err(_) => return,
            },
            // Busy with the one before.
            Ok(None) => tokio::time::sleep(POLL_INTERVAL).await,
            Err(_) => return,
        }
    }
}

#[tokio::test]
async fn killed_in_the_middle_of_sales_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let paid = Paid::default();
    for kill in 1..=KILLS {
        let mut demo = Demo::start_with(dir.path(), MACHINES).await;
        let mut buyers = JoinSet::new();
        for machine in &demo.facts.machines {
            buyers.spawn(buy_on(demo.facts.visitor(), machine.code.clone(), paid.clone()));
        }
        until("sales", async || (paid.lock().unwrap().len() >= kill * SALES).then_some(())).await;
        demo.running.kill();
        while let Some(buyer) = buyers.join_next().await {
            buyer.unwrap();
        }
    }

    let demo = Demo::start_with(dir.path(), MACHINES).await;
    all_end_well(&demo, &paid).await;
}

/// The router's thread dies while sales are under way. Nobody has to do anything: it is replaced, no connection is lost,
/// and no message with it.
#[cfg(debug_assertions)]
#[tokio::test]
async fn a_dying_broker_core_loses_no_sale() {
    let dir = tempfile::tempdir().unwrap();
    let paid = Paid::default();
    let mut demo = Demo::start_with(dir.path(), MACHINES).await;
    let visitor = demo.facts.visitor();
    let connects = visitor.metric("broker_connects_total").await;
    let mut buyers = JoinSet::new();
    for machine in &demo.facts.machines {
        buyers.spawn(buy_on(demo.facts.visitor(), machine.code.clone(), paid.clone()));
    }
    for kill in 1..=KILLS {
        until("sales", async || (paid.lock().unwrap().len() >= kill * SALES).then_some(())).await;
        demo.running.signal("USR1");
        let begun = std::time::Instant::now();
        let replaced = async || {
            let restarts = visitor.metric("broker_core_restarts_total").await;
            (restarts >= kill as f64 && visitor.metric("broker_core_up").await == 1.0).then_some(())
        };
        if until_or(replaced).await.is_none() {
            panic!("no other core: {}", demo.running.stderr());
        }
        println!("replaced {} ms after its death", begun.elapsed().as_millis());
    }
    until("sales after it", async || (paid.lock().unwrap().len() >= (KILLS + 1) * SALES).then_some(())).await;
    buyers.shutdown().await;
    all_end_well(&demo, &paid).await;
    assert_eq!(visitor.metric("broker_connects_total").await, connects, "modules and backend stayed connected");
    until("readiness", async || visitor.get("/readyz").await.status.is_success().then_some(())).await;
}

/// A broker whose core sticks is not ready, and says so until the core is replaced.
#[cfg(debug_assertions)]
#[tokio::test]
async fn readiness_tells_of_a_broker_core_that_is_stuck() {
    let dir = tempfile::tempdir().unwrap();
    let mut demo = Demo::start_with(dir.path(), 1).await;
    let visitor = demo.facts.visitor();
    assert!(visitor.get("/readyz").await.status.is_success());
    let unready = until("it to be noticed", async || {
        // It is replaced soon after it is noticed: who looks too late has another sticking.
        demo.running.signal("USR2");
        Some(visitor.get("/readyz").await).filter(|page| page.status == 503)
    })
    .await;
    assert!(unready.html.contains("core is being replaced"), "{}", unready.html);
    until("the core to be replaced", async || visitor.get("/readyz").await.status.is_success().then_some(())).await;
    let bought = visitor.buy(&demo.facts.machines[0].code).await;
    visitor.sale_state(&bought.path, &["credited"]).await;
}

/// All that was paid ends credited or refunded, and the next sale goes through.
async fn all_end_well(demo: &Demo, paid: &Paid) {
    let visitor = demo.facts.visitor();
    let paid = paid.lock().unwrap().clone();
    assert!(paid.len() >= KILLS * SALES);
    let mut in_flight = 0;
    let mut ends = BTreeMap::new();
    for path in &paid {
        let now = visitor.get(path).await.sale_state();
        in_flight += usize::from(!["credited", "refunded"].map(Some).contains(&now.as_deref()));
        *ends.entry(visitor.sale_state(path, &["credited", "refunded"]).await).or_insert(0) += 1;
    }
    println!("{} sales over {KILLS} kills: {ends:?}; {in_flight} were under way after the last", paid.len());
    // It still sells.
    let next = visitor.buy(&demo.facts.machines[0].code).await;
    visitor.sale_state(&next.path, &["credited"]).await;
}
