//! `coinwire machine`: what modules are wired to.

use super::{Execute, input, print};
use crate::config::Settings;
use anyhow::{Context, Result, bail};
use backend::{
    access::actor::Actor,
    flows::operate::{
        coins::{self, CoinCorrection},
        machine::{self, MachineChange, NewMachine},
    },
    machines::list,
};
use clap::{Args, Subcommand};

#[derive(Subcommand)]
pub enum Machine {
    /// Add a machine. Prints its number, its scan code and its scan page.
    Add(AddArgs),
    /// List machines.
    List {
        /// Only those of this operator: its number or short name.
        operator: Option<String>,
        #[command(flatten)]
        form: print::Form,
    },
    /// Change a machine's name, its place, what its coins are worth, or whether it is on sale.
    Set {
        /// Its number or scan code.
        machine: String,
        /// Its name.
        #[arg(long)]
        name: Option<String>,
        /// Where it stands.
        #[arg(long)]
        site: Option<String>,
        /// What a coin pulse is worth from now on, in minor units (fen, cents).
        #[arg(long)]
        coin_value_minor: Option<i64>,
        /// Whether it is on sale.
        #[arg(long, value_name = "true|false")]
        on_sale: Option<bool>,
    },
    /// Wire another module to a machine, for instance because the old one broke. Scan code, books, prices and settings
    /// stay; a sale under way ends with the old module. Coins that the old module had not reported are not booked:
    /// count the box.
    ReplaceModule {
        /// The machine's number or scan code.
        machine: String,
        /// The id of the new module, which must be registered and not wired.
        #[arg(required_unless_present = "none")]
        module: Option<String>,
        /// Wire no module to it.
        #[arg(long, conflicts_with = "module")]
        none: bool,
    },
    /// Correct the cash expected in a machine's coin box after a person counted it, by a posting of its own.
    CorrectCoins {
        /// Its number or scan code.
        machine: String,
        /// What is added, in minor units (fen, cents); less than 0 to take away.
        #[arg(long, allow_negative_numbers = true, default_value_t = 0)]
        amount_minor: i64,
        /// Why, as the books keep it.
        #[arg(long)]
        reason: String,
        /// Restart counting from the next total that the module reports, and book nothing for it.
        #[arg(long)]
        count_anew: bool,
    },
    /// Take a machine permanently out of service. Its history stays, its module becomes free, its scan page says that
    /// it is out of service.
    Retire {
        /// Its number or scan code.
        machine: String,
    },
    /// Take a retired machine back into service. Wire a module to it then, with `replace-module`.
    BringBack {
        /// Its number or scan code.
        machine: String,
    },
}

/// The arguments for a new machine.
#[derive(Args)]
pub struct AddArgs {
    /// The operator's number or short name.
    operator: String,
    /// The module wired to it.
    #[arg(long)]
    module: Option<String>,
    /// Its name.
    name: String,
    /// Where it stands.
    site: String,
    /// What a coin pulse is worth, in minor units (fen, cents).
    #[arg(long, default_value_t = 100)]
    coin_value_minor: i64,
    /// A price: LABEL,AMOUNT_MINOR,PULSES. May be given several times.
    #[arg(long = "price", value_name = "LABEL,AMOUNT,PULSES", required = true)]
    prices: Vec<String>,
}

impl AddArgs {
    /// Adds it, and prints its number, scan code and scan page.
    pub async fn add(self, backend: &backend::Context, actor: &Actor, settings: &Settings) -> Result<()> {
        let module = self.module.as_deref().map(input::module).transpose().context("--module")?;
        let prices = self.prices.iter().map(|price| input::price(price)).collect::<Result<Vec<_>>>()?;
        let (name, site, coin_value_minor) = (self.name, self.site, self.coin_value_minor);
        let operator_id = input::operator(backend, actor, &self.operator).await?;
        let new = NewMachine { operator_id, module, name, site, coin_value_minor, prices };
        let (machine, code) = machine::add_machine(backend, actor, new).await?;
        println!("machine {machine}\ncode {code}\npage {}/s/{code}", settings.public_url);
        Ok(())
    }
}

impl Execute for Machine {
    async fn act(self, backend: &backend::Context, actor: &Actor, settings: &Settings) -> Result<()> {
        match self {
            Machine::Add(words) => words.add(backend, actor, settings).await,
            Machine::List { operator, form } => list(backend, actor, operator, &form).await,
            Machine::Set { machine, name, site, coin_value_minor, on_sale } => {
                let change = MachineChange { name, site, coin_value_minor };
                set(backend, actor, &machine, change, on_sale).await
            }
            Machine::ReplaceModule { machine, module, none: _ } => {
                let module = module.as_deref().map(input::module).transpose()?;
                let row = input::machine(backend, actor, &machine).await?;
                machine::replace_module(backend, actor, row.machine_id, module).await?;
                let (old, new) = (print::or_dash(&row.module), print::or_dash(&module));
                println!("machine {}: module {new} in place of {old}; code {} as before", row.machine_id, row.code);
                Ok(())
            }
            Machine::CorrectCoins { machine, amount_minor, reason, count_anew } => {
                let row = input::machine(backend, actor, &machine).await?;
                let correction = CoinCorrection { amount_minor, reason, count_anew };
                coins::correct_coins(backend, actor, row.machine_id, &correction).await?;
                println!(
                    "machine {}: {amount_minor} minor units added to the cash expected in its box",
                    row.machine_id
                );
                if count_anew {
                    println!("machine {}: coins are counted anew from the next total", row.machine_id);
                }
                Ok(())
            }
            Machine::Retire { machine } => {
                let row = input::machine(backend, actor, &machine).await?;
                machine::retire_machine(backend, actor, row.machine_id).await?;
                println!("machine {} is retired; module {} is free", row.machine_id, print::or_dash(&row.module));
                Ok(())
            }
            Machine::BringBack { machine } => {
                let row = input::machine(backend, actor, &machine).await?;
                machine::bring_back_machine(backend, actor, row.machine_id).await?;
                println!("machine {} is back in service", row.machine_id);
                Ok(())
            }
        }
    }
}

async fn list(backend: &backend::Context, actor: &Actor, operator: Option<String>, form: &print::Form) -> Result<()> {
    let operator = match operator {
        Some(named) => Some(input::operator(backend, actor, &named).await?),
        None => None,
    };
    let heads = ["NUMBER", "OPERATOR", "CODE", "NAME", "SITE", "MODULE", "STATE"];
    form.rows(&list::machines(backend, actor, operator).await?, heads, |row| {
        let state = match (row.retired_ms, row.active) {
            (Some(_), _) => "retired",
            (None, true) => "on sale",
            (None, false) => "off sale",
        };
        [
            row.machine_id.to_string(),
            row.operator_id.to_string(),
            row.code.clone(),
            row.name.clone(),
            row.site.clone(),
            print::or_dash(&row.module),
            state.to_owned(),
        ]
    })
}

async fn set(
    backend: &backend::Context,
    actor: &Actor,
    machine: &str,
    change: MachineChange,
    on_sale: Option<bool>,
) -> Result<()> {
    if change.name.is_none() && change.site.is_none() && change.coin_value_minor.is_none() && on_sale.is_none() {
        bail!("nothing to change: give --name, --site, --coin-value-minor or --on-sale");
    }
    let row = input::machine(backend, actor, machine).await?;
    machine::change_machine(backend, actor, row.machine_id, change).await?;
    if let Some(on_sale) = on_sale {
        machine::set_active(backend, actor, row.machine_id, on_sale).await?;
    }
    println!("machine {} changed", row.machine_id);
    Ok(())
}
