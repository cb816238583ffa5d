//! `coinwire merchant`: operators' accounts with payment providers.

use super::{Execute, input, print};
use crate::config::Settings;
use anyhow::{Context, Result};
use backend::{access::actor::Actor, flows::operate::merchant, ids::OperatorId, payments::accounts};
use clap::Subcommand;
use std::path::{Path, PathBuf};

#[derive(Subcommand)]
pub enum Merchant {
    /// Add an operator's merchant account, or replace the one it has. The configuration (JSON) is read from a file; the
    /// README has an example. Prints the address that the provider reports to.
    Add {
        /// The operator's number or short name.
        operator: String,
        /// The provider: wechat.
        provider: String,
        /// The file with the account's fields. Delete it afterwards: they are stored encrypted.
        file: PathBuf,
    },
    /// List merchant accounts, without their secrets.
    List {
        /// Only those of this operator: its number or short name.
        operator: Option<String>,
        #[command(flatten)]
        form: print::Form,
    },
}

impl Execute for Merchant {
    async fn act(self, backend: &backend::Context, actor: &Actor, settings: &Settings) -> Result<()> {
        match self {
            Merchant::Add { operator, provider, file } => {
                let operator = input::operator(backend, actor, &operator).await?;
                add(backend, actor, settings, operator, &provider, &file).await
            }
            Merchant::List { operator, form } => {
                let operator = match operator {
                    Some(named) => Some(input::operator(backend, actor, &named).await?),
                    None => None,
                };
                let heads = ["NUMBER", "OPERATOR", "PROVIDER", "ACTIVE", "SINCE", "CALLBACKS"];
                form.rows(&accounts::merchant_accounts(backend, actor, operator).await?, heads, |row| {
                    [
                        row.account_id.to_string(),
                        row.operator_id.to_string(),
                        row.provider.clone(),
                        print::yes_no(row.active),
                        print::time(Some(row.created_ms)),
                        row.callbacks.clone(),
                    ]
                })
            }
        }
    }
}

/// Stores an account from a file, and prints where the provider reports to.
pub async fn add(
    backend: &backend::Context,
    actor: &Actor,
    settings: &Settings,
    operator: OperatorId,
    provider: &str,
    file: &Path,
) -> Result<()> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let token = merchant::set_merchant_account(backend, actor, operator, provider, &text).await?;
    println!("callbacks {}/callbacks/{provider}/{token}", settings.public_url);
    Ok(())
}
