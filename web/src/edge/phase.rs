//! The phase of a connection, and how long it may take.

use super::slots::Waiting;
use parking_lot::Mutex;
use std::time::Duration;
use tokio::time::Instant;

/// How long each phase may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadlines {
    /// For the head of a request, from its first byte to its last; for the first one from the connection on.
    pub(super) head: Duration,
    /// From an answer to the first byte of the next request.
    pub(super) idle: Duration,
    /// From a request's head to the end of its answer; the request's body is received in this time too.
    pub(super) answer: Duration,
    /// Until the other side reads some of what it is sent.
    pub(super) stall: Duration,
}

impl Deadlines {
    /// A person's browser takes milliseconds. The idle time is longer than the 60 s for which proxies keep connections,
    /// so that the proxy closes first; otherwise it may send a request into a connection that is being closed.
    pub(crate) const DEFAULT: Deadlines = Deadlines {
        head: Duration::from_secs(10),
        idle: Duration::from_secs(75),
        answer: Duration::from_secs(60),
        stall: Duration::from_secs(20),
    };
}

/// The phase of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The head of a request is being received, since this time.
    Head(Instant),
    /// Idle: no request since the last answer.
    Idle(Instant),
    /// A request is being answered, since this time.
    Answering(Instant),
    /// A live stream, which ends by itself.
    Streaming,
}

/// A connection's progress, reported from the places that see it.
#[derive(Debug)]
pub(super) struct Progress {
    state: Mutex<State>,
    waiting: Waiting,
}

#[derive(Debug, Clone, Copy)]
struct State {
    phase: Phase,
    /// Since when the other side has read nothing.
    stalled: Option<Instant>,
}

impl Progress {
    /// A connection that was just accepted, and waits for its first request.
    pub(super) fn new(waiting: Waiting, now: Instant) -> Self {
        Self { state: Mutex::new(State { phase: Phase::Head(now), stalled: None }), waiting }
    }

    /// Bytes came in.
    pub(super) fn heard(&self, now: Instant) {
        let mut state = self.state.lock();
        if let Phase::Idle(_) = state.phase {
            state.phase = Phase::Head(now);
        }
    }

    /// A request's head is whole.
    pub(super) fn asked(&self, now: Instant) {
        self.state.lock().phase = Phase::Answering(now);
    }

    /// The whole request was received: from now until the answer, its connection keeps its slot. Not earlier, because a
    /// body that never comes must not hold a slot.
    pub(super) fn whole(&self) {
        self.waiting.end();
    }

    /// The answer is a live stream.
    pub(super) fn streams(&self) {
        self.state.lock().phase = Phase::Streaming;
    }

    /// The answer's last byte was written to the socket, or waits to be written.
    pub(super) fn answered(&self, now: Instant) {
        self.state.lock().phase = Phase::Idle(now);
        self.waiting.begin();
    }

    /// The other side reads nothing.
    pub(super) fn stalls(&self, now: Instant) {
        self.state.lock().stalled.get_or_insert(now);
    }

    /// The other side read something.
    pub(super) fn flows(&self) {
        self.state.lock().stalled = None;
    }

    /// When the connection will be cut unless something happens, and why.
    pub(super) fn ends_at(&self, deadlines: &Deadlines) -> Option<(Instant, &'static str)> {
        let State { phase, stalled } = *self.state.lock();
        let of_phase = match phase {
            Phase::Head(since) => Some((since + deadlines.head, "head")),
            Phase::Idle(since) => Some((since + deadlines.idle, "idle")),
            Phase::Answering(since) => Some((since + deadlines.answer, "answer")),
            Phase::Streaming => None,
        };
        let of_stall = stalled.map(|since| (since + deadlines.stall, "stall"));
        of_phase.into_iter().chain(of_stall).min_by_key(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::slots::ConnectionSlots;
    use std::sync::Arc;

    const D: Deadlines = Deadlines::DEFAULT;

    #[tokio::test]
    async fn each_thing_has_its_time_and_no_more() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let slot = Arc::new(ConnectionSlots::new(1, 1)).take(None).unwrap();
        let progress = Progress::new(slot.waiting(), start);
        // A head that comes in slowly gets no more time than one that does not come.
        progress.heard(after(9));
        assert_eq!(progress.ends_at(&D), Some((start + D.head, "head")));
        progress.asked(after(1));
        progress.heard(after(2));
        assert_eq!(progress.ends_at(&D), Some((after(1) + D.answer, "answer")));
        progress.answered(after(3));
        assert_eq!(progress.ends_at(&D), Some((after(3) + D.idle, "idle")));
        // The time for the next head starts with its first byte.
        progress.heard(after(50));
        progress.heard(after(55));
        assert_eq!(progress.ends_at(&D), Some((after(50) + D.head, "head")));
        progress.asked(after(56));
        progress.streams();
        assert_eq!(progress.ends_at(&D), None);
        // A client that reads nothing is cut, in a live stream too.
        progress.stalls(after(60));
        progress.stalls(after(70));
        assert_eq!(progress.ends_at(&D), Some((after(60) + D.stall, "stall")));
        progress.flows();
        assert_eq!(progress.ends_at(&D), None);
    }
}
