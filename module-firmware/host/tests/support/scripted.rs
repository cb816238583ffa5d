//! A modem for tests of what dialogues cannot show: much data, and misbehaviour. It is strict about what it is told.
#![allow(dead_code, clippy::unwrap_used)]

use super::line::Pin;
use std::{collections::VecDeque, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, WriteHalf},
    sync::mpsc,
    task::JoinHandle,
    time::sleep,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Sim800,
    A7670,
    Quectel,
}

pub const KINDS: [Kind; 3] = [Kind::Sim800, Kind::A7670, Kind::Quectel];

/// What the modem does with its nth answer: says these, each after a pause.
pub type Mangle = Box<dyn FnMut(usize, Vec<u8>) -> Vec<(Duration, Vec<u8>)>>;

/// Says each answer as it is.
pub fn honest() -> Mangle {
    Box::new(|_, answer| vec![(Duration::ZERO, answer)])
}

/// Connects to the server: gives what it says, and takes what it is told.
pub type Connect = Box<dyn FnMut() -> Option<DuplexStream>>;

/// A server that sends back each byte once.
pub fn echo() -> Connect {
    Box::new(|| {
        let (near, far) = tokio::io::duplex(4096);
        tokio::task::spawn_local(async move {
            let (mut from, mut to) = tokio::io::split(far);
            let _ = tokio::io::copy(&mut from, &mut to).await;
        });
        Some(near)
    })
}

pub struct Scripted {
    pub kind: Kind,
    pub far: DuplexStream,
    pub key: Pin,
    pub mangle: Mangle,
    pub connect: Connect,
    /// Whether it is on before any key is held.
    pub on_at_first: bool,
    /// From this command on it does not answer any more, until it is switched off and on.
    pub hangs_after: Option<usize>,
    answers: usize,
    commands: usize,
    hangs: bool,
    keys_seen: u32,
    attached: bool,
    read_by_hand: bool,
    server: Option<Server>,
    buffer: VecDeque<u8>,
}

/// The way to the server.
struct Server {
    to: WriteHalf<DuplexStream>,
    data: mpsc::Receiver<Vec<u8>>,
    reads: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.reads.abort();
    }
}

impl Scripted {
    pub fn new(kind: Kind, far: DuplexStream, key: Pin, mangle: Mangle, connect: Connect) -> Self {
        Self {
            kind,
            far,
            key,
            mangle,
            connect,
            on_at_first: true,
            hangs_after: None,
            answers: 0,
            commands: 0,
            hangs: false,
            keys_seen: 0,
            attached: false,
            read_by_hand: false,
            server: None,
            buffer: VecDeque::new(),
        }
    }

    fn is_on(&mut self) -> bool {
        let keys = self.key.0.get();
        if keys != self.keys_seen {
            self.keys_seen = keys;
            self.hangs = false;
            self.hangs_after = None;
            (self.attached, self.read_by_hand) = (false, false);
            self.server = None;
            self.buffer.clear();
        }
        self.on_at_first == keys.is_multiple_of(2)
    }

    async fn say(&mut self, text: &str) {
        self.say_bytes(format!("\r\n{text}\r\n").into_bytes()).await;
    }

    async fn say_bytes(&mut self, bytes: Vec<u8>) {
        let mangled = (self.mangle)(self.answers, bytes);
        self.answers += 1;
        for (pause, bytes) in mangled {
            if !pause.is_zero() {
                sleep(pause).await;
            }
            self.far.write_all(&bytes).await.unwrap();
        }
    }

    /// Lives for ever.
    pub async fn live(mut self) {
        let mut told = vec![];
        loop {
            let data = async {
                match &mut self.server {
                    Some(server) => server.data.recv().await,
                    None => std::future::pending().await,
                }
            };
            let mut byte = [0];
            tokio::select! {
                read = self.far.read(&mut byte) => {
                    if read.unwrap() == 0 {
                        return;
                    }
                    if !self.is_on() {
                        told.clear();
                        continue;
                    }
                    match byte[0] {
                        b'\r' => {
                            let command = String::from_utf8_lossy(&std::mem::take(&mut told)).into_owned();
                            self.obey(&command).await;
                        }
                        0x1b | b'\n' => told.clear(),
                        byte => told.push(byte),
                    }
                }
                data = data => match data {
                    Some(data) => {
                        let was_empty = self.buffer.is_empty();
                        self.buffer.extend(data);
                        if was_empty && !self.hangs {
                            self.say(match self.kind {
                                Kind::Sim800 => "+CIPRXGET: 1",
                                Kind::A7670 => "+CIPRXGET: 1,0",
                                Kind::Quectel => "+QIURC: \"recv\",0",
                            }).await;
                        }
                    }
                    None => {
                        self.server = None;
                        if !self.hangs {
                            self.say(match self.kind {
                                Kind::Sim800 => "CLOSED",
                                Kind::A7670 => "+IPCLOSE: 0,1",
                                Kind::Quectel => "+QIURC: \"closed\",0",
                            }).await;
                        }
                    }
                },
            }
        }
    }

    async fn obey(&mut self, command: &str) {
        self.commands += 1;
        self.hangs |= self.hangs_after.is_some_and(|after| self.commands > after);
        if self.hangs {
            return;
        }
        let kind = self.kind;
        if let Some(length) = command.strip_prefix("AT+CIPSEND=0,").or(command.strip_prefix("AT+QISEND=0,")) {
            return self.send(length.parse().unwrap_or(0)).await;
        }
        if let Some(length) = command.strip_prefix("AT+CIPSEND=") {
            return self.send(length.parse().unwrap_or(0)).await;
        }
        let read = match kind {
            Kind::Sim800 => "AT+CIPRXGET=2,",
            Kind::A7670 => "AT+CIPRXGET=2,0,",
            Kind::Quectel => "AT+QIRD=0,",
        };
        if let Some(length) = command.strip_prefix(read) {
            return self.read(length.parse().unwrap_or(0)).await;
        }
        let opens = match kind {
            Kind::Sim800 => "AT+CIPSTART=\"TCP\",\"broker.example\",1883",
            Kind::A7670 => "AT+CIPOPEN=0,\"TCP\",\"broker.example\",1883",
            Kind::Quectel => "AT+QIOPEN=1,0,\"TCP\",\"broker.example\",1883,0,0",
        };
        if command == opens {
            return self.open().await;
        }
        match (kind, command) {
            (_, "AT" | "ATE0" | "AT+CMEE=1") => self.say("OK").await,
            (_, "AT+CGMM") => {
                let model = match kind {
                    Kind::Sim800 => "SIMCOM_SIM800L",
                    Kind::A7670 => "A7670E-FASE",
                    Kind::Quectel => "EC200U",
                };
                self.tell(model).await;
            }
            (_, "AT+CPIN?") => self.tell("+CPIN: READY").await,
            (Kind::Sim800, "AT+CCID") => self.tell("89860042191130257513").await,
            (Kind::A7670, "AT+CICCID") => self.tell("+ICCID: 89860042191130257513").await,
            (Kind::Quectel, "AT+QCCID") => self.tell("+QCCID: 89860042191130257513").await,
            (_, "AT+CSQ") => self.tell("+CSQ: 20,0").await,
            (_, "AT+CGREG?") => self.tell("+CGREG: 0,1").await,
            (_, "AT+CEREG?") => self.tell("+CEREG: 0,1").await,
            (Kind::Sim800, "AT+CIPSHUT") => {
                self.server = None;
                self.attached = false;
                self.say("SHUT OK").await;
            }
            (Kind::Sim800, "AT+CIPRXGET=1") | (Kind::A7670, "AT+CIPRXGET=1") => {
                self.read_by_hand = true;
                self.say("OK").await;
            }
            (Kind::Sim800, "AT+CIPMUX=0" | "AT+CSTT=\"CMNET\",\"\",\"\"" | "AT+CIICR") => self.say("OK").await,
            (Kind::Sim800, "AT+CIFSR") => {
                self.attached = true;
                self.say("10.78.245.128").await;
            }
            (Kind::A7670, "AT+CGDCONT=1,\"IP\",\"CMNET\"") => self.say("OK").await,
            (Kind::A7670, "AT+NETOPEN?") => {
                let state = if self.attached { "+NETOPEN: 1" } else { "+NETOPEN: 0" };
                self.tell(state).await;
            }
            (Kind::A7670, "AT+NETOPEN") if self.attached => {
                self.say("+IP ERROR: Network is already opened").await;
                self.say("ERROR").await;
            }
            (Kind::A7670, "AT+NETOPEN") => {
                self.attached = true;
                self.say("OK").await;
                self.say("+NETOPEN: 0").await;
            }
            (Kind::A7670, "AT+NETCLOSE") if self.attached => {
                self.attached = false;
                self.server = None;
                self.say("OK").await;
                self.say("+NETCLOSE: 0").await;
            }
            (Kind::Quectel, "AT+QIDEACT=1") => {
                self.attached = false;
                self.server = None;
                self.say("OK").await;
            }
            (Kind::Quectel, "AT+QICSGP=1,1,\"CMNET\",\"\",\"\",0") => self.say("OK").await,
            (Kind::Quectel, "AT+QIACT=1") if !self.attached => {
                self.attached = true;
                self.read_by_hand = true;
                self.say("OK").await;
            }
            (Kind::Sim800, "AT+CIPCLOSE=1") if self.server.take().is_some() => self.say("CLOSE OK").await,
            (Kind::A7670, "AT+CIPCLOSE=0") if self.server.take().is_some() => {
                self.say("OK").await;
                self.say("+CIPCLOSE: 0,0").await;
            }
            (Kind::Quectel, "AT+QICLOSE=0") => {
                self.server = None;
                self.say("OK").await;
            }
            _ => self.say("ERROR").await,
        }
        if self.server.is_none() && command.contains("CLOSE") {
            self.buffer.clear();
        }
    }

    async fn tell(&mut self, line: &str) {
        self.say_bytes(format!("\r\n{line}\r\n\r\nOK\r\n").into_bytes()).await;
    }

    async fn open(&mut self) {
        if !self.attached || !self.read_by_hand || self.server.is_some() {
            return self.say("ERROR").await;
        }
        self.buffer.clear();
        self.say("OK").await;
        let opened = (self.connect)();
        let answer = match (self.kind, opened.is_some()) {
            (Kind::Sim800, true) => "CONNECT OK",
            (Kind::Sim800, false) => "CONNECT FAIL",
            (Kind::A7670, true) => "+CIPOPEN: 0,0",
            (Kind::A7670, false) => "+CIPOPEN: 0,10",
            (Kind::Quectel, true) => "+QIOPEN: 0,0",
            (Kind::Quectel, false) => "+QIOPEN: 0,566",
        };
        if let Some(server) = opened {
            let (mut from, to) = tokio::io::split(server);
            // Four segments wait at most, as in a window of TCP.
            let (give, data) = mpsc::channel(4);
            let reads = tokio::task::spawn_local(async move {
                let mut segment = [0; 700];
                while let Ok(count @ 1..) = from.read(&mut segment).await {
                    if give.send(segment[..count].to_vec()).await.is_err() {
                        return;
                    }
                }
            });
            self.server = Some(Server { to, data, reads });
        }
        self.say(answer).await;
    }

    async fn send(&mut self, length: usize) {
        if self.server.is_none() || length == 0 || length > 1460 {
            return self.say("ERROR").await;
        }
        let prompt = if self.kind == Kind::A7670 { b"\r\n>".to_vec() } else { b"\r\n> ".to_vec() };
        self.say_bytes(prompt).await;
        let mut data = vec![0; length];
        if self.far.read_exact(&mut data).await.is_err() {
            return;
        }
        let sent = self.server.as_mut().unwrap().to.write_all(&data).await.is_ok();
        match (self.kind, sent) {
            (Kind::Sim800 | Kind::Quectel, true) => self.say("SEND OK").await,
            (Kind::Sim800 | Kind::Quectel, false) => self.say("SEND FAIL").await,
            (Kind::A7670, sent) => {
                self.say("OK").await;
                let taken = if sent { length as i32 } else { -1 };
                self.say(&format!("+CIPSEND: 0,{length},{taken}")).await;
            }
        }
    }

    async fn read(&mut self, length: usize) {
        if self.server.is_none() && self.buffer.is_empty() && self.kind != Kind::A7670 {
            return self.say("ERROR").await;
        }
        let count = length.min(self.buffer.len());
        let data: Vec<u8> = self.buffer.drain(..count).collect();
        let left = self.buffer.len();
        let mut answer = match self.kind {
            Kind::Sim800 => format!("\r\n+CIPRXGET: 2,{count},{left}\r\n").into_bytes(),
            Kind::A7670 if count == 0 => b"\r\n+IP ERROR: No data\r\n\r\nERROR\r\n".to_vec(),
            Kind::A7670 => format!("\r\n+CIPRXGET: 2,0,{count},{left}\r\n").into_bytes(),
            Kind::Quectel => format!("\r\n+QIRD: {count}\r\n").into_bytes(),
        };
        if count > 0 || self.kind != Kind::A7670 {
            answer.extend(data);
            answer.extend(b"\r\n\r\nOK\r\n");
        }
        self.say_bytes(answer).await;
    }
}
