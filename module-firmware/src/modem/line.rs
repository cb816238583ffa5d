//! The line to the modem: one command at a time, while also listening for unsolicited messages.
//!
//! atat's clients do not fit here: their time-outs are constants of the types, their first answer is the answer
//! whatever it says, and they have no ear while nothing is asked, or keep a second copy of each answer. So the errors, and
//! the shapes of commands and digester are atat's, and the exchange itself is this.

use super::{
    LINE_BYTES, Modem,
    command::{Answer, COMMAND_BYTES, Command, general::AT, urc::Urc},
    digest::LineDigester,
    family::DataHeader,
    settings::Timeouts,
};
use atat::{AtatCmd, AtatUrc, DigestResult, Digester, Error, InternalError};
use core::{
    future::{pending, ready},
    pin::pin,
};
use embassy_futures::{
    select::{Either, select},
    yield_now,
};
use embassy_time::{Duration, Instant, Timer, with_timeout};
use embedded_io_async::{Read, Write};

/// Writing a command takes so long at most, if the modem takes any.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// The prompt for data comes within this, in milliseconds.
const PROMPT_MS: u32 = 5_000;
/// Data is written in pieces of this.
const PIECE_BYTES: usize = 64;
/// What has arrived is looked through in so many reads at most before the next command goes out.
const READS_BEFORE_COMMAND: usize = 32;
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
    /// Data came that nobody asked for: an answer was late, or doubled, and the stream may have a gap or a repetition.
    pub(super) out_of_step: bool,
    /// There is no data to read, which is told like an error.
    pub(super) no_data: bool,
}

/// What becomes of something said while an answer is awaited.
enum Taken {
    /// It is the answer.
    Answer(Result<(), Error>),
    /// It is part of it.
    Part,
    /// It has nothing to do with it.
    No,
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
    quiet: Duration,
    pub(super) news: News,
}

impl<'a, R: Read, W: Write> Line<'a, R, W> {
    pub(super) fn new(reader: R, writer: W, modem: &'a Modem, timeouts: &Timeouts) -> Self {
        Self {
            reader,
            writer,
            modem,
            buffer: [0; LINE_BYTES],
            filled: 0,
            skipping: false,
            digester: LineDigester::default(),
            answer_max: Duration::from_millis(timeouts.answer_max_ms.into()),
            quiet: Duration::from_millis(timeouts.quiet_ms.into()),
            news: News::default(),
        }
    }

    /// From now on answers with data look so.
    pub(super) fn expect_data(&mut self, header: Option<&'static DataHeader>) {
        self.digester.data_header = header;
    }

    /// Asks, and gives the answer.
    pub(super) async fn ask(&mut self, command: &Command<'_>) -> Result<Answer, Error> {
        self.ask_with_data(command, 0).await
    }

    /// Asks what needs leave to send; sends `data_bytes` of what was written to the stream.
    pub(super) async fn ask_with_data(&mut self, command: &Command<'_>, data_bytes: usize) -> Result<Answer, Error> {
        let outcome = self.exchange(command, data_bytes).await;
        self.count(outcome.as_ref().err());
        outcome
    }

    /// Asks whether the modem is there, without counting the outcome: one that starts is allowed not to answer.
    pub(super) async fn check_alive(&mut self) -> Result<Answer, Error> {
        self.exchange(&AT, 0).await
    }

    /// Listens until the news satisfy; false if they do not until then, or until there is news from the link where
    /// `or_link` says so.
    pub(super) async fn listen(&mut self, until: Instant, or_link: bool, news: &dyn Fn(&News) -> bool) -> bool {
        let modem = self.modem;
        let mut end = pin!(async {
            let link = async { if or_link { modem.to_actor.wait().await } else { pending().await } };
            select(Timer::at(until), link).await;
        });
        loop {
            self.digest_all();
            if news(&self.news) {
                return true;
            }
            if let Either::First(()) = select(end.as_mut(), self.fill()).await {
                return false;
            }
        }
    }

    /// When to give up waiting for a later part of an answer.
    pub(super) fn patience(&self, longest_ms: u32) -> Instant {
        Instant::now() + Duration::from_millis(longest_ms.into()).min(self.answer_max)
    }

    /// Listens until the line is quiet, or for ten times as long as that takes.
    pub(super) async fn drain(&mut self) {
        for _ in 0..10 {
            self.digest_all();
            if with_timeout(self.quiet, self.fill()).await.is_err() {
                // The rest of something that will not come any more.
                self.forget();
                return;
            }
        }
    }

    /// One exchange: the command, its data if there is any, and its answer.
    async fn exchange(&mut self, command: &Command<'_>, data_bytes: usize) -> Result<Answer, Error> {
        self.drain_pending().await;
        self.news.no_data = false;
        let mut bytes = [0; COMMAND_BYTES];
        let length = command.write(&mut bytes);
        self.digester.prompt_expected = data_bytes > 0;
        self.write(bytes.get(..length).unwrap_or_default()).await?;
        if data_bytes > 0 {
            let mut prompt = |said: &DigestResult<'_>| match said {
                DigestResult::Prompt(_) => Taken::Answer(Ok(())),
                DigestResult::Response(Err(error)) => Taken::Answer(Err(error.clone().into())),
                DigestResult::Response(Ok(_)) | DigestResult::Urc(_) | DigestResult::None => Taken::No,
            };
            let prompt = self.await_answer(PROMPT_MS, &mut prompt).await;
            self.digester.prompt_expected = false;
            if matches!(prompt, Err(Error::Timeout)) {
                let _ = self.write(CANCEL).await;
            }
            prompt?;
            self.write_data(data_bytes).await?;
        }
        let mut answer = None;
        self.await_answer(command.longest_ms, &mut |said| match said {
            DigestResult::Response(Ok(line)) if !line.is_empty() => match command.parse(Ok(line)) {
                Ok(part) => {
                    answer = Some(part);
                    if command.ends_with_code() { Taken::Part } else { Taken::Answer(Ok(())) }
                }
                Err(Error::Parse) => Taken::No,
                Err(error) => Taken::Answer(Err(error)),
            },
            DigestResult::Response(Ok(_)) if command.ends_with_code() => {
                answer = answer.or_else(|| command.parse(Ok(&[])).ok());
                if answer.is_some() { Taken::Answer(Ok(())) } else { Taken::No }
            }
            DigestResult::Response(Err(error)) => Taken::Answer(Err(error.clone().into())),
            DigestResult::Response(Ok(_)) | DigestResult::Urc(_) | DigestResult::Prompt(_) | DigestResult::None => {
                Taken::No
            }
        })
        .await?;
        answer.ok_or(Error::Parse)
    }

    /// Data goes from the pipe to the line in pieces.
    async fn write_data(&mut self, mut left: usize) -> Result<(), Error> {
        let mut piece = [0; PIECE_BYTES];
        while left > 0 {
            let most = left.min(PIECE_BYTES);
            let Ok(count) = self.modem.tx.try_read(&mut piece[..most]) else { return Err(Error::Write) };
            self.write(&piece[..count]).await?;
            left -= count;
        }
        Ok(())
    }

    async fn await_answer(
        &mut self,
        longest_ms: u32,
        take: &mut dyn FnMut(&DigestResult<'_>) -> Taken,
    ) -> Result<(), Error> {
        let mut deadline = pin!(Timer::at(self.patience(longest_ms)));
        loop {
            loop {
                match self.digest(take) {
                    Digested::Answer(answer) => return answer,
                    Digested::Something => {}
                    Digested::Nothing => break,
                }
            }
            if let Either::First(()) = select(deadline.as_mut(), self.fill()).await {
                return Err(Error::Timeout);
            }
        }
    }

    fn count(&mut self, error: Option<&Error>) {
        match error {
            Some(Error::Timeout | Error::Write) => {
                self.modem.count(|counters| counters.timeouts = counters.timeouts.saturating_add(1));
            }
            Some(_) if !self.news.no_data => {
                self.modem.count(|counters| counters.errors = counters.errors.saturating_add(1));
            }
            _ => {}
        }
    }

    /// Drops what was received up to now, which cannot answer the next command; lets a message in progress finish.
    async fn drain_pending(&mut self) {
        for _ in 0..READS_BEFORE_COMMAND {
            self.digest_all();
            let before = self.filled;
            if before == 0 {
                select(self.fill(), ready(())).await;
            } else if with_timeout(self.quiet, self.fill()).await.is_err() && self.filled == before {
                self.forget();
            }
            if self.filled == 0 {
                break;
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
        // A modem that never stops sending must not delay the coins.
        yield_now().await;
    }

    fn digest_all(&mut self) {
        while !matches!(self.digest(&mut |_| Taken::No), Digested::Nothing) {}
    }

    fn digest(&mut self, take: &mut dyn FnMut(&DigestResult<'_>) -> Taken) -> Digested {
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
        let digested = match take(&said) {
            Taken::Answer(answer) => Digested::Answer(answer),
            Taken::Part => Digested::Something,
            Taken::No => {
                garbage = match said {
                    DigestResult::Response(Ok(line)) if self.digester.is_data(line) => {
                        self.news.out_of_step = true;
                        line.len()
                    }
                    DigestResult::Response(Ok(line)) if line.is_empty() || self.news.take(line, self.modem) => 0,
                    DigestResult::Response(Ok(line)) => line.len(),
                    DigestResult::Response(Err(InternalError::InvalidResponse)) => {
                        self.news.out_of_step = true;
                        swallowed
                    }
                    DigestResult::Response(Err(_))
                    | DigestResult::Urc(_)
                    | DigestResult::Prompt(_)
                    | DigestResult::None => 0,
                };
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

enum Digested {
    Answer(Result<(), Error>),
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
            Urc::Restarted => self.restarted = true,
            Urc::Stopped => (self.restarted, self.stopped) = (true, true),
            Urc::StoppedBySupply => {
                (self.restarted, self.stopped) = (true, true);
                modem.supply_is_low();
            }
            Urc::SupplyLow => modem.supply_is_low(),
            Urc::Opened(well) => self.opened = Some(well),
            Urc::Closed => self.closed = true,
            Urc::NetworkLost => self.network_lost = true,
            Urc::DataWaits => self.data_waits = true,
            Urc::NetworkOpened(well) => self.network_opened = Some(well),
            Urc::NetworkStopped => self.network_stopped = true,
            Urc::Sent(whole) => self.sent = Some(whole),
            Urc::NoData => self.no_data = true,
            Urc::Nothing => {}
        }
        true
    }
}
