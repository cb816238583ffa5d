//! `coinwire merchant`: operators' accounts with payment providers.

use super::{Execute, input, print};
use crate::config::Settings;
use anyhow::{Context, Result};
use backend::{
    Error,
    access::actor::Actor,
    flows::operate::{check_merchant, merchant},
    ids::{AccountId, OperatorId},
    payments::{accounts, provider::ProviderError},
};
use clap::Subcommand;
use std::path::{Path, PathBuf};

#[derive(Subcommand)]
pub enum Merchant {
    /// Add an operator's merchant account, or change the keys of one it has. The provider is asked a harmless question
    /// first; what it refuses is not stored. The configuration (JSON) is read from a file; the README has an example.
    /// Another merchant is another account: it takes new payments, and the previous account finishes what it began.
    /// Prints the address for the provider's callbacks.
    Add {
        /// The operator's number or short name.
        operator: String,
        /// The provider: alipay or wechat.
        provider: String,
        /// The file with the account's fields. Delete it afterwards: they are stored encrypted.
        file: PathBuf,
    },
    /// Give an account other keys, from a file as for `add`. The provider is asked first. Put the new key beside the old
    /// one where the provider lets both count for a while: docs/PAYMENTS.md says for which.
    Rotate {
        /// The account's number.
        account: AccountId,
        /// The file with the account's fields. Delete it afterwards: they are stored encrypted.
        file: PathBuf,
    },
    /// Ask the provider of an account a harmless question, to prove that its keys are right. No money moves.
    Check {
        /// The account's number.
        account: AccountId,
    },
    /// Have an account take new payments: at all of its operator's machines, or at one.
    Choose {
        /// The account's number.
        account: AccountId,
        /// Only at this machine: its number or scan code.
        #[arg(long)]
        machine: Option<String>,
        /// Only those of this method, such as h5.
        #[arg(long)]
        method: Option<String>,
    },
    /// Remove a machine's own choice of accounts, so that the accounts for all machines take its payments.
    Forget {
        /// The machine's number or scan code.
        machine: String,
    },
    /// Stop an account from taking new orders. Its callbacks, queries, refunds and statements continue.
    Disable {
        /// The account's number.
        account: AccountId,
    },
    /// Have an account take orders again.
    Enable {
        /// The account's number.
        account: AccountId,
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
                let config = read(&file)?;
                check(backend, actor, operator, &provider, &config).await?;
                store(backend, actor, settings, operator, &provider, &config).await
            }
            Merchant::Rotate { account, file } => {
                let config = read(&file)?;
                let known = accounts::merchant_accounts(backend, actor, None).await?;
                let row =
                    known.into_iter().find(|row| row.account_id == account).context("there is no such account")?;
                check(backend, actor, row.operator_id, &row.provider, &config).await?;
                merchant::rotate_keys(backend, actor, account, &config).await?;
                println!("account {account} has other keys; its callbacks still come to {}", row.callbacks);
                Ok(())
            }
            Merchant::Check { account } => {
                check_merchant::check_account(backend, actor, account).await?;
                println!("account {account} works: the provider took our signature");
                Ok(())
            }
            Merchant::Choose { account, machine, method } => {
                let machine = match machine {
                    Some(named) => Some(input::machine(backend, actor, &named).await?.machine_id),
                    None => None,
                };
                Ok(merchant::choose_account(backend, actor, account, machine, method.as_deref()).await?)
            }
            Merchant::Forget { machine } => {
                let machine = input::machine(backend, actor, &machine).await?.machine_id;
                Ok(merchant::forget_choices(backend, actor, machine).await?)
            }
            Merchant::Disable { account } => Ok(merchant::switch_account(backend, actor, account, false).await?),
            Merchant::Enable { account } => Ok(merchant::switch_account(backend, actor, account, true).await?),
            Merchant::List { operator, form } => {
                let operator = match operator {
                    Some(named) => Some(input::operator(backend, actor, &named).await?),
                    None => None,
                };
                let heads = ["NUMBER", "OPERATOR", "PROVIDER", "MERCHANT", "ACTIVE", "SINCE", "CALLBACKS"];
                form.rows(&accounts::merchant_accounts(backend, actor, operator).await?, heads, |row| {
                    [
                        row.account_id.to_string(),
                        row.operator_id.to_string(),
                        row.provider.clone(),
                        row.identity.clone(),
                        print::yes_no(row.active),
                        print::time(Some(row.created_ms)),
                        row.callbacks.clone(),
                    ]
                })
            }
        }
    }
}

/// Has the provider check an account before it is stored: nobody could pay with an account that the provider refuses,
/// and it would replace one that works.
async fn check(
    backend: &backend::Context,
    actor: &Actor,
    operator: OperatorId,
    provider: &str,
    config: &str,
) -> Result<()> {
    match check_merchant::check_config(backend, actor, operator, provider, config).await {
        Ok(true) => println!("the provider takes this account"),
        Ok(false) => {}
        Err(error @ Error::Provider(ProviderError::Refused { .. } | ProviderError::Untrusted(_))) => {
            let advice = "nothing was stored: the provider does not take this account. Compare the file with what the provider shows";
            return Err(anyhow::Error::new(error).context(advice));
        }
        Err(Error::Provider(error)) => {
            println!(
                "the account could not be checked ({error}); it is stored. `coinwire merchant check` its number later"
            );
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

fn read(file: &Path) -> Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

/// Stores an account, and prints the address for the provider's callbacks.
async fn store(
    backend: &backend::Context,
    actor: &Actor,
    settings: &Settings,
    operator: OperatorId,
    provider: &str,
    config: &str,
) -> Result<()> {
    let token = merchant::set_merchant_account(backend, actor, operator, provider, config).await?;
    println!("callbacks {}/callbacks/{provider}/{token}", settings.public_url);
    Ok(())
}

/// Stores an account from a file without asking its provider, and prints the address for the provider's callbacks.
pub async fn add(
    backend: &backend::Context,
    actor: &Actor,
    settings: &Settings,
    operator: OperatorId,
    provider: &str,
    file: &Path,
) -> Result<()> {
    store(backend, actor, settings, operator, provider, &read(file)?).await
}
