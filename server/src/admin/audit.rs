//! `coinwire audit`: who did what.

use super::{Execute, input, print};
use crate::config::Settings;
use anyhow::Result;
use backend::access::{actor::Actor, audit};
use clap::Subcommand;
use serde_json::Value;

#[derive(Subcommand)]
pub enum Audit {
    /// List what was done, newest first.
    List {
        /// Only what concerned this operator: its number or short name.
        operator: Option<String>,
        /// Only entries before the entry with this number: the next page.
        #[arg(long, value_name = "NUMBER")]
        before: Option<i64>,
        /// How many at most, up to 500.
        #[arg(long, default_value_t = 50)]
        count: u64,
        #[command(flatten)]
        form: print::Form,
    },
}

impl Execute for Audit {
    async fn act(self, backend: &backend::Context, actor: &Actor, _: &Settings) -> Result<()> {
        let Audit::List { operator, before, count, form } = self;
        let operator = match operator {
            Some(named) => Some(input::operator(backend, actor, &named).await?),
            None => None,
        };
        let rows = audit::entries(backend, actor, operator, before, count).await?;
        form.rows(&rows, ["NUMBER", "WHEN", "WHO", "FROM", "WHAT", "TO WHAT", "BEFORE", "AFTER"], |row| {
            [
                row.entry_id.to_string(),
                print::time(Some(row.at_ms)),
                row.actor_name.clone(),
                print::or_dash(&row.address),
                row.operation.clone(),
                row.subject.clone(),
                json(&row.before),
                json(&row.after),
            ]
        })
    }
}

fn json(value: &Option<Value>) -> String {
    value.as_ref().map_or_else(|| "-".to_owned(), Value::to_string)
}
