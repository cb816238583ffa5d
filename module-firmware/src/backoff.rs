//! Waits between attempts: doubled from the first up to the longest, each with a random part, so that a fleet does not
//! act in step.

/// The waits of one thing that is tried again and again.
#[derive(Debug)]
pub(crate) struct Backoff {
    first_ms: u64,
    longest_ms: u64,
    tries: u32,
    random: u64,
}

impl Backoff {
    /// `seed` differs from module to module.
    pub(crate) fn new(first_ms: u64, longest_ms: u64, seed: u64) -> Self {
        // Zero would stay zero for ever.
        Self { first_ms, longest_ms, tries: 0, random: seed | 1 }
    }

    /// The next wait: a random value between half and all of the current wait.
    pub(crate) fn next_ms(&mut self) -> u64 {
        let whole = self.first_ms.saturating_mul(1 << self.tries.min(16)).min(self.longest_ms);
        self.tries = self.tries.saturating_add(1);
        // Xorshift (Marsaglia 2003): enough to keep a fleet from dialling in step.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        whole / 2 + self.random % (whole / 2 + 1)
    }

    /// It worked: the next wait starts from the first again.
    pub(crate) fn settled(&mut self) {
        self.tries = 0;
    }
}
