//! Coin acceptors as edges: widths and gaps with the makers' tolerances, bounce at each change, spikes in between.

/// Numbers from a seed (splitmix64).
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// One of `from..=to`.
    pub fn within(&mut self, from: u64, to: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        from + (z ^ (z >> 31)) % (to - from + 1)
    }
}

/// An acceptor's pulses.
#[derive(Clone, Copy)]
pub struct Acceptor {
    pub name: &'static str,
    width_us: (u64, u64),
    gap_us: (u64, u64),
}

const fn acceptor(name: &'static str, width_us: (u64, u64), gap_us: (u64, u64)) -> Acceptor {
    Acceptor { name, width_us, gap_us }
}

/// From the shortest pulses a host must take to the longest in use.
pub const ACCEPTORS: [Acceptor; 10] = [
    acceptor("20 ms, gap 20 ms", (20_000, 20_000), (20_000, 20_000)),
    acceptor("DG600F at 25 ms, 20 % off", (20_000, 30_000), (20_000, 30_000)),
    acceptor("DG600F at 45 ms, 20 % off", (36_000, 54_000), (36_000, 54_000)),
    acceptor("DG600F at 65 ms, 20 % off", (52_000, 78_000), (52_000, 78_000)),
    acceptor("DG600F at 100 ms, 20 % off", (80_000, 120_000), (80_000, 120_000)),
    acceptor("CashFlow 952x, 80 to 120 ms", (80_000, 120_000), (20_000, 120_000)),
    acceptor("NV9, 100 ms, 3 % off", (97_000, 103_000), (97_000, 103_000)),
    acceptor("200 ms", (195_000, 205_000), (195_000, 205_000)),
    acceptor("250 ms each 500 ms", (245_000, 255_000), (245_000, 255_000)),
    acceptor("500 ms", (480_000, 500_000), (280_000, 290_000)),
];

/// Contacts bounce for so long after a change, at most.
const BOUNCE_MAX_US: u64 = 2_500;
/// Spikes are shorter than this.
const SPIKE_MAX_US: u64 = 3_000;
/// Spikes keep this far from changes: nearer they would be bounce, and shift it.
const SPIKE_APART_US: u64 = 16_000;

/// A change of the line's level.
#[derive(Clone, Copy)]
pub struct Edge {
    pub at_us: u64,
    pub level_high: bool,
}

/// What really happened: the first contact, the last edge of the bounce after it, and the last edge of the end.
pub struct Pulse {
    pub first_us: u64,
    pub settled_us: u64,
    pub ended_us: u64,
}

/// The line of an acceptor.
pub struct Line {
    acceptor: Acceptor,
    idle_high: bool,
    dice: Dice,
    at_us: u64,
    pulses: Vec<Pulse>,
}

impl Line {
    pub fn new(acceptor: Acceptor, idle_high: bool, dice: Dice) -> Self {
        Self { acceptor, idle_high, dice, at_us: 0, pulses: vec![] }
    }

    /// A coin of 1 to 40 pulses, `most` at most, from `from_us` on; gives how many.
    pub fn coin(&mut self, most: u64, from_us: u64, edge: &mut dyn FnMut(Edge)) -> u64 {
        self.at_us = self.at_us.max(from_us) + self.dice.within(320_000, 900_000);
        let pulses = self.dice.within(1, 40).min(most);
        // A spike or two on the resting line, long before the coin.
        for slot in 0..self.dice.within(0, 2) {
            let spike_us = self.at_us - 300_000 + slot * 100_000 + self.dice.within(0, 50_000);
            self.spike(spike_us, true, edge);
        }
        for _ in 0..pulses {
            let width_us = self.dice.within(self.acceptor.width_us.0, self.acceptor.width_us.1);
            let first_us = self.at_us;
            let settled_us = self.change(first_us, true, edge);
            if width_us > 2 * SPIKE_APART_US + SPIKE_MAX_US && self.dice.within(0, 3) == 0 {
                let spike_us = first_us + self.dice.within(SPIKE_APART_US, width_us - SPIKE_APART_US - SPIKE_MAX_US);
                self.spike(spike_us, false, edge);
            }
            let ended_us = self.change(first_us + width_us, false, edge);
            self.pulses.push(Pulse { first_us, settled_us, ended_us });
            self.at_us = first_us + width_us + self.dice.within(self.acceptor.gap_us.0, self.acceptor.gap_us.1);
        }
        pulses
    }

    /// A change at `at_us` with its bounce; gives the last edge's time.
    fn change(&mut self, at_us: u64, active: bool, edge: &mut dyn FnMut(Edge)) -> u64 {
        edge(self.edge(at_us, active));
        let mut last_us = at_us;
        let bounces = self.dice.within(0, 3);
        let room_us = BOUNCE_MAX_US / (2 * bounces).max(1);
        for _ in 0..bounces {
            for level in [!active, active] {
                last_us += self.dice.within(20, room_us);
                edge(self.edge(last_us, level));
            }
        }
        last_us
    }

    fn spike(&mut self, at_us: u64, active: bool, edge: &mut dyn FnMut(Edge)) {
        edge(self.edge(at_us, active));
        let end_us = at_us + self.dice.within(20, SPIKE_MAX_US);
        edge(self.edge(end_us, !active));
    }

    fn edge(&self, at_us: u64, active: bool) -> Edge {
        Edge { at_us, level_high: active != self.idle_high }
    }

    /// From when on the line certainly rests.
    pub fn rests_from_us(&self) -> u64 {
        self.at_us + BOUNCE_MAX_US
    }

    /// All pulses so far.
    pub fn pulses(&self) -> &[Pulse] {
        &self.pulses
    }
}
