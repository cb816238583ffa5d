//! Settings and the lock as stored in flash, each with the sequence of the command that set it.

use crate::store::VALUE_MAX_BYTES;
use minicbor::{Decoder, encode::write::Cursor};
use protocol::messages::Settings;

const SEQUENCE_BYTES: usize = 4;

/// A state and the command that set it; sequence 0 for the built-in state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Set<T> {
    /// The command's sequence.
    pub sequence: u32,
    /// The state.
    pub value: T,
}

/// Bytes for flash.
pub type Bytes = heapless::Vec<u8, VALUE_MAX_BYTES>;

fn begin(sequence: u32) -> Bytes {
    // It fits, as do the five bytes below; an `expect` would take room that the image lacks.
    Bytes::from_slice(&sequence.to_le_bytes()).unwrap_or_default()
}

fn split(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (sequence, rest) = bytes.split_first_chunk::<SEQUENCE_BYTES>()?;
    Some((u32::from_le_bytes(*sequence), rest))
}

impl Set<Settings> {
    /// The bytes to store; `None` if they do not fit a value.
    pub fn to_bytes(self) -> Option<Bytes> {
        let mut room = [0; VALUE_MAX_BYTES - SEQUENCE_BYTES];
        let mut cursor = Cursor::new(&mut room[..]);
        minicbor::encode(self.value, &mut cursor).ok()?;
        let length = cursor.position();
        let mut bytes = begin(self.sequence);
        bytes.extend_from_slice(&room[..length]).ok()?;
        Some(bytes)
    }

    /// Reads stored bytes; `None` if they are not valid settings.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (sequence, rest) = split(bytes)?;
        let value: Settings = Decoder::new(rest).decode().ok()?;
        value.is_valid().then_some(Self { sequence, value })
    }
}

impl Set<bool> {
    /// The bytes to store.
    pub fn to_bytes(self) -> Bytes {
        let mut bytes = begin(self.sequence);
        let _ = bytes.push(u8::from(self.value));
        bytes
    }

    /// Reads stored bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (sequence, rest) = split(bytes)?;
        Some(Self { sequence, value: *rest.first()? != 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes_and_nothing_else() {
        let widest = Settings { version: u32::MAX, status_period_s: 43_200, sense: true, ..Settings::default() };
        let set = Set { sequence: u32::MAX, value: widest };
        let bytes = set.to_bytes().unwrap();
        assert_eq!(Set::<Settings>::from_bytes(&bytes), Some(set));
        for cut in 0..bytes.len() {
            assert_eq!(Set::<Settings>::from_bytes(&bytes[..cut]), None);
        }
        let lock = Set { sequence: 7, value: true };
        assert_eq!(Set::<bool>::from_bytes(&lock.to_bytes()), Some(lock));
        assert_eq!(Set::<bool>::from_bytes(&[1, 2, 3, 4]), None);
    }
}
