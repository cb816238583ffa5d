//! The way from power-up to a connection, and back.

use super::{
    ConnectionState, Modem, Number, State,
    command::{
        Answer, Command,
        general::{
            ASK_IDENTITY, ASK_MODEL, ASK_SIGNAL, ASK_SIM, ECHO_OFF, NUMBER_ERRORS, Registration, SimState, ask_iccid,
            ask_registration,
        },
    },
    family::{Family, PowerTimes, UNKNOWN_POWER},
    line::{Line, News},
    power::Power,
    settings::{Config, Timeouts},
    socket,
};
use crate::backoff::Backoff;
use atat::Error;
use core::convert::Infallible;
use embassy_time::{Duration, Instant, Timer};
use embedded_hal::digital::OutputPin;
use embedded_io_async::{Read, Write};

/// After this many unanswered commands in a row a modem counts as stuck.
const UNANSWERED_MAX: u8 = 5;
/// How often attaching may fail in a row before the modem is switched off and on.
const ATTACH_FAILURES_MAX: u32 = 5;
/// How often connecting may fail in a row before the modem attaches again.
const OPEN_FAILURES_ATTACH: u32 = 3;
/// .. before it is switched off and on; doubled each time, since the server may be what is down.
const OPEN_FAILURES_CYCLE: u32 = 10;
/// .. at most so many times doubled.
const OPEN_DOUBLINGS_MAX: u32 = 4;
/// CSQ that says "not known" (3GPP TS 27.007, 8.5).
const CSQ_UNKNOWN: u8 = 99;
/// The greatest CSQ there is.
const CSQ_MAX: u8 = 31;

/// Runs a modem for ever: on `uart`'s reader and writer, switched by `power`. `seed` spreads the waits of many modules.
///
/// The reader's `read` must be safe to cancel: a byte is given out or kept. Poll it beside [`crate::link::run`], in the
/// same executor.
pub async fn run<R: Read, W: Write, K: OutputPin, P: OutputPin>(
    modem: &Modem,
    config: &Config<'_>,
    uart: (R, W),
    power: Power<K, P>,
    seed: u64,
) -> Infallible {
    let timeouts = &config.timeouts;
    let line = Line::new(uart.0, uart.1, modem, timeouts);
    let mut actor = Actor {
        modem,
        config,
        line,
        power,
        cycles: Backoff::new(timeouts.cycle_first_ms, timeouts.cycle_max_ms, seed),
        cycled: false,
        silences: 0,
        was_on: false,
        open_failures: 0,
        open_doublings: 0,
        next_signal: Instant::now(),
    };
    actor.live().await
}

/// Why what was set up is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The modem restarted by itself.
    Restarted,
    /// It does not do what it should: switch it off and on.
    Stuck,
}

struct Actor<'a, R, W, K, P> {
    modem: &'a Modem,
    config: &'a Config<'a>,
    line: Line<'a, R, W>,
    power: Power<K, P>,
    cycles: Backoff,
    /// It was switched before: the next time is waited with.
    cycled: bool,
    /// Times in a row that it did not answer after it was switched.
    silences: u32,
    /// It answered since it was switched.
    was_on: bool,
    open_failures: u32,
    open_doublings: u32,
    next_signal: Instant,
}

impl<R: Read, W: Write, K: OutputPin, P: OutputPin> Actor<'_, R, W, K, P> {
    async fn live(&mut self) -> Infallible {
        // This processor restarted but not the modem, so the modem may be on.
        let mut there = self.answers(self.timeouts().probe_ms.into()).await;
        loop {
            while !there {
                self.switch().await;
                there = self.answers(self.boot_ms()).await;
            }
            let Err(end) = self.serve().await;
            self.modem.count(|counters| counters.restarts = counters.restarts.saturating_add(1));
            self.end_connection();
            self.modem.set_state(State::Silent);
            self.modem.set_signal(None);
            if self.line.news.stopped {
                // It is known to be off, which is rare.
                (self.was_on, self.silences) = (false, 0);
                there = false;
            } else {
                there = end == End::Restarted && self.answers(self.boot_ms()).await;
            }
        }
    }

    fn timeouts(&self) -> &Timeouts {
        &self.config.timeouts
    }

    fn power_times(&self) -> PowerTimes {
        let times = self.modem.family.get().map_or(UNKNOWN_POWER, |family| family.power);
        let most = self.timeouts().power_max_ms;
        PowerTimes {
            on_ms: times.on_ms.min(most),
            off_ms: times.off_ms.min(most),
            down_ms: times.down_ms.min(most),
            boot_ms: self.timeouts().boot_ms.unwrap_or(times.boot_ms),
        }
    }

    fn boot_ms(&self) -> u64 {
        self.power_times().boot_ms.into()
    }

    /// Switches the modem on, or off and on. Its PWRKEY toggles, and nothing tells whether it is on: where it does not
    /// answer, the two are done by turns.
    async fn switch(&mut self) {
        if self.cycled {
            Timer::after_millis(self.cycles.next_ms()).await;
        }
        self.cycled = true;
        let times = self.power_times();
        let off_first = (self.silences + u32::from(self.was_on)) % 2 == 1;
        if !off_first {
            self.power.on(&times).await;
        } else if !self.power.reset(&times).await {
            self.power.off(&times).await;
            self.power.on(&times).await;
        }
        // Whichever it was, it is known to be on when it answers.
        self.silences = self.silences.wrapping_add(1);
    }

    /// Whether the modem answers within the time.
    async fn answers(&mut self, within_ms: u64) -> bool {
        let deadline = Instant::now() + Duration::from_millis(within_ms);
        loop {
            if self.line.check_alive().await.is_ok() {
                self.line.drain().await;
                self.line.news = News::default();
                self.silences = 0;
                self.was_on = true;
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            self.line.drain().await;
        }
    }

    /// Asks; after a command without an answer, first makes sure that the modem is there and its answers are in step.
    async fn ask(&mut self, command: &Command<'_>) -> Result<Result<Answer, Error>, End> {
        let answer = self.line.ask(command).await;
        self.after(answer.as_ref().err()).await?;
        Ok(answer)
    }

    async fn after(&mut self, error: Option<&Error>) -> Result<(), End> {
        if matches!(error, Some(Error::Timeout | Error::Write | Error::InvalidResponse)) {
            self.resynchronize().await?;
        }
        if self.line.news.restarted { Err(End::Restarted) } else { Ok(()) }
    }

    async fn resynchronize(&mut self) -> Result<(), End> {
        for _ in 0..UNANSWERED_MAX {
            self.line.drain().await;
            if self.line.check_alive().await.is_ok() {
                // An answer that came late may have been taken for this one's: this one's is not to be for the next.
                self.line.drain().await;
                return Ok(());
            }
        }
        Err(End::Stuck)
    }

    /// Listens for the given time; returns the modem's end, if it ends in that time.
    async fn pause(&mut self, pause_ms: u64) -> Result<(), End> {
        let until = Instant::now() + Duration::from_millis(pause_ms);
        if self.line.listen(until, false, &|news| news.restarted).await { Err(End::Restarted) } else { Ok(()) }
    }

    async fn serve(&mut self) -> Result<Infallible, End> {
        let family = self.set_up().await?;
        self.wait_for_sim().await?;
        if let Ok(Answer::Iccid(iccid)) = self.ask(&ask_iccid(family.iccid)).await? {
            self.modem.iccid.set(Some(iccid));
        }
        let mut failures = 0;
        loop {
            self.wait_for_network(family).await?;
            self.modem.set_state(State::Attaching);
            let attached = socket::attach(&mut self.line, family, self.config).await;
            self.after(attached.as_ref().err()).await?;
            if attached.is_ok() {
                failures = 0;
                self.serve_attached(family).await?;
            } else {
                failures += 1;
                if failures >= ATTACH_FAILURES_MAX {
                    return Err(End::Stuck);
                }
                let wait_ms = self.cycles.next_ms();
                self.pause(wait_ms).await?;
            }
        }
    }

    async fn set_up(&mut self) -> Result<&'static Family, End> {
        self.line.expect_data(None);
        // Where these are not known nothing is lost.
        let _ = self.ask(&ECHO_OFF).await?;
        let _ = self.ask(&NUMBER_ERRORS).await?;
        let mut known = None;
        for question in [&ASK_MODEL, &ASK_IDENTITY] {
            if known.is_none()
                && let Ok(Answer::Model(family)) = self.ask(question).await?
            {
                known = Some(family);
            }
        }
        let Some(family) = known else {
            self.modem.set_state(State::Unknown);
            return Err(End::Stuck);
        };
        self.modem.family.set(Some(family));
        self.line.expect_data(Some(&family.data_header));
        Ok(family)
    }

    async fn wait_for_sim(&mut self) -> Result<(), End> {
        let deadline = Instant::now() + Duration::from_millis(self.timeouts().registration_ms.into());
        loop {
            let state = match self.ask(&ASK_SIM).await? {
                Ok(Answer::Sim(state)) => Some(state),
                Ok(_) => None,
                Err(error) => SimState::of_error(&error),
            };
            match state {
                Some(SimState::Ready) => return Ok(()),
                Some(SimState::Absent) => self.modem.set_state(State::NoSim),
                Some(SimState::Locked) => self.modem.set_state(State::SimLocked),
                Some(SimState::NotReady) | None => self.modem.set_state(State::SimNotReady),
            }
            if Instant::now() >= deadline {
                return Err(End::Stuck);
            }
            self.pause(self.timeouts().poll_ms.into()).await?;
        }
    }

    async fn wait_for_network(&mut self, family: &'static Family) -> Result<(), End> {
        let deadline = Instant::now() + Duration::from_millis(self.timeouts().registration_ms.into());
        loop {
            self.look_at_signal().await?;
            let mut denied = false;
            for domain in family.domains {
                match self.ask(&ask_registration(*domain)).await? {
                    Ok(Answer::Registration(Registration::Registered)) => return Ok(()),
                    Ok(Answer::Registration(Registration::Denied)) => denied = true,
                    Ok(_) | Err(_) => {}
                }
            }
            self.modem.set_state(if denied { State::Denied } else { State::Searching });
            if Instant::now() >= deadline {
                return Err(End::Stuck);
            }
            self.pause(self.timeouts().poll_ms.into()).await?;
        }
    }

    async fn look_at_signal(&mut self) -> Result<(), End> {
        self.next_signal = Instant::now() + Duration::from_millis(self.timeouts().signal_ms.into());
        if let Ok(Answer::Signal(csq)) = self.ask(&ASK_SIGNAL).await? {
            let known = csq != CSQ_UNKNOWN && csq <= CSQ_MAX;
            self.modem.set_signal(known.then_some(csq));
        }
        Ok(())
    }

    /// Connects whenever asked to, until the network is lost or seems to be.
    async fn serve_attached(&mut self, family: &'static Family) -> Result<(), End> {
        let mut failures = 0;
        while failures < OPEN_FAILURES_ATTACH {
            self.modem.set_state(State::Attached);
            let Some(number) = self.wait_for_dial().await? else { return Ok(()) };
            let opened = socket::open(&mut self.line, family, self.config).await;
            if opened.is_err() || self.line.news.restarted {
                self.modem.settle(number, ConnectionState::Failed);
                self.after(opened.as_ref().err()).await?;
                failures += 1;
                self.open_failures += 1;
                if self.open_failures >= OPEN_FAILURES_CYCLE << self.open_doublings {
                    self.open_failures = 0;
                    self.open_doublings = (self.open_doublings + 1).min(OPEN_DOUBLINGS_MAX);
                    return Err(End::Stuck);
                }
                continue;
            }
            failures = 0;
            self.open_failures = 0;
            self.open_doublings = 0;
            self.cycles.settled();
            self.connected(family, number).await?;
        }
        Ok(())
    }

    /// Waits until a connection is wanted; `None` if the network is lost.
    async fn wait_for_dial(&mut self) -> Result<Option<Number>, End> {
        loop {
            // Checked before any request, which could not be fulfilled.
            match (self.line.news.restarted, self.line.news.network_lost) {
                (true, _) => return Err(End::Restarted),
                (_, true) => return Ok(None),
                _ => {}
            }
            let (at, _) = self.modem.connection_state.get();
            let wanted = self.modem.wanted.get();
            if wanted != 0 && wanted != at {
                return Ok(Some(wanted));
            }
            if Instant::now() >= self.next_signal {
                self.look_at_signal().await?;
                continue;
            }
            self.line.listen(self.next_signal, true, &|news| news.restarted || news.network_lost).await;
        }
    }

    /// Serves a connection to its end, and closes it.
    async fn connected(&mut self, family: &'static Family, number: Number) -> Result<(), End> {
        self.modem.rx.clear();
        self.modem.tx.clear();
        self.modem.sending.set(false);
        self.modem.settle(number, ConnectionState::Open);
        self.modem.set_state(State::Connected);
        let ended = self.transfer(family, number).await;
        if self.modem.wanted.get() == number {
            self.modem.count(|counters| counters.links_lost = counters.links_lost.saturating_add(1));
        }
        self.end_connection();
        self.modem.set_state(State::Attached);
        self.after(ended.as_ref().err()).await?;
        let closed = socket::close(&mut self.line, family).await;
        self.after(closed.as_ref().err()).await
    }

    fn end_connection(&self) {
        self.modem.sending.set(false);
        let (number, connection_state) = self.modem.connection_state.get();
        if connection_state == ConnectionState::Open {
            self.modem.settle(number, ConnectionState::Ended);
        }
    }

    /// Moves bytes both ways until the connection ends, or a command fails.
    async fn transfer(&mut self, family: &'static Family, number: Number) -> Result<(), Error> {
        let poll = Duration::from_millis(self.timeouts().data_poll_ms.into());
        let mut next_poll = Instant::now() + poll;
        loop {
            let (gone, closed) = {
                let news = &self.line.news;
                (news.restarted || news.network_lost, news.closed)
            };
            if self.line.news.out_of_step {
                return Err(Error::InvalidResponse);
            }
            if gone || self.modem.wanted.get() != number {
                return Ok(());
            }
            let room = self.modem.rx.free_capacity();
            if room > 0 && (self.line.news.data_waits || closed || Instant::now() >= next_poll) {
                next_poll = Instant::now() + poll;
                self.line.news.data_waits = false;
                let received = socket::receive(&mut self.line, family, self.modem).await?;
                // Where the modem does not tell what is left, an empty read shows that nothing is.
                self.line.news.data_waits |= received.left.map_or(received.count > 0, |left| left > 0);
                if closed && received.count == 0 {
                    return Ok(());
                }
            }
            let count = self.modem.tx.len();
            if count > 0 && !closed {
                self.modem.sending.set(true);
                let sent = socket::send(&mut self.line, family, count).await;
                self.modem.sending.set(false);
                self.modem.to_stream.signal(());
                sent?;
                continue;
            }
            if Instant::now() >= self.next_signal {
                self.look_at_signal_meanwhile().await?;
                continue;
            }
            self.wait_for_either_side(closed, next_poll.min(self.next_signal)).await;
        }
    }

    /// Checks the signal. A missing answer does not end the connection.
    async fn look_at_signal_meanwhile(&mut self) -> Result<(), Error> {
        self.look_at_signal().await.map_err(|_| Error::Timeout)
    }

    async fn wait_for_either_side(&mut self, closed: bool, until: Instant) {
        let modem = self.modem;
        let something = |news: &News| {
            let readable = news.data_waits && modem.rx.free_capacity() > 0;
            news.restarted || news.network_lost || news.out_of_step || readable || news.closed != closed
        };
        self.line.listen(until, true, &something).await;
    }
}
