//! Who may log in, what each may do, and who did.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Mutex;

use broker::{Authenticate, ClientIdRule, Grants, Lane, Login, Refusal};

/// The password of every login.
pub const PASSWORD: &[u8] = b"pw";

/// The login that sees whether all is well.
pub(crate) const WITNESS: &str = "witness";

/// `anna`, `ben` (client identifiers start with `ben`) and `backend` are of the client lane, `one` and `two` are modules;
/// `witness` reads and writes everything; `slow` cannot be decided, anyone else is not authorized. `ro/` can be read, but
/// nobody can write there.
#[derive(Default)]
pub struct Logins {
    let_in: Mutex<HashMap<SocketAddr, LetIn>>,
}

/// Who was let in on a connection.
#[derive(Clone)]
pub(crate) struct LetIn {
    pub user: String,
    /// As asked for, or as assigned once that is known.
    pub client_id: String,
}

impl Logins {
    pub(crate) fn let_in_from(&self, peer: SocketAddr) -> Option<LetIn> {
        self.let_in.lock().expect("a panic ends the process").get(&peer).cloned()
    }

    /// The broker chose the client identifier.
    pub(crate) fn assigned(&self, peer: SocketAddr, client_id: &str) {
        let mut let_in = self.let_in.lock().expect("a panic ends the process");
        let_in.get_mut(&peer).expect("it was let in").client_id = client_id.to_owned();
    }

    /// Everyone let in since this was last called, the witness apart, who stays.
    pub(crate) fn take(&self) -> Vec<LetIn> {
        let mut let_in = self.let_in.lock().expect("a panic ends the process");
        let_in.extract_if(|_, let_in| let_in.user != WITNESS).map(|(_, let_in)| let_in).collect()
    }
}

#[async_trait::async_trait]
impl Authenticate for Logins {
    async fn authenticate(&self, login: &Login) -> Result<Grants, Refusal> {
        let user = login.username.clone().ok_or(Refusal::NotAuthorized)?;
        let (lane, client_id, publish, subscribe): (_, _, &[&str], &[&str]) = match user.as_str() {
            "anna" => (Lane::Client, ClientIdRule::Any, &["t/#", "wo/#"], &["t/#", "ro/#"]),
            "ben" => (Lane::Client, ClientIdRule::Prefix("ben".into()), &["t/#"], &["t/+", "t/b/#", "+/a", "ro/x"]),
            "backend" => {
                (Lane::Client, ClientIdRule::Any, &["m/+/command", "v1/#"], &["m/+/status", "m/+/ack", "wo/#"])
            }
            "one" => (Lane::Device, ClientIdRule::Exactly(user.clone()), &["m/one/status"], &["m/one/command"]),
            "two" => (Lane::Device, ClientIdRule::Exactly(user.clone()), &["m/two/status"], &["m/two/command"]),
            WITNESS => (Lane::Client, ClientIdRule::Any, &["#"], &["#"]),
            "slow" => return Err(Refusal::Unavailable),
            _ => return Err(Refusal::NotAuthorized),
        };
        if login.password.as_deref() != Some(PASSWORD) {
            return Err(Refusal::BadCredentials);
        }
        let let_in = LetIn { user: user.clone(), client_id: login.client_id.clone() };
        self.let_in.lock().expect("a panic ends the process").insert(login.peer, let_in);
        let owned = |filters: &[&str]| filters.iter().map(|filter| (*filter).to_owned()).collect();
        let shared = lane == Lane::Client;
        Ok(Grants { credential: user, lane, client_id, publish: owned(publish), subscribe: owned(subscribe), shared })
    }
}

/// Whether a message on a topic may reach a user, by the grants above; `ro/` is written by nobody, so nobody gets it.
pub(crate) fn may_receive(user: &str, topic: &str) -> bool {
    let levels: Vec<&str> = topic.split('/').collect();
    match (user, levels.as_slice()) {
        (_, ["ro", ..]) => false,
        (WITNESS, _) => true,
        ("anna", ["t", ..]) => true,
        ("ben", ["t", _] | ["t", "b", ..] | [_, "a"]) => true,
        ("backend", ["m", _, "status" | "ack"] | ["wo", ..]) => true,
        ("one" | "two", ["m", module, "command"]) => *module == user,
        _ => false,
    }
}
