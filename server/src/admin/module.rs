//! `coinwire module`: identities of cloud modules. For a wired module, its page can do much of the same.

use super::{Execute, input, print};
use crate::config::Settings;
use anyhow::{Context, Result};
use backend::{
    access::actor::Actor,
    flows::operate::{
        disable_module,
        register_module::{self, Provisioned},
    },
    ids::ManufacturerId,
    modules::registry,
};
use clap::Subcommand;
use protocol::{ModuleId, ModuleSecret};

#[derive(Subcommand)]
pub enum Module {
    /// Register a module. Makes a new identity, and prints what must be stored in the module; the secret is shown only
    /// now.
    Add {
        /// The operator that may wire it: its number or short name. Without this, the first operator that wires it.
        #[arg(long)]
        operator: Option<String>,
        /// The number of who made it.
        #[arg(long)]
        manufacturer: Option<ManufacturerId>,
        /// The id of a module that already has an identity. Its secret (64 hexadecimal digits) is read from standard
        /// input.
        #[arg(long, value_name = "ID")]
        existing: Option<String>,
    },
    /// List modules, and what they are wired to.
    List {
        /// Only those of this operator: its number or short name.
        #[arg(long)]
        operator: Option<String>,
        /// Only those wired to no machine.
        #[arg(long)]
        spare: bool,
        #[command(flatten)]
        form: print::Form,
    },
    /// Assign a module to an operator: from then on only that operator may wire it.
    Give {
        /// The module's id.
        id: String,
        /// The operator's number or short name.
        operator: String,
    },
    /// Disable a module's credential, for instance because the module was stolen: a running server ends its connection
    /// within a second, and refuses it from then on.
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

impl Execute for Module {
    async fn act(self, backend: &backend::Context, actor: &Actor, _: &Settings) -> Result<()> {
        match self {
            Module::Add { operator, manufacturer, existing } => {
                let operator = match operator {
                    Some(named) => Some(input::operator(backend, actor, &named).await?),
                    None => None,
                };
                let known = match existing {
                    Some(id) => Some(identity(&id, &input::secret("module's secret")?)?),
                    None => None,
                };
                let module = add(backend, actor, manufacturer, known).await?;
                if let Some(operator) = operator {
                    register_module::assign_module(backend, actor, module, operator).await?;
                }
                Ok(())
            }
            Module::List { operator, spare, form } => {
                let operator = match operator {
                    Some(named) => Some(input::operator(backend, actor, &named).await?),
                    None => None,
                };
                let mut rows = registry::modules(backend, actor, operator).await?;
                rows.retain(|row| !spare || row.machine_id.is_none());
                let heads =
                    ["MODULE", "OPERATOR", "MACHINE", "MANUFACTURER", "FIRMWARE", "LAST HEARD", "DISABLED SINCE"];
                form.rows(&rows, heads, |row| {
                    let firmware = if row.firmware.is_empty() { "-".to_owned() } else { row.firmware.clone() };
                    [
                        row.id.clone(),
                        print::or_dash(&row.operator_id),
                        print::or_dash(&row.machine_id),
                        print::or_dash(&row.manufacturer_id),
                        firmware,
                        print::time(row.seen_ms),
                        print::time(row.disabled_ms),
                    ]
                })
            }
            Module::Give { id, operator } => {
                let module = input::module(&id)?;
                let operator = input::operator(backend, actor, &operator).await?;
                register_module::assign_module(backend, actor, module, operator)
                    .await
                    .with_context(|| format!("module {module}"))?;
                println!("module {module} is operator {operator}'s");
                Ok(())
            }
            Module::Disable { id } => set_disabled(backend, actor, &id, true).await,
            Module::Enable { id } => set_disabled(backend, actor, &id, false).await,
        }
    }
}

/// Registers an identity, a new one if none is given, and prints what must be stored in the module.
pub async fn add(
    backend: &backend::Context,
    actor: &Actor,
    manufacturer: Option<ManufacturerId>,
    known: Option<Provisioned>,
) -> Result<ModuleId> {
    let module = match known {
        Some(module) => {
            register_module::register_module(backend, actor, &module, manufacturer).await?;
            module
        }
        None => register_module::provision_module(backend, actor, manufacturer).await?,
    };
    println!("id {}", module.id);
    println!("secret {}", hex::encode(module.secret.expose()));
    println!("mqtt password {}", module.secret.mqtt_password(module.id));
    Ok(module.id)
}

/// An identity that was made elsewhere.
pub fn identity(id: &str, secret: &str) -> Result<Provisioned> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(secret, &mut bytes).context("the module's secret must be 64 hexadecimal digits")?;
    Ok(Provisioned { id: input::module(id)?, secret: ModuleSecret::new(bytes) })
}

async fn set_disabled(backend: &backend::Context, actor: &Actor, id: &str, disabled: bool) -> Result<()> {
    let module = input::module(id)?;
    disable_module::set_module_disabled(backend, actor, module, disabled)
        .await
        .with_context(|| format!("module {module}"))?;
    println!("module {module} is {}", if disabled { "disabled" } else { "enabled" });
    Ok(())
}
