//! Settings: printed, read from a file and the environment, and wrong ones named.

use crate::coinwire::{coinwire, run, run_with_input};
use std::{fs, path::Path};

/// Settings that work on a directory, as text.
pub fn working_settings(dir: &Path) -> String {
    format!(
        "database_url = \"sqlite://{0}/coinwire.db?mode=rwc\"\nsecret_key_file = \"{0}/coinwire.key\"\n\
        http_listen = \"127.0.0.1:0\"\nmqtt_listen = \"127.0.0.1:0\"\n",
        dir.display()
    )
}

fn serve_fails(settings: &str, environment: &[(&str, &str)]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("coinwire.toml");
    let text = format!("{settings}{}", working_settings(dir.path()));
    fs::write(&file, text).unwrap();
    let mut command = coinwire(&["serve", "--config", file.to_str().unwrap()]);
    let ended = run_with_input(command.envs(environment.iter().copied()), "");
    assert!(!ended.success, "served with {settings:?} {environment:?}");
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    ended.stderr
}

#[test]
fn the_printed_settings_explain_each_setting() {
    let printed = run(&["config"]);
    assert!(printed.success);
    let settings: toml::Table = printed.stdout.parse().expect("the printed settings are TOML");
    assert!(settings.len() > 8, "{settings:?}");
    for paragraph in printed.stdout.trim().split("\n\n").skip(1) {
        assert!(paragraph.starts_with('#'), "not explained:\n{paragraph}");
        assert!(paragraph.lines().any(|line| line.contains(" = ")), "explains nothing:\n{paragraph}");
    }
}

#[test]
fn a_wrong_value_is_named() {
    for (name, value) in [
        ("http_listen", "here"),
        ("mqtt_listen", "here"),
        ("mqtt_tls_listen", "here"),
        ("mqtt_ws_listen", "here"),
        ("mqtt_connections", "many"),
        ("mqtt_connections", "0"),
        ("scans_per_minute", "-1"),
        ("live_streams", "-1"),
        ("trust_proxy_header", "perhaps"),
        ("trusted_proxies", "[\"10.0.0.0/33\"]"),
        ("trusted_proxies", "[\"proxy.example\"]"),
        ("proxy_header", "x-real-ip"),
        ("metrics_listen", "here"),
        ("http_connections", "0"),
        ("http_connections_per_address", "0"),
        ("log", "=,=loud"),
    ] {
        let variable = format!("COINWIRE_{}", name.to_uppercase());
        let said = serve_fails("", &[(&variable, value)]);
        assert!(said.to_lowercase().contains(name), "{name} is not named in: {said}");
    }
}

/// What the broker's limits say of a value that is no number, or with which nothing works.
#[test]
fn a_limit_of_the_broker_that_cannot_work_is_named_with_what_it_may_be() {
    for (limit, value, may_be) in [
        ("client_in_flight", "0", "at least 1"),
        ("packet_bytes", "12", "from 256"),
        ("connect_timeout_s", "0", "from 1"),
        ("subscriptions", "2", "at least 3"),
        ("device_queue_bytes", "1000", "packet_bytes, 65536"),
        ("retained_messages", "many", "retained_messages"),
    ] {
        let variable = format!("COINWIRE_MQTT_LIMITS__{}", limit.to_uppercase());
        let said = serve_fails("", &[(&variable, value)]);
        let lower = said.to_lowercase();
        assert!(lower.contains(&format!("mqtt_limits.{limit}")), "{limit} is not named in: {said}");
        assert!(lower.contains(may_be), "what {limit} may be is not in: {said}");
        let in_file = serve_fails(&format!("mqtt_limits.{limit} = {value:?}\n"), &[]);
        assert!(in_file.to_lowercase().contains(&format!("mqtt_limits.{limit}")), "{in_file}");
    }
    let said = serve_fails("mqtt_limits.connections = 5\n", &[]);
    assert!(said.contains("mqtt_connections"), "there is one way to say it: {said}");
    let said = serve_fails("mqtt_limits.packet_bites = 5\n", &[]);
    assert!(said.contains("packet_bites") && said.contains("packet_bytes"), "{said}");
}

#[test]
fn an_unknown_setting_is_named() {
    let said = serve_fails("htp_listen = \"127.0.0.1:1\"\n", &[]);
    assert!(said.contains("htp_listen"), "{said}");
    let said = serve_fails("", &[("COINWIRE_HTP_LISTEN", "127.0.0.1:1")]);
    assert!(said.to_lowercase().contains("htp_listen"), "{said}");
    let said = serve_fails("this is no TOML\n", &[]);
    assert!(said.contains("coinwire.toml"), "{said}");
}

#[test]
fn a_database_that_cannot_be_opened_is_an_answer_and_its_password_is_not_shown() {
    for url in ["mysql://root:hunter2@127.0.0.1:1/coinwire", "postgres://root:hunter2@127.0.0.1/x", "hunter2"] {
        let said = serve_fails("", &[("COINWIRE_DATABASE_URL", url)]);
        assert!(said.contains("database_url"), "{said}");
        assert!(!said.contains("hunter2"), "the password is shown: {said}");
    }
}

#[test]
fn a_password_of_digits_is_a_text_and_is_not_shown() {
    let settings = [
        ("COINWIRE_BROKER_PASSWORD", "0012345678"),
        ("COINWIRE_BROKER_URL", "mqtt://127.0.0.1:1"),
        ("COINWIRE_MQTT_LISTEN", ""),
        ("COINWIRE_LOG", "=,=loud"),
    ];
    let said = serve_fails("", &settings);
    assert!(said.contains("setting log"), "all others are right: {said}");
    assert!(!said.contains("12345678"), "{said}");
}

#[test]
fn two_brokers_or_none_are_refused() {
    let said = serve_fails("", &[("COINWIRE_BROKER_URL", "mqtt://127.0.0.1:1")]);
    assert!(said.contains("mqtt_listen") && said.contains("broker_url"), "{said}");
    let said = serve_fails("", &[("COINWIRE_MQTT_LISTEN", "")]);
    assert!(said.contains("mqtt_listen") && said.contains("broker_url"), "{said}");
}

#[test]
fn tls_without_a_certificate_that_can_be_used_is_refused() {
    let said = serve_fails("", &[("COINWIRE_MQTT_TLS_LISTEN", "127.0.0.1:0")]);
    assert!(said.contains("mqtt_tls_certificate") && said.contains("mqtt_tls_key"), "{said}");
    let said = serve_fails(
        "",
        &[
            ("COINWIRE_MQTT_TLS_LISTEN", "127.0.0.1:0"),
            ("COINWIRE_MQTT_TLS_CERTIFICATE", "/nowhere/chain.pem"),
            ("COINWIRE_MQTT_TLS_KEY", "/nowhere/key.pem"),
        ],
    );
    assert!(said.contains("/nowhere/chain.pem"), "{said}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let said = run(&["serve", "--config", "/nowhere/coinwire.toml"]);
    assert!(!said.success && said.stderr.contains("/nowhere/coinwire.toml"), "{said:?}");
}

#[test]
fn help_teaches() {
    let help = run(&["--help"]);
    assert!(help.success);
    for word in ["coinwire demo", "serve", "migrate", "config", "add"] {
        assert!(help.stdout.contains(word), "{word} is not in: {}", help.stdout);
    }
    for (command, words) in [
        ("demo", ["--http", "--mqtt", "--data", "--modules"].as_slice()),
        ("serve", &["--config"]),
        ("migrate", &["--config"]),
        ("add", &["operator", "member", "module", "machine", "merchant", "integrator"]),
    ] {
        let help = run(&[command, "--help"]);
        for word in words {
            assert!(help.stdout.contains(word), "{word} is not in the help of {command}: {}", help.stdout);
        }
    }
    assert!(run(&["--version"]).stdout.starts_with("coinwire "));
}
