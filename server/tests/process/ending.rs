//! How it ends, and how it goes on.

use crate::{
    coinwire::{Running, coinwire},
    demo::{self, Demo},
    mosquitto::Subscriber,
    until,
};
use std::time::Duration;

/// What it promises: a little more than all its parts may take, one after another.
const END: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_temporary_directory_is_removed_at_the_end() {
    let temporary = tempfile::tempdir().unwrap();
    let mut command = coinwire(&["demo", "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--modules", "1"]);
    let mut running = Running::start(command.env("TMPDIR", temporary.path()));
    let entries = || std::fs::read_dir(temporary.path()).unwrap().map(|entry| entry.unwrap().path());
    let facts = until("demo.json", async || {
        running.must_run();
        entries().find_map(|dir| demo::read(&dir.join("demo.json")))
    })
    .await;
    until("the addresses on the terminal", async || running.stdout().contains(&facts.http).then_some(())).await;
    for shown in [&facts.operator.email, &facts.operator.password, &facts.integrator.password, &facts.machines[0].code]
    {
        assert!(running.stdout().contains(shown), "{shown} is not shown");
    }
    let (status, took) = running.terminate().await;
    assert!(status.success(), "{status}");
    assert!(took < END, "{took:?}");
    assert_eq!(entries().count(), 0, "{:?} is left", entries().collect::<Vec<_>>());
}

#[tokio::test]
async fn it_ends_in_time_whatever_is_in_flight_and_goes_on_where_it_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let mut demo = Demo::start(dir.path()).await;
    let visitor = demo.facts.visitor();
    let done = visitor.buy(&demo.facts.machines[0].code).await;
    visitor.sale_state(&done.path, &["credited"]).await;

    // Readers who do not read, an MQTT client that stays, a module's command under way.
    let login = Some((demo.facts.integrator.username.as_str(), demo.facts.integrator.password.as_str()));
    let _subscriber = Subscriber::start(demo.facts.mqtt_address(), login, "5", &demo.facts.integrator.topics).await;
    let bought = visitor.buy(&demo.facts.machines[1].code).await;
    let _streams = (visitor.listen(&format!("{}/events", bought.path)).await, visitor.listen("/demo/events").await);
    let (status, took) = demo.running.terminate().await;
    println!("ended {} ms after SIGTERM", took.as_millis());
    assert!(status.success(), "{status}\n{}", demo.running.stderr());
    assert!(took < END, "{took:?}");
    assert!(!dir.path().join("demo.json").exists(), "an ended demo still says where it is");

    let again = Demo::start(dir.path()).await;
    assert_eq!(again.facts.operator, demo.facts.operator);
    assert_eq!(again.facts.integrator, demo.facts.integrator);
    assert_eq!(again.facts.spare_module, demo.facts.spare_module);
    let names =
        |demo: &Demo| -> Vec<_> { demo.facts.machines.iter().map(|it| (it.code.clone(), it.module.clone())).collect() };
    assert_eq!(names(&again), names(&demo));
    let visitor = again.facts.visitor();
    let end = visitor.sale_state(&bought.path, &["credited", "refunded"]).await;
    println!("the sale in flight ended {end}");
    assert_eq!(visitor.get(&done.path).await.sale_state().as_deref(), Some("credited"));
    let operator = &again.facts.operator;
    let member = visitor.sign_in(&operator.email, &operator.password).await.expect("the operator's login still serves");
    assert!(member.get("/operator").await.html.contains(&again.facts.machines[0].machine));
    let next = visitor.buy(&again.facts.machines[1].code).await;
    visitor.sale_state(&next.path, &["credited"]).await;
}
