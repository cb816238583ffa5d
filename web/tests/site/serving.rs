//! Sockets, health, metrics, the demo's panel.

use crate::support::{FakeDemo, Site, config, panel};
use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_util::sync::CancellationToken;
use web::{EmbeddedBroker, Messages, MqttConnection, Replies, WebError, bind, serve};

#[tokio::test]
async fn serves_on_a_free_port_and_ends_with_its_streams() {
    let site = Site::open().await;
    let token = site.order().await;
    let bound = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = bound.local_addr();
    assert_ne!(address.port(), 0);
    let taken = bind(address).await.unwrap_err();
    assert!(matches!(taken, WebError::Bind { .. }) && taken.to_string().contains(&address.to_string()), "{taken}");

    let shutdown = CancellationToken::new();
    let web = serve(bound, config(), site.backend.clone(), shutdown.clone()).unwrap();
    let mut socket = TcpStream::connect(address).await.unwrap();
    let request = format!("GET /sale/{token}/events HTTP/1.1\r\nHost: {address}\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut seen = String::new();
    while !seen.contains("event: fragment") {
        let mut buffer = [0; 4096];
        let length = socket.read(&mut buffer).await.unwrap();
        assert_ne!(length, 0, "closed early: {seen}");
        seen.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
    shutdown.cancel();
    let mut rest = vec![];
    socket.read_to_end(&mut rest).await.unwrap();
    drop(socket);
    web.done.await.unwrap().unwrap();
    bind(address).await.expect("the port is free again");
}

#[tokio::test]
async fn a_public_address_that_is_none_is_refused() {
    let site = Site::open().await;
    let bound = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let mut config = config();
    config.public_url = "pay.example".into();
    let refused = serve(bound, config, site.backend.clone(), CancellationToken::new()).unwrap_err();
    assert!(refused.to_string().contains("public_url"), "{refused}");
}

#[tokio::test]
async fn health_readiness_and_metrics() {
    let site = Site::open().await;
    let browser = site.browser();
    assert_eq!(browser.get("/healthz").await.text, "ok\n");
    assert_eq!(browser.get("/readyz").await.status, 200);
    site.field.disconnect_bus();
    let unready = browser.get("/readyz").await;
    assert_eq!(unready.status, 503);
    assert!(unready.text.contains("broker"), "{}", unready.text);
    assert_eq!(browser.get("/healthz").await.status, 200);
    assert_eq!(browser.get("/metrics").await.status, 404);
    let with = Site::open_with(|config| config.metrics = Some(Arc::new(|| "up 1\n".into()))).await;
    let metrics = with.browser().get("/metrics").await;
    assert_eq!((metrics.status, metrics.text.as_str()), (200, "up 1\n"));
}

/// A broker through which no message passes.
pub struct StuckBroker;

impl EmbeddedBroker for StuckBroker {
    fn healthy(&self) -> bool {
        false
    }

    fn connections(&self) -> Vec<MqttConnection> {
        vec![]
    }

    fn end_connection(&self, _: u64) -> bool {
        false
    }

    fn agree_on_subprotocol(&self, _: &[&str], _: SocketAddr) -> Option<&'static str> {
        None
    }

    fn message_bytes_max(&self) -> usize {
        0
    }

    fn serve(&self, _: Messages, _: Replies, _: SocketAddr) {}
}

#[tokio::test]
async fn a_broker_through_which_no_message_passes_is_not_ready() {
    let site = Site::open_with(|config| config.mqtt = Some(Arc::new(StuckBroker))).await;
    let unready = site.browser().get("/readyz").await;
    assert_eq!(unready.status, 503);
    assert_eq!(unready.text, "the message broker passes no messages; its core is being replaced\n");
}

#[tokio::test]
async fn the_way_in_depends() {
    let site = Site::open().await;
    assert_eq!(site.browser().get("/").await.location(), "/operator");
    assert_eq!(site.browser().get("/demo").await.status, 404);
    let demo = Site::open_with(|config| config.demo = Some(panel(Arc::default()))).await;
    assert_eq!(demo.browser().get("/").await.location(), "/demo");
}

#[tokio::test]
async fn the_demos_panel_moves_the_machines() {
    let demo = Arc::new(FakeDemo::default());
    let site = Site::open_with(|config| config.demo = Some(panel(demo.clone()))).await;
    let browser = site.browser();
    let page = browser.get("/demo").await;
    assert_eq!(page.all("[data-pulses]"), ["0"]);
    assert_eq!(page.attributes("a.button", "href")[0], "/s/CODE");
    let mut live = browser.stream("/demo/events").await;
    live.until("<strong data-pulses>0</strong>").await;
    let coin = browser.submit(&page, 0).await;
    assert_eq!((coin.status, coin.location()), (303, "/demo#module-0123456789"));
    live.until("<strong data-pulses>1</strong>").await;
    assert_eq!(browser.submit(&page, 1).await.status, 303);
    live.until("4 of 10 coins").await;
    assert_eq!(demo.taught.load(Ordering::SeqCst), 1);
    let during = browser.get("/demo").await;
    assert_eq!(during.all("[data-learning-result]"), ["Measuring"]);
    assert!(during.attributes("form", "action").iter().all(|action| !action.ends_with("/teach")), "one at a time");
    let stop = browser.submit(&page, 2).await;
    assert_eq!(stop.status, 303);
    live.until("Module off").await;
    assert_eq!(browser.post("/demo/modules/9999999999/stop", &page, &[]).await.status, 404);
    assert_eq!(browser.post("/demo/modules/0123456789/explode", &page, &[]).await.status, 404);
    assert_eq!(browser.post_plain("/demo/modules/0123456789/coin", &[], &[]).await.status, 403);
}
