//! Much data through the driver, whole and in order; and a session with a broker over it.
#![allow(clippy::unwrap_used)]

#[path = "support/line.rs"]
mod line;
#[path = "support/scripted.rs"]
mod scripted;
#[path = "support/mod.rs"]
mod support;

use embassy_futures::select::{Either, select};
use embassy_time::Duration;
use embedded_io_async::{Read as _, Write as _};
use line::{Pin, config, dialogue_timeouts, drive};
use minimq::{Buffers, ConfigBuilder, Publication, QoS, Session, TopicFilter};
use module_firmware::{
    link::Dial,
    modem::{Modem, ModemDial, State},
};
use scripted::{KINDS, Kind, Scripted, echo, honest};
use support::{Mosquitto, module};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional, duplex},
    net::TcpStream,
    task::LocalSet,
};

/// Bytes each way.
const MUCH: usize = 1 << 20;

/// Xorshift (Marsaglia 2003).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// All bytes there are, and words that modems say.
fn much() -> Vec<u8> {
    let words: [&[u8]; 8] = [
        b"\r\nOK\r\n",
        b"\r\nERROR\r\n",
        b"\r\nCLOSED\r\n",
        b"\r\n+CIPRXGET: 2,9,0\r\n",
        b"> ",
        b"\r\n+QIRD: 700\r\n",
        b"\x1b\x1a\r",
        b"\r\n+IPCLOSE: 0,1\r\n",
    ];
    let mut random = Random(7);
    let mut bytes = Vec::with_capacity(MUCH + 32);
    while bytes.len() < MUCH {
        let drawn = random.next();
        if drawn.is_multiple_of(37) {
            bytes.extend(words[(drawn >> 32) as usize % words.len()]);
        } else {
            bytes.push((drawn >> 40) as u8);
        }
    }
    bytes.truncate(MUCH);
    bytes
}

/// An echo at the other end of the network: each byte comes back once. Reads and writes are cancelled all the time.
async fn echoed(kind: Kind) {
    let (uart, far) = line::line();
    let (modem, key) = (Modem::new(), Pin::default());
    let config = config(dialogue_timeouts());
    let scripted = Scripted::new(kind, far, key.clone(), honest(), echo());
    tokio::task::spawn_local(scripted.live());
    let sent = much();
    let work = async {
        let mut stream = ModemDial::new(&modem).dial().await.unwrap();
        assert_eq!(modem.state(), State::Connected);
        let (mut written, mut heard) = (0, Vec::<u8>::with_capacity(MUCH));
        let mut random = Random(11);
        let mut cancelled = 0;
        while heard.len() < MUCH {
            // Not more on its way than the echo takes in without being read.
            let (drawn, on_the_way) = (random.next(), written - heard.len());
            let most = (drawn as usize >> 8) % 900 + 1;
            if written < MUCH && on_the_way < 2048 && drawn.is_multiple_of(2) {
                let end = (written + most).min(MUCH);
                let nothing =
                    embassy_time::Timer::after(Duration::from_micros(if drawn & 4 == 0 { 0 } else { drawn >> 54 }));
                match select(stream.write(&sent[written..end]), nothing).await {
                    Either::First(count) => written += count.unwrap(),
                    Either::Second(()) => cancelled += 1,
                }
            } else if on_the_way > 0 {
                let mut bytes = vec![0; most];
                let nothing =
                    embassy_time::Timer::after(Duration::from_micros(if drawn & 4 == 0 { 0 } else { drawn >> 54 }));
                match select(stream.read(&mut bytes), nothing).await {
                    Either::First(count) => heard.extend(&bytes[..count.unwrap()]),
                    Either::Second(()) => cancelled += 1,
                }
            }
        }
        assert!(heard == sent);
        assert!(cancelled > 100, "{cancelled}");
        println!("{kind:?}: {MUCH} bytes there and back, {cancelled} reads and writes cancelled");
        assert_eq!((modem.counters().links_lost, modem.counters().garbage_bytes), (0, 0));
    };
    match select(drive(&modem, &config, uart, key), work).await {
        Either::Second(()) => {}
        Either::First(never) => match never {},
    }
}

#[tokio::test]
async fn a_megabyte_comes_back_whole() {
    for kind in KINDS {
        LocalSet::new().run_until(echoed(kind)).await;
    }
}

/// A session with a broker: both directions, larger and smaller messages.
async fn session(kind: Kind, broker: std::net::SocketAddr) {
    let (uart, far) = line::line();
    let (modem, key) = (Modem::new(), Pin::default());
    let config = config(dialogue_timeouts());
    let connect = Box::new(move || {
        let (near, mut far) = duplex(4096);
        tokio::task::spawn_local(async move {
            let mut stream = TcpStream::connect(broker).await.unwrap();
            let _ = copy_bidirectional(&mut far, &mut stream).await;
        });
        Some(near)
    });
    let scripted = Scripted::new(kind, far, key.clone(), honest(), connect);
    tokio::task::spawn_local(scripted.live());
    let work = async {
        let stream = ModemDial::new(&modem).dial().await.unwrap();
        let (id, secret) = module(0);
        let password = secret.mqtt_password(id);
        let (mut rx, mut tx) = ([0; 512], [0; 1536]);
        let mqtt = ConfigBuilder::new(Buffers::new(&mut rx, &mut tx)).client_id(id.as_str()).unwrap();
        let mut session = Session::new(mqtt.auth(id.as_str(), password.as_bytes()).unwrap());
        let mut connection = session.connect(stream).await.unwrap();
        // A module may read its commands, and write what is not one: so it hears nothing but what is acknowledged.
        let commands = format!("m/{id}/command");
        let filters = [TopicFilter::new(&commands)];
        connection.subscribe(&filters, &[]).await.unwrap();
        let topic = format!("m/{id}/pulse");
        for length in [1, 80, 300, 600, 1000] {
            let payload = vec![0xA5; length];
            let publication = Publication::bytes(&topic, &payload).qos(QoS::AtLeastOnce);
            let op = connection.publish(publication).await.unwrap().unwrap();
            while !connection.is_complete(&op) {
                connection.poll().await.unwrap();
            }
        }
        connection.disconnect().await.unwrap();
    };
    match select(drive(&modem, &config, uart, key), work).await {
        Either::Second(()) => {}
        Either::First(never) => match never {},
    }
}

#[tokio::test]
async fn minimq_has_a_session_over_it() {
    let mosquitto = Mosquitto::start(1).await;
    for kind in KINDS {
        LocalSet::new().run_until(session(kind, mosquitto.at)).await;
    }
}

/// A connection that was dropped is closed, and the next begins without a byte of it.
#[tokio::test]
async fn a_new_connection_has_nothing_of_the_old() {
    for kind in KINDS {
        LocalSet::new()
            .run_until(async {
                let (uart, far) = line::line();
                let (modem, key) = (Modem::new(), Pin::default());
                let config = config(dialogue_timeouts());
                let (give, mut servers) = tokio::sync::mpsc::unbounded_channel();
                let connect = Box::new(move || {
                    let (near, far) = duplex(4096);
                    give.send(far).unwrap();
                    Some(near)
                });
                tokio::task::spawn_local(Scripted::new(kind, far, key.clone(), honest(), connect).live());
                let work = async {
                    let mut dial = ModemDial::new(&modem);
                    let stream = dial.dial().await.unwrap();
                    let mut first = servers.recv().await.unwrap();
                    first.write_all(&[1; 3000]).await.unwrap();
                    drop(stream);
                    // Its end is seen at the server.
                    let mut rest = vec![];
                    first.read_to_end(&mut rest).await.unwrap();
                    // A wish that was taken back may have been fulfilled, and undone.
                    let unfulfilled = embassy_time::with_timeout(Duration::from_ticks(0), dial.dial()).await;
                    assert!(unfulfilled.is_err());
                    let mut stream = dial.dial().await.unwrap();
                    let mut second = servers.recv().await.unwrap();
                    while let Ok(later) = servers.try_recv() {
                        second = later;
                    }
                    second.write_all(b"second").await.unwrap();
                    let mut heard = [0; 6];
                    stream.read_exact(&mut heard).await.unwrap();
                    assert_eq!(&heard, b"second");
                    stream.write_all(b"third").await.unwrap();
                    stream.flush().await.unwrap();
                    let mut told = [0; 5];
                    second.read_exact(&mut told).await.unwrap();
                    assert_eq!(&told, b"third");
                    assert_eq!(modem.counters().links_lost, 0);
                };
                match select(drive(&modem, &config, uart, key), work).await {
                    Either::Second(()) => {}
                    Either::First(never) => match never {},
                }
            })
            .await;
    }
}
