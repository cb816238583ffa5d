//! The module's identity and its server: a store in separate pages, written over the console and read at boot.
//!
//! Totals and journal belong to an identity. They are in other pages, which the running module uses. So they are
//! checked against the identity at the next boot ([`adopt`]), and erased if they belong to another one.

use crate::{
    module::Identity,
    store::{Key, Store, StoreError, VALUE_MAX_BYTES},
};
use embedded_storage_async::nor_flash::NorFlash;
use heapless::{String, Vec};
use protocol::{
    ModuleId, ModuleSecret,
    console::{APN_MAX_BYTES, CREDENTIAL_MAX_BYTES, HOST_MAX_BYTES, Server},
    keys::SECRET_BYTES,
};

/// Where the server is, and how the modem gets to the network; see [`Server`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServerAddress {
    /// Host name or address.
    pub host: String<HOST_MAX_BYTES>,
    /// TCP port.
    pub port: u16,
    /// Access point name.
    pub apn: String<APN_MAX_BYTES>,
    /// User at the access point.
    pub user: String<CREDENTIAL_MAX_BYTES>,
    /// Password at the access point.
    pub password: String<CREDENTIAL_MAX_BYTES>,
}

impl ServerAddress {
    /// From the requested values; `None` if one is out of bounds.
    pub fn new(server: &Server<'_>) -> Option<Self> {
        server.is_valid().then_some(Self {
            host: String::try_from(server.host).ok()?,
            port: server.port,
            apn: String::try_from(server.apn).ok()?,
            user: String::try_from(server.user).ok()?,
            password: String::try_from(server.password).ok()?,
        })
    }

    /// As it is reported: without the password.
    pub fn reported(&self) -> Server<'_> {
        Server { host: &self.host, port: self.port, apn: &self.apn, user: &self.user, password: "" }
    }
}

/// The provision's pages.
pub struct Provision<F: NorFlash>(Store<F>);

type Value = Vec<u8, VALUE_MAX_BYTES>;

impl<F: NorFlash> Provision<F> {
    /// Takes the whole of `flash`.
    ///
    /// # Errors
    /// [`StoreError::Geometry`], for a flash that can never work.
    pub fn new(flash: F) -> Result<Self, StoreError> {
        Store::new(flash).map(Self)
    }

    async fn load(&mut self, key: Key) -> Result<Option<Value>, StoreError> {
        let mut value = [0; VALUE_MAX_BYTES];
        let length = self.0.read(key, &mut value).await?;
        Ok(length.and_then(|length| Value::from_slice(value.get(..length)?).ok()))
    }

    /// The module's identity; `None` if it was never set. Invalid content counts as never set.
    ///
    /// # Errors
    /// The flash failed, or its content is invalid.
    pub async fn identity(&mut self) -> Result<Option<Identity>, StoreError> {
        Ok(self.load(Key::Identity).await?.and_then(|bytes| {
            let (id, secret) = bytes.split_first_chunk::<{ ModuleId::CHARS }>()?;
            let id = ModuleId::parse(core::str::from_utf8(id).ok()?).ok()?;
            let secret: [u8; SECRET_BYTES] = secret.try_into().ok()?;
            Some(Identity { id, secret: ModuleSecret::new(secret) })
        }))
    }

    /// Writes the module's identity.
    ///
    /// # Errors
    /// The flash failed; the identity is the old or the new one.
    pub async fn set_identity(&mut self, identity: &Identity) -> Result<(), StoreError> {
        let mut bytes = [0; ModuleId::CHARS + SECRET_BYTES];
        bytes[..ModuleId::CHARS].copy_from_slice(identity.id.as_str().as_bytes());
        bytes[ModuleId::CHARS..].copy_from_slice(identity.secret.expose());
        self.0.write(Key::Identity, &bytes).await
    }

    /// The server's address; `None` if it was never set.
    ///
    /// # Errors
    /// The flash failed, or its content is invalid.
    pub async fn server(&mut self) -> Result<Option<ServerAddress>, StoreError> {
        let (Some(server), Some(access)) = (self.load(Key::Server).await?, self.load(Key::Access).await?) else {
            return Ok(None);
        };
        Ok(server_of(&server, &access))
    }

    /// Writes the server's address. A power cut in between leaves the old one, or the new access point with the old
    /// host; the request is then not answered, and is sent again.
    ///
    /// # Errors
    /// The flash failed; see above for its content then.
    pub async fn set_server(&mut self, server: &ServerAddress) -> Result<(), StoreError> {
        let mut access = Value::new();
        for part in [&*server.apn, "\n", &*server.user, "\n", &*server.password] {
            access.extend_from_slice(part.as_bytes()).map_err(|_| StoreError::Damaged)?;
        }
        self.0.write(Key::Access, &access).await?;
        let mut host = Value::from_slice(&server.port.to_le_bytes()).map_err(|_| StoreError::Damaged)?;
        host.extend_from_slice(server.host.as_bytes()).map_err(|_| StoreError::Damaged)?;
        self.0.write(Key::Server, &host).await
    }

    /// Forgets everything.
    ///
    /// # Errors
    /// The flash failed; some may be left.
    pub async fn erase(&mut self) -> Result<(), StoreError> {
        self.0.erase().await
    }
}

fn server_of(server: &[u8], access: &[u8]) -> Option<ServerAddress> {
    let (port, host) = server.split_first_chunk()?;
    let mut access = access.splitn(3, |byte| *byte == b'\n');
    let mut next = || core::str::from_utf8(access.next()?).ok();
    ServerAddress::new(&Server {
        host: core::str::from_utf8(host).ok()?,
        port: u16::from_le_bytes(*port),
        apn: next()?,
        user: next()?,
        password: next()?,
    })
}

/// Makes sure that the content of `store` belongs to this module before [`crate::Module::boot`] reads it: another
/// identity's content is erased. Flash that fails is left as it is; the module will notice that itself.
pub async fn adopt<F: NorFlash>(store: &mut Store<F>, id: ModuleId) {
    let mut value = [0; VALUE_MAX_BYTES];
    let owned = match store.read(Key::Owner, &mut value).await {
        Ok(length) => length.and_then(|length| value.get(..length)) == Some(id.as_str().as_bytes()),
        Err(StoreError::Damaged) => false,
        Err(_) => return,
    };
    if !owned {
        let _ = start_over(store, id).await;
    }
}

/// Erases `store` except for the identity it belongs to.
pub(crate) async fn start_over<F: NorFlash>(store: &mut Store<F>, id: ModuleId) -> Result<(), StoreError> {
    store.erase().await?;
    // The identity is written only once the store is empty; after a power cut in between, it is erased once more.
    store.write(Key::Owner, id.as_str().as_bytes()).await
}
