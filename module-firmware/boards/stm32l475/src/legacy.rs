//! What one boot tells the next: why it ended, where it panicked, how long it ran. Kept at the end of SRAM2, which loses its
//! content with its power only.

use crate::{facts::LEGACY_START, time};
use core::panic::PanicInfo;
use cortex_m::peripheral::SCB;
use cortex_m_rt::{ExceptionFrame, exception};
use stm32_metapac::RCC;

/// Says that the rest is ours: SRAM2 begins with noise.
const OURS: u32 = 0xC019_31DE;
/// Says that the emulated flash was made.
const FORMATTED: u32 = 0xF1A5_4ED0;
/// Why the firmware restarted itself.
const ON_PURPOSE: u32 = 1;
const PANICKED: u32 = 2;

/// The words, by their place.
#[derive(Clone, Copy)]
enum Word {
    Ours,
    Formatted,
    Ended,
    UptimeS,
    PanicFile,
    PanicLine,
    Panics,
}

fn pointer(word: Word) -> *mut u32 {
    (LEGACY_START as *mut u32).wrapping_add(word as usize)
}

fn get(word: Word) -> u32 {
    // SAFETY: within SRAM2, behind the emulated flash, where no Rust object lives; aligned. One loop and the handlers that
    // end it use it.
    unsafe { pointer(word).read_volatile() }
}

fn set(word: Word, value: u32) {
    // SAFETY: as above.
    unsafe { pointer(word).write_volatile(value) }
}

/// Why this boot came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Power came or sagged.
    Power,
    /// The reset pin.
    Pin,
    /// The firmware restarted on purpose.
    Software,
    /// The watchdog bit.
    Watchdog,
    /// The firmware panicked.
    Panic,
    /// Anything else, or the processor does not say.
    Other,
}

/// The boot before.
#[derive(Debug, Clone, Copy)]
pub struct Before {
    /// Why it ended.
    pub cause: Cause,
    /// How long it ran, in seconds, if known.
    pub uptime_s: Option<u32>,
    /// Where the firmware last panicked: a hash (FNV-1a) of the file's name, and the line.
    pub panic: Option<(u32, u32)>,
}

/// Reads what the boot before left, and begins anew.
pub fn take() -> Before {
    let flags = RCC.csr().read();
    RCC.csr().modify(|w| w.set_rmvf(true));
    if get(Word::Ours) != OURS {
        for word in [Word::Formatted, Word::Ended, Word::UptimeS, Word::PanicFile, Word::PanicLine, Word::Panics] {
            set(word, 0);
        }
        set(Word::Ours, OURS);
    }
    // A reset of any kind pulls the pin's flag too.
    let cause = match get(Word::Ended) {
        PANICKED => Cause::Panic,
        ON_PURPOSE => Cause::Software,
        _ if flags.borrstf() => Cause::Power,
        _ if flags.iwdgrstf() || flags.wwdgrstf() => Cause::Watchdog,
        _ if flags.sftrstf() => Cause::Software,
        _ if flags.pinrstf() => Cause::Pin,
        _ => Cause::Other,
    };
    let before = Before {
        cause,
        uptime_s: Some(get(Word::UptimeS)).filter(|uptime_s| *uptime_s > 0),
        panic: (get(Word::Panics) > 0).then(|| (get(Word::PanicFile), get(Word::PanicLine))),
    };
    set(Word::Ended, 0);
    set(Word::UptimeS, 0);
    before
}

/// Whether the emulated flash is from an earlier boot; it counts as made from now on.
pub fn is_formatted() -> bool {
    let formatted = get(Word::Formatted) == FORMATTED;
    set(Word::Formatted, FORMATTED);
    formatted
}

/// Notes how long this boot runs.
pub fn note_uptime() {
    set(Word::UptimeS, u32::try_from(time::now_us() / 1_000_000).unwrap_or(u32::MAX));
}

/// Restarts.
pub fn restart() -> ! {
    set(Word::Ended, ON_PURPOSE);
    SCB::sys_reset();
}

fn record_panic(file: &str, line: u32) -> ! {
    let hash = file.bytes().fold(0x811C_9DC5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    set(Word::PanicFile, hash);
    set(Word::PanicLine, line);
    set(Word::Panics, get(Word::Panics).saturating_add(1).max(1));
    set(Word::Ended, PANICKED);
    SCB::sys_reset();
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    match info.location() {
        Some(location) => record_panic(location.file(), location.line()),
        None => record_panic("", 0),
    }
}

/// A fault is recorded as a panic without a file, the line being the address it came from.
#[exception]
unsafe fn HardFault(frame: &ExceptionFrame) -> ! {
    record_panic("", frame.pc())
}
