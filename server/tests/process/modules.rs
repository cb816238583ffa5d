//! What a module's credentials open: its own topics, with its own client id.

use crate::{
    coinwire::{demo_store_command, run_with_input},
    demo::Demo,
    integrators::{publishes, subscribes},
    mosquitto, until,
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
    let member = demo.facts.member().await;
    let page = member.get("/operator").await;
    let spare_machine = page.texts(".machine").into_iter().find(|card| card.contains("Spare")).expect("its card");
    assert!(spare_machine.contains("Offline"), "{spare_machine}");
}

#[tokio::test]
async fn a_module_disabled_by_command_is_cut_and_kept_out_until_it_is_enabled() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Demo::start(dir.path()).await;
    let (at, spare) = (demo.facts.mqtt_address(), &demo.facts.spare_module);
    let login = Some((spare.username.as_str(), spare.password.as_str()));
    let topic = format!("m/{}/command", spare.id);
    let owner = demo.facts.member().await;
    let command =
        |action: &str, id: &str| run_with_input(&mut demo_store_command(dir.path(), &["module", action, id]), "");
    for version in ["311", "5"] {
        let args = ["-V", version, "-i", &spare.id, "-q", "1", "-t", &topic];
        // It connects again by itself, and ends when it is refused.
        let listening = mosquitto::run("mosquitto_sub", at, login, &args);
        let disabling = async {
            let search = format!("/operator/connections?q={}", spare.id);
            until("it to connect", async || (!owner.get(&search).await.texts("tbody tr").is_empty()).then_some(()))
                .await;
            let disabled = command("disable", &spare.id);
            assert!(disabled.success && disabled.stdout.contains("is disabled"), "{disabled:?}");
        };
        tokio::join!(listening, disabling);
        let refused = mosquitto::run("mosquitto_sub", at, login, &[&args[..], &["-E"]].concat()).await;
        assert!(!refused.success && refused.said.to_lowercase().contains("not authori"), "{refused:?}");
        let enabled = command("enable", &spare.id);
        assert!(enabled.success, "{enabled:?}");
        assert!(subscribes(at, login, version, &topic, Some(&spare.id)).await);
    }
    for (id, why) in [("nonsense", "module's id"), ("0000000000", "no such module")] {
        let refused = command("disable", id);
        assert!(!refused.success && refused.stderr.contains(why), "{refused:?}");
    }
}
