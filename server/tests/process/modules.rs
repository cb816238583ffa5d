//! What a module's credentials open: its own topics, with its own client id.

use crate::{
    demo::Demo,
    integrators::{publishes, subscribes},
};

#[tokio::test]
async fn a_modules_credentials_touch_only_its_own_topics() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Demo::start(dir.path()).await;
    let (at, spare) = (demo.facts.mqtt_address(), &demo.facts.spare_module);
    let (other, id) = (demo.facts.machines[0].module.as_str(), Some(spare.id.as_str()));
    let login = Some((spare.username.as_str(), spare.password.as_str()));
    for version in ["311", "5"] {
        let own = |kind: &str| format!("m/{}/{kind}", spare.id);
        let others = |kind: &str| format!("m/{other}/{kind}");
        assert!(subscribes(at, login, version, &own("command"), id).await, "with {version}");
        for topic in [others("command"), "m/+/command".into(), "#".into(), "v1/#".into(), own("status"), "x".into()] {
            assert!(!subscribes(at, login, version, &topic, id).await, "read {topic} with {version}");
        }
        // Taken by the broker; the backend drops what is not signed.
        for kind in ["status", "pulse", "ack"] {
            assert!(publishes(at, login, version, &own(kind), id).await, "{kind} with {version}");
            assert!(!publishes(at, login, version, &others(kind), id).await, "wrote another's {kind} with {version}");
        }
        for topic in [own("command"), others("command"), "v1/sunny/x/sale".into(), "x".into()] {
            assert!(!publishes(at, login, version, &topic, id).await, "wrote {topic} with {version}");
        }
        assert!(!subscribes(at, login, version, &own("command"), Some(other)).await, "another's client id");
    }
    // What it sent unsigned changed nothing: its machine never came online.
    let visitor = demo.facts.visitor();
    let operator = &demo.facts.operator;
    let member = visitor.sign_in(&operator.email, &operator.password).await.expect("the operator's login");
    let page = member.get("/operator").await;
    let spare_machine = page.texts(".machine").into_iter().find(|card| card.contains("Spare")).expect("its card");
    assert!(spare_machine.contains("Offline"), "{spare_machine}");
}
