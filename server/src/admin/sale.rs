//! `coinwire sale`: sales as they are, and what a person decides about them.

use super::{Act, input, print};
use crate::config::Settings;
use anyhow::Result;
use backend::{
    Backend,
    sales::{SaleRow, SalesFilter},
};
use clap::Subcommand;

#[derive(Subcommand)]
pub enum Sale {
    /// List an operator's newest sales, 50 at most.
    List {
        /// The operator's number or short name.
        operator: String,
        /// Only those in this state, for example review.
        #[arg(long)]
        state: Option<String>,
        /// Only those older than the sale with this token: the next page.
        #[arg(long, value_name = "TOKEN")]
        before: Option<String>,
        #[command(flatten)]
        form: print::Form,
    },
    /// Show a sale.
    Show {
        /// The sale's token, as in the address of its page.
        token: String,
        #[command(flatten)]
        form: print::Form,
    },
}

impl Act for Sale {
    async fn act(self, backend: &Backend, _: &Settings) -> Result<()> {
        match self {
            Sale::List { operator, state, before, form } => {
                let operator = input::operator(backend, &operator).await?;
                let filter = SalesFilter { state, before_token: before, machine_id: None };
                let heads = ["SALE", "WHEN", "MACHINE", "AMOUNT", "STATE", "REASON", "REFUNDED"];
                form.rows(&backend.sales(operator, filter).await?, heads, |row| {
                    let view = &row.view;
                    [
                        view.token.clone(),
                        print::time(Some(view.created_ms)),
                        view.machine.clone(),
                        view.amount_text.clone(),
                        view.state.to_owned(),
                        view.reason.clone(),
                        print::or_dash(&view.refund_text),
                    ]
                })
            }
            Sale::Show { token, form } => form.one(&backend.any_sale(&token).await?, facts),
        }
    }
}

fn facts(row: &SaleRow) -> Vec<(&'static str, String)> {
    let view = &row.view;
    let mut facts = vec![
        ("sale", view.token.clone()),
        ("when", print::time(Some(view.created_ms))),
        ("machine", format!("{} {}, {}", row.machine_id, view.machine, view.site)),
        ("bought", format!("{}, {} pulses", view.label, view.pulses)),
        ("amount", view.amount_text.clone()),
        ("state", view.state.to_owned()),
        ("reason", view.reason.clone()),
        ("pulses given", view.pulses_given.to_string()),
        ("refunded", print::or_dash(&view.refund_text)),
        ("our number", print::or_dash(&row.out_trade_no)),
        ("provider's", print::or_dash(&row.provider_txn_id)),
        ("came to rest", print::time(row.finished_ms)),
    ];
    if view.served_and_refunded {
        facts.push(("mark", "served although the money went back".to_owned()));
    }
    facts
}
