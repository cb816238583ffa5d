//! What is derived from a module's secret: the key of its messages and its MQTT password.

use crate::ModuleId;
use core::fmt;
use heapless::{String, Vec};
use hkdf::Hkdf;
use sha2::Sha256;

const MESSAGE_INFO: &[u8] = b"coinwire/1/message";
const PASSWORD_INFO: &[u8] = b"coinwire/1/mqtt-password";

/// Bytes of a module's secret.
pub const SECRET_BYTES: usize = 32;
/// Characters of a module's MQTT password.
pub const PASSWORD_CHARS: usize = 32;

/// The secret a module gets when it is provisioned. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct ModuleSecret([u8; SECRET_BYTES]);

impl ModuleSecret {
    /// Takes 32 random bytes for a secret.
    pub fn new(bytes: [u8; SECRET_BYTES]) -> Self {
        Self(bytes)
    }

    /// The bytes, to store them encrypted or in the module's flash.
    pub fn expose(&self) -> &[u8; SECRET_BYTES] {
        &self.0
    }

    /// The key that signs messages in both directions. HKDF-SHA256 (RFC 5869), salt the module's id.
    pub fn message_key(&self, module: ModuleId) -> MessageKey {
        let mut key = [0; 32];
        self.derive(module, MESSAGE_INFO, &mut key);
        MessageKey(key)
    }

    /// The MQTT password: 16 derived bytes in lower-case hexadecimal.
    pub fn mqtt_password(&self, module: ModuleId) -> String<PASSWORD_CHARS> {
        let mut bytes = [0; PASSWORD_CHARS / 2];
        self.derive(module, PASSWORD_INFO, &mut bytes);
        let mut digits = [0; PASSWORD_CHARS];
        hex::encode_to_slice(bytes, &mut digits).expect("a byte has two digits");
        String::from_utf8(Vec::from_array(digits)).expect("digits are ASCII")
    }

    fn derive(&self, module: ModuleId, info: &[u8], out: &mut [u8]) {
        Hkdf::<Sha256>::new(Some(module.as_str().as_bytes()), &self.0)
            .expand(info, out)
            .expect("32 bytes are within HKDF's limit");
    }
}

impl fmt::Debug for ModuleSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ModuleSecret(..)")
    }
}

/// The key of a module's messages. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct MessageKey(pub(crate) [u8; 32]);

impl fmt::Debug for MessageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MessageKey(..)")
    }
}
