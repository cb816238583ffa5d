//! Flash for identity, settings and journal, behind the NorFlash trait: the chip's own, or a piece of SRAM2 when emulated.
//!
//! The chip's: words of 64 bits that are written once between erases, pages of 2 KB, two banks. The pages are in the bank
//! that the processor does not run from, so that it goes on while a word (0.1 ms) or a page (25 ms) is worked on.
//! The other futures go on too: an erase is awaited, and long work of many reads and words gives way every so often.
//! A read while the bank is worked on would hold the processor up, interrupts and all; so operations take turns, those
//! of all [`Flash`]es.
//!
//! A word with two wrong bits raises an NMI when it is read. Power that was lost while a word was written leaves such words
//! behind, and the store above is made for that: it holds checksums against what it reads and passes over what is
//! damaged. So the handler counts the word, and the read gives what there is of it.

use crate::{
    facts::{BANK_PAGES, OTHER_BANK_START, PAGE_BYTES, SRAM2_START},
    time,
};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use cortex_m_rt::exception;
use embassy_futures::yield_now;
use embassy_time::{Duration, Timer};
use embedded_storage_async::nor_flash::{ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash};
use stm32_metapac::{
    FLASH, SYSCFG,
    flash::regs::{Eccr, Sr},
};

const WORD_BYTES: usize = 8;
const KEY_1: u32 = 0x4567_0123;
const KEY_2: u32 = 0xCDEF_89AB;
/// All error flags of FLASH_SR, and the end of an operation; each is cleared by writing it.
const SR_CLEAR: u32 = 0xC3FB;
/// Looks at the busy flag before a word counts as failed: 16 cycles at least each, 0.1 ms at most needed.
const BUSY_LOOKS: u32 = 10_000;
/// A page's erase takes so long (DS10969: 22 ms, 25 ms at most), also when emulated,
const ERASE: Duration = Duration::from_millis(25);
/// and is looked after so often beyond that before it counts as failed.
const ERASE_LOOKS: u32 = 100;
/// Work goes on for so long, in microseconds, before others have their turn: well within what a coin may be passed on late.
const SLICE_US: u64 = 500;

static BUSY: AtomicBool = AtomicBool::new(false);
static BAD_WORDS: AtomicU32 = AtomicU32::new(0);

/// Reads since boot that met a word which the error correction could not mend.
pub fn bad_words() -> u32 {
    BAD_WORDS.load(Ordering::Relaxed)
}

/// Why flash failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlashError {
    /// Outside of it.
    OutOfBounds,
    /// Not at a word's or page's beginning.
    NotAligned,
    /// The hardware refused to write or erase, or never came to an end.
    Refused,
    /// What was written is not what flash holds.
    Damaged,
}

impl NorFlashError for FlashError {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            FlashError::OutOfBounds => NorFlashErrorKind::OutOfBounds,
            FlashError::NotAligned => NorFlashErrorKind::NotAligned,
            FlashError::Refused | FlashError::Damaged => NorFlashErrorKind::Other,
        }
    }
}

/// A run of pages.
pub struct Flash {
    emulated: bool,
    /// Address of the first byte.
    start: u32,
    bytes: u32,
    /// When this last gave way, as uptime in microseconds.
    gave_way_us: u64,
}

impl Flash {
    /// Pages of the bank that the processor does not run from. Each page belongs to one `Flash` at most.
    pub fn on_chip(first_page: u32, pages: u32) -> Self {
        let pages = pages.min(BANK_PAGES.saturating_sub(first_page));
        Self::new(false, OTHER_BANK_START + first_page * PAGE_BYTES, pages)
    }

    /// Pages in SRAM2, counted from its beginning; `formatted` says whether they are from an earlier boot.
    pub fn in_sram2(first_page: u32, pages: u32, formatted: bool) -> Self {
        let mut flash = Self::new(true, SRAM2_START + first_page * PAGE_BYTES, pages);
        if !formatted {
            flash.fill(0, flash.bytes);
        }
        flash
    }

    fn new(emulated: bool, start: u32, pages: u32) -> Self {
        Self { emulated, start, bytes: pages * PAGE_BYTES, gave_way_us: 0 }
    }

    /// Waits until no other works on flash; before, lets others go on that wait for the processor.
    async fn turn(&mut self) -> Turn {
        if time::now_us().saturating_sub(self.gave_way_us) >= SLICE_US {
            yield_now().await;
            self.gave_way_us = time::now_us();
        }
        while BUSY.swap(true, Ordering::Acquire) {
            yield_now().await;
        }
        Turn
    }

    fn check(&self, offset: u32, length: usize) -> Result<(), FlashError> {
        let ends = u32::try_from(length).ok().and_then(|length| offset.checked_add(length));
        if ends.is_some_and(|ends| ends <= self.bytes) { Ok(()) } else { Err(FlashError::OutOfBounds) }
    }

    fn pointer(&self, offset: u32) -> *mut u64 {
        (self.start + offset) as *mut u64
    }

    fn word(&self, offset: u32) -> u64 {
        // SAFETY: callers checked that the word is within these pages, which are memory of the chip that no Rust object
        // lives in; pages and words are aligned. Volatile: flash changes by other means than writes through pointers.
        unsafe { self.pointer(offset).read_volatile() }
    }

    /// Emulated flash only: what an erase does.
    fn fill(&mut self, from: u32, to: u32) {
        for offset in (from..to).step_by(WORD_BYTES) {
            // SAFETY: within the pages in SRAM2, which no Rust object lives in; aligned.
            unsafe { self.pointer(offset).write_volatile(u64::MAX) };
        }
    }

    fn program(&mut self, offset: u32, word: u64) -> Result<(), FlashError> {
        if self.emulated {
            // Bits only fall, as in flash.
            let word = self.word(offset) & word;
            // SAFETY: callers checked that the word is within the pages, in SRAM2 here; aligned.
            unsafe { self.pointer(offset).write_volatile(word) };
            return Ok(());
        }
        let _unlocked = Unlocked::new()?;
        FLASH.cr().modify(|w| w.set_pg(true));
        let pointer = self.pointer(offset).cast::<u32>();
        // SAFETY: as above, in flash here. The hardware takes a double word as two words, the lower first, with no other
        // write to flash between: interrupts do not write there.
        unsafe {
            pointer.write_volatile(word as u32);
            cortex_m::asm::isb();
            pointer.add(1).write_volatile((word >> 32) as u32);
        }
        let done = finish();
        FLASH.cr().modify(|w| w.set_pg(false));
        done
    }

    async fn erase_page(&mut self, offset: u32) -> Result<(), FlashError> {
        let _turn = self.turn().await;
        if self.emulated {
            self.fill(offset, offset + PAGE_BYTES);
            Timer::after(ERASE).await;
            return Ok(());
        }
        let _unlocked = Unlocked::new()?;
        let page = (self.start + offset - OTHER_BANK_START) / PAGE_BYTES;
        // Pages are counted within the physical bank: the second, unless the banks are swapped.
        let second = !SYSCFG.memrmp().read().fb_mode();
        FLASH.cr().modify(|w| {
            w.set_per(true);
            w.set_pnb(page as u8);
            w.set_bker(second);
        });
        FLASH.cr().modify(|w| w.set_start(true));
        Timer::after(ERASE).await;
        for _ in 0..ERASE_LOOKS {
            if !FLASH.sr().read().bsy() {
                break;
            }
            Timer::after_millis(1).await;
        }
        let done = finish();
        FLASH.cr().modify(|w| w.set_per(false));
        forget_cached();
        done
    }
}

/// The turn to work on flash.
struct Turn;

impl Drop for Turn {
    fn drop(&mut self) {
        BUSY.store(false, Ordering::Release);
    }
}

/// The data cache may hold what a page was before its erase.
fn forget_cached() {
    FLASH.acr().modify(|w| w.set_dcen(false));
    FLASH.acr().modify(|w| w.set_dcrst(true));
    FLASH.acr().modify(|w| w.set_dcrst(false));
    FLASH.acr().modify(|w| w.set_dcen(true));
}

/// Flash is locked but while something is written.
struct Unlocked;

impl Unlocked {
    fn new() -> Result<Self, FlashError> {
        finish_earlier()?;
        FLASH.sr().write_value(Sr(SR_CLEAR));
        FLASH.keyr().write_value(KEY_1);
        FLASH.keyr().write_value(KEY_2);
        if FLASH.cr().read().lock() { Err(FlashError::Refused) } else { Ok(Self) }
    }
}

impl Drop for Unlocked {
    fn drop(&mut self) {
        FLASH.cr().modify(|w| w.set_lock(true));
    }
}

fn finish_earlier() -> Result<(), FlashError> {
    (0..BUSY_LOOKS).any(|_| !FLASH.sr().read().bsy()).then_some(()).ok_or(FlashError::Refused)
}

/// Waits for the end of an operation, and tells whether the hardware complained.
fn finish() -> Result<(), FlashError> {
    finish_earlier()?;
    let status = FLASH.sr().read();
    FLASH.sr().write_value(Sr(SR_CLEAR));
    let wrong = status.operr()
        || status.progerr()
        || status.wrperr()
        || status.pgaerr()
        || status.sizerr()
        || status.pgserr()
        || status.miserr()
        || status.fasterr();
    if wrong { Err(FlashError::Refused) } else { Ok(()) }
}

/// Double errors of the error correction come here.
#[exception]
unsafe fn NonMaskableInt() {
    let status = FLASH.eccr().read();
    if status.eccd() {
        let mut clear = Eccr(0);
        clear.set_eccd(true);
        FLASH.eccr().write_value(clear);
        BAD_WORDS.fetch_add(1, Ordering::Relaxed);
    }
}

impl ErrorType for Flash {
    type Error = FlashError;
}

impl ReadNorFlash for Flash {
    const READ_SIZE: usize = 1;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
        self.check(offset, bytes.len())?;
        let _turn = self.turn().await;
        for (at, byte) in (self.start + offset..).zip(bytes) {
            // SAFETY: within these pages, as was checked; as for `word`.
            *byte = unsafe { (at as *const u8).read_volatile() };
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.bytes as usize
    }
}

impl NorFlash for Flash {
    const WRITE_SIZE: usize = WORD_BYTES;
    const ERASE_SIZE: usize = PAGE_BYTES as usize;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), FlashError> {
        self.check(from, 0)?;
        self.check(to, 0)?;
        if !from.is_multiple_of(PAGE_BYTES) || !to.is_multiple_of(PAGE_BYTES) {
            return Err(FlashError::NotAligned);
        }
        for offset in (from..to).step_by(PAGE_BYTES as usize) {
            self.erase_page(offset).await?;
        }
        Ok(())
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        self.check(offset, bytes.len())?;
        let (words, rest) = bytes.as_chunks::<WORD_BYTES>();
        if !(offset as usize).is_multiple_of(WORD_BYTES) || !rest.is_empty() {
            return Err(FlashError::NotAligned);
        }
        for (at, bytes) in (offset..).step_by(WORD_BYTES).zip(words) {
            let word = u64::from_le_bytes(*bytes);
            let _turn = self.turn().await;
            self.program(at, word)?;
            if self.word(at) != word {
                return Err(FlashError::Damaged);
            }
        }
        Ok(())
    }
}
