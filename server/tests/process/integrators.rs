//! An integrator with a stock client, and what it may not do.

use crate::{
    coinwire::{demo_store_command, run_with_input},
    demo::Demo,
    mosquitto::{self, Subscriber},
};

#[tokio::test]
async fn an_integrator_reads_status_pulse_and_sale_with_either_version() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Demo::start(dir.path()).await;
    let (at, integrator) = (demo.facts.mqtt_address(), &demo.facts.integrator);
    let login = Some((integrator.username.as_str(), integrator.password.as_str()));
    let machine = &demo.facts.machines[0];
    let visitor = demo.facts.visitor();
    let mut subscribers = vec![];
    for version in ["311", "5"] {
        subscribers.push(Subscriber::start(at, login, version, &integrator.topics).await);
    }
    for it in &mut subscribers {
        let status = it.until("status", |status| status["module"] == machine.module.as_str()).await;
        assert_eq!(status["online"], true, "the last status is there at once: {status}");
    }

    visitor.demo_button(&machine.module, "coin").await;
    for it in &mut subscribers {
        let pulse = it.until("pulse", |_| true).await;
        assert_eq!(pulse["pulses"], 1, "{pulse}");
        assert_eq!(pulse["coin_pulses_total"], 1, "{pulse}");
    }

    let bought = visitor.buy(&machine.code).await;
    let token = bought.path.rsplit('/').next().unwrap();
    for it in &mut subscribers {
        let sale = it.until("sale", |sale| sale["sale"] == token && sale["state"] == "credited").await;
        assert_eq!(sale["pulses_given"], bought.pulses, "{sale}");
        assert_eq!(sale["currency"], "CNY", "{sale}");
        assert!(sale["amount_minor"].as_i64().unwrap() > 0, "{sale}");
    }

    visitor.demo_button(&machine.module, "stop").await;
    for it in &mut subscribers {
        it.until("status", |status| status["module"] == machine.module.as_str() && status["online"] == false).await;
    }
}

#[tokio::test]
async fn an_integrator_reads_over_tls_trusting_the_demos_own_authority() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Demo::start(dir.path()).await;
    let (at, integrator) = (demo.facts.mqtt_tls_address(), &demo.facts.integrator);
    let login = Some((integrator.username.as_str(), integrator.password.as_str()));
    for version in ["311", "5"] {
        // Of a machine that is never heard the last known facts are there, too.
        let status = integrator.topics.replace('#', &format!("{}/status", demo.facts.machines[0].code));
        let read = ["-V", version, "-t", &status, "-C", "1"];
        let trusting = [&read[..], &["--cafile", &demo.facts.mqtt_ca]].concat();
        let outcome = mosquitto::run("mosquitto_sub", at, login, &trusting).await;
        assert!(outcome.success && outcome.said.contains("\"online\":true"), "{outcome:?}");
        let mistrusting = [&read[..], &["--capath", "/etc/ssl/certs"]].concat();
        assert!(!mosquitto::run("mosquitto_sub", at, login, &mistrusting).await.success);
    }
}

#[tokio::test]
async fn an_integrator_whose_password_is_changed_is_cut_and_kept_out() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Demo::start(dir.path()).await;
    let (at, integrator) = (demo.facts.mqtt_address(), &demo.facts.integrator);
    let old = Some((integrator.username.as_str(), integrator.password.as_str()));
    let mut reader = Subscriber::start(at, old, "5", &integrator.topics).await;
    reader.until("status", |_| true).await;
    let added = run_with_input(&mut demo_store_command(dir.path(), &["add", "integrator", "1"]), "another password\n");
    assert!(added.success, "{added:?}");
    // It connects again by itself, and ends when it is refused.
    reader.ended().await;
    let new = Some((integrator.username.as_str(), "another password"));
    assert!(!subscribes(at, old, "5", &integrator.topics, None).await);
    assert!(subscribes(at, new, "5", &integrator.topics, None).await);
}

#[tokio::test]
async fn an_integrator_reads_only_its_own_and_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Demo::start(dir.path()).await;
    let (at, integrator) = (demo.facts.mqtt_address(), &demo.facts.integrator);
    let login = Some((integrator.username.as_str(), integrator.password.as_str()));
    let own = integrator.topics.trim_end_matches('#');
    for version in ["311", "5"] {
        for topic in ["#", "m/+/status", "m/+/command", "v1/#", "v1/other/#", "$SYS/#"] {
            assert!(!subscribes(at, login, version, topic, None).await, "read {topic} with {version}");
        }
        assert!(subscribes(at, login, version, &integrator.topics, None).await);
        let command = format!("m/{}/command", demo.facts.machines[0].module);
        for topic in [command.as_str(), "v1/other/x/sale", &format!("{own}x/status")] {
            assert!(!publishes(at, login, version, topic, None).await, "wrote {topic} with {version}");
        }
    }
}

#[tokio::test]
async fn a_stranger_gets_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Demo::start(dir.path()).await;
    let (at, integrator) = (demo.facts.mqtt_address(), &demo.facts.integrator);
    let strangers = [
        None,
        Some((integrator.username.as_str(), "wrong")),
        Some((integrator.username.as_str(), "")),
        Some(("backend", "wrong")),
        Some((demo.facts.machines[0].module.as_str(), integrator.password.as_str())),
        Some(("nobody", integrator.password.as_str())),
    ];
    for login in strangers {
        for version in ["311", "5"] {
            assert!(!subscribes(at, login, version, &integrator.topics, None).await, "{login:?} with {version}");
            assert!(!publishes(at, login, version, "x", None).await, "{login:?} with {version}");
        }
    }
}

/// Whether a subscription is granted: the client ends by itself once it has the answer.
pub async fn subscribes(
    at: std::net::SocketAddr,
    login: mosquitto::Login<'_>,
    version: &str,
    topic: &str,
    client_id: Option<&str>,
) -> bool {
    let mut args = vec!["-V", version, "-q", "1", "-E", "-t", topic];
    args.extend(client_id.iter().flat_map(|id| ["-i", id]));
    let outcome = mosquitto::run("mosquitto_sub", at, login, &args).await;
    outcome.success && !outcome.said.contains("denied")
}

/// Whether a message is taken.
pub async fn publishes(
    at: std::net::SocketAddr,
    login: mosquitto::Login<'_>,
    version: &str,
    topic: &str,
    client_id: Option<&str>,
) -> bool {
    let mut args = vec!["-V", version, "-q", "1", "-m", "x", "-t", topic];
    args.extend(client_id.iter().flat_map(|id| ["-i", id]));
    let outcome = mosquitto::run("mosquitto_pub", at, login, &args).await;
    outcome.success && !outcome.said.contains("Publish 1 failed")
}
