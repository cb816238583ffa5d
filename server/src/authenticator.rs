//! Who may connect by MQTT, and with which grants: the function that the broker calls.

use async_trait::async_trait;
use backend::{
    access::{
        manufacturers,
        members::{self, MemberVersionsSeen},
        sign_in::{self, Fingerprints, MqttMember, MqttReading, PasswordOwners},
    },
    ids::MemberId,
    modules::{Admission, Disabled, admission},
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
/// The topics on which modules get commands: modules are the broker's devices.
pub const COMMAND_TOPICS: &str = "m/+/command";
/// Prefix of the user name of a manufacturer's tool, before the manufacturer's short name.
pub const TOOL_PREFIX: &str = "manufacturer:";
/// How often to check for changed or disabled credentials.
const REVOCATION_EVERY: Duration = Duration::from_millis(500);

/// Authenticates modules, integrators, members and tools against the backend, and the backend itself by a password
/// generated at each start.
pub struct Authenticator {
    backend: OnceLock<backend::Context>,
    own_password: String,
    admins: Vec<String>,
}

impl Authenticator {
    /// Accepts only the backend's own login until [`Authenticator::set_backend`] is called: the broker listens before the backend
    /// exists.
    pub fn new(own_password: String, admins: &[String]) -> Self {
        let admins = admins.iter().map(|email| email.trim().to_lowercase()).collect();
        Self { backend: OnceLock::new(), own_password, admins }
    }

    /// Sets the backend that checks other logins. Only the first call has an effect.
    pub fn set_backend(&self, backend: backend::Context) {
        let _ = self.backend.set(backend);
    }
}

#[async_trait]
impl Authenticate for Authenticator {
    async fn authenticate(&self, login: &Login) -> Result<Grants, Refusal> {
        let (Some(username), Some(password)) = (&login.username, &login.password) else {
            return Err(Refusal::BadCredentials);
        };
        if username == BACKEND_USER {
            return self.own(password);
        }
        let backend = self.backend.get().ok_or(Refusal::Unavailable)?;
        if let Ok(module) = ModuleId::parse(username) {
            return module_grants(backend, module, password).await;
        }
        let password = std::str::from_utf8(password).map_err(|_| Refusal::BadCredentials)?;
        match username.strip_prefix(TOOL_PREFIX) {
            Some(slug) => tool_grants(backend, slug, password).await,
            None if username.contains('@') => self.member_grants(backend, username, password).await,
            None => integrator_grants(backend, username, password).await,
        }
    }

    /// Modules and the backend have long random keys, which can be checked quickly.
    fn is_guessable(&self, login: &Login) -> bool {
        let username = login.username.as_deref().unwrap_or_default();
        username != BACKEND_USER && ModuleId::parse(username).is_err()
    }
}

impl Authenticator {
    fn own(&self, password: &[u8]) -> Result<Grants, Refusal> {
        aws_lc_rs::constant_time::verify_slices_are_equal(self.own_password.as_bytes(), password)
            .map_err(|_| Refusal::BadCredentials)?;
        Ok(Grants {
            credential: BACKEND_USER.into(),
            lane: Lane::Client,
            client_id: ClientIdRule::Prefix(BACKEND_USER.into()),
            publish: vec![COMMAND_TOPICS.into(), "v1/#".into(), "made/#".into()],
            subscribe: vec!["m/+/status".into(), "m/+/pulse".into(), "m/+/ack".into()],
            // Several backends on one broker share the modules' topics.
            shared: true,
        })
    }
}

impl Authenticator {
    /// A member reads what its role may see; a member who runs the server also reads the broker's statistics.
    async fn member_grants(&self, backend: &backend::Context, email: &str, password: &str) -> Result<Grants, Refusal> {
        let found = sign_in::mqtt_member(backend, email, password).await.map_err(unavailable)?;
        let MqttMember { member, filters, fingerprint } = found.ok_or(Refusal::BadCredentials)?;
        let figures = self.admins.contains(&member.email).then(|| "$SYS/#".to_owned());
        let credential = Credential::Member { slug: member.slug, member_id: member.member_id, fingerprint };
        Ok(reader(&credential, filters.into_iter().chain(figures)))
    }
}

async fn module_grants(backend: &backend::Context, module: ModuleId, password: &[u8]) -> Result<Grants, Refusal> {
    match admission::admit_module(backend, module, password).await.map_err(unavailable)? {
        Admission::Admitted => {}
        Admission::Unknown => return Err(Refusal::BadCredentials),
        Admission::Disabled => return Err(Refusal::NotAuthorized),
    }
    let own = |kind| topic(module, kind).as_str().to_owned();
    Ok(Grants {
        credential: module.to_string(),
        lane: Lane::Device,
        client_id: ClientIdRule::Exactly(module.to_string()),
        publish: vec![own(Kind::Status), own(Kind::Pulse), own(Kind::Ack)],
        subscribe: vec![own(Kind::Command)],
        shared: false,
    })
}

async fn integrator_grants(backend: &backend::Context, slug: &str, password: &str) -> Result<Grants, Refusal> {
    let found = sign_in::integrator(backend, slug, password).await.map_err(unavailable)?;
    let MqttReading { filters, fingerprint } = found.ok_or(Refusal::BadCredentials)?;
    Ok(reader(&Credential::Integrator { slug: slug.into(), fingerprint }, filters))
}

async fn tool_grants(backend: &backend::Context, slug: &str, password: &str) -> Result<Grants, Refusal> {
    let found = manufacturers::manufacturers_tool(backend, slug, password).await.map_err(unavailable)?;
    let MqttReading { filters, fingerprint } = found.ok_or(Refusal::BadCredentials)?;
    Ok(reader(&Credential::Tool { slug: slug.into(), fingerprint }, filters))
}

/// The grants of a client that only reads.
fn reader(credential: &Credential, filters: impl IntoIterator<Item = String>) -> Grants {
    Grants {
        credential: credential.to_string(),
        lane: Lane::Client,
        client_id: ClientIdRule::Any,
        publish: vec![],
        subscribe: filters.into_iter().collect(),
        shared: true,
    }
}

/// A person's or a program's credential as the broker knows it. It includes the password's fingerprint: a login with a
/// new password finds no session of the old one, and connections made with the old password can be recognised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// A program of the operator with this short name.
    Integrator { slug: String, fingerprint: String },
    /// A member of the operator with this short name.
    Member { slug: String, member_id: MemberId, fingerprint: String },
    /// The tool of the manufacturer with this short name.
    Tool { slug: String, fingerprint: String },
}

impl fmt::Display for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integrator { slug, fingerprint } => write!(f, "integrator {slug} {fingerprint}"),
            Self::Member { slug, member_id, fingerprint } => write!(f, "member {slug} {member_id} {fingerprint}"),
            Self::Tool { slug, fingerprint } => write!(f, "tool {slug} {fingerprint}"),
        }
    }
}

impl Credential {
    /// Parses what `Display` wrote; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split(' ').collect();
        match words[..] {
            ["integrator", slug, fingerprint] => {
                Some(Self::Integrator { slug: slug.into(), fingerprint: fingerprint.into() })
            }
            ["tool", slug, fingerprint] => Some(Self::Tool { slug: slug.into(), fingerprint: fingerprint.into() }),
            ["member", slug, member_id, fingerprint] => Some(Self::Member {
                slug: slug.into(),
                member_id: member_id.parse().ok()?,
                fingerprint: fingerprint.into(),
            }),
            _ => None,
        }
    }

    /// Whether its password is still the current one.
    fn is_good(&self, now: &Fingerprints) -> bool {
        let (now, then) = match self {
            Self::Integrator { slug, fingerprint } => (now.integrators.get(slug), fingerprint),
            Self::Member { member_id, fingerprint, .. } => (now.members.get(member_id), fingerprint),
            Self::Tool { slug, fingerprint } => (now.tools.get(slug), fingerprint),
        };
        now == Some(then)
    }
}

/// The current fingerprints of some credentials' passwords.
async fn fingerprints(backend: &backend::Context, of: &[(Box<str>, Credential)]) -> backend::Result<Fingerprints> {
    let mut owners = PasswordOwners::default();
    for (_, credential) in of {
        match credential {
            Credential::Integrator { slug, .. } => owners.integrators.push(slug.clone()),
            Credential::Member { member_id, .. } => owners.members.push(*member_id),
            Credential::Tool { slug, .. } => owners.tools.push(slug.clone()),
        }
    }
    sign_in::fingerprints(backend, owners).await
}

/// Until shutdown, drops the connections and sessions of integrators, members and tools whose password was changed, and
/// of modules that were disabled, by any process.
pub async fn drop_revoked(broker: Broker, backend: backend::Context, closing: CancellationToken) {
    let mut dropped = BTreeSet::new();
    while closing.run_until_cancelled(tokio::time::sleep(REVOCATION_EVERY)).await.is_some() {
        if let Err(error) = drop_changed(&broker, &backend).await {
            tracing::warn!(%error, "could not check MQTT passwords; trying again");
        }
        if let Err(error) = drop_disabled(&broker, &backend, &mut dropped).await {
            tracing::warn!(%error, "could not check for disabled modules; trying again");
        }
    }
}

/// Makes live pages check their viewer's access whenever members' passwords were changed, in any process, until
/// shutdown.
pub async fn broadcast_member_changes(backend: backend::Context, closing: CancellationToken) {
    let mut seen = MemberVersionsSeen::default();
    while closing.run_until_cancelled(tokio::time::sleep(REVOCATION_EVERY)).await.is_some() {
        if let Err(error) = members::broadcast_member_changes(&backend, &mut seen).await {
            tracing::warn!(%error, "could not check for changed members; trying again");
        }
    }
}

/// Drops those whose password or role was changed, and those that were removed.
async fn drop_changed(broker: &Broker, backend: &backend::Context) -> backend::Result<()> {
    let parsed = |text: Box<str>| Credential::parse(&text).map(|credential| (text, credential));
    let credentials: Vec<_> = broker.credentials().into_iter().filter_map(parsed).collect();
    if credentials.is_empty() {
        return Ok(());
    }
    let now = fingerprints(backend, &credentials).await?;
    for (text, credential) in credentials.iter().filter(|(_, credential)| !credential.is_good(&now)) {
        let dropped = broker.disconnect(text);
        tracing::info!(%credential, dropped, "its credential was changed or removed");
    }
    Ok(())
}

/// Drops the modules that were disabled since the last check. `dropped` are those found then.
async fn drop_disabled(
    broker: &Broker,
    backend: &backend::Context,
    dropped: &mut BTreeSet<Disabled>,
) -> backend::Result<()> {
    let disabled: BTreeSet<_> = admission::disabled_modules(backend).await?.into_iter().collect();
    for Disabled { module, .. } in disabled.difference(dropped) {
        let connections = broker.disconnect(module.as_str());
        tracing::info!(%module, connections, "its credential is disabled");
    }
    *dropped = disabled;
    Ok(())
}

fn unavailable(error: backend::Error) -> Refusal {
    tracing::warn!(%error, "could not check an MQTT login");
    Refusal::Unavailable
}
