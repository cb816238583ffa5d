//! Who may connect by MQTT, and to what: the function that the broker asks.

use async_trait::async_trait;
use backend::{Backend, operators::Integrator};
use broker::{Authenticate, Broker, ClientIdRule, Grants, Lane, Login, Refusal};
use protocol::{
    ModuleId,
    topics::{Kind, topic},
};
use std::{collections::BTreeSet, fmt, sync::OnceLock, time::Duration};
use tokio_util::sync::CancellationToken;

/// The backend's own user name at the embedded broker.
pub const BACKEND_USER: &str = "backend";
/// How often connected integrators' passwords are looked at.
const REVOCATION_EVERY: Duration = Duration::from_millis(500);

/// Asks the backend about modules and integrators, and knows the backend's own password, made anew at each start.
pub struct Doorkeeper {
    backend: OnceLock<Backend>,
    own_password: String,
}

impl Doorkeeper {
    /// Lets in only the backend, until it is told of it: the broker listens before the backend is there.
    pub fn new(own_password: String) -> Self {
        Self { backend: OnceLock::new(), own_password }
    }

    /// From now on others can be let in. The first backend stays.
    pub fn ask(&self, backend: Backend) {
        let _ = self.backend.set(backend);
    }
}

#[async_trait]
impl Authenticate for Doorkeeper {
    async fn authenticate(&self, login: &Login) -> Result<Grants, Refusal> {
        let (Some(username), Some(password)) = (&login.username, &login.password) else {
            return Err(Refusal::BadCredentials);
        };
        if username == BACKEND_USER {
            return self.own(password);
        }
        let backend = self.backend.get().ok_or(Refusal::Unavailable)?;
        match ModuleId::parse(username) {
            Ok(module) => module_grants(backend, module, password).await,
            Err(_) => integrator_grants(backend, username, password).await,
        }
    }
}

impl Doorkeeper {
    fn own(&self, password: &[u8]) -> Result<Grants, Refusal> {
        aws_lc_rs::constant_time::verify_slices_are_equal(self.own_password.as_bytes(), password)
            .map_err(|_| Refusal::BadCredentials)?;
        Ok(Grants {
            credential: BACKEND_USER.into(),
            lane: Lane::Client,
            client_id: ClientIdRule::Prefix(BACKEND_USER.into()),
            publish: vec!["m/+/command".into(), "v1/#".into()],
            subscribe: vec!["m/+/status".into(), "m/+/pulse".into(), "m/+/ack".into()],
            // Several backends on one broker share the modules' topics.
            shared: true,
        })
    }
}

async fn module_grants(backend: &Backend, module: ModuleId, password: &[u8]) -> Result<Grants, Refusal> {
    let right = backend.is_module_password(module, password).await.map_err(unavailable)?;
    if !right {
        return Err(Refusal::BadCredentials);
    }
    let own = |kind| topic(module, kind).as_str().to_owned();
    Ok(Grants {
        credential: module.to_string(),
        lane: Lane::Module,
        client_id: ClientIdRule::Exactly(module.to_string()),
        publish: vec![own(Kind::Status), own(Kind::Pulse), own(Kind::Ack)],
        subscribe: vec![own(Kind::Command)],
        shared: false,
    })
}

async fn integrator_grants(backend: &Backend, username: &str, password: &[u8]) -> Result<Grants, Refusal> {
    let password = std::str::from_utf8(password).map_err(|_| Refusal::BadCredentials)?;
    let integrator = backend.integrator(username, password).await.map_err(unavailable)?;
    let Integrator { filter, fingerprint } = integrator.ok_or(Refusal::BadCredentials)?;
    Ok(Grants {
        credential: IntegratorCredential { slug: username.into(), fingerprint }.to_string(),
        lane: Lane::Client,
        client_id: ClientIdRule::Any,
        publish: vec![],
        subscribe: vec![filter],
        shared: true,
    })
}

/// An integrator's credential as the broker knows it. The password is part of it, by its fingerprint: who signs in with
/// a new one finds no session of the old one's, and the old one's connections can be told apart.
struct IntegratorCredential {
    slug: String,
    fingerprint: String,
}

impl fmt::Display for IntegratorCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "integrator {} {}", self.slug, self.fingerprint)
    }
}

impl IntegratorCredential {
    fn parse(text: &str) -> Option<Self> {
        let (slug, fingerprint) = text.strip_prefix("integrator ")?.rsplit_once(' ')?;
        Some(Self { slug: slug.into(), fingerprint: fingerprint.into() })
    }
}

/// Drops the connections of integrators whose password was changed, by whatever process, until it is told to end.
pub async fn drop_revoked(broker: Broker, backend: Backend, closing: CancellationToken) {
    while closing.run_until_cancelled(tokio::time::sleep(REVOCATION_EVERY)).await.is_some() {
        let connected = broker.connections().into_iter().filter(|connection| connection.lane == Lane::Client);
        let credentials: BTreeSet<String> = connected.map(|connection| connection.credential).collect();
        for text in credentials {
            let Some(credential) = IntegratorCredential::parse(&text) else { continue };
            match backend.integrator_fingerprint(&credential.slug).await {
                Ok(now) if now.as_deref() == Some(&credential.fingerprint) => {}
                Ok(_) => {
                    let dropped = broker.disconnect(&text);
                    tracing::info!(integrator = credential.slug, dropped, "its password was changed");
                }
                Err(error) => tracing::warn!(%error, "could not check an integrator's password; trying again"),
            }
        }
    }
}

fn unavailable(error: backend::Error) -> Refusal {
    tracing::warn!(%error, "could not check an MQTT login");
    Refusal::Unavailable
}
