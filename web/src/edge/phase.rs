//! What a connection is at, and how long that may take.

use super::slots::Waiting;
use parking_lot::Mutex;
use std::time::Duration;
use tokio::time::Instant;

/// How long a connection may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadlines {
    /// For the head of a request, from its first byte to its last; for the first one from the connection on.
    pub(super) head: Duration,
    /// From an answer to the first byte of the next request.
    pub(super) idle: Duration,
    /// From a request's head to the end of its answer; its body comes in meanwhile.
    pub(super) answer: Duration,
    /// For the other side to take anything of what it is sent.
    pub(super) stall: Duration,
}

impl Deadlines {
    /// A person's browser takes milliseconds. Idle is longer than the 60 s for which proxies keep connections: the proxy
    /// is to close first, or it may send a request into a connection that closes.
    pub(crate) const DEFAULT: Deadlines = Deadlines {
        head: Duration::from_secs(10),
        idle: Duration::from_secs(75),
        answer: Duration::from_secs(60),
        stall: Duration::from_secs(20),
    };
}

/// What a connection is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The head of a request comes in, since.
    Head(Instant),
    /// Nothing was asked since the last answer.
    Idle(Instant),
    /// A request is being answered, since.
    Answering(Instant),
    /// A live stream, which ends by itself.
    Streaming,
}

/// What a connection is at, told by whoever sees it.
#[derive(Debug)]
pub(super) struct Progress {
    state: Mutex<State>,
    waiting: Waiting,
}

#[derive(Debug, Clone, Copy)]
struct State {
    phase: Phase,
    /// Since when the other side has taken nothing.
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

    /// All of a request came in: its connection keeps its place until it is answered. Not before: a body that never comes
    /// must not hold one.
    pub(super) fn whole(&self) {
        self.waiting.end();
    }

    /// The answer is a live stream.
    pub(super) fn streams(&self) {
        self.state.lock().phase = Phase::Streaming;
    }

    /// The answer's last byte was handed to the socket, or waits before it.
    pub(super) fn answered(&self, now: Instant) {
        self.state.lock().phase = Phase::Idle(now);
        self.waiting.begin();
    }

    /// The other side takes nothing.
    pub(super) fn stalls(&self, now: Instant) {
        self.state.lock().stalled.get_or_insert(now);
    }

    /// The other side took something.
    pub(super) fn flows(&self) {
        self.state.lock().stalled = None;
    }

    /// When the connection is to be cut unless something happens, and what for.
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
        // A head that drips has no more time than one that says nothing.
        progress.heard(after(9));
        assert_eq!(progress.ends_at(&D), Some((start + D.head, "head")));
        progress.asked(after(1));
        progress.heard(after(2));
        assert_eq!(progress.ends_at(&D), Some((after(1) + D.answer, "answer")));
        progress.answered(after(3));
        assert_eq!(progress.ends_at(&D), Some((after(3) + D.idle, "idle")));
        // From the next request's first byte on its head has its time.
        progress.heard(after(50));
        progress.heard(after(55));
        assert_eq!(progress.ends_at(&D), Some((after(50) + D.head, "head")));
        progress.asked(after(56));
        progress.streams();
        assert_eq!(progress.ends_at(&D), None);
        // Whoever reads nothing is cut, in a stream too.
        progress.stalls(after(60));
        progress.stalls(after(70));
        assert_eq!(progress.ends_at(&D), Some((after(60) + D.stall, "stall")));
        progress.flows();
        assert_eq!(progress.ends_at(&D), None);
    }
}
