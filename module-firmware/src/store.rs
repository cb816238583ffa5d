//! What outlives a power cut: a small map in flash, wear-levelled and safe against a cut at any write.
//!
//! Keys are single bytes, values are at most [`VALUE_MAX_BYTES`]. A value written is either there whole after a cut,
//! or the one before it is. One write is one fact: nothing here needs two values to change together.

use core::fmt;
use embedded_storage_async::nor_flash::NorFlash;
use protocol::limits::CREDIT_WINDOW;
use sequential_storage::{
    cache::{Cache, Uncached},
    map::{MapConfig, MapStorage},
};

/// Bytes of the longest value.
pub const VALUE_MAX_BYTES: usize = 144;
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
    Born,
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

impl Key {
    const CREDITS: u8 = 16;

    fn byte(self) -> u8 {
        match self {
            Key::Boot => 0,
            Key::Coins => 1,
            Key::Settings => 2,
            Key::Lock => 3,
            Key::Reboot => 4,
            Key::Born => 5,
            Key::Learning => 6,
            Key::Owner => 12,
            Key::Identity => 13,
            Key::Server => 14,
            Key::Access => 15,
            Key::Credit(slot) => Self::CREDITS + slot,
        }
    }
}

const _: () = assert!(CREDIT_WINDOW <= u8::MAX as usize - Key::CREDITS as usize, "each slot has a key");

/// Why a value could not be read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreError {
    /// The flash is too small, or its page or word sizes do not suit.
    Geometry,
    /// The flash itself failed.
    Flash,
    /// What is in flash makes no sense and could not be repaired.
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
        match error {
            sequential_storage::Error::Storage { .. } => StoreError::Flash,
            _ => StoreError::Damaged,
        }
    }
}

/// The map in flash.
pub struct Store<F: NorFlash> {
    map: MapStorage<u8, F, Cache<Uncached, Uncached, Uncached, u8>>,
}

impl<F: NorFlash> Store<F> {
    /// Takes the whole of `flash`; whatever is in it stays.
    pub fn new(flash: F) -> Result<Self, StoreError> {
        let capacity = flash.capacity() - flash.capacity() % F::ERASE_SIZE;
        let end = u32::try_from(capacity).map_err(|_| StoreError::Geometry)?;
        if capacity < FLASH_MIN_BYTES || F::ERASE_SIZE < 2 * BUFFER_BYTES {
            return Err(StoreError::Geometry);
        }
        let config = MapConfig::try_new(0..end).map_err(|_| StoreError::Geometry)?;
        Ok(Self { map: MapStorage::new(flash, config, Cache::new_uncached()) })
    }

    /// Reads the newest value of `key` into `value`; gives its length, or `None` if there is none.
    pub async fn read(&mut self, key: Key, value: &mut [u8; VALUE_MAX_BYTES]) -> Result<Option<usize>, StoreError> {
        let mut buffer = [0; BUFFER_BYTES];
        let found = self.map.fetch_item::<&[u8]>(&mut buffer, &key.byte()).await.map_err(StoreError::from_map)?;
        let Some(bytes) = found else { return Ok(None) };
        value.get_mut(..bytes.len()).ok_or(StoreError::Damaged)?.copy_from_slice(bytes);
        Ok(Some(bytes.len()))
    }

    /// Writes a value; it is durable once this returns.
    pub async fn write(&mut self, key: Key, value: &[u8]) -> Result<(), StoreError> {
        let mut buffer = [0; BUFFER_BYTES];
        self.map.store_item(&mut buffer, &key.byte(), &value).await.map_err(StoreError::from_map)
    }

    /// Erases everything.
    pub async fn erase(&mut self) -> Result<(), StoreError> {
        self.map.erase_all().await.map_err(StoreError::from_map)
    }

    /// Gives the flash back.
    pub fn into_flash(self) -> F {
        self.map.destroy().0
    }
}
