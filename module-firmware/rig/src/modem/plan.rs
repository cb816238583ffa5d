//! How the modem and its network behave, and what goes wrong on purpose.

use std::ops::Range;

/// Of a thousand.
pub type PerMille = u32;

/// The behaviour; a test may change it at any time.
#[derive(Debug, Clone)]
pub struct Plan {
    /// From power on to the first result codes.
    pub boot_ms: u64,
    /// From then until the network is found.
    pub registration_ms: u64,
    /// Whether the network takes the subscriber.
    pub registration: Registration,
    /// Signal as CSQ, 0 to 31, or 99.
    pub signal_csq: u32,
    /// Until a command is answered.
    pub answer_ms: Range<u64>,
    /// For a byte through the network, one way.
    pub network_ms: Range<u64>,
    /// Segments lost in the air: each is sent again [`RETRANSMISSION_MS`] later, and what follows waits.
    pub loss: PerMille,
    /// Answers that junk goes before.
    pub noise: PerMille,
    /// Answers of which a byte is bent.
    pub corruption: PerMille,
    /// Answers that go wrong in a planned way.
    pub faults: Vec<Fault>,
}

/// A lost segment is sent again so much later.
pub const RETRANSMISSION_MS: u64 = 1000;

impl Default for Plan {
    /// A modem in a good place: 4G-like, and quick to boot so that tests are.
    fn default() -> Self {
        Self {
            boot_ms: 300,
            registration_ms: 500,
            registration: Registration::Taken,
            signal_csq: 21,
            answer_ms: 2..8,
            network_ms: 20..40,
            loss: 0,
            noise: 0,
            corruption: 0,
            faults: vec![],
        }
    }
}

/// What the network makes of the subscriber (3GPP TS 27.007, 7.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registration {
    /// Registered, at home.
    Taken,
    /// Not registered, searching.
    Searching,
    /// Registration denied.
    Denied,
}

/// An answer that goes wrong.
#[derive(Debug, Clone)]
pub struct Fault {
    /// Of commands whose line starts so.
    pub line: String,
    /// So many of them are answered well before.
    pub after: u32,
    /// So many of them are answered wrong.
    pub times: u32,
    /// How.
    pub answer: Answer,
}

/// How an answer goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// So much later.
    Late(u64),
    /// Said two times.
    Twice,
    /// Done, and not said.
    Never,
    /// Not done, ERROR.
    Refused,
}

impl Fault {
    /// The next so many commands that start so.
    pub fn next(line: &str, times: u32, answer: Answer) -> Self {
        Self { line: line.into(), after: 0, times, answer }
    }
}
