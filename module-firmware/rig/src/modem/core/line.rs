//! The line: bytes of the host to commands, answers to bytes.

use super::{Core, Effect, Event, Power, Sending};
use crate::modem::{
    Family,
    at::{self, Command},
    plan::Answer,
};
use std::time::Duration;

/// Longest command line taken; SIM800's is 556 characters (AT Command Manual V1.09, 1.4).
const LINE_MAX_BYTES: usize = 556;

/// What a command is answered with.
#[derive(Debug, Default)]
pub(in crate::modem) struct Reply {
    /// After how much more than usual.
    after_ms: u64,
    bytes: Vec<u8>,
    /// Then so many bytes are taken from the host as data.
    data: Option<usize>,
}

impl Reply {
    pub fn line(text: &str) -> Self {
        Self::default().and(text)
    }

    pub fn ok() -> Self {
        Self::line("OK")
    }

    /// Information, then OK.
    pub fn info(text: &str) -> Self {
        Self::line(text).and("OK")
    }

    pub fn and(mut self, text: &str) -> Self {
        self.bytes.extend(framed(text));
        self
    }

    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend(bytes);
        self
    }

    pub fn after(mut self, ms: u64) -> Self {
        self.after_ms = ms;
        self
    }

    /// Asks for data.
    pub fn prompt(count: usize) -> Self {
        Self { data: Some(count), ..Self::default() }
    }
}

pub(super) fn framed(text: &str) -> Vec<u8> {
    format!("\r\n{text}\r\n").into_bytes()
}

impl Core {
    /// Puts bytes on the line that nobody meant.
    pub fn noise(&mut self, bytes: &[u8]) {
        self.effects.push(Effect::Line(bytes.to_vec()));
    }

    /// Bytes from the host's line.
    pub fn from_line(&mut self, bytes: &[u8]) {
        if matches!(self.power, Power::Off | Power::Held | Power::Booting | Power::Stuck) {
            return;
        }
        self.backlog.extend(bytes);
        self.take_backlog();
    }

    pub(super) fn take_backlog(&mut self) {
        while self.power == Power::On {
            let waits_for_prompt = self.sending.as_ref().is_some_and(|sending| !sending.prompted);
            let Some(byte) = self.backlog.front().copied() else { return };
            if waits_for_prompt {
                if byte != b'\n' && byte != b'\r' {
                    // Sent before it was asked for: lost.
                    self.counters.impatient += 1;
                }
                self.backlog.pop_front();
                continue;
            }
            if self.sending.is_none() && self.now < self.answered_at && !matches!(byte, b'\n' | b'\r') {
                // Counted once a line; read when the last one is answered.
                self.counters.impatient += u32::from(!std::mem::replace(&mut self.held, true));
                return;
            }
            self.held = false;
            self.backlog.pop_front();
            self.byte(byte);
        }
        self.backlog.clear();
    }

    pub(super) fn byte(&mut self, byte: u8) {
        if let Some(sending) = self.sending.as_mut() {
            sending.bytes.push(byte);
            sending.missing -= 1;
            if sending.missing == 0 {
                let bytes = self.sending.take().map(|sending| sending.bytes).unwrap_or_default();
                self.take_data(bytes);
            }
            return;
        }
        // A line feed behind the return is skipped; see V.250, 5.2.1.
        if byte == b'\n' && std::mem::take(&mut self.after_return) {
            return;
        }
        self.after_return = byte == b'\r';
        if self.echo && self.speed_known {
            self.effects.push(Effect::Line(vec![byte]));
        }
        if byte != b'\r' {
            if self.line.len() < LINE_MAX_BYTES {
                self.line.push(byte);
            } else {
                self.counters.oversize += 1;
                self.line.clear();
            }
            return;
        }
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
        self.command_line(&line);
    }

    pub(super) fn command_line(&mut self, line: &str) {
        // What precedes AT is not part of a line (V.250, 5.2.1).
        let Some(start) = line.to_ascii_uppercase().find("AT") else { return };
        let line = &line[start..];
        if !self.speed_known {
            self.speed_known = true;
            for text in self.family.ready_words() {
                self.unsolicited(text);
            }
        }
        let fault = self.planned_fault(line);
        if fault == Some(Answer::Refused) {
            let error = self.error(100);
            return self.answer(error, None);
        }
        let command = at::parse(line);
        let reply = command.as_ref().and_then(|command| self.common(command).or_else(|| self.family_command(command)));
        let reply = reply.unwrap_or_else(|| {
            self.counters.unknown += 1;
            Reply::line("ERROR")
        });
        self.answer(reply, fault);
    }

    pub(super) fn family_command(&mut self, command: &Command) -> Option<Reply> {
        match self.family {
            Family::Sim800 => self.sim800(command),
            Family::A7670 => self.a7670(command),
            Family::Quectel => self.quectel(command),
        }
    }

    /// A refusal, as the host asked to be told (3GPP TS 27.007, 9.1).
    pub(in crate::modem) fn error(&mut self, code: u32) -> Reply {
        self.counters.refused += 1;
        if self.error_codes { Reply::line(&format!("+CME ERROR: {code}")) } else { Reply::line("ERROR") }
    }

    /// A refusal in the maker's own words.
    pub(in crate::modem) fn refusal(&mut self, words: &[&str]) -> Reply {
        self.counters.refused += 1;
        words.iter().fold(Reply::default(), |reply, text| reply.and(text))
    }

    /// Says an unsolicited line, after what is being said.
    pub(in crate::modem) fn unsolicited(&mut self, text: &str) {
        let at = self.answered_at.max(self.now);
        self.say_at(at, framed(text));
    }

    /// Says a line so much after the answer to the command at hand.
    pub(in crate::modem) fn say_later(&mut self, ms: u64, text: &str) {
        self.afterwards.push((ms, text.into()));
    }

    pub(super) fn answer(&mut self, reply: Reply, fault: Option<Answer>) {
        let late_ms = if let Some(Answer::Late(ms)) = fault { ms } else { 0 };
        let delay_ms = self.draw(self.plan.answer_ms.clone()) + reply.after_ms + late_ms;
        let at = (self.now + Duration::from_millis(delay_ms)).max(self.last_line_at);
        for (ms, text) in std::mem::take(&mut self.afterwards) {
            self.at(at + Duration::from_millis(ms), Event::Line(framed(&text)));
        }
        if fault == Some(Answer::Never) {
            return;
        }
        self.answered_at = at;
        if let Some(missing) = reply.data {
            self.sending = Some(Sending { missing, bytes: vec![], prompted: false });
            self.at(at, Event::Prompt);
        }
        if reply.bytes.is_empty() {
            return;
        }
        let mut bytes = reply.bytes;
        if self.happens(self.plan.noise) {
            self.counters.spoiled += 1;
            let junk: Vec<u8> = (0..self.draw(1..24)).map(|_| self.draw(0..256) as u8).collect();
            self.say_at(at, junk);
        }
        if self.happens(self.plan.corruption) {
            self.counters.spoiled += 1;
            let index = self.draw(0..bytes.len() as u64) as usize;
            bytes[index] ^= 1 << self.draw(0..8);
        }
        if fault == Some(Answer::Twice) {
            bytes = bytes.repeat(2);
        }
        self.say_at(at, bytes);
    }

    pub(super) fn planned_fault(&mut self, line: &str) -> Option<Answer> {
        let fault = self.plan.faults.iter_mut().find(|fault| line.starts_with(&fault.line) && fault.times > 0)?;
        if fault.after > 0 {
            fault.after -= 1;
            return None;
        }
        fault.times -= 1;
        Some(fault.answer)
    }

    pub(super) fn say_at(&mut self, at: Duration, bytes: Vec<u8>) {
        let at = at.max(self.last_line_at).max(self.now);
        self.last_line_at = at;
        self.at(at, Event::Line(bytes));
    }
}
