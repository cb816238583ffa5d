//! Flash as a microcontroller has it: pages are erased to ones, words are written once. In memory, or written through
//! to a file, so that it survives the process.

use embedded_storage_async::nor_flash::{ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash};
use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Bytes of a page, as on the STM32L475.
const PAGE_BYTES: usize = 2048;
/// Pages set apart for the store.
const PAGES: usize = 4;
/// Bytes written at once, as on the STM32L475.
const WORD_BYTES: usize = 8;

/// Where a virtual module's flash is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flash {
    /// In this process.
    Memory,
    /// In this file; made if it is not there.
    File(PathBuf),
}

/// Why flash failed.
#[derive(Debug)]
pub enum FlashError {
    /// Outside of it, or not at a page's or word's beginning.
    Bounds,
    /// The file.
    File(io::Error),
}

impl std::fmt::Display for FlashError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            FlashError::Bounds => f.write_str("outside of the flash, or not at a page's or word's beginning"),
            FlashError::File(error) => write!(f, "the flash file: {error}"),
        }
    }
}

impl std::error::Error for FlashError {}

impl NorFlashError for FlashError {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            FlashError::Bounds => NorFlashErrorKind::OutOfBounds,
            FlashError::File(_) => NorFlashErrorKind::Other,
        }
    }
}

struct Cells {
    bytes: Vec<u8>,
    file: Option<File>,
}

/// A flash chip. Its clones are the same chip, so that it outlives a module whose power is cut.
#[derive(Clone)]
pub struct Chip(Arc<Mutex<Cells>>);

impl Chip {
    /// Opens it, blank if it is new.
    ///
    /// # Errors
    ///
    /// If its file cannot be opened or read.
    pub fn open(flash: &Flash) -> io::Result<Self> {
        let mut bytes = vec![0xFF; PAGE_BYTES * PAGES];
        let file = match flash {
            Flash::Memory => None,
            Flash::File(path) => {
                let mut options = OpenOptions::new();
                options.read(true).write(true).create(true).truncate(false);
                // The module's secret is in it.
                #[cfg(unix)]
                std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
                let file = options.open(path)?;
                if file.metadata()?.len() == bytes.len() as u64 {
                    file.read_exact_at(&mut bytes, 0)?;
                } else {
                    file.set_len(0)?;
                    file.write_all_at(&bytes, 0)?;
                }
                Some(file)
            }
        };
        Ok(Self(Arc::new(Mutex::new(Cells { bytes, file }))))
    }

    fn cells(&self) -> MutexGuard<'_, Cells> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cells {
    fn range(&self, offset: u32, length: usize, unit: usize) -> Result<std::ops::Range<usize>, FlashError> {
        let begin = usize::try_from(offset).map_err(|_| FlashError::Bounds)?;
        let end = begin.checked_add(length).filter(|end| *end <= self.bytes.len()).ok_or(FlashError::Bounds)?;
        if begin.is_multiple_of(unit) && length.is_multiple_of(unit) { Ok(begin..end) } else { Err(FlashError::Bounds) }
    }

    fn through(&self, range: std::ops::Range<usize>) -> Result<(), FlashError> {
        let Some(file) = &self.file else { return Ok(()) };
        file.write_all_at(&self.bytes[range.clone()], range.start as u64).map_err(FlashError::File)
    }
}

impl ErrorType for Chip {
    type Error = FlashError;
}

impl ReadNorFlash for Chip {
    const READ_SIZE: usize = 1;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
        let cells = self.cells();
        let range = cells.range(offset, bytes.len(), 1)?;
        bytes.copy_from_slice(&cells.bytes[range]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        PAGE_BYTES * PAGES
    }
}

impl NorFlash for Chip {
    const WRITE_SIZE: usize = WORD_BYTES;
    const ERASE_SIZE: usize = PAGE_BYTES;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), FlashError> {
        let mut cells = self.cells();
        let length = to.checked_sub(from).ok_or(FlashError::Bounds)? as usize;
        let range = cells.range(from, length, PAGE_BYTES)?;
        cells.bytes[range.clone()].fill(0xFF);
        cells.through(range)
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        let mut cells = self.cells();
        let range = cells.range(offset, bytes.len(), WORD_BYTES)?;
        // Writing can only clear bits.
        for (cell, byte) in cells.bytes[range.clone()].iter_mut().zip(bytes) {
            *cell &= byte;
        }
        cells.through(range)
    }
}
