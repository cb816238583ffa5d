//! `coinwire sale`: shows sales, and what a person decides about them.

use super::{Execute, input, print};
use crate::config::Settings;
use anyhow::Result;
use backend::{
    access::actor::Actor,
    clock::{SystemRandom, random_text},
    flows::operate::sale::{self, ManualActionRequest},
    ids::SaleToken,
    sales::{
        ActionRow, ManualAction, Settlement, actions,
        shapes::{SaleRow, SalesFilter},
        views,
    },
};
use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

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
        before: Option<SaleToken>,
        #[command(flatten)]
        form: print::Form,
    },
    /// Refund a sale through the payment provider: all that is left, or a part.
    Refund {
        /// The sale's token, as in the address of its page.
        token: SaleToken,
        /// The amount, in minor units (fen, cents). Without it, all that is left.
        #[arg(long)]
        amount_minor: Option<i64>,
        #[command(flatten)]
        why: Justification,
    },
    /// End a review: decide about a payment of another amount than asked, or a refund that is stuck at the provider.
    Settle {
        /// The sale's token, as in the address of its page.
        token: SaleToken,
        /// How to end it.
        #[arg(value_enum)]
        how: How,
        #[command(flatten)]
        why: Justification,
    },
    /// Show a sale, and what people decided about it.
    Show {
        /// The sale's token, as in the address of its page.
        token: SaleToken,
        #[command(flatten)]
        form: print::Form,
    },
}

/// Why something is decided, and whether it was decided before.
#[derive(Args)]
pub struct Justification {
    /// Why, in your words. Kept with the sale.
    #[arg(long)]
    reason: String,
    /// Who decided it, if not the user of this shell. Kept with the sale.
    #[arg(long)]
    by: Option<String>,
    /// Give your own key (1 to 64 letters and digits) if a script may run twice: a request with the same key is done
    /// only once.
    #[arg(long)]
    key: Option<String>,
}

/// How a review ends.
#[derive(Clone, Copy, ValueEnum)]
pub enum How {
    /// The machine gives what was bought, now.
    Credit,
    /// The money goes back; a stuck refund is tried again.
    Refund,
    /// The operator keeps the money: it was settled in another way.
    Keep,
}

impl From<How> for Settlement {
    fn from(how: How) -> Self {
        match how {
            How::Credit => Settlement::Credit,
            How::Refund => Settlement::Refund,
            How::Keep => Settlement::Keep,
        }
    }
}

/// Characters of a key that nobody chose.
const KEY_CHARS: usize = 26;

async fn decide(
    backend: &backend::Context,
    actor: &Actor,
    token: SaleToken,
    act: ManualAction,
    why: Justification,
) -> Result<()> {
    let key = why.key.unwrap_or_else(|| random_text(&SystemRandom, KEY_CHARS));
    let request = ManualActionRequest { token, key, act, reason: why.reason, decided_by: why.by };
    let row = sale::perform_manual_action(backend, actor, request).await?;
    println!("sale {} is {}", row.view.token, row.view.state.as_str());
    if let Some(refunded) = row.view.refunded {
        println!("refunded or being refunded: {}", print::paid(&refunded));
    }
    Ok(())
}

impl Execute for Sale {
    async fn act(self, backend: &backend::Context, actor: &Actor, _: &Settings) -> Result<()> {
        match self {
            Sale::List { operator, state, before, form } => {
                let operator = input::operator(backend, actor, &operator).await?;
                let state = state.as_deref().map(input::sale_state).transpose()?;
                let filter = SalesFilter { state, before_token: before, machine_id: None };
                let heads = ["SALE", "WHEN", "MACHINE", "AMOUNT", "STATE", "REASON", "REFUNDED"];
                form.rows(&views::sales(backend, actor, operator, filter).await?, heads, |row| {
                    let view = &row.view;
                    [
                        view.token.to_string(),
                        print::time(Some(view.created_ms)),
                        view.machine.clone(),
                        print::money(&view.amount),
                        view.state.as_str().to_owned(),
                        view.reason.as_str().to_owned(),
                        print::or_dash(&view.refunded.as_ref().map(print::paid)),
                    ]
                })
            }
            Sale::Refund { token, amount_minor, why } => {
                decide(backend, actor, token, ManualAction::Refund { amount_minor }, why).await
            }
            Sale::Settle { token, how, why } => {
                decide(backend, actor, token, ManualAction::Settle(how.into()), why).await
            }
            Sale::Show { token, form } => {
                let sale = Shown {
                    row: views::operator_sale(backend, actor, &token).await?,
                    actions: actions::sale_actions(backend, actor, &token).await?,
                };
                form.one(&sale, facts)
            }
        }
    }
}

/// A sale with what people decided about it.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    row: SaleRow,
    actions: Vec<ActionRow>,
}

fn facts(shown: &Shown) -> Vec<(&'static str, String)> {
    let (row, view) = (&shown.row, &shown.row.view);
    let mut facts = vec![
        ("sale", view.token.to_string()),
        ("when", print::time(Some(view.created_ms))),
        ("machine", format!("{} {}, {}", row.machine_id, view.machine, view.site)),
        ("bought", format!("{}, {} pulses", view.label, view.pulses)),
        ("amount", print::money(&view.amount)),
        ("state", view.state.as_str().to_owned()),
        ("reason", view.reason.as_str().to_owned()),
        ("pulses given", view.pulses_given.to_string()),
        ("refunded", print::or_dash(&view.refunded.as_ref().map(print::paid))),
        ("our number", print::or_dash(&row.out_trade_no)),
        ("provider's", print::or_dash(&row.provider_txn_id)),
        ("came to rest", print::time(row.finished_ms)),
    ];
    if view.served_and_refunded {
        facts.push(("mark", "served although the money went back".to_owned()));
    }
    facts.extend(shown.actions.iter().map(|action| {
        let ActionRow { action, amount_minor, reason, by, at_ms } = action;
        ("by hand", format!("{} {action} {amount_minor} ({by}): {reason}", print::time(Some(*at_ms))))
    }));
    facts
}
