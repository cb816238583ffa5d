//! SIM800 class. SIM800 Series AT Command Manual V1.09 (chapter 8) and TCPIP Application Note V1.03: the states IP
//! INITIAL, START, CONFIG, GPRSACT, STATUS, CONNECT OK, TCP CLOSED, PDP DEACT, each command allowed in its own only.

use super::{
    at::{Command, Form},
    core::{Bearer, Core, Reply, Socket},
};

/// Longest read and longest send (8.2.26, 8.2.3).
const READ_MAX_BYTES: u32 = 1460;

impl Core {
    pub(super) fn sim800(&mut self, command: &Command) -> Option<Reply> {
        let reply = match (command.name.as_str(), &command.form) {
            ("+CCID", Form::Run) => Reply::info("8986012345678901234F"),
            ("+CPOWD", Form::Set(_)) => match command.form.numbers()?.as_slice() {
                [0 | 1] => {
                    self.power_down();
                    Reply::line("NORMAL POWER DOWN")
                }
                _ => self.error(50),
            },
            ("+CIPMUX" | "+CIPMODE" | "+CIPQSEND" | "+CIPHEAD" | "+CIPSRIP" | "+CIPSPRT", Form::Set(_)) => {
                match command.form.numbers()?.as_slice() {
                    // The mode of one connection and of asking before data; only before a connection.
                    [0] if self.socket == Socket::Idle => Reply::ok(),
                    [1] if command.name == "+CIPSPRT" => Reply::ok(),
                    _ => self.error(3),
                }
            }
            ("+CIPMUX" | "+CIPMODE" | "+CIPQSEND", Form::Read) => Reply::info(&format!("{}: 0", command.name)),
            ("+CIPSHUT", Form::Run) => {
                self.close();
                self.bearer = Bearer::Down;
                Reply::line("SHUT OK").after(30)
            }
            ("+CSTT", Form::Set(values)) => {
                if self.bearer == Bearer::Down && values.first()?.text().is_some() {
                    self.bearer = Bearer::Named;
                    Reply::ok()
                } else {
                    self.error(3)
                }
            }
            ("+CIICR", Form::Run) => {
                if self.bearer == Bearer::Named && self.is_registered() {
                    self.bearer = Bearer::Active;
                    Reply::ok().after(200)
                } else {
                    self.error(3)
                }
            }
            // The address alone: no OK behind it (8.2.11).
            ("+CIFSR", Form::Run) => match self.bearer {
                Bearer::Active | Bearer::Addressed => {
                    self.bearer = Bearer::Addressed;
                    Reply::line("10.64.0.7")
                }
                Bearer::Down | Bearer::Named | Bearer::Lost => self.error(3),
            },
            ("+CIPSTATUS", Form::Run) => Reply::ok().and(&format!("STATE: {}", self.state())),
            ("+CIPRXGET", Form::Set(_)) => return self.sim800_receive(command),
            ("+CIPRXGET", Form::Read) => Reply::info(&format!("+CIPRXGET: {}", u8::from(self.buffered))),
            ("+CIPSTART", Form::Set(values)) => {
                let [kind, host, port] = values.as_slice() else { return Some(self.error(3)) };
                let (Some("TCP"), Some(host)) = (kind.text(), host.text()) else { return Some(self.error(3)) };
                let port = port.number().or_else(|| port.text()?.parse().ok())?;
                let port = u16::try_from(port).ok()?;
                match (self.bearer, self.socket) {
                    (_, Socket::Open) => self.refusal(&["ALREADY CONNECT"]),
                    (Bearer::Addressed, Socket::Idle | Socket::Closed) => {
                        self.dial(host, port);
                        Reply::ok()
                    }
                    _ => self.error(3),
                }
            }
            ("+CIPSEND", Form::Set(_)) => match command.form.numbers()?.as_slice() {
                [count @ 1..=READ_MAX_BYTES] if self.socket == Socket::Open => Reply::prompt(*count as usize),
                _ => self.error(3),
            },
            ("+CIPSEND", Form::Read) if self.socket == Socket::Open => Reply::info("+CIPSEND: 1460"),
            ("+CIPCLOSE", Form::Run | Form::Set(_)) => {
                if self.socket == Socket::Open || self.socket == Socket::Opening {
                    self.close();
                    Reply::line("CLOSE OK").after(20)
                } else {
                    self.error(3)
                }
            }
            _ => return None,
        };
        Some(reply)
    }

    fn sim800_receive(&mut self, command: &Command) -> Option<Reply> {
        let reply = match command.form.numbers()?.as_slice() {
            // To be chosen before a connection is opened.
            [mode @ (0 | 1)] if matches!(self.socket, Socket::Idle | Socket::Closed) => {
                self.buffered = *mode == 1;
                Reply::ok()
            }
            [2, count @ 1..=READ_MAX_BYTES] if self.buffered => {
                let bytes = self.read_received(*count as usize);
                let head = format!("+CIPRXGET: 2,{},{}", bytes.len(), self.received());
                let reply = Reply::line(&head).raw(&bytes);
                if bytes.is_empty() { reply.and("OK") } else { reply.raw(b"\r\nOK\r\n") }
            }
            [4] if self.buffered => Reply::info(&format!("+CIPRXGET: 4,{}", self.received())),
            _ => self.error(3),
        };
        Some(reply)
    }

    fn state(&self) -> &'static str {
        match (self.bearer, self.socket) {
            (Bearer::Lost, _) => "PDP DEACT",
            (Bearer::Down, _) => "IP INITIAL",
            (Bearer::Named, _) => "IP START",
            (Bearer::Active, _) => "IP GPRSACT",
            (Bearer::Addressed, Socket::Idle) => "IP STATUS",
            (Bearer::Addressed, Socket::Opening) => "TCP CONNECTING",
            (Bearer::Addressed, Socket::Open) => "CONNECT OK",
            (Bearer::Addressed, Socket::Closed) => "TCP CLOSED",
        }
    }
}
