//! What happened, in order: as a hash to compare two runs by, and as lines for a person.

use std::fmt::{self, Write};

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// The trace of a run.
pub struct Trace {
    hash: u64,
    line: String,
    lines: Option<Vec<String>>,
}

impl Trace {
    /// A trace that keeps its lines, or only their hash.
    pub fn new(keep: bool) -> Self {
        Self { hash: FNV_OFFSET, line: String::new(), lines: keep.then(Vec::new) }
    }

    /// Notes something that happened.
    pub fn note(&mut self, at_us: u64, what: fmt::Arguments<'_>) {
        self.line.clear();
        let (s, us) = (at_us / 1_000_000, at_us % 1_000_000);
        write!(self.line, "{s:>5}.{us:06} {what}").expect("writing to a string cannot fail");
        for byte in self.line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME);
        }
        if let Some(lines) = &mut self.lines {
            lines.push(self.line.clone());
        }
    }

    /// Adds something to read that takes time to make: only if lines are kept, and never hashed.
    pub fn detail(&mut self, make: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            lines.push(format!("             | {}", make()));
        }
    }

    /// The hash of everything noted.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The lines, if they were kept.
    pub fn into_lines(self) -> Vec<String> {
        self.lines.unwrap_or_default()
    }
}
