//! The module's modem driver on this machine, with the simulated modem at its line and an echo server behind it.

#![allow(clippy::unwrap_used)]

// Its time driver is linked in.
use module_host as _;

use embedded_hal::digital::{ErrorType, OutputPin, PinState};
use embedded_io_adapters::tokio_1::FromTokio;
use embedded_io_async::{Read as _, Write as _};
use module_firmware::{
    link::Dial,
    modem::{self as driver, Access, Config, ModemDial, Timeouts},
};
use module_rig::modem::{Answer, Family, Fault, Modem, Plan};
use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, duplex, split},
    net::TcpListener,
    time::timeout,
};

const WAIT_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes that come back, in pieces as MQTT sends them.
const PIECE_BYTES: usize = 90;
const PIECES: usize = 12;

/// The power key's line, at the modem.
struct Key(Arc<Modem>);

impl ErrorType for Key {
    type Error = Infallible;
}

impl OutputPin for Key {
    fn set_low(&mut self) -> Result<(), Infallible> {
        self.0.with(|core| core.power_key(false));
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        self.0.with(|core| core.power_key(true));
        Ok(())
    }
}

async fn echo_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut peer, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = [0; 1024];
                while let Ok(count @ 1..) = peer.read(&mut buffer).await {
                    if peer.write_all(&buffer[..count]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    at
}

/// Dials until it is connected, then sends pieces and reads them back; starts again when the connection is lost.
async fn exchange(dial: &mut ModemDial<'_>) {
    loop {
        let Ok(mut stream) = dial.dial().await else { continue };
        let mut back = 0;
        for number in 0..PIECES {
            let piece: Vec<u8> = (0..PIECE_BYTES).map(|at| (number * PIECE_BYTES + at) as u8).collect();
            if stream.write_all(&piece).await.is_err() {
                break;
            }
            let mut heard = [0; PIECE_BYTES];
            if stream.read_exact(&mut heard).await.is_err() {
                break;
            }
            assert_eq!(heard, piece[..], "piece {number} came back as another");
            back += 1;
        }
        if back == PIECES {
            return;
        }
    }
}

/// Runs the driver until the exchange is over, and `meddle` has done.
async fn run(family: Family, plan: Plan, meddle: impl AsyncFn(&Modem)) -> Arc<Modem> {
    let at = echo_server().await;
    let modem = Arc::new(Modem::start(family, plan, 3));
    let (near, far) = duplex(256);
    let (reader, writer) = split(far);
    modem.connect(reader, writer);
    let (reader, writer) = split(near);
    let host = at.ip().to_string();
    let mut config = Config::new(&host, at.port(), Access { apn: "internet", user: "", password: "" }).unwrap();
    config.timeouts =
        Timeouts { probe_ms: 300, poll_ms: 200, data_poll_ms: 3000, boot_ms: Some(4000), ..Timeouts::default() };
    let power = driver::Power::new(Key(modem.clone()), PinState::High);
    let (meet, uart) = (driver::Modem::new(), (FromTokio::new(reader), FromTokio::new(writer)));
    let mut dial = ModemDial::new(&meet);
    let work = async {
        exchange(&mut dial).await;
        meddle(&modem).await;
        exchange(&mut dial).await;
    };
    let running = async {
        tokio::select! {
            _ = driver::run(&meet, &config, uart, power, 1) => {}
            () = work => {}
        }
    };
    if timeout(WAIT_TIMEOUT * 2, running).await.is_err() {
        panic!("{family:?}: {:?} {:?}\n{}", meet.state(), meet.counters(), modem.transcript());
    }
    println!("{family:?}: {:?} {:?}", meet.counters(), modem.counters());
    modem
}

/// All families at a time.
async fn each(test: impl AsyncFn(Family)) {
    tokio::join!(test(Family::Sim800), test(Family::A7670), test(Family::Quectel));
}

#[tokio::test]
async fn bytes_come_back_in_order_through_each_family() {
    each(async |family| {
        let modem = run(family, Plan::default(), async |_| {}).await;
        let counters = modem.counters();
        assert_eq!((counters.boots, counters.impatient, counters.oversize), (1, 0, 0), "{}", modem.transcript());
        assert_eq!(counters.connections, 2);
    })
    .await;
}

#[tokio::test]
async fn a_slow_and_lossy_network_is_only_slow() {
    each(async |family| {
        let plan = Plan { network_ms: 50..150, answer_ms: 5..60, loss: 20, ..Plan::default() };
        let modem = run(family, plan, async |_| {}).await;
        assert_eq!(modem.counters().connections, 2, "{}", modem.transcript());
    })
    .await;
}

#[tokio::test]
async fn the_driver_recovers_from_lost_links_restarts_and_bad_answers() {
    each(async |family| {
        run(family, Plan::default(), async |modem| {
            let read = match family {
                Family::Sim800 | Family::A7670 => "AT+CIPRXGET=2",
                Family::Quectel => "AT+QIRD",
            };
            let wrong = |answer| [Fault::next(read, 1, answer), Fault::next("DATA", 1, answer)];
            modem.plan(|plan| plan.faults = [Answer::Late(2500), Answer::Twice, Answer::Refused].map(wrong).concat());
            modem.with(|core| core.drop_bearer());
            modem.noise(b"\x00\xff junk \r\n+CIPRXGET: 2,");
        })
        .await;
        run(family, Plan::default(), async |modem| modem.with(|core| core.restart())).await;
    })
    .await;
}
