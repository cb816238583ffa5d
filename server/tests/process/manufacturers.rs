//! A manufacturer's tool with a stock client.

use crate::{
    coinwire::{demo_store_command, run_with_input},
    demo::Demo,
    integrators::{publishes, subscribes},
    mosquitto::Subscriber,
};
use module_host::{Config, Flash, VirtualModule};
use protocol::{ModuleId, ModuleSecret};

#[tokio::test]
async fn a_manufacturers_tool_reads_how_its_modules_are_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Demo::start(dir.path()).await;
    let at = demo.facts.mqtt_address();
    let add = |args: &[&str], input: &str| {
        let added = run_with_input(&mut demo_store_command(dir.path(), &[&["add"], args].concat()), input);
        assert!(added.success, "{added:?}");
        added.stdout
    };
    assert_eq!(add(&["manufacturer", "boards", "Boards & Sons"], "").trim(), "manufacturer 1");
    add(&["tool", "1"], "a bench in Shenzhen\n");
    let printed = add(&["module", "--manufacturer", "1"], "");
    let field = |name: &str| printed.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    let (id, digits) = (ModuleId::parse(&field("id ")).unwrap(), field("secret "));
    let secret = hex::decode(digits).unwrap().try_into().unwrap();

    let tool = Some(("manufacturer:boards", "a bench in Shenzhen"));
    for version in ["311", "5"] {
        assert!(subscribes(at, tool, version, "made/boards/#", None).await, "with {version}");
        for topic in ["made/#", "made/rival/#", "v1/#", "m/+/status", "#"] {
            assert!(!subscribes(at, tool, version, topic, None).await, "{topic} with {version}");
        }
        assert!(!publishes(at, tool, version, &format!("made/boards/{id}/status"), None).await, "with {version}");
    }
    let mut reader = Subscriber::start(at, tool, "5", "made/boards/#").await;
    let config = Config { id, secret: ModuleSecret::new(secret), broker: at, flash: Flash::Memory, seed: 1 };
    let module = VirtualModule::start(config).await.unwrap();
    let (topic, status) = reader.message().await;
    assert_eq!(topic, format!("made/boards/{id}/status"));
    assert!(status["online"] == true && status["boot"] == 1, "{status}");
    assert!(!status["firmware"].as_str().unwrap().is_empty(), "{status}");
    assert!(status.to_string().find("pulses").is_none(), "nothing of money: {status}");
    module.power_off().await;
    reader.until("status", |status| status["online"] == false).await;

    add(&["tool", "1"], "a bench in Dongguan\n");
    reader.ended().await;
    assert!(!subscribes(at, tool, "5", "made/boards/#", None).await);
}
