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
    payments::{method::PayerApp, ways::ways_of},
    sales::{
        readiness::Readiness,
        shapes::{PriceView, ScanView, WayView},
    },
};
use protocol::limits::CREDITS_WAITING_MAX;

/// The scan page of a machine, in an app: looks it up, and probes its module if the last answer is too old and the payer
/// could pay here.
///
/// # Errors
/// `NotFound` if there is no such machine; `Store`.
pub async fn scan(ctx: &Context, code: &str, app: PayerApp) -> Result<ScanView> {
    let machine = machine_by_code(ctx, code).await?;
    let operator = operator_row(ctx, machine.operator_id).await?;
    let prices = price_rows(ctx.db.read(), machine.id).await?;
    let currency = ledger::currency(&operator.currency)?;
    let ways = ways_of(ctx, &machine, currency).await?;
    let usable = ways.usable(ctx, app);
    let readiness = match &usable {
        _ if machine.retired_ms.is_some() => Readiness::Retired,
        _ if prices.is_empty() => Readiness::Closed,
        Ok(_) => readiness(ctx, &machine).await?,
        Err(why) => *why,
    };
    Ok(ScanView {
        code: machine.code,
        machine: machine.name,
        site: machine.site,
        operator: operator.name,
        contact: operator.contact,
        readiness,
        ways: usable.unwrap_or_default().into_iter().map(WayView::of).collect(),
        apps: ways.apps(),
        prices: prices.into_iter().map(|price| PriceView::new(price, currency)).collect(),
    })
}

/// Whether a machine could give a credit now; asks its module if the last answer is too old.
pub(crate) async fn readiness(ctx: &Context, machine: &machine::Model) -> Result<Readiness> {
    match &machine.module_id {
        _ if machine.retired_ms.is_some() => Ok(Readiness::Retired),
        Some(module_id) if machine.active => {
            let readiness = probe(ctx, module_id).await?;
            // Its answer may be some seconds old, and credits that were paid meanwhile may not have reached it.
            let is_busy = readiness == Readiness::Ready && open_credits(ctx, module_id).await? >= CREDITS_WAITING_MAX;
            Ok(if is_busy { Readiness::Busy } else { readiness })
        }
        _ => Ok(Readiness::Closed),
    }
}
