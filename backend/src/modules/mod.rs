//! Modules: who they are, what they say, what they are told.
//!
//! [`Backend::on_message`](crate::Backend::on_message) takes what arrives and opens its envelope; `status`, `pulses`
//! and `acks` take it further, `coins` says how far a total of coins is believed and `corrections` how a person corrects
//! what was booked, `lessons` and `diagnostics` what a status tells beside. `commands` queues, sends again and
//! gives up; `probe` asks whether a module could credit, `lives` whether it lost its memory; `settings` are wanted of it,
//! `errands` done once; `admission` says who may connect. `numbers` has the numbers by which credits are known, `behind` what
//! follows when a module knows more of them than the store.

mod acks;
mod admission;
mod behind;
mod coin_correction;
mod coins;
pub(crate) mod command;
pub(crate) mod commands;
mod corrections;
mod diagnosis;
pub(crate) mod diagnostics;
pub(crate) mod errands;
pub(crate) mod keys;
mod lesson;
pub(crate) mod lessons;
mod lives;
pub(crate) mod module;
mod numbers;
mod probe;
pub(crate) mod pulse;
mod pulses;
pub(crate) mod questions;
mod registry;
pub(crate) mod settings;
pub(crate) mod status;

pub use admission::{Admission, Disabled};
pub use behind::BehindView;
pub use corrections::CoinCorrection;
pub use diagnostics::DiagnosticsView;
pub use errands::{Errand, ErrandView, LearnOptions};
pub use lessons::{LessonView, ProfileView};
pub use numbers::credit_id;
pub use registry::{ModuleRow, Provisioned};
pub use settings::ModuleSettings;

pub(crate) use commands::{Purpose, is_silent_about};
pub(crate) use numbers::{next_sequence, pass_sequence};

use crate::{Backend, Result};
use protocol::{
    messages::{Ack, Pulse, Status},
    topics::{self, Kind},
};

impl Backend {
    /// Takes a message of a module's, as it came from the bus. What is not signed by the module is counted and dropped;
    /// an error is the store's, and what the message said will be said again.
    pub async fn on_message(&self, topic: &str, payload: &[u8]) -> Result<()> {
        let Some((module, kind)) = topics::parse(topic) else {
            return count_dropped("topic");
        };
        let Some(key) = self.message_key(module).await? else {
            return count_dropped("unknown_module");
        };
        match kind {
            Kind::Status => match protocol::open::<Status>(&key, topic, payload) {
                Ok(status) => self.on_status(module, &status).await,
                Err(error) => refused(module, error),
            },
            Kind::Pulse => match protocol::open::<Pulse>(&key, topic, payload) {
                Ok(pulse) => self.on_pulse(module, &pulse).await,
                Err(error) => refused(module, error),
            },
            Kind::Ack => match protocol::open::<Ack>(&key, topic, payload) {
                Ok(ack) => self.on_ack(module, &ack).await,
                Err(error) => refused(module, error),
            },
            // Our own words; the gate lets no module say them.
            Kind::Command => count_dropped("topic"),
        }
    }
}

/// Counts a message that was dropped. For its sender that is no error: it would only say it again.
fn count_dropped(why: &'static str) -> Result<()> {
    metrics::counter!("coinwire_messages_dropped_total", "why" => why).increment(1);
    Ok(())
}

fn refused(module: protocol::ModuleId, error: protocol::OpenError) -> Result<()> {
    tracing::debug!(%module, %error, "dropped a module's message");
    count_dropped(match error {
        protocol::OpenError::Length => "length",
        protocol::OpenError::Tag => "signature",
        protocol::OpenError::Body => "body",
    })
}

/// A column for a number that comes from outside: what does not fit is the column's largest.
fn column(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
