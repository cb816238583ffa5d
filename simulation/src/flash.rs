//! NOR flash in memory, strict as the STM32L4's (RM0351, PROGERR): a word is written once between erasures, but that
//! zeros may be written over anything. Power can be cut at any word written or page erased; the word or page is torn
//! then. The chip outlives the module that uses it.

use crate::chance::Chance;
use embedded_storage_async::nor_flash::{ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash};
use std::{cell::RefCell, rc::Rc};

/// Bytes of a page.
const PAGE_BYTES: usize = 1024;
/// Bytes of a word.
const WORD_BYTES: usize = 8;
/// Pages of a chip: few, so that pages turn often.
const PAGES: usize = 8;

/// Why the flash did not do as asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlashError {
    /// Power is gone.
    Cut,
    /// Outside of the chip, or not at a word's edge.
    Bounds,
    /// The word was written before.
    Twice,
}

impl NorFlashError for FlashError {
    fn kind(&self) -> NorFlashErrorKind {
        NorFlashErrorKind::Other
    }
}

#[derive(Clone)]
struct Chip {
    bytes: Vec<u8>,
    written: Vec<bool>,
    /// So many more operations succeed; the next is torn.
    cut_after: Option<u64>,
    /// How much of the torn operation is done, in 256ths.
    torn: u64,
    cut: bool,
    misused: bool,
}

/// A handle to a chip.
#[derive(Clone)]
pub struct Flash(Rc<RefCell<Chip>>);

impl Flash {
    /// An erased chip.
    pub fn blank() -> Self {
        Self(Rc::new(RefCell::new(Chip {
            bytes: vec![0xFF; PAGES * PAGE_BYTES],
            written: vec![false; PAGES * PAGE_BYTES / WORD_BYTES],
            cut_after: None,
            torn: 0,
            cut: false,
            misused: false,
        })))
    }

    /// A copy of the chip as it is, to look into.
    pub fn copy(&self) -> Self {
        let mut chip = self.0.borrow().clone();
        (chip.cut, chip.cut_after) = (false, None);
        Self(Rc::new(RefCell::new(chip)))
    }

    /// Power will go in one of the next operations.
    pub fn cut_soon(&self, operations_max: u64, chance: &mut Chance) {
        let mut chip = self.0.borrow_mut();
        chip.cut_after = Some(chance.between(0..=operations_max));
        chip.torn = chance.between(0..=255);
    }

    /// Whether power went.
    pub fn is_cut(&self) -> bool {
        self.0.borrow().cut
    }

    /// Power is back.
    pub fn mend(&self) {
        let mut chip = self.0.borrow_mut();
        (chip.cut, chip.cut_after) = (false, None);
    }

    /// Whether the firmware did something that a real chip does not allow.
    pub fn was_misused(&self) -> bool {
        self.0.borrow().misused
    }
}

impl Chip {
    /// How many of `bytes` this operation changes: all, unless power goes in it.
    fn operate(&mut self, bytes: usize) -> Result<usize, FlashError> {
        if self.cut {
            return Err(FlashError::Cut);
        }
        match self.cut_after.as_mut() {
            Some(0) => {
                self.cut = true;
                Ok(bytes * usize::try_from(self.torn).unwrap_or(0) / 256)
            }
            Some(left) => {
                *left -= 1;
                Ok(bytes)
            }
            None => Ok(bytes),
        }
    }

    fn erase_page(&mut self, page: usize) -> Result<(), FlashError> {
        let bytes = self.operate(PAGE_BYTES)? / WORD_BYTES * WORD_BYTES;
        let start = page * PAGE_BYTES;
        self.bytes.get_mut(start..start + bytes).ok_or(FlashError::Bounds)?.fill(0xFF);
        self.written[start / WORD_BYTES..(start + bytes) / WORD_BYTES].fill(false);
        if self.cut { Err(FlashError::Cut) } else { Ok(()) }
    }

    fn write_word(&mut self, start: usize, word: &[u8]) -> Result<(), FlashError> {
        let bytes = self.operate(WORD_BYTES)?;
        let written = self.written.get_mut(start / WORD_BYTES).ok_or(FlashError::Bounds)?;
        let zeros = word.iter().all(|byte| *byte == 0);
        if *written && !zeros {
            self.misused = true;
            return Err(FlashError::Twice);
        }
        // A word torn before any of its bits changed still reads as erased, and may be written.
        *written |= word[..bytes].iter().any(|byte| *byte != 0xFF) || bytes == WORD_BYTES;
        self.bytes[start..start + bytes].copy_from_slice(&word[..bytes]);
        if self.cut { Err(FlashError::Cut) } else { Ok(()) }
    }
}

impl ErrorType for Flash {
    type Error = FlashError;
}

impl ReadNorFlash for Flash {
    const READ_SIZE: usize = 1;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
        let start = offset as usize;
        let chip = self.0.borrow();
        if chip.cut {
            return Err(FlashError::Cut);
        }
        bytes.copy_from_slice(chip.bytes.get(start..start + bytes.len()).ok_or(FlashError::Bounds)?);
        Ok(())
    }

    fn capacity(&self) -> usize {
        PAGES * PAGE_BYTES
    }
}

impl NorFlash for Flash {
    const WRITE_SIZE: usize = WORD_BYTES;
    const ERASE_SIZE: usize = PAGE_BYTES;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), FlashError> {
        for page in (from as usize / PAGE_BYTES)..(to as usize / PAGE_BYTES) {
            self.0.borrow_mut().erase_page(page)?;
        }
        Ok(())
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        let start = offset as usize;
        if !start.is_multiple_of(WORD_BYTES) || !bytes.len().is_multiple_of(WORD_BYTES) {
            self.0.borrow_mut().misused = true;
            return Err(FlashError::Bounds);
        }
        for (index, word) in bytes.chunks(WORD_BYTES).enumerate() {
            self.0.borrow_mut().write_word(start + index * WORD_BYTES, word)?;
        }
        Ok(())
    }
}
