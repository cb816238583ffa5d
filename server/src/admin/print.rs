//! Output of commands: tables for people, JSON for programs.

use anyhow::{Context, Result};
use backend::{
    money::{Money, PaidMoney},
    zones::Zone,
};
use clap::Args;
use serde::Serialize;

/// How a list is printed.
#[derive(Args)]
pub struct Form {
    /// Print JSON, for programs. Times are unix milliseconds, amounts are minor units (fen, cents).
    #[arg(long)]
    json: bool,
}

impl Form {
    /// Prints rows: as a table with these heads, or as a JSON array.
    pub fn rows<T: Serialize, const N: usize>(
        &self,
        rows: &[T],
        heads: [&str; N],
        cells: impl Fn(&T) -> [String; N],
    ) -> Result<()> {
        if self.json {
            return self.one(&rows, |_| vec![]);
        }
        let table: Vec<[String; N]> = std::iter::once(heads.map(str::to_owned)).chain(rows.iter().map(cells)).collect();
        let widths: [usize; N] =
            std::array::from_fn(|column| table.iter().map(|row| width(&row[column])).max().unwrap_or(0));
        for row in &table {
            let padded = row.iter().zip(widths).map(|(cell, wide)| format!("{cell}{}", " ".repeat(wide - width(cell))));
            println!("{}", padded.collect::<Vec<_>>().join("  ").trim_end());
        }
        Ok(())
    }

    /// Prints one thing: one line per fact, or as JSON.
    pub fn one<T: Serialize>(&self, thing: &T, facts: impl Fn(&T) -> Vec<(&'static str, String)>) -> Result<()> {
        if self.json {
            println!("{}", serde_json::to_string_pretty(thing).context("cannot print it as JSON")?);
        }
        for (name, fact) in facts(thing).into_iter().filter(|_| !self.json) {
            println!("{name:<14} {fact}");
        }
        Ok(())
    }
}

/// Columns that a text takes: characters beyond Latin script are wide.
fn width(text: &str) -> usize {
    text.chars().map(|c| if c >= '\u{1100}' { 2 } else { 1 }).sum()
}

/// A number or a name, or a dash.
pub fn or_dash<T: ToString>(value: &Option<T>) -> String {
    value.as_ref().map_or_else(|| "-".to_owned(), T::to_string)
}

/// A time in UTC, or a dash.
pub fn time(at_ms: Option<i64>) -> String {
    let utc = Zone::parse("Etc/UTC").ok();
    at_ms.and_then(|at_ms| utc?.text(at_ms)).unwrap_or_else(|| "-".to_owned())
}

pub fn yes_no(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

/// An amount with its currency's code.
pub fn money(money: &Money) -> String {
    format!("{} {}", money.decimal(), money.currency.code())
}

/// An amount in the currency in which it was paid. For an unknown currency, only the provider's number can be shown.
pub fn paid(paid: &PaidMoney) -> String {
    match paid.known() {
        Some(known) => money(&known),
        None => format!("{} (in the smallest unit) {}", paid.amount_minor, paid.currency),
    }
}
