//! Administration, noun first: `coinwire machine add`, `coinwire member list`. Each command opens the store, even while
//! a server is running on it, does one thing, and ends; the server notices the change by itself.
//!
//! The exit code is 0 if it is done, 1 if it was refused or failed (the reason is on standard error), and 2 if the
//! arguments are invalid. Secrets are read from standard input, and printed once, on standard output.

mod audit;
mod input;
mod legacy_add;
mod machine;
mod manufacturer;
mod member;
mod merchant;
mod module;
mod operator;
mod price;
mod print;
mod sale;

pub use audit::Audit;
pub use legacy_add::Add;
pub use machine::Machine;
pub use manufacturer::Manufacturer;
pub use member::{Integrator, Member};
pub use merchant::Merchant;
pub use module::Module;
pub use operator::Operator;
pub use price::Price;
pub use sale::Sale;

use crate::{ConfigFile, config::Settings, log, server};
use anyhow::Result;
use backend::access::actor::Actor;
use clap::{Args, Subcommand};

/// What is done with a noun, in which store.
#[derive(Args)]
pub struct StoreCommand<Verb: Subcommand> {
    #[command(flatten)]
    config: ConfigFile,
    #[command(subcommand)]
    verb: Verb,
}

/// A verb that can be carried out.
pub trait Execute {
    async fn act(self, backend: &backend::Context, actor: &Actor, settings: &Settings) -> Result<()>;
}

impl<Verb: Subcommand + Execute> StoreCommand<Verb> {
    /// Opens the store, and does it.
    pub async fn run(self) -> Result<()> {
        let settings = self.config.read()?;
        log::begin(&settings.log)?;
        self.verb.act(&server::backend_without_bus(&settings).await?, &shell_user(), &settings).await
    }
}

/// The user of this shell, as far as the environment tells; recorded with what is done.
fn shell_user() -> Actor {
    let user = ["SUDO_USER", "USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    Actor::system(user.map_or_else(|| "command line".to_owned(), |user| format!("command line, {user}")))
}
