//! The simulated modem alone: a person at a terminal, and an echo server at the other end.

#![allow(clippy::unwrap_used)]

use module_rig::modem::{Answer, Family, Fault, Modem, Plan, Way};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf},
    net::TcpListener,
    time::timeout,
};

const WAIT_TIMEOUT: Duration = Duration::from_secs(20);

struct Terminal {
    modem: Modem,
    reader: ReadHalf<DuplexStream>,
    writer: WriteHalf<DuplexStream>,
    heard: Vec<u8>,
}

impl Terminal {
    async fn start(family: Family) -> Self {
        let modem = Modem::start(family, Plan { boot_ms: 10, registration_ms: 10, ..Plan::default() }, 1);
        let (ours, theirs) = tokio::io::duplex(4096);
        let (reader, writer) = tokio::io::split(theirs);
        modem.connect(reader, writer);
        let (reader, writer) = tokio::io::split(ours);
        let mut it = Self { modem, reader, writer, heard: vec![] };
        it.say("AT\r").await;
        it.modem.with(|core| core.power_key(true));
        tokio::time::sleep(Duration::from_millis(1200)).await;
        it.modem.with(|core| core.power_key(false));
        // Some do not speak before they are spoken to.
        it.say("ATE0\r").await;
        it.hear("OK\r\n").await;
        it
    }

    async fn say(&mut self, text: &str) {
        self.writer.write_all(text.as_bytes()).await.unwrap();
    }

    /// Waits until this is heard, and gives all that came up to it.
    async fn hear(&mut self, text: &str) -> String {
        let listening = async {
            loop {
                if let Some(at) = self.heard.windows(text.len()).position(|window| window == text.as_bytes()) {
                    let rest = self.heard.split_off(at + text.len());
                    return std::mem::replace(&mut self.heard, rest);
                }
                let mut bytes = [0; 256];
                let count = self.reader.read(&mut bytes).await.unwrap();
                self.heard.extend(&bytes[..count]);
            }
        };
        let heard = timeout(WAIT_TIMEOUT, listening).await;
        match heard {
            Ok(heard) => String::from_utf8_lossy(&heard).into_owned(),
            Err(_) => panic!("not heard: {text:?}\n{}", self.modem.transcript()),
        }
    }

    async fn ask(&mut self, line: &str, answer: &str) -> String {
        self.say(&format!("{line}\r")).await;
        self.hear(answer).await
    }

    async fn registered(&mut self) {
        while !self.ask("AT+CREG?", "OK\r\n").await.contains(": 0,1") {}
    }
}

/// What opens a connection to a port, in each family: the commands with the answers to wait for.
fn way_in(family: Family, port: u16) -> Vec<(String, &'static str)> {
    let line = |text: &str, answer| (text.to_owned(), answer);
    match family {
        Family::Sim800 => vec![
            line("AT+CIPRXGET=1", "OK\r\n"),
            line("AT+CSTT=\"internet\"", "OK\r\n"),
            line("AT+CIICR", "OK\r\n"),
            line("AT+CIFSR", "10.64.0.7\r\n"),
            (format!("AT+CIPSTART=\"TCP\",\"127.0.0.1\",{port}"), "CONNECT OK\r\n"),
        ],
        Family::A7670 => vec![
            line("AT+CGDCONT=1,\"IP\",\"internet\"", "OK\r\n"),
            line("AT+NETOPEN", "+NETOPEN: 0\r\n"),
            line("AT+CIPRXGET=1", "OK\r\n"),
            (format!("AT+CIPOPEN=0,\"TCP\",\"127.0.0.1\",{port}"), "+CIPOPEN: 0,0\r\n"),
        ],
        Family::Quectel => vec![
            line("AT+QICSGP=1,1,\"internet\",\"\",\"\",0", "OK\r\n"),
            line("AT+QIACT=1", "OK\r\n"),
            (format!("AT+QIOPEN=1,0,\"TCP\",\"127.0.0.1\",{port},0,0"), "+QIOPEN: 0,0\r\n"),
        ],
    }
}

#[tokio::test]
async fn each_family_carries_bytes_both_ways_and_says_when_the_other_side_leaves() {
    for family in Family::ALL {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut terminal = Terminal::start(family).await;
        terminal.registered().await;
        for (line, answer) in way_in(family, server.local_addr().unwrap().port()) {
            terminal.ask(&line, answer).await;
        }
        let (mut peer, _) = server.accept().await.unwrap();
        let (send, sent, told, read, closed) = match family {
            Family::Sim800 => ("AT+CIPSEND=6", "SEND OK", "+CIPRXGET: 1", "AT+CIPRXGET=2,100", "CLOSED"),
            Family::A7670 => {
                ("AT+CIPSEND=0,6", "+CIPSEND: 0,6,6", "+CIPRXGET: 1,0", "AT+CIPRXGET=2,0,100", "+IPCLOSE: 0,1")
            }
            Family::Quectel => {
                ("AT+QISEND=0,6", "SEND OK", "+QIURC: \"recv\",0", "AT+QIRD=0,100", "+QIURC: \"closed\",0")
            }
        };
        terminal.ask(send, ">").await;
        // A return among the data is data.
        terminal.ask("a\rb\nc", sent).await;
        let mut bytes = [0; 6];
        peer.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"a\rb\nc\r");

        peer.write_all(b"\r\nOK\r\nCLOSED").await.unwrap();
        terminal.hear(told).await;
        let answer = terminal.ask(read, "OK\r\nCLOSED").await + &terminal.hear("OK\r\n").await;
        let head = match family {
            Family::Sim800 => "+CIPRXGET: 2,12,0\r\n",
            Family::A7670 => "+CIPRXGET: 2,0,12,0\r\n",
            Family::Quectel => "+QIRD: 12\r\n",
        };
        assert!(answer.contains(&format!("{head}\r\nOK\r\nCLOSED\r\n")), "{answer:?}");
        drop(peer);
        terminal.hear(closed).await;
        let meter = terminal.modem.meter();
        assert_eq!((meter.last(Way::Up).len(), meter.last(Way::Down).len()), (6, 12));
        assert_eq!(terminal.modem.counters().impatient, 0, "{}", terminal.modem.transcript());
    }
}

#[tokio::test]
async fn it_is_strict() {
    let too_early = |family| match family {
        Family::Sim800 => ["AT+CIICR", "AT+CIFSR", "AT+CIPSTART=\"TCP\",\"127.0.0.1\",1", "AT+CIPSEND=1", "AT+CEREG?"],
        Family::A7670 => {
            ["AT+IPADDR", "AT+CIPOPEN=0,\"TCP\",\"127.0.0.1\",1", "AT+CIPSEND=0,1", "AT+NETCLOSE", "AT+CIICR"]
        }
        Family::Quectel => ["AT+QIACT=1", "AT+QISEND=0,1", "AT+QIRD=0,10", "AT+NETOPEN", "AT+QIOPEN=1,0,\"TCP\""],
    };
    for family in Family::ALL {
        let mut terminal = Terminal::start(family).await;
        terminal.registered().await;
        for line in too_early(family) {
            terminal.ask(line, "ERROR\r\n").await;
        }
        terminal.ask("AT+NONSENSE", "ERROR\r\n").await;
        let counters = terminal.modem.counters();
        assert_eq!(counters.unknown + counters.refused, 6, "{}", terminal.modem.transcript());
        // A line before the last one is answered is read, and counted.
        terminal.say("AT+CSQ\rAT+CPIN?\r").await;
        terminal.hear("+CPIN: READY").await;
        assert_eq!(terminal.modem.counters().impatient, 1);
    }
}

#[tokio::test]
async fn faults_come_as_planned() {
    let mut terminal = Terminal::start(Family::Quectel).await;
    terminal.modem.plan(|plan| {
        plan.faults = vec![
            Fault::next("AT+CSQ", 1, Answer::Twice),
            Fault::next("AT+CPIN?", 1, Answer::Never),
            Fault::next("AT+CREG?", 1, Answer::Refused),
        ];
    });
    terminal.ask("AT+CSQ", "+CSQ: 21,99\r\n\r\nOK\r\n\r\n+CSQ: 21,99\r\n\r\nOK\r\n").await;
    terminal.say("AT+CPIN?\r").await;
    let heard = terminal.ask("AT+CREG?", "ERROR\r\n").await;
    assert!(!heard.contains("CPIN"), "{heard:?}");
    terminal.modem.with(|core| core.hang());
    terminal.say("AT\r").await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    // Off and on again helps.
    for _ in 0..2 {
        terminal.modem.with(|core| core.power_key(true));
        tokio::time::sleep(Duration::from_millis(800)).await;
        terminal.modem.with(|core| core.power_key(false));
    }
    terminal.hear("RDY\r\n").await;
    terminal.ask("AT", "OK\r\n").await;
    assert_eq!(terminal.modem.counters().boots, 2);
}
