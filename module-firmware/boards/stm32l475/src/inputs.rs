//! Inputs: each edge is captured in its interrupt with its time, and waits in a queue for the loop.

use crate::{
    facts::{BUTTON, COIN, SENSE},
    pins::Pin,
    ring::Ring,
    time,
};
use core::{
    future::poll_fn,
    sync::atomic::{AtomicU8, AtomicU32, Ordering},
    task::Poll,
};
use cortex_m::asm;
use embassy_sync::waitqueue::AtomicWaker;
use stm32_metapac::{EXTI, SYSCFG, exti::regs::Lines, interrupt};

/// Edges that wait at most; a coin acceptor gives a few a second, a bouncing contact some dozens at once.
const EDGES_MAX: usize = 128;
const EDGE_BYTES: usize = size_of::<u64>();
/// Cycles for a line to rise by its pull-up of 40 kiloohms: 1 ms is enough for 5 nF.
const SETTLE_CYCLES: u32 = 16_000;

static EDGES: Ring = Ring::new(&EDGE_PLACES);
static EDGE_PLACES: [AtomicU8; EDGES_MAX * EDGE_BYTES] = [const { AtomicU8::new(0) }; EDGES_MAX * EDGE_BYTES];
static CAPTURED: AtomicWaker = AtomicWaker::new();
static LOST: AtomicU32 = AtomicU32::new(0);

/// The inputs by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The coin acceptor.
    Coin,
    /// The machine's sense input: it runs.
    Sense,
    /// The button.
    Button,
}

const SOURCES: [(Source, Pin); 3] = [(Source::Coin, COIN), (Source::Sense, SENSE), (Source::Button, BUTTON)];

/// An edge of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edge {
    /// Which input.
    pub source: Source,
    /// Uptime in microseconds.
    pub at_us: u64,
    /// The level since.
    pub level_high: bool,
}

/// Sets the pins up and begins to capture. Gives the coin line's level at the beginning: edges from then on are captured.
pub fn start() -> bool {
    for (_, pin) in SOURCES {
        let line = line_of(pin);
        // The port before the pull-up: an emulator would otherwise take the pull-up's rise for a first edge.
        SYSCFG.exticr(line / 4).modify(|w| w.set_exti(line % 4, pin.port.index()));
        pin.input_pulled_up();
    }
    asm::delay(SETTLE_CYCLES);
    for (_, pin) in SOURCES {
        let line = line_of(pin);
        EXTI.rtsr(0).modify(|w| w.set_line(line, true));
        EXTI.ftsr(0).modify(|w| w.set_line(line, true));
        clear(line);
        EXTI.imr(0).modify(|w| w.set_line(line, true));
    }
    // A machine that runs already would give no edge until it stops; one that comes meanwhile is captured behind this.
    if !SENSE.high() {
        put(Source::Sense, false);
    }
    COIN.high()
}

/// The EXTI line that a pin is on: one of 16, which the compiler sees here, and drops the registers' checks.
fn line_of(pin: Pin) -> usize {
    usize::from(pin.number) % 16
}

fn clear(line: usize) {
    let mut lines = Lines(0);
    lines.set_line(line, true);
    EXTI.pr(0).write_value(lines);
}

/// Edges lost since boot because too many waited.
pub fn lost() -> u32 {
    LOST.load(Ordering::Relaxed)
}

/// Has the present level of every input wait as an edge: some were lost, the last of a line perhaps.
pub fn look() {
    critical_section::with(|_| {
        for (source, pin) in SOURCES {
            put(source, pin.high());
        }
    });
}

/// The next edge that waits.
pub fn take() -> Option<Edge> {
    let mut bytes = [0; EDGE_BYTES];
    if EDGES.take(&mut bytes) < EDGE_BYTES {
        return None;
    }
    let word = u64::from_le_bytes(bytes);
    let source = match word >> 1 & 0b11 {
        0 => Source::Coin,
        1 => Source::Sense,
        _ => Source::Button,
    };
    Some(Edge { source, at_us: word >> 3, level_high: word & 1 == 1 })
}

/// Waits until an edge waits.
pub async fn captured() {
    poll_fn(|context| {
        CAPTURED.register(context.waker());
        if EDGES.len() > 0 { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

fn on_interrupt() {
    for (source, pin) in SOURCES {
        let line = line_of(pin);
        if !EXTI.pr(0).read().line(line) {
            continue;
        }
        // Cleared before the level is read: an edge in between comes again, and none is missed.
        clear(line);
        put(source, pin.high());
    }
    CAPTURED.wake();
}

fn put(source: Source, level_high: bool) {
    let word = time::now_us() << 3 | (source as u64) << 1 | u64::from(level_high);
    if EDGES.room() >= EDGE_BYTES {
        EDGES.put(&word.to_le_bytes());
    } else {
        LOST.fetch_add(1, Ordering::Relaxed);
    }
}

#[interrupt]
fn EXTI0() {
    on_interrupt();
}

#[interrupt]
fn EXTI9_5() {
    on_interrupt();
}

#[interrupt]
fn EXTI15_10() {
    on_interrupt();
}
