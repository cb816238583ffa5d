//! Boot record: what one boot leaves for the next (why it ended, where it panicked, how long it ran). Kept at the end
//! of SRAM2, which keeps its content over a reset.

use crate::{facts::BOOT_RECORD_START, time};
use core::panic::PanicInfo;
use cortex_m::peripheral::SCB;
use cortex_m_rt::{ExceptionFrame, exception};
use module_firmware::BootReport;
use protocol::messages::{Panic, ResetCause};
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
enum RecordWord {
    Ours,
    Formatted,
    Ended,
    UptimeS,
    PanicFile,
    PanicLine,
    Panics,
}

fn pointer(word: RecordWord) -> *mut u32 {
    (BOOT_RECORD_START as *mut u32).wrapping_add(word as usize)
}

fn get(word: RecordWord) -> u32 {
    // SAFETY: within SRAM2, behind the emulated flash, where no Rust object lives; aligned. One loop and the handlers that
    // end it use it.
    unsafe { pointer(word).read_volatile() }
}

fn set(word: RecordWord, value: u32) {
    // SAFETY: as above.
    unsafe { pointer(word).write_volatile(value) }
}

/// Reads the previous boot's record, and starts a new one.
pub fn take() -> BootReport {
    let flags = RCC.csr().read();
    RCC.csr().modify(|w| w.set_rmvf(true));
    let kept = get(RecordWord::Ours) == OURS;
    if !kept {
        for word in [
            RecordWord::Formatted,
            RecordWord::Ended,
            RecordWord::UptimeS,
            RecordWord::PanicFile,
            RecordWord::PanicLine,
            RecordWord::Panics,
        ] {
            set(word, 0);
        }
        set(RecordWord::Ours, OURS);
    }
    // Any reset pulls the pin's flag too. An emulator sets none.
    let reset_cause = match get(RecordWord::Ended) {
        PANICKED => Some(ResetCause::Panic),
        ON_PURPOSE => Some(ResetCause::Software),
        _ if flags.iwdgrstf() || flags.wwdgrstf() => Some(ResetCause::Watchdog),
        // Power-on and brown-out set the same flag; kept memory distinguishes them.
        _ if flags.borrstf() && kept => Some(ResetCause::BrownOut),
        _ if flags.borrstf() => Some(ResetCause::PowerOn),
        _ if flags.sftrstf() => Some(ResetCause::Software),
        _ if flags.pinrstf() => Some(ResetCause::ResetPin),
        _ if flags.oblrstf() || flags.fwrstf() || flags.lpwrrstf() => Some(ResetCause::Other),
        _ => None,
    };
    let report = BootReport {
        reset_cause,
        panic: (get(RecordWord::Panics) > 0)
            .then(|| Panic { file_hash: get(RecordWord::PanicFile), line: get(RecordWord::PanicLine) }),
        uptime_before_s: kept.then(|| get(RecordWord::UptimeS)),
    };
    set(RecordWord::Ended, 0);
    set(RecordWord::UptimeS, 0);
    report
}

/// Whether the emulated flash is from an earlier boot; it counts as made from now on.
pub fn is_formatted() -> bool {
    let formatted = get(RecordWord::Formatted) == FORMATTED;
    set(RecordWord::Formatted, FORMATTED);
    formatted
}

/// Notes how long this boot runs.
pub fn note_uptime() {
    set(RecordWord::UptimeS, u32::try_from(time::now_us() / 1_000_000).unwrap_or(u32::MAX));
}

/// Restarts.
pub fn restart() -> ! {
    set(RecordWord::Ended, ON_PURPOSE);
    SCB::sys_reset();
}

fn record_panic(file: &str, line: u32) -> ! {
    let hash = file.bytes().fold(0x811C_9DC5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    set(RecordWord::PanicFile, hash);
    set(RecordWord::PanicLine, line);
    set(RecordWord::Panics, get(RecordWord::Panics).saturating_add(1).max(1));
    set(RecordWord::Ended, PANICKED);
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
