//! Who is connected, in the pages; and the broker by WebSocket on the web's own port.

use crate::{
    demo::Demo,
    mosquitto::{self, Subscriber},
    until,
    visitor::Page,
};
use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::{
    connect_async,
    tungstenite::{Message, client::IntoClientRequest, http::HeaderValue},
};

const PATH: &str = "/operator/connections";

/// The form that ends the connection of a client.
fn end_form(page: &Page, client_id: &str) -> Option<crate::visitor::Form> {
    let rows = page.texts("tbody tr code");
    let at = rows.iter().position(|row| row == client_id)?;
    page.forms("/end").into_iter().nth(at)
}

#[tokio::test]
async fn a_connection_is_seen_and_ended_and_a_module_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Demo::start(dir.path()).await;
    let owner = demo.facts.member().await;
    let module = &demo.facts.machines[0].module;
    let page = owner.get(PATH).await;
    assert!(page.html.contains("Rocket ride") && page.html.contains(module), "{}", page.html);
    assert!(page.html.contains(">server<"), "the demo's owner runs the server");
    let first = end_form(&page, module).expect("it is connected");
    let after = owner.submit(&first).await;
    assert!(after.location.unwrap().as_str().ends_with("done=ended"));
    let second = until("the module to come back", async || {
        end_form(&owner.get(PATH).await, module).filter(|form| form.action != first.action)
    })
    .await;
    assert_ne!(second.action, first.action);
    // The old one is gone, and nobody else was touched.
    assert!(owner.submit(&first).await.location.unwrap().as_str().ends_with("done=gone"));
    assert!(end_form(&owner.get(PATH).await, &demo.facts.machines[1].module).is_some());
    // It goes on selling.
    let bought = owner.buy(&demo.facts.machines[0].code).await;
    owner.sale_state(&bought.path, &["credited"]).await;
    // A stranger sees nothing.
    let stranger = demo.facts.visitor();
    assert!(stranger.get(PATH).await.location.unwrap().path().starts_with("/sign-in"));
}

#[tokio::test]
async fn a_member_reads_by_mqtt_and_who_runs_the_server_reads_its_figures() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Demo::start(dir.path()).await;
    let (at, operator) = (demo.facts.mqtt_address(), &demo.facts.operator);
    let login = Some((operator.email.as_str(), operator.password.as_str()));
    let mut reader = Subscriber::start(at, login, "5", &demo.facts.integrator.topics).await;
    reader.until("status", |status| status["online"] == true).await;
    let figures = ["-V", "5", "-t", "$SYS/broker/clients/#", "-C", "2"];
    let outcome = mosquitto::run("mosquitto_sub", at, login, &figures).await;
    assert!(outcome.success, "{outcome:?}");
    let integrator = &demo.facts.integrator;
    let other = Some((integrator.username.as_str(), integrator.password.as_str()));
    let outcome = mosquitto::run("mosquitto_sub", at, other, &figures).await;
    assert!(outcome.said.contains("denied"), "an integrator may not: {outcome:?}");
    let wrong = Some((operator.email.as_str(), "wrong password"));
    assert!(!mosquitto::run("mosquitto_sub", at, wrong, &figures).await.success);
}

#[tokio::test]
async fn mqtt_goes_over_the_webs_own_port_too() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Demo::start(dir.path()).await;
    let at = format!("{}/mqtt", demo.facts.http.replacen("http://", "ws://", 1).trim_end_matches('/'));
    let request = |protocol: &'static str| {
        let mut request = at.as_str().into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(protocol));
        request
    };
    assert!(connect_async(request("chat")).await.is_err(), "another protocol is refused");
    for (offers, agreed) in [("mqttv3.1", "mqttv3.1"), ("mqttv3.1.1, mqtt", "mqttv3.1.1")] {
        let (_socket, response) = connect_async(request(offers)).await.unwrap();
        assert_eq!(response.headers()["sec-websocket-protocol"], agreed, "as older libraries call it");
    }
    let (mut socket, response) = connect_async(request("mqtt")).await.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "mqtt");
    let integrator = &demo.facts.integrator;
    let text = |text: &str| [&(text.len() as u16).to_be_bytes(), text.as_bytes()].concat();
    let body = [
        text("MQTT"),
        vec![5, 0b1100_0010, 0, 60, 0],
        text("browser"),
        text(&integrator.username),
        text(&integrator.password),
    ]
    .concat();
    let connect = [vec![0x10, body.len() as u8], body].concat();
    // Cut wherever it pleases.
    for piece in connect.chunks(7) {
        socket.send(Message::binary(piece.to_vec())).await.unwrap();
    }
    let Message::Binary(answer) = socket.next().await.unwrap().unwrap() else { panic!("no bytes") };
    assert_eq!((answer[0], answer[3]), (0x20, 0), "CONNACK, accepted");
    let shown = demo.facts.member().await.get(&format!("{PATH}?q=browser")).await;
    assert_eq!(shown.texts("tbody tr code"), ["browser"]);
    let plain = demo.facts.visitor().get("/mqtt").await;
    assert!(plain.status.is_client_error(), "{}", plain.status);
}
