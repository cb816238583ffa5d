//! `coinwire member` and `coinwire integrator`: people and programs that sign in for an operator.

use super::{Execute, input, print};
use crate::config::Settings;
use anyhow::{Context, Result};
use backend::{
    access::{actor::Actor, members, operators, role::Role},
    flows::operate::{member, operator},
    ids::{MemberId, OperatorId},
};
use clap::{Subcommand, ValueEnum};

#[derive(Subcommand)]
pub enum Member {
    /// Add a person who signs in for an operator. The password is read from standard input.
    Add {
        /// The operator's number or short name.
        operator: String,
        /// The address to sign in with.
        email: String,
        /// The member's role, which decides what the member may do.
        #[arg(long, value_enum, default_value = "owner")]
        role: RoleArg,
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
    /// Give a member another role. The member has to sign in again.
    SetRole {
        /// The operator's number or short name.
        operator: String,
        /// The address the member signs in with.
        email: String,
        /// The member's role, which decides what the member may do.
        #[arg(value_enum)]
        role: RoleArg,
    },
    /// Remove a member. The member is signed out everywhere within a second.
    Remove {
        /// The operator's number or short name.
        operator: String,
        /// The address the member signs in with.
        email: String,
    },
}

/// A member's role.
#[derive(Clone, Copy, ValueEnum)]
pub enum RoleArg {
    /// May do everything.
    Owner,
    /// May do everything but people, merchant accounts and the business itself.
    Manager,
    /// Looks after machines and modules; sees no takings.
    Technician,
    /// Looks after money; changes no machine.
    Accountant,
    /// Sees machines and sales, and changes nothing.
    Viewer,
}

impl From<RoleArg> for Role {
    fn from(role: RoleArg) -> Self {
        match role {
            RoleArg::Owner => Role::Owner,
            RoleArg::Manager => Role::Manager,
            RoleArg::Technician => Role::Technician,
            RoleArg::Accountant => Role::Accountant,
            RoleArg::Viewer => Role::Viewer,
        }
    }
}

impl Execute for Member {
    async fn act(self, backend: &backend::Context, actor: &Actor, _: &Settings) -> Result<()> {
        match self {
            Member::Add { operator, email, role } => {
                let operator = input::operator(backend, actor, &operator).await?;
                println!(
                    "member {}",
                    member::add_member(backend, actor, operator, &email, &input::secret("password")?, role.into())
                        .await?
                );
            }
            Member::List { operator, form } => {
                let members =
                    members::members(backend, actor, input::operator(backend, actor, &operator).await?).await?;
                form.rows(&members, ["NUMBER", "E-MAIL", "ROLE", "SINCE"], |row| {
                    [
                        row.member_id.to_string(),
                        row.email.clone(),
                        row.role.as_str().into(),
                        print::time(Some(row.created_ms)),
                    ]
                })?;
            }
            Member::SetPassword { operator, email } => {
                let operator = input::operator(backend, actor, &operator).await?;
                let found = find(backend, actor, operator, &email).await?;
                member::set_member_password(backend, actor, operator, found, &input::secret("password")?).await?;
                println!("member {found}: password set");
            }
            Member::SetRole { operator, email, role } => {
                let operator = input::operator(backend, actor, &operator).await?;
                let found = find(backend, actor, operator, &email).await?;
                member::set_member_role(backend, actor, operator, found, role.into()).await?;
                println!("member {found}: role set");
            }
            Member::Remove { operator, email } => {
                let operator = input::operator(backend, actor, &operator).await?;
                let found = find(backend, actor, operator, &email).await?;
                member::remove_member(backend, actor, operator, found).await?;
                println!("member {found} removed");
            }
        }
        Ok(())
    }
}

async fn find(backend: &backend::Context, actor: &Actor, operator: OperatorId, email: &str) -> Result<MemberId> {
    let found = members::find_member(backend, actor, operator, email).await;
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
    async fn act(self, backend: &backend::Context, actor: &Actor, _: &Settings) -> Result<()> {
        match self {
            Integrator::SetPassword { operator } => {
                let operator = input::operator(backend, actor, &operator).await?;
                operator::set_integrator_password(backend, actor, operator, &input::secret("password")?).await?;
                println!("password set; the user name is the operator's short name");
                Ok(())
            }
            Integrator::List(form) => {
                form.rows(&operators::operators(backend, actor).await?, ["OPERATOR", "USER NAME", "PASSWORD"], |row| {
                    [row.operator_id.to_string(), row.slug.clone(), print::yes_no(row.has_integrator)]
                })
            }
        }
    }
}
