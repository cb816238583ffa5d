//! `coinwire add`: the older form of each noun's `add`. Scripts that use it still work.

use super::{Execute, input, machine, manufacturer, merchant, module, operator};
use crate::config::Settings;
use anyhow::Result;
use backend::{
    Error,
    access::{actor::Actor, members, role::Role},
    flows::operate::member::{add_member, set_member_password},
    ids::ManufacturerId,
};
use clap::Subcommand;
use std::path::PathBuf;

#[derive(Subcommand)]
pub enum Add {
    /// An operator: the business that owns machines. Prints its number. Now `coinwire operator add`.
    Operator(operator::AddArgs),
    /// A person who signs in for an operator, or another password for one who is a member already. The password is read
    /// from standard input. Now `coinwire member add` and `coinwire member set-password`.
    Member {
        /// The operator's number or short name.
        operator: String,
        /// The address to sign in with.
        email: String,
    },
    /// The password by which an operator's programs read its MQTT topics, read from standard input. Now
    /// `coinwire integrator set-password`.
    Integrator {
        /// The operator's number or short name.
        operator: String,
    },
    /// A manufacturer, who makes modules. Prints its number. Now `coinwire manufacturer add`.
    Manufacturer {
        /// Short name in MQTT topics and its tool's user name: a-z, 0-9, -.
        slug: String,
        /// Its name.
        name: String,
    },
    /// The password by which a manufacturer's tool reads the health of its modules, read from standard input. Now
    /// `coinwire manufacturer set-tool-password`.
    Tool {
        /// The manufacturer's number.
        manufacturer: ManufacturerId,
    },
    /// A module's identity. Without a secret, a new one is made. Prints what must be stored in the module. Now
    /// `coinwire module add`.
    Module {
        /// The number of who made it.
        #[arg(long)]
        manufacturer: Option<ManufacturerId>,
        /// The id and the secret (64 hexadecimal digits) of a module that already has them.
        #[arg(long, num_args = 2, value_names = ["ID", "SECRET"])]
        existing: Option<Vec<String>>,
    },
    /// A machine with its prices. Prints its scan code. Now `coinwire machine add`.
    Machine(machine::AddArgs),
    /// An operator's merchant account. The configuration (JSON) is read from a file; README has an example. Now
    /// `coinwire merchant add`.
    Merchant {
        /// The operator's number or short name.
        operator: String,
        /// The provider: alipay or wechat.
        provider: String,
        /// The file with the account's fields.
        file: PathBuf,
    },
}

impl Execute for Add {
    async fn act(self, backend: &backend::Context, actor: &Actor, settings: &Settings) -> Result<()> {
        match self {
            Add::Operator(words) => words.add(backend, actor).await,
            Add::Member { operator, email } => member(backend, actor, &operator, &email).await,
            Add::Integrator { operator } => {
                super::Integrator::SetPassword { operator }.act(backend, actor, settings).await
            }
            Add::Manufacturer { slug, name } => {
                super::Manufacturer::Add { slug, name }.act(backend, actor, settings).await
            }
            Add::Tool { manufacturer } => manufacturer::set_tool_password(backend, actor, manufacturer).await,
            Add::Module { manufacturer, existing } => {
                let known = match existing.as_deref() {
                    Some([id, secret]) => Some(module::identity(id, secret)?),
                    _ => None,
                };
                module::add(backend, actor, manufacturer, known).await?;
                Ok(())
            }
            Add::Machine(words) => words.add(backend, actor, settings).await,
            Add::Merchant { operator, provider, file } => {
                let operator = input::operator(backend, actor, &operator).await?;
                merchant::add(backend, actor, settings, operator, &provider, &file).await
            }
        }
    }
}

/// Adds a member, or sets another password for an existing member.
async fn member(backend: &backend::Context, actor: &Actor, operator: &str, email: &str) -> Result<()> {
    let operator = input::operator(backend, actor, operator).await?;
    let password = input::secret("password")?;
    match members::find_member(backend, actor, operator, email).await {
        Ok(known) => {
            set_member_password(backend, actor, operator, known.member_id, &password).await?;
            println!("member {}: is a member already, the password was replaced", known.member_id);
        }
        Err(Error::NotFound(_)) => {
            println!("member {}", add_member(backend, actor, operator, email, &password, Role::Owner).await?)
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}
