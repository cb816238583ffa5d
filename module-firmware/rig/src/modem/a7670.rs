//! A7670 class. A76XX Series AT Command Manual V1.09 and TCPIP Application Note V1.01: a network library that is opened
//! and closed, and sockets by number, of which this host uses 0.

use super::{
    at::{Command, Form},
    core::{Bearer, Core, Reply, Socket},
};

/// Longest read and longest send.
const READ_MAX_BYTES: u32 = 1500;
/// CIPOPEN's and CIPCLOSE's errors.
const WRONG_PARAMETER: u32 = 3;
const NETWORK_NOT_OPENED: u32 = 2;
const ALREADY_CREATED: u32 = 4;

impl Core {
    pub(super) fn a7670(&mut self, command: &Command) -> Option<Reply> {
        let is_open = matches!(self.bearer, Bearer::Active | Bearer::Addressed | Bearer::Lost);
        let reply = match (command.name.as_str(), &command.form) {
            ("+CICCID", Form::Run) => Reply::info("+ICCID: 89860123456789012345"),
            ("+CPOF", Form::Run) => {
                self.power_down();
                Reply::ok()
            }
            ("+CIPMODE" | "+CIPSENDMODE" | "+CIPHEAD" | "+CIPSRIP", Form::Set(_)) => {
                match command.form.numbers()?.as_slice() {
                    [0] if !is_open || command.name != "+CIPMODE" => Reply::ok(),
                    [1] if command.name != "+CIPMODE" => Reply::ok(),
                    _ => self.error(50),
                }
            }
            ("+CIPTIMEOUT" | "+CIPCCFG" | "+TCPKEEPALIVE", Form::Set(_)) => Reply::ok(),
            ("+NETOPEN", Form::Read) => Reply::info(&format!("+NETOPEN: {}", u8::from(is_open))),
            ("+NETOPEN", Form::Run) => {
                if is_open {
                    self.refusal(&["+IP ERROR: Network is already opened", "ERROR"])
                } else if self.is_registered() {
                    self.bearer = Bearer::Active;
                    self.say_later(150, "+NETOPEN: 0");
                    Reply::ok()
                } else {
                    self.refusal(&["+NETOPEN: 1", "ERROR"])
                }
            }
            ("+NETCLOSE", Form::Run) => {
                if is_open {
                    self.close();
                    self.bearer = Bearer::Down;
                    self.say_later(50, "+NETCLOSE: 0");
                    Reply::ok()
                } else {
                    self.refusal(&["+NETCLOSE: 2", "ERROR"])
                }
            }
            ("+IPADDR", Form::Run) => match self.bearer {
                Bearer::Active | Bearer::Addressed => Reply::info("+IPADDR: 10.64.0.7"),
                Bearer::Down | Bearer::Named | Bearer::Lost => {
                    self.refusal(&["+IP ERROR: Network not opened", "ERROR"])
                }
            },
            ("+CIPOPEN", Form::Set(values)) => {
                let [socket, kind, host, port, ..] = values.as_slice() else { return Some(self.error(50)) };
                let (Some(0), Some("TCP"), Some(host)) = (socket.number(), kind.text(), host.text()) else {
                    return Some(self.a7670_failed("CIPOPEN", WRONG_PARAMETER));
                };
                let port = u16::try_from(port.number()?).ok()?;
                match (self.bearer, self.socket) {
                    (Bearer::Active | Bearer::Addressed, Socket::Idle | Socket::Closed) => {
                        self.dial(host, port);
                        Reply::ok()
                    }
                    (Bearer::Active | Bearer::Addressed, _) => self.a7670_failed("CIPOPEN", ALREADY_CREATED),
                    _ => self.a7670_failed("CIPOPEN", NETWORK_NOT_OPENED),
                }
            }
            ("+CIPSEND", Form::Set(_)) => match command.form.numbers()?.as_slice() {
                [0, count @ 1..=READ_MAX_BYTES] if self.socket == Socket::Open => Reply::prompt(*count as usize),
                [0, 1..=READ_MAX_BYTES] => self.refusal(&["+CIPERROR: 4", "ERROR"]),
                _ => self.error(50),
            },
            ("+CIPRXGET", Form::Set(_)) => return self.a7670_receive(command),
            ("+CIPRXGET", Form::Read) => Reply::info(&format!("+CIPRXGET: {}", u8::from(self.buffered))),
            ("+CIPCLOSE", Form::Set(_)) => match command.form.numbers()?.as_slice() {
                [0] if self.socket == Socket::Open || self.socket == Socket::Opening => {
                    self.close();
                    self.say_later(30, "+CIPCLOSE: 0,0");
                    Reply::ok()
                }
                [0] => self.a7670_failed("CIPCLOSE", 4),
                _ => self.error(50),
            },
            ("+CIPCLOSE", Form::Read) => {
                let open = u8::from(self.socket == Socket::Open);
                Reply::info(&format!("+CIPCLOSE: {open},0,0,0,0,0,0,0,0,0"))
            }
            _ => return None,
        };
        Some(reply)
    }

    fn a7670_failed(&mut self, command: &str, error: u32) -> Reply {
        self.refusal(&[&format!("+{command}: 0,{error}"), "ERROR"])
    }

    fn a7670_receive(&mut self, command: &Command) -> Option<Reply> {
        let reply = match command.form.numbers()?.as_slice() {
            [mode @ (0 | 1)] => {
                self.buffered = *mode == 1;
                Reply::ok()
            }
            [2, 0, count @ 1..=READ_MAX_BYTES] if self.buffered => {
                if self.received() == 0 {
                    let why = if self.socket == Socket::Idle { "No active client" } else { "No data" };
                    return Some(self.refusal(&[&format!("+IP ERROR: {why}"), "ERROR"]));
                }
                let bytes = self.read_received(*count as usize);
                let head = format!("+CIPRXGET: 2,0,{},{}", bytes.len(), self.received());
                Reply::line(&head).raw(&bytes).and("OK")
            }
            [4, 0] if self.buffered => Reply::info(&format!("+CIPRXGET: 4,0,{}", self.received())),
            _ => self.error(50),
        };
        Some(reply)
    }
}
