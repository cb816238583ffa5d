//! Quectel class. EC200U & EG915U Series TCP/IP Application Note V1.1: a context that is configured and activated, and
//! sockets by number in buffer access mode, of which this host uses 0 on context 1.

use super::{
    at::{Command, Form, Value},
    core::{Bearer, Core, Reply, Socket},
};

/// Longest read (2.1.8), longest send (2.1.7).
const READ_MAX_BYTES: u32 = 1500;
const SEND_MAX_BYTES: u32 = 1460;

impl Core {
    pub(super) fn quectel(&mut self, command: &Command) -> Option<Reply> {
        let is_active = self.bearer == Bearer::Active;
        let reply = match (command.name.as_str(), &command.form) {
            ("+QCCID", Form::Run) => Reply::info("+QCCID: 89860123456789012345"),
            ("+CCID", Form::Run) => Reply::info("+CCID: 89860123456789012345"),
            ("+QPOWD", Form::Run | Form::Set(_)) => {
                self.power_down();
                Reply::ok().and("POWERED DOWN")
            }
            ("+QURCCFG" | "+QICFG" | "+QCFG" | "+QINDCFG", Form::Set(_)) => Reply::ok(),
            ("+QICSGP", Form::Set(values)) => match (values.first()?.number(), values.get(1).and_then(Value::number)) {
                (Some(1), Some(1..=3)) if values.get(2)?.text().is_some() && !is_active => {
                    self.bearer = Bearer::Named;
                    Reply::ok()
                }
                _ => self.error(50),
            },
            ("+QIACT", Form::Read) if is_active => Reply::info("+QIACT: 1,1,1,\"10.64.0.7\""),
            ("+QIACT", Form::Read) => Reply::ok(),
            ("+QIACT", Form::Set(_)) => match command.form.numbers()?.as_slice() {
                [1] if matches!(self.bearer, Bearer::Named) && self.is_registered() => {
                    self.bearer = Bearer::Active;
                    Reply::ok().after(200)
                }
                _ => self.error(3),
            },
            ("+QIDEACT", Form::Set(_)) => match command.form.numbers()?.as_slice() {
                [1] => {
                    self.close();
                    if self.bearer != Bearer::Down {
                        self.bearer = Bearer::Named;
                    }
                    Reply::ok().after(50)
                }
                _ => self.error(50),
            },
            ("+QIGETERROR", Form::Run) => Reply::info("+QIGETERROR: 0,operate successfully"),
            ("+QISTATE", Form::Run | Form::Read | Form::Set(_)) => {
                let state = match self.socket {
                    Socket::Idle => return Some(Reply::ok()),
                    Socket::Opening => 1,
                    Socket::Open => 2,
                    Socket::Closed => 4,
                };
                Reply::info(&format!("+QISTATE: 0,\"TCP\",\"10.0.0.1\",1883,0,{state},1,0,0,\"uart1\""))
            }
            ("+QIOPEN", Form::Set(values)) => return self.quectel_open(values),
            ("+QISEND", Form::Set(_)) => match command.form.numbers()?.as_slice() {
                [0, 0] if self.socket == Socket::Open => Reply::info("+QISEND: 0,0,0"),
                [0, count @ 1..=SEND_MAX_BYTES] if self.socket == Socket::Open => Reply::prompt(*count as usize),
                _ => self.error(3),
            },
            ("+QIRD", Form::Set(_)) => match command.form.numbers()?.as_slice() {
                [0, 0] if self.socket != Socket::Idle => Reply::info(&format!("+QIRD: 0,0,{}", self.received())),
                // What was received before the end may still be read.
                [0, count @ 1..=READ_MAX_BYTES] if matches!(self.socket, Socket::Open | Socket::Closed) => {
                    let bytes = self.read_received(*count as usize);
                    let reply = Reply::line(&format!("+QIRD: {}", bytes.len()));
                    if bytes.is_empty() { reply.and("OK") } else { reply.raw(&bytes).raw(b"\r\n").and("OK") }
                }
                _ => self.error(3),
            },
            ("+QICLOSE", Form::Set(_)) => match command.form.numbers()?.as_slice() {
                [0] | [0, _] => {
                    self.close();
                    Reply::ok().after(20)
                }
                _ => self.error(50),
            },
            _ => return None,
        };
        Some(reply)
    }

    fn quectel_open(&mut self, values: &[Value]) -> Option<Reply> {
        let [context, socket, kind, host, port, rest @ ..] = values else { return Some(self.error(50)) };
        let (Some(1), Some(0)) = (context.number(), socket.number()) else { return Some(self.error(50)) };
        let (Some("TCP"), Some(host)) = (kind.text(), host.text()) else { return Some(self.error(50)) };
        let port = u16::try_from(port.number()?).ok()?;
        // Local port, then the access mode: 0 buffers, 1 pushes.
        let mode = rest.get(1).map_or(Some(0), Value::number)?;
        if mode > 1 {
            return Some(self.error(50));
        }
        if self.bearer != Bearer::Active {
            return Some(self.quectel_refused(561));
        }
        if self.socket != Socket::Idle {
            return Some(self.quectel_refused(563));
        }
        self.buffered = mode == 0;
        self.dial(host, port);
        Some(Reply::ok())
    }

    /// The form is right, so it is answered OK, and the error tells itself afterwards (2.1.4, chapter 4).
    fn quectel_refused(&mut self, error: u32) -> Reply {
        self.say_later(20, &format!("+QIOPEN: 0,{error}"));
        self.refusal(&["OK"])
    }
}
