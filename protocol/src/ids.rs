//! Ids: a module's name on the wire.

use core::fmt;
use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

/// Crockford's base32 alphabet: no I, L, O, U.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Why a text is not a module id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdError {
    /// It has another length than 10 characters.
    Length,
    /// It has a character outside Crockford's base32.
    Character,
}

impl fmt::Display for IdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            IdError::Length => "a module id has 10 characters",
            IdError::Character => "a module id has the digits and letters without I, L, O and U",
        })
    }
}

impl core::error::Error for IdError {}

/// A module's id: 10 characters of Crockford base32 in upper case (50 bits).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModuleId([u8; ModuleId::CHARS]);

impl ModuleId {
    /// Characters of an id.
    pub const CHARS: usize = 10;

    /// Makes an id from the low 50 bits of a random number.
    pub fn from_bits(mut bits: u64) -> Self {
        let mut chars = [0; Self::CHARS];
        for c in chars.iter_mut().rev() {
            *c = ALPHABET[(bits & 31) as usize];
            bits >>= 5;
        }
        Self(chars)
    }

    /// Reads an id exactly as it stands in topics: upper case, no look-alikes.
    ///
    /// # Errors
    /// The text is not such an id.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let chars: [u8; Self::CHARS] = text.as_bytes().try_into().map_err(|_| IdError::Length)?;
        if chars.iter().all(|c| ALPHABET.contains(c)) { Ok(Self(chars)) } else { Err(IdError::Character) }
    }

    /// Reads an id as a person types it: any case, O for 0, I and L for 1, dashes and blanks between.
    ///
    /// # Errors
    /// The text cannot be read as an id.
    pub fn parse_typed(text: &str) -> Result<Self, IdError> {
        let mut chars = [0; Self::CHARS];
        let mut count = 0;
        for c in text.bytes().filter(|c| !matches!(c, b'-' | b' ')) {
            let slot = chars.get_mut(count).ok_or(IdError::Length)?;
            *slot = match c.to_ascii_uppercase() {
                b'O' => b'0',
                b'I' | b'L' => b'1',
                c => c,
            };
            count += 1;
        }
        if count != Self::CHARS {
            return Err(IdError::Length);
        }
        if chars.iter().all(|c| ALPHABET.contains(c)) { Ok(Self(chars)) } else { Err(IdError::Character) }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.0).expect("the alphabet is ASCII")
    }
}

impl fmt::Display for ModuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for ModuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text string.
impl<C> Encode<C> for ModuleId {
    fn encode<W: encode::Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
        e.str(self.as_str())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for ModuleId {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        Self::parse(d.str()?).map_err(|_| decode::Error::message("not a module id"))
    }
}

impl core::str::FromStr for ModuleId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes_and_what_people_type() {
        let id = ModuleId::from_bits(0x2_1234_5678_9ABC);
        assert_eq!(ModuleId::parse(id.as_str()), Ok(id));
        assert_eq!(ModuleId::parse_typed("o1-23456 i8l"), ModuleId::parse("0123456181"));
        assert_eq!(ModuleId::parse("0123"), Err(IdError::Length));
        assert_eq!(ModuleId::parse("012345678U"), Err(IdError::Character));
        assert_eq!(ModuleId::parse("o123456789"), Err(IdError::Character));
        assert_eq!(ModuleId::parse_typed("0123456789A"), Err(IdError::Length));
    }
}
