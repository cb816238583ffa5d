//! Commands, their answers, and what modems say unasked, as atat types.
//!
//! A command's `parse` is called with each information line while its answer is awaited, and with an empty slice for
//! the final `OK`. [`atat::Error::Parse`] says "not mine": the line is then taken for something said unasked, and the
//! answer is waited for further. So an answer that comes late, or twice, is not taken for another command's.
//! `response_code = false` marks a command whose answer line is the end of it, no `OK` following.

pub mod a7670;
pub mod general;
pub mod quectel;
pub mod sim800;
pub mod socket;
pub mod urc;

use atat::{Error, atat_derive::AtatResp, serde_at};

/// Longest command in bytes, with all its strings at their longest.
pub const COMMAND_BYTES: usize = 192;

/// The answer of a command that has nothing to tell.
#[derive(Debug, Clone, Copy, AtatResp)]
pub struct Nothing;

/// Parses the answer of a command that is answered by `OK` alone.
pub fn ok(line: &[u8]) -> Result<Nothing, Error> {
    if line.is_empty() { Ok(Nothing) } else { Err(Error::Parse) }
}

/// Parses an information line that begins with `name`, into the type that its fields make.
pub fn fields<'a, T: serde_at::serde::Deserialize<'a>>(name: &[u8], line: &'a [u8]) -> Result<T, Error> {
    if line.starts_with(name) { serde_at::from_slice(line).map_err(|_| Error::Parse) } else { Err(Error::Parse) }
}

/// Parses a verdict: a line of just these words.
pub fn verdict(words: &[u8], line: &[u8]) -> Result<Nothing, Error> {
    if line == words { Ok(Nothing) } else { Err(Error::Parse) }
}

/// Writes command parts one after another, as far as they fit.
pub fn write_parts(parts: &[&[u8]], buffer: &mut [u8]) -> usize {
    let mut written = 0;
    for byte in parts.iter().flat_map(|part| part.iter()) {
        if let Some(place) = buffer.get_mut(written) {
            *place = *byte;
            written += 1;
        }
    }
    written
}

/// A number's decimal digits.
pub struct Decimal {
    digits: [u8; 5],
    first: usize,
}

impl Decimal {
    pub fn new(mut number: u16) -> Self {
        let mut decimal = Self { digits: [b'0'; 5], first: 5 };
        while decimal.first == 5 || number > 0 {
            decimal.first -= 1;
            decimal.digits[decimal.first] = b'0' + (number % 10) as u8;
            number /= 10;
        }
        decimal
    }

    pub fn digits(&self) -> &[u8] {
        &self.digits[self.first..]
    }
}

/// Reads an unsigned decimal that is all of `text` but blanks around it.
pub fn decimal(text: &[u8]) -> Option<u16> {
    let text = text.trim_ascii();
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u16, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u16::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}
