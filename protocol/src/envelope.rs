//! The envelope: a CBOR body and behind it a tag, HMAC-SHA256 over topic, a zero byte and body, cut to 16 bytes.
//!
//! The topic is signed too, so that a payload cannot be replayed under another topic or module.

use crate::{
    keys::MessageKey,
    limits::{PAYLOAD_MAX_BYTES, TAG_BYTES},
};
use core::fmt;
use hmac::{Hmac, KeyInit, Mac};
use minicbor::{Decode, Decoder, Encode, encode::write::Cursor};
use sha2::Sha256;

/// Why a message could not be put into an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealError {
    /// The buffer is too short for body and tag.
    Space,
}

/// Why a payload is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenError {
    /// Shorter than a tag, or longer than [`PAYLOAD_MAX_BYTES`].
    Length,
    /// The tag does not match key, topic and body.
    Tag,
    /// Authentic, but not the message this topic carries.
    Body,
}

impl fmt::Display for SealError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the buffer is too short for the message")
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OpenError::Length => "payload length is out of bounds",
            OpenError::Tag => "payload is not signed with this module's key",
            OpenError::Body => "payload is signed, but not a message of this topic",
        })
    }
}

impl core::error::Error for SealError {}
impl core::error::Error for OpenError {}

/// Encodes and signs `message` for `topic` into `buffer`; gives the payload's length.
///
/// # Errors
/// Body and tag do not fit the buffer, or are longer than [`PAYLOAD_MAX_BYTES`].
pub fn seal<T: Encode<()>>(key: &MessageKey, topic: &str, message: &T, buffer: &mut [u8]) -> Result<usize, SealError> {
    let room = buffer.len().min(PAYLOAD_MAX_BYTES).checked_sub(TAG_BYTES).ok_or(SealError::Space)?;
    let mut cursor = Cursor::new(&mut buffer[..room]);
    minicbor::encode(message, &mut cursor).map_err(|_| SealError::Space)?;
    let length = cursor.position();
    let tag = mac(key, topic, &buffer[..length]).finalize().into_bytes();
    buffer[length..length + TAG_BYTES].copy_from_slice(&tag[..TAG_BYTES]);
    Ok(length + TAG_BYTES)
}

/// Verifies `payload` as published to `topic`, and decodes it.
///
/// # Errors
/// See [`OpenError`]; a payload with a wrong tag is not decoded at all.
pub fn open<'a, T: Decode<'a, ()>>(key: &MessageKey, topic: &str, payload: &'a [u8]) -> Result<T, OpenError> {
    if payload.len() > PAYLOAD_MAX_BYTES {
        return Err(OpenError::Length);
    }
    let (body, tag) = payload.split_last_chunk::<TAG_BYTES>().ok_or(OpenError::Length)?;
    mac(key, topic, body).verify_truncated_left(tag).map_err(|_| OpenError::Tag)?;
    let mut decoder = Decoder::new(body);
    let message = decoder.decode().map_err(|_| OpenError::Body)?;
    if decoder.position() == body.len() { Ok(message) } else { Err(OpenError::Body) }
}

fn mac(key: &MessageKey, topic: &str, body: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(&key.0).expect("HMAC takes a key of any length");
    mac.update(topic.as_bytes());
    mac.update(&[0]);
    mac.update(body);
    mac
}
