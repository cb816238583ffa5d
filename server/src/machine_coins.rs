//! `coinwire machine correct-coins`: a person counted a machine's coin box, and the books follow.

use crate::{ConfigFile, config::Settings, house};
use anyhow::{Context, Result};
use backend::modules::CoinCorrection;
use clap::{Args, Subcommand};

/// What to do with a machine, in which store.
#[derive(Args)]
pub struct Machine {
    #[command(flatten)]
    config: ConfigFile,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Correct the cash expected in a machine's coin box, by a posting of its own with its reason.
    CorrectCoins {
        /// The machine's scan code.
        code: String,
        /// What is added, in minor units (fen, cents); less than 0 to take away.
        #[arg(long, allow_negative_numbers = true, default_value_t = 0)]
        amount_minor: i64,
        /// Why, as the books keep it.
        #[arg(long)]
        reason: String,
        /// Count anew from the next total that the module tells, and book nothing for it.
        #[arg(long)]
        count_anew: bool,
    },
}

impl Machine {
    pub fn settings(&self) -> Result<Settings> {
        self.config.read()
    }

    pub async fn run(self, settings: &Settings) -> Result<()> {
        let What::CorrectCoins { code, amount_minor, reason, count_anew } = self.what;
        let backend = house::backend_without_bus(settings).await?;
        let (operator, machine) = backend.machine_of_code(&code).await.with_context(|| format!("machine {code}"))?;
        let correction = CoinCorrection { amount_minor, reason, count_anew };
        backend.correct_coins(operator, machine, &correction).await.with_context(|| format!("machine {code}"))?;
        println!("machine {code}: {amount_minor} minor units added to the cash expected in its box");
        if count_anew {
            println!("machine {code}: coins are counted anew from the next total");
        }
        Ok(())
    }
}
