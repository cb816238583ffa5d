//! `coinwire module`: whether a module may connect. Where it is wired to a machine, its page does the same.

use crate::{ConfigFile, config::Settings, house};
use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use protocol::ModuleId;

/// What to do with a module, in which store.
#[derive(Args)]
pub struct Module {
    #[command(flatten)]
    config: ConfigFile,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Disable its credential: a running server ends its connection within a second, and refuses it from then on.
    Disable {
        /// The module's id.
        id: String,
    },
    /// Let it connect again.
    Enable {
        /// The module's id.
        id: String,
    },
}

impl Module {
    pub fn settings(&self) -> Result<Settings> {
        self.config.read()
    }

    pub async fn run(self, settings: &Settings) -> Result<()> {
        let (id, disabled) = match self.what {
            What::Disable { id } => (id, true),
            What::Enable { id } => (id, false),
        };
        let module = ModuleId::parse_typed(&id).context("the module's id")?;
        let backend = house::backend_without_bus(settings).await?;
        backend.set_module_disabled(module, disabled).await.with_context(|| format!("module {module}"))?;
        println!("module {module} is {}", if disabled { "disabled" } else { "enabled" });
        Ok(())
    }
}
