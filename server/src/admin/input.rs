//! Parses what people type, or refuses it with the reason.

use anyhow::{Context, Result, bail};
use backend::{
    access::{actor::Actor, operators},
    ids::OperatorId,
    machines::{MachineRow, list, shapes::PriceChange},
    money::Currency,
    sales::state::SaleState,
};
use protocol::ModuleId;
use std::io::Read;

/// Most bytes of a password or a secret.
const SECRET_BYTES_MAX: u64 = 1024;

/// The number of an operator given by number or short name.
pub async fn operator(backend: &backend::Context, actor: &Actor, named: &str) -> Result<OperatorId> {
    let found = operators::find_operator(backend, actor, named).await;
    Ok(found.with_context(|| format!("{named:?}: see `coinwire operator list`"))?.operator_id)
}

/// A machine given by number or scan code.
pub async fn machine(backend: &backend::Context, actor: &Actor, named: &str) -> Result<MachineRow> {
    list::find_machine(backend, actor, named).await.with_context(|| format!("{named:?}: see `coinwire machine list`"))
}

/// A module's id.
pub fn module(id: &str) -> Result<ModuleId> {
    ModuleId::parse_typed(id).with_context(|| format!("the module's id {id:?}"))
}

/// `LABEL,AMOUNT_MINOR,PULSES`. The label may have commas.
pub fn price(text: &str) -> Result<PriceChange> {
    let mut fields = text.rsplitn(3, ',');
    let (Some(pulses), Some(amount), Some(label)) = (fields.next(), fields.next(), fields.next()) else {
        bail!("--price {text:?} must be LABEL,AMOUNT,PULSES, for example \"One ride,200,2\"");
    };
    Ok(PriceChange {
        label: label.into(),
        amount_minor: amount.trim().parse().with_context(|| format!("--price {text:?}: the amount"))?,
        pulses: pulses.trim().parse().with_context(|| format!("--price {text:?}: the pulses"))?,
    })
}

/// A state of sales.
pub fn sale_state(word: &str) -> Result<SaleState> {
    SaleState::parse(word).with_context(|| {
        let known: Vec<&str> = SaleState::ALL.into_iter().map(SaleState::as_str).collect();
        format!("{word:?} is no state of a sale; known: {}", known.join(", "))
    })
}

/// A currency's code.
pub fn currency(code: &str) -> Result<Currency> {
    Currency::parse(code).with_context(|| {
        let known: Vec<&str> = Currency::ALL.into_iter().map(Currency::code).collect();
        format!("{code:?} is no currency that can be sold in; known: {}", known.join(", "))
    })
}

/// A secret from standard input, without the line's end. `what` is for the error.
pub fn secret(what: &str) -> Result<String> {
    let mut text = String::new();
    let read = std::io::stdin().take(SECRET_BYTES_MAX).read_to_string(&mut text);
    read.with_context(|| format!("cannot read the {what} from standard input"))?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        bail!("there was no {what} on standard input; for example: echo \"...\" | coinwire ...");
    }
    Ok(text.to_owned())
}
