//! Bad input on every line: the module continues, or recovers without a person, and never restarts because of it.

use crate::{
    backend::{Said, Server, broker, module},
    test_bench::TestBench,
    until,
};
use module_rig::{
    board::{MEMORY_BYTES, Output},
    modem::{Answer, Family, Fault, Plan, Registration},
};
use protocol::{
    console::{FRAME_MAX_BYTES, Request, frame},
    messages::{Action, Stage, faults},
};
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Bytes from a seed.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }
}

/// A credit goes through, whole.
async fn works(server: &mut Server, bench: &TestBench) {
    let before = bench.board.pulses(Output::Credit).unwrap().len();
    let credit = server.command(Action::Credit { pulses: 2 });
    let begun = std::time::Instant::now();
    let mut sent = None::<std::time::Instant>;
    loop {
        assert!(begun.elapsed() < crate::WAIT_TIMEOUT, "a credit did not go through");
        // As the server does: again until it is acknowledged.
        if sent.is_none_or(|at| at.elapsed() > Duration::from_secs(4)) {
            server.send(&credit).await;
            sent = Some(std::time::Instant::now());
        }
        let Some(said) = server.next_within(Duration::from_secs(1)).await else { continue };
        let Said::Ack(ack) = said else { continue };
        if ack.sequence != credit.sequence {
            continue;
        }
        let stage = if ack.stage == Stage::Duplicate { ack.first } else { Some(ack.stage) };
        match stage {
            Some(Stage::Done) => break,
            Some(Stage::Received | Stage::Clock) => {}
            _ => panic!("{ack:?}"),
        }
    }
    until("two pulses", async || (bench.board.pulses(Output::Credit).unwrap().len() == before + 2).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the image: cargo xtask rig"]
async fn a_modem_that_answers_wrong_late_twice_or_never() {
    for family in Family::ALL {
        let (_broker, at) = broker().await;
        let module = module(3);
        let mut server = Server::start(at, &module).await;
        let mut bench = TestBench::provisioned(family, Plan::default(), &module, at).await;
        server.until_ready().await;
        let boot = bench.console.info().await.unwrap().boot;

        // Junk between answers, while it works.
        let mut dice = Dice(11);
        bench.board.modem.plan(|plan| plan.noise = 300);
        for _ in 0..20 {
            let junk = dice.bytes(40);
            bench.board.modem.with(|core| core.noise(&junk));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // A line without an end.
        bench.board.modem.with(|core| core.noise(&[b'A'; 3000]));
        works(&mut server, &bench).await;
        bench.board.modem.plan(|plan| plan.noise = 0);

        let read = match family {
            Family::Sim800 | Family::A7670 => "AT+CIPRXGET=2",
            Family::Quectel => "AT+QIRD",
        };
        for answer in [Answer::Late(3000), Answer::Twice, Answer::Never, Answer::Refused] {
            let faults = [Fault::next(read, 1, answer), Fault::next("DATA", 1, answer)];
            bench.board.modem.plan(|plan| plan.faults = faults.to_vec());
            works(&mut server, &bench).await;
        }
        // Bits that flip, in data too.
        bench.board.modem.plan(|plan| plan.corruption = 50);
        tokio::time::sleep(Duration::from_secs(3)).await;
        bench.board.modem.plan(|plan| plan.corruption = 0);
        works(&mut server, &bench).await;
        let info = bench.console.info().await.unwrap();
        assert_eq!((info.boot, info.diagnostics.panic), (boot, None), "{family:?}: it restarted");
        let counted = info.diagnostics;
        println!("{family:?}: {:?}, and the module counted {counted:?}", bench.board.modem.counters());
        assert!(counted.modem_garbage > 0 && counted.modem_timeouts > 0 && counted.modem_errors > 0, "{counted:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the image: cargo xtask rig"]
async fn a_modem_that_hangs_restarts_or_is_refused() {
    let (_broker, at) = broker().await;
    let module = module(4);
    let mut server = Server::start(at, &module).await;
    let mut bench = TestBench::provisioned(Family::A7670, Plan::default(), &module, at).await;
    server.until_ready().await;
    let boot = bench.console.info().await.unwrap().boot;

    bench.board.modem.with(|core| core.restart());
    works(&mut server, &bench).await;
    bench.board.modem.plan(|plan| plan.registration = Registration::Denied);
    bench.board.modem.with(|core| core.restart());
    tokio::time::sleep(Duration::from_secs(5)).await;
    bench.board.modem.plan(|plan| plan.registration = Registration::Taken);
    works(&mut server, &bench).await;

    let boots = bench.board.modem.counters().boots;
    bench.board.modem.with(|core| core.hang());
    until("the modem's power cycle", async || (bench.board.modem.counters().boots > boots).then_some(())).await;
    works(&mut server, &bench).await;
    let info = bench.console.info().await.unwrap();
    assert_eq!(info.boot, boot, "it restarted");
    assert!(info.diagnostics.modem_restarts >= 3 && info.diagnostics.links_lost > 0, "{:?}", info.diagnostics);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the image: cargo xtask rig"]
async fn a_console_full_of_garbage() {
    let (_broker, at) = broker().await;
    let module = module(5);
    let mut server = Server::start(at, &module).await;
    let mut bench = TestBench::provisioned(Family::Quectel, Plan::default(), &module, at).await;
    server.until_ready().await;
    let before = bench.console.info().await.unwrap();

    let mut dice = Dice(5);
    let request = frame(9, &Request::Reboot).unwrap();
    for _ in 0..10 {
        bench.console.raw(&dice.bytes(300)).await.unwrap();
        // Cut short, bent, and without an end.
        bench.console.raw(&request[..request.len() / 2]).await.unwrap();
        let mut bent = request.to_vec();
        bent[3] ^= 0x40;
        bench.console.raw(&bent).await.unwrap();
        bench.console.raw(&[7; FRAME_MAX_BYTES + 100]).await.unwrap();
    }
    bench.console.raw(&[0]).await.unwrap();
    let after = bench.console.info().await.unwrap();
    assert_eq!(after.boot, before.boot, "it restarted");
    assert!(after.hardware.bad_frames > before.hardware.bad_frames, "{after:?}");
    works(&mut server, &bench).await;
}

/// Spikes, and more edges than can be taken: the line is read right again, and nothing else has suffered.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the image: cargo xtask rig"]
async fn a_coin_line_full_of_noise() {
    let (_broker, at) = broker().await;
    let module = module(9);
    let mut server = Server::start(at, &module).await;
    let mut bench = TestBench::provisioned(Family::Quectel, Plan::default(), &module, at).await;
    server.until_ready().await;
    let boot = bench.console.info().await.unwrap().boot;

    for _ in 0..50 {
        bench.board.coin_line(false).unwrap();
        bench.board.coin_line(true).unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for edge in 1..=6_000 {
        bench.board.coin_line(edge % 2 == 0).unwrap();
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    // Some may have taken long enough on a busy machine to pass for a coin.
    let before = bench.console.info().await.unwrap();
    assert_eq!(before.boot, boot, "it restarted");
    assert_eq!(before.faults & faults::COIN_LINE_STUCK, 0, "{before:?}");
    assert!(before.totals.noise_edges > 0, "{before:?}");
    println!("edges lost: {:?}", before.diagnostics.edges_lost);
    bench.board.coin(2, Duration::from_millis(60), Duration::from_millis(90)).unwrap();
    until("the coin", async || {
        let info = bench.console.info().await.unwrap();
        (info.totals.coin_pulses == before.totals.coin_pulses + 2).then_some(())
    })
    .await;
    works(&mut server, &bench).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the image: cargo xtask rig"]
async fn commands_that_are_none() {
    let (_broker, at) = broker().await;
    let module = module(6);
    let mut server = Server::start(at, &module).await;
    let mut bench = TestBench::provisioned(Family::Quectel, Plan::default(), &module, at).await;
    server.until_ready().await;
    let boot = bench.console.info().await.unwrap().boot;

    let mut dice = Dice(6);
    for count in [0, 1, 15, 16, 17, 64, 200, 256, 257, 280] {
        server.send_raw(dice.bytes(count)).await;
    }
    let credit = server.command(Action::Credit { pulses: 1 });
    for bit in 0..24 {
        let mut payload = server.sealed(&credit);
        let at = dice.next() as usize % payload.len();
        payload[at] ^= 1 << (bit % 8);
        server.send_raw(payload).await;
    }
    for cut in 0..20 {
        let payload = server.sealed(&credit);
        server.send_raw(payload[..cut * payload.len() / 20].to_vec()).await;
    }
    works(&mut server, &bench).await;
    assert_eq!(bench.board.pulses(Output::Credit).unwrap().len(), 2, "one of them was taken for a credit");
    let info = bench.console.info().await.unwrap();
    assert_eq!(info.boot, boot, "it restarted");
    assert_ne!(info.faults & faults::BAD_SIGNATURES, 0, "{info:?}");
    assert!(info.diagnostics.bad_tags > 0 && info.diagnostics.bad_payloads > 0, "{:?}", info.diagnostics);
}

/// A server that speaks no MQTT, or bad one, to so many that come; then it hands over to a real broker.
async fn hostile_server(sayings: Vec<Vec<u8>>, broker: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut sayings = sayings.into_iter();
        while let Ok((mut client, _)) = listener.accept().await {
            let saying = sayings.next();
            tokio::spawn(async move {
                let Some(saying) = saying else {
                    let mut server = TcpStream::connect(broker).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                    return;
                };
                let mut heard = [0; 512];
                let _ = client.read(&mut heard).await;
                let _ = client.write_all(&saying).await;
                tokio::time::sleep(Duration::from_secs(1)).await;
            });
        }
    });
    at
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the image: cargo xtask rig"]
async fn a_server_that_speaks_bad_mqtt() {
    let (_broker, at) = broker().await;
    let module = module(7);
    let mut server = Server::start(at, &module).await;
    let connack = [0x20, 3, 0, 0, 0];
    let after_connack = |more: &[u8]| [&connack[..], more].concat();
    let sayings = vec![
        Dice(7).bytes(100),
        b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
        // A length that never ends, a packet longer than any buffer, a publish cut short, one with a topic beyond its end.
        after_connack(&[0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]),
        after_connack(&[&[0x30, 0xFF, 0x7F][..], &[b'x'; 2000]].concat()),
        after_connack(&[0x32, 60, 0, 18, b'm']),
        after_connack(&[0x32, 6, 0xFF, 0xFF, 1, 2, 3, 4]),
        after_connack(&Dice(8).bytes(300)),
        connack[..2].to_vec(),
    ];
    let hostile = hostile_server(sayings, at).await;
    let mut bench = TestBench::provisioned(Family::A7670, Plan::default(), &module, hostile).await;
    let boot = bench.console.info().await.unwrap().boot;
    server.until_ready_within(Duration::from_secs(200)).await;
    works(&mut server, &bench).await;
    assert_eq!(bench.console.info().await.unwrap().boot, boot, "it restarted");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the image: cargo xtask rig"]
async fn flash_that_is_blank_full_or_no_sense() {
    let (_broker, at) = broker().await;
    let identity = module(8);
    let mut server = Server::start(at, &identity).await;
    let mut dice = Dice(9);
    let contents = [
        ("zeros", vec![0; MEMORY_BYTES]),
        ("erased", vec![0xFF; MEMORY_BYTES]),
        ("noise", dice.bytes(MEMORY_BYTES)),
        ("noise again", dice.bytes(MEMORY_BYTES)),
        ("full of ones and zeros", vec![0x55; MEMORY_BYTES]),
    ];
    for (name, memory) in contents {
        println!("{name}");
        let mut bench = TestBench::start(Family::A7670, Plan::default(), Some(&memory));
        let (id, secret) = &identity;
        bench.console.provision(*id, secret, &at.ip().to_string(), at.port()).await.unwrap();
        let info = bench.console.reboot().await.unwrap();
        assert_eq!(info.id, Some(*id), "{name}");
        server.until_ready().await;
        works(&mut server, &bench).await;
        // Bits lost in what it wrote: it comes up again, with its identity or asking for one.
        let mut memory = bench.board.cut_power().unwrap();
        for _ in 0..8 {
            let at = dice.next() as usize % memory.len();
            memory[at] ^= 1 << (dice.next() % 8);
        }
        let mut bench = TestBench::start(Family::A7670, Plan::default(), Some(&memory));
        let info = bench.console.info().await.unwrap();
        assert!(info.id.is_none() || info.id == Some(*id), "{name}: {info:?}");
    }
}
