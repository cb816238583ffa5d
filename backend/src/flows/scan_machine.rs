//! The scan page of a machine: what it sells, and whether it could give it now.

use crate::{
    Context, Result,
    access::operators::operator_row,
    flows::probe_module::probe,
    ledger,
    machines::{
        machine,
        rows::{machine_by_code, price_rows},
    },
    modules::commands::open_credits,
    payments::{account, accounts::active_account, bulkhead::Lane},
    sales::{
        readiness::Readiness,
        shapes::{PriceView, ScanView},
    },
};
use protocol::limits::CREDITS_WAITING_MAX;

/// The scan page of a machine: looks it up, and probes its module if the last answer is too old.
pub async fn scan(ctx: &Context, code: &str) -> Result<ScanView> {
    let machine = machine_by_code(ctx, code).await?;
    let operator = operator_row(ctx, machine.operator_id).await?;
    let prices = price_rows(ctx.db.read(), machine.id).await?;
    let account = active_account(ctx, machine.operator_id).await?;
    let readiness = match account {
        _ if machine.retired_ms.is_some() => Readiness::Retired,
        Some(account) if !prices.is_empty() => payable(ctx, &machine, &account).await?,
        _ => Readiness::Closed,
    };
    let currency = ledger::currency(&operator.currency)?;
    Ok(ScanView {
        code: machine.code,
        machine: machine.name,
        site: machine.site,
        operator: operator.name,
        contact: operator.contact,
        readiness,
        prices: prices.into_iter().map(|price| PriceView::new(price, currency)).collect(),
    })
}

/// Whether money can be taken for a machine now: not while its operator's provider does not answer.
pub(crate) async fn payable(ctx: &Context, machine: &machine::Model, account: &account::Model) -> Result<Readiness> {
    if ctx.providers.bulkhead(account.id).has_room(Lane::Order) {
        readiness(ctx, machine).await
    } else {
        Ok(Readiness::ProviderSilent)
    }
}

/// Whether a machine could give a credit now; asks its module if the last answer is too old.
async fn readiness(ctx: &Context, machine: &machine::Model) -> Result<Readiness> {
    match &machine.module_id {
        _ if machine.retired_ms.is_some() => Ok(Readiness::Retired),
        Some(module_id) if machine.active => match probe(ctx, module_id).await? {
            // Its answer may be some seconds old, and credits that were paid meanwhile may not have reached it.
            Readiness::Ready if open_credits(ctx, module_id).await? >= CREDITS_WAITING_MAX => Ok(Readiness::Busy),
            readiness => Ok(readiness),
        },
        _ => Ok(Readiness::Closed),
    }
}
