//! Data that survives a power cut: a small map in flash, wear-levelled and safe against a cut at any write.
//!
//! Keys are single bytes, values are at most [`VALUE_MAX_BYTES`]. After a cut, either the new value is there completely
//! or the old one is. One write is one fact: nothing here needs two values to change together.
//!
//! The underlying map finds a value by reading everything written since, and to recycle a page it must find each value
//! of the oldest page. So the position of each value is kept in RAM, and is learned before anything else is done
//! (`Store::survey`). This depends on how the map reads (a value's header, then the value, newest page first), so
//! `tests/store.rs` checks each version of the map against a model.

use core::fmt;
use embedded_storage_async::nor_flash::{ErrorType, NorFlash, ReadNorFlash};
use protocol::limits::CREDIT_WINDOW;
use sequential_storage::{
    cache::{Cache, Uncached, key_pointers::ArrayKeyPointers},
    map::{MapConfig, MapStorage},
};

/// Bytes of the longest value.
pub const VALUE_MAX_BYTES: usize = 144;
/// Bytes of the header that the map puts before a key and its value.
const HEADER_BYTES: usize = 8;
/// Key, value and rounding to the flash's word.
const BUFFER_BYTES: usize = 160;
/// The least flash the store works with, in bytes: the live values once over, and two pages to turn.
pub const FLASH_MIN_BYTES: usize = 4096;

/// What a value is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// Boot count.
    Boot,
    /// Coin totals.
    Coins,
    /// Settings and the command that set them.
    Settings,
    /// The lock and the command that set it.
    Lock,
    /// The last restart command.
    Reboot,
    /// Since when this flash remembers.
    RemembersSince,
    /// Learning: see `learning`.
    Learning,
    /// Whose memory this is (see `provision`).
    Owner,
    /// Id and secret (in the provision's own pages, as the following).
    Identity,
    /// The server's host and port.
    Server,
    /// Access point, its user and password.
    Access,
    /// A slot of the credit window.
    Credit(u8),
}

/// Keys that one store holds at most: a module's state, and its credits.
const KEYS: usize = 8 + CREDIT_WINDOW;

impl Key {
    const CREDITS: u8 = 16;
    /// All are below.
    const END: u8 = Self::CREDITS + CREDIT_WINDOW as u8;

    fn byte(self) -> u8 {
        match self {
            Key::Boot => 0,
            Key::Coins => 1,
            Key::Settings => 2,
            Key::Lock => 3,
            Key::Reboot => 4,
            Key::RemembersSince => 5,
            Key::Learning => 6,
            Key::Owner => 12,
            Key::Identity => 13,
            Key::Server => 14,
            Key::Access => 15,
            Key::Credit(slot) => Self::CREDITS + slot,
        }
    }
}

const _: () = assert!(CREDIT_WINDOW <= (UNUSED_KEY - Key::CREDITS) as usize, "each slot has a key");

/// Why a value could not be read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreError {
    /// The flash is too small, or its page or word sizes do not suit.
    Geometry,
    /// The flash itself failed.
    Flash,
    /// The content of the flash is invalid and could not be repaired.
    Damaged,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Geometry => {
                write!(f, "the flash does not suit: it needs at least two pages and {FLASH_MIN_BYTES} bytes")
            }
            StoreError::Flash => f.write_str("flash failed"),
            StoreError::Damaged => f.write_str("flash content is damaged"),
        }
    }
}

impl core::error::Error for StoreError {}

impl StoreError {
    fn from_map<E>(error: sequential_storage::Error<E>) -> Self {
        let is_flash = matches!(error, sequential_storage::Error::Storage { .. });
        if is_flash { StoreError::Flash } else { StoreError::Damaged }
    }
}

/// A key that no value has.
const UNUSED_KEY: u8 = u8::MAX;
/// No page. There are fewer.
const NOWHERE: u8 = u8::MAX;

type Map<F> = MapStorage<u8, View<F>, Cache<Uncached, Uncached, ArrayKeyPointers<u8, KEYS>, u8>>;

/// The map in flash.
pub struct Store<F: NorFlash> {
    map: Map<F>,
    /// The map knows where each value lies.
    surveyed: bool,
}

impl<F: NorFlash> Store<F> {
    /// Takes the whole of `flash`; its content stays.
    ///
    /// # Errors
    /// [`StoreError::Geometry`], for a flash that can never work.
    pub fn new(flash: F) -> Result<Self, StoreError> {
        let capacity = flash.capacity() - flash.capacity() % F::ERASE_SIZE;
        let end = u32::try_from(capacity).map_err(|_| StoreError::Geometry)?;
        if !(FLASH_MIN_BYTES..usize::from(NOWHERE) * F::ERASE_SIZE).contains(&capacity)
            || F::ERASE_SIZE < 2 * BUFFER_BYTES
        {
            return Err(StoreError::Geometry);
        }
        let config = MapConfig::try_new(0..end).map_err(|_| StoreError::Geometry)?;
        let cache = Cache::new(Uncached, Uncached, ArrayKeyPointers::new());
        Ok(Self { map: MapStorage::new(View::new(flash), config, cache), surveyed: false })
    }

    /// Has the map learn where each value lies, unless it knows. It reads all pages for a key that nothing has, the newest
    /// first, and the view notes where it meets each key; then, for each key, that page alone.
    async fn survey(&mut self, buffer: &mut [u8; BUFFER_BYTES]) -> Result<(), StoreError> {
        if self.surveyed {
            return Ok(());
        }
        let view = self.map.flash();
        (view.met, view.notes) = ([NOWHERE; Key::END as usize], true);
        let through = self.find(buffer, UNUSED_KEY).await.map(|_| ());
        self.map.flash().notes = false;
        through?;
        for key in 0..Key::END {
            let view = self.map.flash();
            view.only = view.met(key);
            if view.only != NOWHERE {
                // If what was met there is damaged the map goes without until it needs it.
                let found = self.find(buffer, key).await.map(|_| ());
                self.map.flash().only = NOWHERE;
                found?;
            }
        }
        self.surveyed = true;
        Ok(())
    }

    async fn find<'a>(&mut self, buffer: &'a mut [u8; BUFFER_BYTES], key: u8) -> Result<Option<&'a [u8]>, StoreError> {
        self.map.fetch_item(buffer, &key).await.map_err(StoreError::from_map)
    }

    /// Reads the newest value of `key` into `value`; returns its length, or `None` if there is none.
    ///
    /// # Errors
    /// The flash failed, or its content is invalid.
    pub async fn read(&mut self, key: Key, value: &mut [u8; VALUE_MAX_BYTES]) -> Result<Option<usize>, StoreError> {
        let mut buffer = [0; BUFFER_BYTES];
        self.survey(&mut buffer).await?;
        if self.map.flash().met(key.byte()) == NOWHERE {
            return Ok(None);
        }
        let Some(bytes) = self.find(&mut buffer, key.byte()).await? else { return Ok(None) };
        value.get_mut(..bytes.len()).ok_or(StoreError::Damaged)?.copy_from_slice(bytes);
        Ok(Some(bytes.len()))
    }

    /// Writes a value; it is durable once this returns.
    ///
    /// # Errors
    /// The flash failed, or its content is invalid. The key has this value or the one before.
    pub async fn write(&mut self, key: Key, value: &[u8]) -> Result<(), StoreError> {
        let mut buffer = [0; BUFFER_BYTES];
        self.survey(&mut buffer).await?;
        self.map.flash().erasures = 0;
        let outcome = self.map.store_item(&mut buffer, &key.byte(), &value).await.map_err(StoreError::from_map);
        let view = self.map.flash();
        view.meet(key.byte(), 0);
        // The map drops its positions when it fails, and when it recycles a page again after a cut: it then erases two
        // pages.
        self.surveyed = outcome.is_ok() && view.erasures <= 1;
        outcome
    }

    /// Erases everything.
    ///
    /// # Errors
    /// The flash failed; some may be left.
    pub async fn erase(&mut self) -> Result<(), StoreError> {
        self.surveyed = false;
        self.map.erase_all().await.map_err(StoreError::from_map)
    }

    /// Returns the flash.
    pub fn into_flash(self) -> F {
        self.map.destroy().0.flash
    }
}

/// The flash as the map sees it: all of it, or one page as if it were the only one, and not full.
struct View<F> {
    flash: F,
    /// The one page, or [`NOWHERE`] for all.
    only: u8,
    /// Whether it notes in which page it meets a key first.
    notes: bool,
    /// That page by key, or [`NOWHERE`].
    met: [u8; Key::END as usize],
    /// Where the last read began.
    read_at: u32,
    /// Erasures since this was set to 0.
    erasures: u32,
}

impl<F: NorFlash> View<F> {
    const PAGE_BYTES: u32 = F::ERASE_SIZE as u32;

    fn new(flash: F) -> Self {
        Self { flash, only: NOWHERE, notes: false, met: [NOWHERE; Key::END as usize], read_at: 0, erasures: 0 }
    }

    fn met(&self, key: u8) -> u8 {
        self.met.get(usize::from(key)).copied().unwrap_or(NOWHERE)
    }

    fn meet(&mut self, key: u8, page: u8) {
        if let Some(met) = self.met.get_mut(usize::from(key)).filter(|met| **met == NOWHERE) {
            *met = page;
        }
    }

    /// Whether `offset` is seen. The last word would say that the page is full.
    fn shows(&self, offset: u32) -> bool {
        let (page, within) = (offset / Self::PAGE_BYTES, offset % Self::PAGE_BYTES);
        self.only == NOWHERE || page == self.only.into() && within < Self::PAGE_BYTES - F::WRITE_SIZE as u32
    }
}

impl<F: ErrorType> ErrorType for View<F> {
    type Error = F::Error;
}

impl<F: NorFlash> ReadNorFlash for View<F> {
    const READ_SIZE: usize = F::READ_SIZE;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), F::Error> {
        if !self.shows(offset) {
            bytes.fill(0xFF);
            return Ok(());
        }
        self.flash.read(offset, bytes).await?;
        // A value's header is read before the value, which begins with its key.
        if self.notes
            && offset == self.read_at + (HEADER_BYTES as u32).next_multiple_of(F::WRITE_SIZE as u32)
            && let Some(key) = bytes.first()
        {
            self.meet(*key, (offset / Self::PAGE_BYTES) as u8);
        }
        self.read_at = offset;
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.flash.capacity()
    }
}

impl<F: NorFlash> NorFlash for View<F> {
    const WRITE_SIZE: usize = F::WRITE_SIZE;
    const ERASE_SIZE: usize = F::ERASE_SIZE;

    fn erase(&mut self, from: u32, to: u32) -> impl Future<Output = Result<(), F::Error>> {
        self.erasures += 1;
        if self.notes {
            // The map mends something, and has gone over pages in another order for that.
            self.met = [NOWHERE; Key::END as usize];
        }
        self.flash.erase(from, to)
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> impl Future<Output = Result<(), F::Error>> {
        self.flash.write(offset, bytes)
    }
}
