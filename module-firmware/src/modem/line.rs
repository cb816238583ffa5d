//! The line to the modem: one command at a time, and an ear for what is said unasked.
//!
//! atat's clients do not fit here: their time-outs are constants of the types, their first answer is the answer
//! whatever it says, and they have no ear while nothing is asked, or keep a second copy of each answer. So the types,
//! the parsing and the digester's shape are atat's, and the exchange itself is this.

use super::{
    LINE_BYTES, Modem,
    command::{COMMAND_BYTES, urc::Urc},
    digest::LineDigester,
    family::DataHeader,
};
use atat::{AtatCmd, AtatUrc, DigestResult, Digester, Error};
use core::{
    future::{Future, ready},
    pin::pin,
};
use embassy_futures::{
    select::{Either, select},
    yield_now,
};
use embassy_sync::{blocking_mutex::raw::NoopRawMutex, pipe::Pipe};
use embassy_time::{Duration, Instant, Timer, with_timeout};
use embedded_io_async::{Read, Write};

/// Writing a command takes so long at most, if the modem takes any.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// The prompt for data comes within this, in milliseconds.
const PROMPT_MS: u32 = 5_000;
/// Data is written in pieces of this.
const PIECE_BYTES: usize = 64;
/// What has arrived is looked through in so many reads at most before the next command goes out.
const READS_BEFORE_COMMAND: usize = 16;
/// After the line failed to read, it is read again this much later.
const READ_RETRY: Duration = Duration::from_millis(2);
/// Cancels a command that waits for data (A76XX V1.09, 15.2.4), and ends whatever it may be taken for.
const CANCEL: &[u8] = b"\x1b\r";

/// What was said unasked and not yet acted on.
#[derive(Debug, Default)]
pub(super) struct News {
    /// The modem starts or stops: whatever was set up is gone.
    pub(super) restarted: bool,
    /// It stops, and does not start by itself.
    pub(super) stopped: bool,
    /// The connection is gone.
    pub(super) closed: bool,
    /// The network is gone, and the connection with it.
    pub(super) network_lost: bool,
    /// Data waits to be read.
    pub(super) data_waits: bool,
    /// The result of opening the network.
    pub(super) network_opened: Option<bool>,
    /// The network was given up.
    pub(super) network_stopped: bool,
    /// The result of opening a connection.
    pub(super) opened: Option<bool>,
    /// Whether what was sent was taken whole.
    pub(super) sent: Option<bool>,
    /// There is no data to read, which is told like an error.
    pub(super) no_data: bool,
}

/// What becomes of something said while an answer is awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken {
    /// It ends the waiting.
    Whole,
    /// It is part of the answer.
    Part,
    /// It has nothing to do with it.
    No,
}

/// What judges that. A reference to any such function: what awaits an answer is there once, not once per command.
type Judge<'j> = &'j mut dyn FnMut(&DigestResult<'_>) -> Taken;

/// A command as it is written.
struct Written {
    bytes: [u8; COMMAND_BYTES],
    length: usize,
}

impl Written {
    fn new<C: AtatCmd>(command: &C) -> Self {
        let mut bytes = [0; COMMAND_BYTES];
        let length = command.write(&mut bytes);
        Self { bytes, length }
    }
}

/// Collects a command's answer.
struct Answer<'c, C: AtatCmd> {
    command: &'c C,
    /// What was told, its `OK` still to come.
    told: Option<C::Response>,
    answer: Option<Result<C::Response, Error>>,
}

impl<'c, C: AtatCmd> Answer<'c, C> {
    fn new(command: &'c C) -> Self {
        Self { command, told: None, answer: None }
    }

    fn judge(&mut self, said: &DigestResult<'_>) -> Taken {
        let answer = match said {
            DigestResult::Response(Ok(line)) if !line.is_empty() => match self.command.parse(Ok(line)) {
                Ok(answer) if C::EXPECTS_RESPONSE_CODE => {
                    self.told = Some(answer);
                    return Taken::Part;
                }
                Err(Error::Parse) => return Taken::No,
                answer => answer,
            },
            DigestResult::Response(Ok(_)) if C::EXPECTS_RESPONSE_CODE => {
                match self.told.take().or_else(|| self.command.parse(Ok(&[])).ok()) {
                    Some(answer) => Ok(answer),
                    None => return Taken::No,
                }
            }
            DigestResult::Response(Err(error)) => Err(error.clone().into()),
            _ => return Taken::No,
        };
        self.answer = Some(answer);
        Taken::Whole
    }

    fn take(self) -> Result<C::Response, Error> {
        self.answer.unwrap_or(Err(Error::Timeout))
    }
}

pub(super) struct Line<'a, R, W> {
    reader: R,
    writer: W,
    modem: &'a Modem,
    buffer: [u8; LINE_BYTES],
    filled: usize,
    /// A line too long is being passed over.
    skipping: bool,
    digester: LineDigester,
    answer_max: Duration,
    /// Commands without an answer since the last answer.
    pub(super) unanswered: u8,
    pub(super) news: News,
}

impl<'a, R: Read, W: Write> Line<'a, R, W> {
    /// `answer_max` shortens the longest that any answer is waited for.
    pub(super) fn new(reader: R, writer: W, modem: &'a Modem, answer_max: Duration) -> Self {
        Self {
            reader,
            writer,
            modem,
            buffer: [0; LINE_BYTES],
            filled: 0,
            skipping: false,
            digester: LineDigester::default(),
            answer_max,
            unanswered: 0,
            news: News::default(),
        }
    }

    /// From now on answers with data look so.
    pub(super) fn expect_data(&mut self, header: Option<&'static DataHeader>) {
        self.digester.data_header = header;
    }

    /// Asks, and gives the answer.
    pub(super) async fn ask<C: AtatCmd>(&mut self, command: &C) -> Result<C::Response, Error> {
        let mut answer = Answer::new(command);
        let written = Written::new(command);
        let asked = self.exchange(&written, C::MAX_TIMEOUT_MS, &mut |said| answer.judge(said)).await;
        let answer = asked.and_then(|()| answer.take());
        self.count(answer.as_ref().err());
        answer
    }

    /// Asks for leave to send, sends `length` bytes out of the pipe, and gives the answer.
    pub(super) async fn ask_with_data<C: AtatCmd, const N: usize>(
        &mut self,
        command: &C,
        data: &Pipe<NoopRawMutex, N>,
        length: usize,
    ) -> Result<C::Response, Error> {
        let prompt = self.prompt(&Written::new(command)).await;
        self.count(prompt.as_ref().err());
        if matches!(prompt, Err(Error::Timeout)) {
            let _ = self.write(CANCEL).await;
        }
        prompt?;
        let mut piece = [0; PIECE_BYTES];
        let mut left = length;
        while left > 0 {
            let most = left.min(PIECE_BYTES);
            let Ok(count) = data.try_read(&mut piece[..most]) else { return Err(Error::Write) };
            self.write(&piece[..count]).await?;
            left -= count;
        }
        let mut answer = Answer::new(command);
        let said = self.await_answer(C::MAX_TIMEOUT_MS, &mut |said| answer.judge(said)).await;
        let answer = said.and_then(|()| answer.take());
        self.count(answer.as_ref().err());
        answer
    }

    /// Asks without counting the outcome: a modem that starts is allowed not to answer.
    pub(super) async fn knock<C: AtatCmd>(&mut self, command: &C) -> Result<C::Response, Error> {
        let mut answer = Answer::new(command);
        self.exchange(&Written::new(command), C::MAX_TIMEOUT_MS, &mut |said| answer.judge(said)).await?;
        answer.take()
    }

    /// Listens until the news satisfy; `None` if they do not before `until` is done.
    pub(super) async fn hear<T>(
        &mut self,
        until: impl Future<Output = ()>,
        news: impl Fn(&News) -> Option<T>,
    ) -> Option<T> {
        let mut until = pin!(until);
        loop {
            self.digest_all();
            if let Some(value) = news(&self.news) {
                return Some(value);
            }
            if let Either::First(()) = select(until.as_mut(), self.fill()).await {
                return None;
            }
        }
    }

    /// The longest to wait for a later part of an answer.
    pub(super) fn patience(&self, longest_ms: u32) -> Timer {
        Timer::after(Duration::from_millis(longest_ms.into()).min(self.answer_max))
    }

    /// Listens until nothing was said for so long, or for ten times as long.
    pub(super) async fn hear_out(&mut self, quiet: Duration) {
        for _ in 0..10 {
            self.digest_all();
            if with_timeout(quiet, self.fill()).await.is_err() {
                // The rest of something that will not come any more.
                self.forget();
                return;
            }
        }
    }

    async fn prompt(&mut self, command: &Written) -> Result<(), Error> {
        self.digester.prompt_expected = true;
        let mut refused = None;
        let said = self
            .exchange(command, PROMPT_MS, &mut |said| match said {
                DigestResult::Prompt(_) => Taken::Whole,
                DigestResult::Response(Err(error)) => {
                    refused = Some(error.clone().into());
                    Taken::Whole
                }
                _ => Taken::No,
            })
            .await;
        self.digester.prompt_expected = false;
        refused.map_or(said, Err)
    }

    async fn exchange(&mut self, command: &Written, longest_ms: u32, judge: Judge<'_>) -> Result<(), Error> {
        // What was said up to now is no answer to this.
        for _ in 0..READS_BEFORE_COMMAND {
            self.digest_all();
            let before = self.filled;
            select(self.fill(), ready(())).await;
            if self.filled == before {
                break;
            }
        }
        self.digest_all();
        self.write(command.bytes.get(..command.length).unwrap_or_default()).await?;
        self.await_answer(longest_ms, judge).await
    }

    async fn await_answer(&mut self, longest_ms: u32, judge: Judge<'_>) -> Result<(), Error> {
        let longest = Duration::from_millis(longest_ms.into()).min(self.answer_max);
        let deadline = Instant::now() + longest;
        loop {
            loop {
                match self.digest(judge) {
                    Digested::Whole => return Ok(()),
                    Digested::Something => {}
                    Digested::Nothing => break,
                }
            }
            if let Either::First(()) = select(Timer::at(deadline), self.fill()).await {
                return Err(Error::Timeout);
            }
        }
    }

    fn count(&mut self, error: Option<&Error>) {
        match error {
            None => self.unanswered = 0,
            Some(Error::Timeout | Error::Write) => {
                self.unanswered = self.unanswered.saturating_add(1);
                self.modem.count(|counters| counters.timeouts = counters.timeouts.saturating_add(1));
            }
            Some(_) if self.news.no_data => self.unanswered = 0,
            Some(_) => {
                self.unanswered = 0;
                self.modem.count(|counters| counters.errors = counters.errors.saturating_add(1));
            }
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let write = async {
            self.writer.write_all(bytes).await?;
            self.writer.flush().await
        };
        match with_timeout(WRITE_TIMEOUT.min(self.answer_max), write).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Error::Write),
        }
    }

    /// Reads what comes next. Safe to cancel where the reader's read is.
    async fn fill(&mut self) {
        if self.filled == LINE_BYTES {
            self.garbage(self.filled);
            self.filled = 0;
            self.skipping = true;
        }
        match self.reader.read(&mut self.buffer[self.filled..]).await {
            Ok(count) if count > 0 => self.filled = (self.filled + count).min(LINE_BYTES),
            // Noise, an overrun, or a line that is not there.
            Ok(_) | Err(_) => {
                self.garbage(1);
                Timer::after(READ_RETRY).await;
            }
        }
        // A modem that never stops talking must not keep the coins waiting.
        yield_now().await;
    }

    fn digest_all(&mut self) {
        while self.digest(&mut |_| Taken::No) != Digested::Nothing {}
    }

    fn digest(&mut self, judge: Judge<'_>) -> Digested {
        if self.skipping {
            let said = &self.buffer[..self.filled];
            let end = said.iter().position(|byte| *byte == b'\n');
            let passed = end.map_or(self.filled, |end| end + 1);
            self.skipping = end.is_none();
            self.garbage(passed);
            self.consume(passed);
        }
        let (said, swallowed) = self.digester.digest(&self.buffer[..self.filled]);
        let mut garbage = 0;
        let digested = match judge(&said) {
            Taken::Whole => Digested::Whole,
            Taken::Part => Digested::Something,
            Taken::No => {
                match said {
                    DigestResult::Response(Ok(line)) if !line.is_empty() => {
                        if !self.news.take(line, self.modem) {
                            garbage = line.len();
                        }
                    }
                    _ => {}
                }
                if swallowed == 0 { Digested::Nothing } else { Digested::Something }
            }
        };
        self.garbage(garbage);
        self.consume(swallowed);
        digested
    }

    fn consume(&mut self, count: usize) {
        let count = count.min(self.filled);
        self.buffer.copy_within(count..self.filled, 0);
        self.filled -= count;
    }

    fn forget(&mut self) {
        self.garbage(self.filled);
        self.filled = 0;
        self.skipping = false;
    }

    fn garbage(&self, count: usize) {
        if count > 0 {
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            self.modem.count(|counters| counters.garbage_bytes = counters.garbage_bytes.saturating_add(count));
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Digested {
    Whole,
    Something,
    Nothing,
}

impl News {
    /// Takes a line that is no answer; whether it makes sense.
    fn take(&mut self, line: &[u8], modem: &Modem) -> bool {
        // The echo of a command, before the echo is turned off.
        if line.starts_with(b"AT") {
            return true;
        }
        let Some(urc) = Urc::parse(line) else { return false };
        match urc {
            Urc::Ready | Urc::ApplicationReady | Urc::AtReady => self.restarted = true,
            Urc::PowerDown | Urc::PoweredDown | Urc::OverVoltageDown | Urc::OverVoltageWarningDown => {
                (self.restarted, self.stopped) = (true, true);
            }
            Urc::UnderVoltageDown | Urc::UnderVoltageWarningDown => {
                (self.restarted, self.stopped) = (true, true);
                modem.set_supply_low(true);
            }
            Urc::UnderVoltageWarnning | Urc::UnderVoltageWarning => modem.set_supply_low(true),
            Urc::Sim(said) => self.restarted |= said.state.starts_with("NOT"),
            Urc::Connected => self.opened = Some(true),
            Urc::AlreadyConnected | Urc::ConnectFailed => self.opened = Some(false),
            Urc::Closed | Urc::LinkClosed | Urc::LinkClosedHere => self.closed = true,
            Urc::ContextLost | Urc::NetworkClosed => self.network_lost = true,
            Urc::DataWaits(waits) => self.data_waits |= waits.mode == 1,
            Urc::NetworkOpened(verdict) => self.network_opened = Some(verdict.error == 0),
            Urc::NetworkStopped => self.network_stopped = true,
            Urc::LinkOpened(verdict) | Urc::SocketOpened(verdict) => self.opened = Some(verdict.error == 0),
            Urc::Sent(sent) => self.sent = Some(i32::from(sent.asked) == sent.taken),
            Urc::IpError(error) => self.no_data |= matches!(error.what.as_str(), "No data" | "22"),
            Urc::Socket(said) => match said.event.as_str() {
                "recv" => self.data_waits = true,
                "closed" => self.closed = true,
                "pdpdeact" => self.network_lost = true,
                _ => {}
            },
            Urc::ConnectState
            | Urc::OverVoltageWarnning
            | Urc::OverVoltageWarning
            | Urc::CipError
            | Urc::CallReady
            | Urc::SmsReady
            | Urc::SmsDone
            | Urc::PhonebookDone
            | Urc::Functionality
            | Urc::Indication
            | Urc::Registered
            | Urc::PacketRegistered
            | Urc::EpsRegistered
            | Urc::PacketEvent
            | Urc::TimeZone
            | Urc::NetworkTime
            | Urc::DaylightSaving
            | Urc::Ring => {}
        }
        true
    }
}
