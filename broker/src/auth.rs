//! Who a client is and what it may do. The embedding program decides; every packet is checked against the answer here.

use std::fmt;
use std::net::SocketAddr;

use async_trait::async_trait;
use strum::{EnumString, IntoStaticStr};

use crate::topic::{Filter, TopicBounds, TopicError};

/// The MQTT version a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, IntoStaticStr)]
pub enum Version {
    /// MQTT 3.1.1.
    #[strum(serialize = "3.1.1")]
    V311,
    /// MQTT 5.
    #[strum(serialize = "5")]
    V5,
}

impl Version {
    /// The version as written in logs and metrics.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// What a client said about itself in its CONNECT.
#[derive(Clone)]
pub struct Login {
    /// The client identifier; empty when the client leaves the choice to the broker.
    pub client_id: String,
    /// The user name, if any.
    pub username: Option<String>,
    /// The password, if any.
    pub password: Option<Vec<u8>>,
    /// Where the connection comes from.
    pub peer: SocketAddr,
    /// The protocol version.
    pub version: Version,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("client_id", &self.client_id)
            .field("username", &self.username)
            .field("password", &self.password.as_ref().map(|_| "***"))
            .field("peer", &self.peer)
            .field("version", &self.version)
            .finish()
    }
}

/// How a client is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EnumString, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum Lane {
    /// One of thousands of devices. It subscribes to single topics within [`crate::Config::device_topics`], which are
    /// looked up in a map; its publish rate is limited, and it keeps no session.
    Device,
    /// Everybody else. Subscribes with filters, and has a session that may outlive the connection.
    Client,
}

impl Lane {
    /// The lane as written in logs and metrics.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Which client identifiers a credential may use. Whatever the rule, a session belongs to the credential that opened it:
/// the same identifier under another credential is another session, so none can be hijacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientIdRule {
    /// Only this one. It is assigned to a client that sends none.
    Exactly(String),
    /// Any that starts with this text. A client that sends none is assigned one that does.
    Prefix(String),
    /// Any.
    Any,
}

/// What an authenticated client may do.
#[derive(Debug, Clone)]
pub struct Grants {
    /// The credential's name: for logs, for metrics of connections, and for [`crate::Broker::disconnect`]. Not a secret.
    pub credential: String,
    /// How the client is served.
    pub lane: Lane,
    /// Which client identifiers it may use.
    pub client_id: ClientIdRule,
    /// Filters within which it may publish.
    pub publish: Vec<String>,
    /// Filters within which its subscriptions must lie, including those behind `$share/GROUP/`.
    pub subscribe: Vec<String>,
    /// Whether it may share subscriptions (`$share/GROUP/FILTER`) among its own clients. A group belongs to the
    /// credential: another credential's group of the same name is another group, so nobody can take messages away from
    /// others.
    pub shared: bool,
}

/// Why a login is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Unknown user or wrong password.
    #[error("bad user name or password")]
    BadCredentials,
    /// Known, but not allowed to connect.
    #[error("not authorized")]
    NotAuthorized,
    /// It cannot be decided now; the client may try again.
    #[error("unavailable")]
    Unavailable,
}

/// Decides on logins. Called once per connection, before anything else is accepted. It may take at most
/// [`crate::Limits::connect_timeout`].
#[async_trait]
pub trait Authenticate: Send + Sync {
    /// The grants of this login.
    ///
    /// # Errors
    /// Why the login is refused; this decides what the client is told.
    async fn authenticate(&self, login: &Login) -> Result<Grants, Refusal>;

    /// Whether the password of this login could be guessed. A login with a password that cannot be guessed (a long
    /// random key that is checked quickly) is always checked, however many logins failed from its address. Otherwise
    /// one attacker behind a carrier's gateway could lock out everybody else behind it.
    fn is_guessable(&self, _login: &Login) -> bool {
        true
    }
}

/// Grants with their filters parsed.
#[derive(Debug)]
pub(crate) struct Rules {
    pub credential: String,
    pub lane: Lane,
    pub client_id: ClientIdRule,
    /// Whether it may share subscriptions.
    pub shared: bool,
    publish: Box<[Filter]>,
    subscribe: Box<[Filter]>,
}

impl Rules {
    pub fn new(grants: Grants, bounds: TopicBounds) -> Result<Rules, TopicError> {
        let parse =
            |filters: Vec<String>| filters.iter().map(|text| Filter::parse(text, bounds)).collect::<Result<_, _>>();
        Ok(Rules {
            credential: grants.credential,
            lane: grants.lane,
            client_id: grants.client_id,
            shared: grants.shared,
            publish: parse(grants.publish)?,
            subscribe: parse(grants.subscribe)?,
        })
    }

    pub fn may_publish(&self, topic: &str) -> bool {
        self.publish.iter().any(|grant| grant.matches(topic))
    }

    pub fn may_subscribe(&self, filter: &Filter) -> bool {
        self.subscribe.iter().any(|grant| grant.contains(filter))
    }

    pub fn subscribe_grants(&self) -> &[Filter] {
        &self.subscribe
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_never_prints_its_password() {
        let login = Login {
            client_id: "id".into(),
            username: Some("user".into()),
            password: Some(b"hunter2".to_vec()),
            peer: ([127, 0, 0, 1], 1).into(),
            version: Version::V5,
        };
        let printed = format!("{login:?}");
        assert!(printed.contains("user") && !printed.contains("hunter2") && !printed.contains("104, 117"));
    }
}
