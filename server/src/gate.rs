//! Who may connect by MQTT, and to what: the function that the broker asks.

use async_trait::async_trait;
use backend::{
    Backend,
    operators::{Integrator, MqttMember},
};
use broker::{Authenticate, Broker, ClientIdRule, Grants, Lane, Login, Refusal};
use protocol::{
    ModuleId,
    topics::{Kind, topic},
};
use std::{collections::BTreeSet, fmt, sync::OnceLock, time::Duration};
use tokio_util::sync::CancellationToken;

/// The backend's own user name at the embedded broker.
pub const BACKEND_USER: &str = "backend";
/// How often connected integrators' and members' passwords are looked at.
const REVOCATION_EVERY: Duration = Duration::from_millis(500);

/// Asks the backend about modules, integrators and members, and knows the backend's own password, made anew at each start.
pub struct Doorkeeper {
    backend: OnceLock<Backend>,
    own_password: String,
    admins: Vec<String>,
}

impl Doorkeeper {
    /// Lets in only the backend, until it is told of it: the broker listens before the backend is there.
    pub fn new(own_password: String, admins: &[String]) -> Self {
        let admins = admins.iter().map(|email| email.trim().to_lowercase()).collect();
        Self { backend: OnceLock::new(), own_password, admins }
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
            Err(_) if username.contains('@') => self.member_grants(backend, username, password).await,
            Err(_) => integrator_grants(backend, username, password).await,
        }
    }

    /// Modules and the backend have long random keys, which take no time to check.
    fn is_guessable(&self, login: &Login) -> bool {
        let username = login.username.as_deref().unwrap_or_default();
        username != BACKEND_USER && ModuleId::parse(username).is_err()
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

impl Doorkeeper {
    /// A member reads what the operator's programs read; one who runs the server reads the broker's figures too.
    async fn member_grants(&self, backend: &Backend, email: &str, password: &[u8]) -> Result<Grants, Refusal> {
        let password = std::str::from_utf8(password).map_err(|_| Refusal::BadCredentials)?;
        let found = backend.mqtt_member(email, password).await.map_err(unavailable)?;
        let MqttMember { member, filter, fingerprint } = found.ok_or(Refusal::BadCredentials)?;
        let figures = self.admins.contains(&member.email).then(|| "$SYS/#".to_owned());
        Ok(Grants {
            credential: Credential::Member { slug: member.slug, member_id: member.member_id, fingerprint }.to_string(),
            lane: Lane::Client,
            client_id: ClientIdRule::Any,
            publish: vec![],
            subscribe: std::iter::once(filter).chain(figures).collect(),
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
        credential: Credential::Integrator { slug: username.into(), fingerprint }.to_string(),
        lane: Lane::Client,
        client_id: ClientIdRule::Any,
        publish: vec![],
        subscribe: vec![filter],
        shared: true,
    })
}

/// A person's or a program's credential as the broker knows it. The password is part of it, by its fingerprint: who signs
/// in with a new one finds no session of the old one's, and the old one's connections can be told apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// A program of the operator with this short name.
    Integrator { slug: String, fingerprint: String },
    /// A member of the operator with this short name.
    Member { slug: String, member_id: i64, fingerprint: String },
}

impl fmt::Display for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integrator { slug, fingerprint } => write!(f, "integrator {slug} {fingerprint}"),
            Self::Member { slug, member_id, fingerprint } => write!(f, "member {slug} {member_id} {fingerprint}"),
        }
    }
}

impl Credential {
    /// Reads what `Display` wrote; `None` of anybody else's.
    pub fn parse(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split(' ').collect();
        match words[..] {
            ["integrator", slug, fingerprint] => {
                Some(Self::Integrator { slug: slug.into(), fingerprint: fingerprint.into() })
            }
            ["member", slug, member_id, fingerprint] => Some(Self::Member {
                slug: slug.into(),
                member_id: member_id.parse().ok()?,
                fingerprint: fingerprint.into(),
            }),
            _ => None,
        }
    }

    /// Whether its password is still the one.
    async fn is_good(&self, backend: &Backend) -> backend::Result<bool> {
        let (now, then) = match self {
            Self::Integrator { slug, fingerprint } => (backend.integrator_fingerprint(slug).await?, fingerprint),
            Self::Member { member_id, fingerprint, .. } => (backend.member_fingerprint(*member_id).await?, fingerprint),
        };
        Ok(now.as_ref() == Some(then))
    }
}

/// Drops the connections of integrators and members whose password was changed, by whatever process, until it is told to
/// end.
pub async fn drop_revoked(broker: Broker, backend: Backend, closing: CancellationToken) {
    while closing.run_until_cancelled(tokio::time::sleep(REVOCATION_EVERY)).await.is_some() {
        let connected = broker.connections().into_iter().filter(|connection| connection.lane == Lane::Client);
        let credentials: BTreeSet<String> = connected.map(|connection| connection.credential).collect();
        for text in credentials {
            let Some(credential) = Credential::parse(&text) else { continue };
            match credential.is_good(&backend).await {
                Ok(true) => {}
                Ok(false) => {
                    let dropped = broker.disconnect(&text);
                    tracing::info!(%credential, dropped, "its password was changed");
                }
                Err(error) => tracing::warn!(%error, "could not check an MQTT password; trying again"),
            }
        }
    }
}

fn unavailable(error: backend::Error) -> Refusal {
    tracing::warn!(%error, "could not check an MQTT login");
    Refusal::Unavailable
}
