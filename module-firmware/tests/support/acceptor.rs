//! Coin acceptors as docs of their makers describe them, a person at the button, and machines that take only some pulses.

use super::Bench;

/// Numbers from a seed (splitmix64).
#[derive(Debug, Clone)]
pub struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// One of `from..=to`.
    pub fn within(&mut self, from: u64, to: u64) -> u64 {
        from + self.next() % (to - from + 1)
    }
}

/// An acceptor.
#[derive(Debug, Clone)]
pub struct Acceptor {
    pub idle_high: bool,
    /// Nominal width, and how far it is off either way.
    pub width_us: u64,
    pub tolerance_percent: u64,
    pub gap_us: u64,
    /// The longest bounce of contacts after each change.
    pub bounce_us: u64,
    /// Spikes within the second before each coin, each up to 2 ms.
    pub spikes: u64,
    /// Rest after a coin.
    pub rest_ms: u64,
}

impl Acceptor {
    pub fn new(width_ms: u64, tolerance_percent: u64) -> Self {
        Self {
            idle_high: true,
            width_us: width_ms * 1000,
            tolerance_percent,
            gap_us: width_ms * 1000,
            bounce_us: 0,
            spikes: 0,
            rest_ms: 1500,
        }
    }

    fn off(&self, dice: &mut Dice, us: u64) -> u64 {
        let off = us * self.tolerance_percent / 100;
        dice.within(us - off, us + off)
    }

    /// A change of level at `at_us`: bounce first, then it stands.
    fn change(&self, bench: &mut Bench, dice: &mut Dice, at_us: u64, active: bool) {
        bench.run_to(at_us);
        let level = |active: bool| active != self.idle_high;
        bench.edge(level(active));
        if self.bounce_us == 0 {
            return;
        }
        let steps = dice.within(0, 3);
        for step in 0..steps {
            let slot_us = self.bounce_us / (2 * steps);
            let from_us = at_us + (2 * step) * slot_us;
            bench.run_to(from_us + dice.within(1, slot_us - 1));
            bench.edge(level(!active));
            bench.run_to(from_us + slot_us + dice.within(0, slot_us - 1));
            bench.edge(level(active));
        }
    }

    /// A coin of so many pulses, and a rest.
    pub fn coin(&self, bench: &mut Bench, dice: &mut Dice, pulses: u64) {
        for _ in 0..self.spikes {
            bench.run_ms(dice.within(60, 300));
            bench.edge(!self.idle_high);
            bench.run_to(bench.now_us + dice.within(50, 2_000));
            bench.edge(self.idle_high);
        }
        bench.run_ms(100);
        let mut at_us = bench.now_us;
        for _ in 0..pulses {
            self.change(bench, dice, at_us, true);
            at_us += self.off(dice, self.width_us);
            self.change(bench, dice, at_us, false);
            at_us += self.off(dice, self.gap_us);
        }
        bench.run_ms(self.rest_ms);
    }

    /// Widths that it may give, in milliseconds.
    pub fn widths_ms(&self) -> (u64, u64) {
        let off = self.width_us * self.tolerance_percent / 100;
        ((self.width_us - off) / 1000, (self.width_us + off).div_ceil(1000))
    }
}

/// A machine that takes pulses of a least width, apart by a least gap, so many to a credit.
#[derive(Debug, Clone, Copy)]
pub struct Machine {
    pub width_min_us: u64,
    pub gap_min_us: u64,
    pub pulses: usize,
}

impl Machine {
    /// Credits that it gave for the pulses of the credit output since `since_us`.
    pub fn credits(&self, bench: &Bench, since_us: u64) -> usize {
        let mut taken = 0;
        let mut end_us = None;
        for (from_us, to_us) in bench.credit_train().into_iter().filter(|(from_us, _)| *from_us >= since_us) {
            let apart = end_us.is_none_or(|end_us| from_us - end_us >= self.gap_min_us);
            taken += usize::from(apart && to_us - from_us >= self.width_min_us);
            end_us = Some(to_us);
        }
        taken / self.pulses
    }
}
