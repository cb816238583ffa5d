//! Who may connect by MQTT, and to what: the function that the broker asks.

use async_trait::async_trait;
use backend::Backend;
use broker::{Authenticate, ClientIdRule, Grants, Lane, Login, Refusal};
use protocol::{
    ModuleId,
    topics::{Kind, topic},
};
use std::sync::OnceLock;

/// The backend's own user name at the embedded broker.
pub const BACKEND_USER: &str = "backend";

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
    })
}

async fn integrator_grants(backend: &Backend, username: &str, password: &[u8]) -> Result<Grants, Refusal> {
    let password = std::str::from_utf8(password).map_err(|_| Refusal::BadCredentials)?;
    let filter = backend.integrator(username, password).await.map_err(unavailable)?;
    let filter = filter.ok_or(Refusal::BadCredentials)?;
    Ok(Grants {
        credential: format!("integrator {username}"),
        lane: Lane::Client,
        client_id: ClientIdRule::Any,
        publish: vec![],
        subscribe: vec![filter],
    })
}

fn unavailable(error: backend::Error) -> Refusal {
    tracing::warn!(%error, "could not check an MQTT login");
    Refusal::Unavailable
}
