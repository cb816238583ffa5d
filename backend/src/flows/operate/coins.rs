//! Corrections: a person counted the box, and the books follow.

use crate::{
    Context, Error, Result,
    access::{
        actor::Actor,
        audit::{self, Change},
        operations::Operation,
        operators::operator_row,
    },
    ids::MachineId,
    ledger::{self, Kind, Posting},
    live::{LiveEvent, LiveKind},
    machines::rows::{lock_wired_module, permitted_machine},
    modules::{coin_correction, coins::Coins, module},
};
use protocol::ModuleId;
use sea_orm::{ActiveValue::Set, prelude::*};
use serde_json::json;

/// A correction is at most so much, in minor units.
const AMOUNT_MAX_MINOR: i64 = 100_000_000;

/// Characters of a reason.
const REASON_CHARS: usize = 190;

/// What a person corrects of a machine's coins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoinCorrection {
    /// What is added to the cash expected in the box, in minor units; less than 0 to take away.
    pub amount_minor: i64,
    /// Why, as the books keep it.
    pub reason: String,
    /// Whether counting begins anew from the next total that the module tells.
    pub count_anew: bool,
}

impl CoinCorrection {
    fn checked(&self) -> Result<&str> {
        let reason = self.reason.trim();
        if !(1..=REASON_CHARS).contains(&reason.chars().count()) {
            return Err(Error::invalid("reason", "must have 1 to 190 characters"));
        }
        if !(-AMOUNT_MAX_MINOR..=AMOUNT_MAX_MINOR).contains(&self.amount_minor) {
            return Err(Error::invalid(
                "amount",
                "must be within 100,000,000 of the smallest unit of its currency (fen, cents) either way",
            ));
        }
        if self.amount_minor == 0 && !self.count_anew {
            return Err(Error::invalid("amount", "must not be 0, unless counting begins anew"));
        }
        Ok(reason)
    }
}

/// Corrects the coins booked for a machine by a posting of its own, with its reason.
///
/// # Errors
///
/// `Invalid` names the field; `NotFound`, `Forbidden`, `Store`.
pub async fn correct_coins(
    ctx: &Context,
    actor: &Actor,
    machine_id: MachineId,
    correction: &CoinCorrection,
) -> Result<()> {
    let reason = correction.checked()?;
    let (machine, permit) = permitted_machine(ctx, actor, Operation::CorrectCoins, machine_id).await?;
    let operator_id = machine.operator_id;
    let operator = operator_row(ctx, operator_id).await?;
    let (machine, operator) = (&machine, &operator);
    ctx.db
        .write(|txn| async move {
            let txn = &*txn;
            let module = machine.module_id.as_deref().filter(|_| correction.count_anew);
            if let Some(id) = module.and_then(|id| ModuleId::parse(id).ok()) {
                let row = lock_wired_module(txn, machine_id, id).await?;
                let coins = Coins::of(&row).restart_count();
                let mut change: module::ActiveModel = row.into();
                coins.keep(&mut change);
                change.update_without_returning(txn).await?;
            }
            let row = coin_correction::ActiveModel {
                operator_id: Set(operator_id),
                machine_id: Set(machine_id),
                at_ms: Set(ctx.now_ms()),
                amount_minor: Set(correction.amount_minor),
                reason: Set(reason.to_owned()),
                ..Default::default()
            };
            let id = coin_correction::Entity::insert(row).exec(txn).await?.last_insert_id;
            let told = json!({
                "amount_minor": correction.amount_minor,
                "reason": reason,
                "count_anew": correction.count_anew,
            });
            audit::record(ctx, txn, permit, ("machine", machine_id), Change::to(told)).await?;
            if correction.amount_minor == 0 {
                return Ok(());
            }
            let posting = Posting {
                kind: Kind::CoinsCorrected,
                reference: id.to_string(),
                operator_id,
                sale_id: None,
                machine_id: Some(machine_id),
                amount_minor: correction.amount_minor,
                currency: operator.currency.clone(),
                at_ms: ctx.now_ms(),
            };
            ledger::post(txn, posting).await
        })
        .await?;
    tracing::info!(
        operator_id = operator_id.0,
        machine_id = machine_id.0,
        amount_minor = correction.amount_minor,
        reason,
        "coins corrected"
    );
    ctx.live.emit(LiveEvent { operator_id, machine_id: Some(machine_id), what: LiveKind::Status, at_ms: ctx.now_ms() });
    Ok(())
}
