//! `coinwire member` and `coinwire integrator`: people and programs that sign in for an operator.

use super::{Execute, input, print};
use crate::config::Settings;
use anyhow::{Context, Result};
use backend::access::{members, operators};
use clap::Subcommand;

#[derive(Subcommand)]
pub enum Member {
    /// Add a person who signs in for an operator. The password is read from standard input.
    Add {
        /// The operator's number or short name.
        operator: String,
        /// The address to sign in with.
        email: String,
    },
    /// List an operator's members.
    List {
        /// The operator's number or short name.
        operator: String,
        #[command(flatten)]
        form: print::Form,
    },
    /// Give a member another password, read from standard input. Whoever is signed in with the old one is signed out
    /// within a second.
    SetPassword {
        /// The operator's number or short name.
        operator: String,
        /// The address the member signs in with.
        email: String,
    },
    /// Remove a member, who is signed out everywhere within a second.
    Remove {
        /// The operator's number or short name.
        operator: String,
        /// The address the member signs in with.
        email: String,
    },
}

impl Execute for Member {
    async fn act(self, backend: &backend::Context, _: &Settings) -> Result<()> {
        match self {
            Member::Add { operator, email } => {
                let operator = input::operator(backend, &operator).await?;
                println!(
                    "member {}",
                    members::add_member(backend, operator, &email, &input::secret("password")?).await?
                );
            }
            Member::List { operator, form } => {
                let members = members::members(backend, input::operator(backend, &operator).await?).await?;
                form.rows(&members, ["NUMBER", "E-MAIL", "SINCE"], |row| {
                    [row.member_id.to_string(), row.email.clone(), print::time(Some(row.created_ms))]
                })?;
            }
            Member::SetPassword { operator, email } => {
                let operator = input::operator(backend, &operator).await?;
                let member = find(backend, operator, &email).await?;
                members::set_member_password(backend, operator, member, &input::secret("password")?).await?;
                println!("member {member}: password set");
            }
            Member::Remove { operator, email } => {
                let operator = input::operator(backend, &operator).await?;
                let member = find(backend, operator, &email).await?;
                members::remove_member(backend, operator, member).await?;
                println!("member {member} removed");
            }
        }
        Ok(())
    }
}

async fn find(backend: &backend::Context, operator: i64, email: &str) -> Result<i64> {
    let found = members::find_member(backend, operator, email).await;
    Ok(found.with_context(|| format!("{email:?}: see `coinwire member list {operator}`"))?.member_id)
}

#[derive(Subcommand)]
pub enum Integrator {
    /// Set the password by which an operator's programs read its MQTT topics, read from standard input. Their user name is
    /// the operator's short name. Connections with the old password end within a second.
    SetPassword {
        /// The operator's number or short name.
        operator: String,
    },
    /// List the operators, and whether their programs have a password.
    List(print::Form),
}

impl Execute for Integrator {
    async fn act(self, backend: &backend::Context, _: &Settings) -> Result<()> {
        match self {
            Integrator::SetPassword { operator } => {
                let operator = input::operator(backend, &operator).await?;
                operators::set_integrator_password(backend, operator, &input::secret("password")?).await?;
                println!("password set; the user name is the operator's short name");
                Ok(())
            }
            Integrator::List(form) => {
                form.rows(&operators::operators(backend).await?, ["OPERATOR", "USER NAME", "PASSWORD"], |row| {
                    [row.operator_id.to_string(), row.slug.clone(), print::yes_no(row.has_integrator)]
                })
            }
        }
    }
}
