//! Reading CBOR maps and arrays field by field. The loop is compiled once, while a derived `Decode` has its own loop in
//! each type; on a small processor, that is most of the flash that decoding needs.

use minicbor::{Decoder, decode::Error};

/// Deepest nesting of containers in a field that is skipped; later versions will not go deeper.
const DEPTH_MAX: u8 = 16;
const INDEFINITE: u8 = 31;
const BREAK: u8 = 0xFF;
const NULL: u8 = 0xF6;
// Major types.
const UNSIGNED: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const TAG: u8 = 6;

/// Reads the decoder's next value into the field with that number.
pub type ReadField<'a, 'b> = dyn FnMut(u32, &mut Decoder<'b>) -> Result<(), Error> + 'a;

/// Bits of the fields with these numbers.
pub const fn bits<const N: usize>(numbers: [u32; N]) -> u32 {
    let (mut bits, mut at) = (0, 0);
    while at < N {
        bits |= 1 << numbers[at];
        at += 1;
    }
    bits
}

/// Reads a map with numbers as keys. Keys from `known` on (at most 32) are skipped.
///
/// # Errors
/// It is not such a map; a field of `required` (see [`bits`]) is missing; and errors of `read`.
pub fn map<'b>(d: &mut Decoder<'b>, known: u32, required: u32, read: &mut ReadField<'_, 'b>) -> Result<(), Error> {
    fields(d, MAP, (known, required), read)
}

/// Reads an array, whose fields are numbered by position. Otherwise like [`map`].
///
/// # Errors
/// As [`map`].
pub fn array<'b>(d: &mut Decoder<'b>, known: u32, required: u32, read: &mut ReadField<'_, 'b>) -> Result<(), Error> {
    fields(d, ARRAY, (known, required), read)
}

fn fields<'b>(
    d: &mut Decoder<'b>,
    container: u8,
    (known, required): (u32, u32),
    read: &mut ReadField<'_, 'b>,
) -> Result<(), Error> {
    let (found, count) = head(d)?;
    if found != container {
        return Err(malformed());
    }
    let (mut seen, mut at) = (0, 0);
    while count.map_or_else(|| !ends(d), |count| u64::from(at) < count) {
        let number = if container == MAP { key(d)? } else { at };
        if number < known {
            read(number, d)?;
            seen |= 1_u32.unbounded_shl(number);
        } else {
            skip(d, DEPTH_MAX)?;
        }
        at = at.checked_add(1).ok_or_else(malformed)?;
    }
    if seen & required == required { Ok(()) } else { Err(Error::message("a field is missing")) }
}

/// Skips one value.
///
/// # Errors
/// It is not CBOR, or nested too deep.
pub fn skip_value(d: &mut Decoder<'_>) -> Result<(), Error> {
    skip(d, DEPTH_MAX)
}

fn skip(d: &mut Decoder<'_>, depth: u8) -> Result<(), Error> {
    let deeper = depth.checked_sub(1).ok_or_else(malformed)?;
    let (major, argument) = head(d)?;
    let Some(argument) = argument else {
        while !ends(d) {
            skip(d, deeper)?;
        }
        return Ok(());
    };
    let within = match major {
        BYTES | TEXT => {
            let end = usize::try_from(argument).ok().and_then(|count| d.position().checked_add(count));
            let end = end.filter(|end| *end <= d.input().len()).ok_or_else(malformed)?;
            d.set_position(end);
            0
        }
        ARRAY => argument,
        MAP => argument.checked_mul(2).ok_or_else(malformed)?,
        TAG => 1,
        _ => 0,
    };
    for _ in 0..within {
        skip(d, deeper)?;
    }
    Ok(())
}

/// Reads an array's head: how many items it has, if that is given.
///
/// # Errors
/// It is not an array.
pub fn count(d: &mut Decoder<'_>) -> Result<Option<u64>, Error> {
    match head(d)? {
        (ARRAY, count) => Ok(count),
        _ => Err(malformed()),
    }
}

/// Reads an unsigned number.
///
/// # Errors
/// It is not one, or too large.
pub fn number<T: TryFrom<u64>>(d: &mut Decoder<'_>) -> Result<T, Error> {
    T::try_from(unsigned(d)?).map_err(|_| malformed())
}

/// Reads a value with `read`, or null.
///
/// # Errors
/// Errors of `read`.
pub fn optional<'b, T>(
    d: &mut Decoder<'b>,
    read: impl FnOnce(&mut Decoder<'b>) -> Result<T, Error>,
) -> Result<Option<T>, Error> {
    if passes(d, NULL) { Ok(None) } else { read(d).map(Some) }
}

fn unsigned(d: &mut Decoder<'_>) -> Result<u64, Error> {
    match head(d)? {
        (UNSIGNED, Some(number)) => Ok(number),
        _ => Err(malformed()),
    }
}

/// A key; `u32::MAX` for a key that no field can have.
fn key(d: &mut Decoder<'_>) -> Result<u32, Error> {
    match head(d)? {
        (UNSIGNED, Some(number)) => Ok(u32::try_from(number).unwrap_or(u32::MAX)),
        (NEGATIVE, Some(_)) => Ok(u32::MAX),
        _ => Err(malformed()),
    }
}

/// Reads an item's major type and its argument; `None` for an indefinite one (RFC 8949, 3).
fn head(d: &mut Decoder<'_>) -> Result<(u8, Option<u64>), Error> {
    let head = take(d, 1)? as u8;
    let (major, info) = (head >> 5, head & 31);
    match info {
        0..24 => Ok((major, Some(info.into()))),
        24..28 => Ok((major, Some(take(d, 1 << (info - 24))?))),
        INDEFINITE if (BYTES..=MAP).contains(&major) => Ok((major, None)),
        _ => Err(malformed()),
    }
}

/// Reads a number with the given number of bytes.
fn take(d: &mut Decoder<'_>, bytes: usize) -> Result<u64, Error> {
    let mut number = 0;
    for _ in 0..bytes {
        let byte = d.input().get(d.position()).ok_or_else(malformed)?;
        number = number << 8 | u64::from(*byte);
        d.set_position(d.position() + 1);
    }
    Ok(number)
}

/// Reads the end of an indefinite container, if it comes next.
fn ends(d: &mut Decoder<'_>) -> bool {
    passes(d, BREAK)
}

fn passes(d: &mut Decoder<'_>, byte: u8) -> bool {
    let there = d.input().get(d.position()) == Some(&byte);
    if there {
        d.set_position(d.position() + 1);
    }
    there
}

fn malformed() -> Error {
    Error::message("malformed")
}
