//! Prices: added, changed, removed, put in order. Sales keep the price they were made at.

use super::{PriceChange, changes::lock_machine, machine, price};
use crate::{Backend, Error, Result, ledger, sales::PriceView};
use sea_orm::{ActiveValue::Set, DatabaseTransaction, QueryOrder, prelude::*};
use std::collections::BTreeSet;

/// More prices than this do not fit a scan page.
const PRICES_MAX: usize = 20;

impl Backend {
    /// A machine's prices in the order of its scan page.
    pub async fn prices(&self, operator_id: i64, machine_id: i64) -> Result<Vec<PriceView>> {
        self.own_machine(operator_id, machine_id).await?;
        let currency = ledger::currency(&self.operator_row(operator_id).await?.currency)?;
        let rows = self.price_rows(machine_id).await?;
        Ok(rows.into_iter().map(|row| PriceView::new(row, currency)).collect())
    }

    /// The machine that has a price.
    pub async fn machine_of_price(&self, price_id: i64) -> Result<(i64, i64)> {
        let price = price::Entity::find_by_id(price_id).one(self.db.read()).await?.ok_or(Error::NotFound("price"))?;
        let machine = machine::Entity::find_by_id(price.machine_id).one(self.db.read()).await?;
        machine.map(|machine| (machine.operator_id, machine.id)).ok_or(Error::NotFound("price"))
    }

    /// Adds a price behind the others; gives its number.
    pub async fn add_price(&self, operator_id: i64, machine_id: i64, new: PriceChange) -> Result<i64> {
        let new = new.checked()?;
        let machine = self.own_machine(operator_id, machine_id).await?;
        if let Some(module_id) = &machine.module_id {
            self.module_would_give(module_id, new.pulses).await?;
        }
        let new = &new;
        self.db
            .write(|txn| async move {
                let txn = &*txn;
                lock_machine(txn, operator_id, machine_id).await?;
                let others = in_order(txn, machine_id).await?;
                if others.len() >= PRICES_MAX {
                    return Err(Error::invalid("price", format!("a machine has at most {PRICES_MAX} prices")));
                }
                let row = price::ActiveModel {
                    machine_id: Set(machine_id),
                    label: Set(new.label.clone()),
                    amount_minor: Set(new.amount_minor),
                    pulses: Set(new.pulses),
                    position: Set(others.last().map_or(0, |last| last.position + 1)),
                    ..Default::default()
                };
                Ok(price::Entity::insert(row).exec(txn).await?.last_insert_id)
            })
            .await
    }

    /// Removes a price. Orders made at it before are served.
    pub async fn remove_price(&self, operator_id: i64, machine_id: i64, price_id: i64) -> Result<()> {
        self.db
            .write(|txn| async move {
                let txn = &*txn;
                lock_machine(txn, operator_id, machine_id).await?;
                let removed = price::Entity::delete_many()
                    .filter(price::Column::Id.eq(price_id))
                    .filter(price::Column::MachineId.eq(machine_id))
                    .exec(txn)
                    .await?;
                if removed.rows_affected == 1 { Ok(()) } else { Err(Error::NotFound("price")) }
            })
            .await
    }

    /// Puts a machine's prices in this order: the numbers of all of them.
    pub async fn order_prices(&self, operator_id: i64, machine_id: i64, price_ids: &[i64]) -> Result<()> {
        self.db
            .write(|txn| async move {
                let txn = &*txn;
                lock_machine(txn, operator_id, machine_id).await?;
                let rows = in_order(txn, machine_id).await?;
                let known: BTreeSet<i64> = rows.iter().map(|row| row.id).collect();
                let wanted: BTreeSet<i64> = price_ids.iter().copied().collect();
                if known != wanted || wanted.len() != price_ids.len() {
                    let known: Vec<String> = rows.iter().map(|row| row.id.to_string()).collect();
                    let message = format!("must name each of the machine's prices once: {}", known.join(" "));
                    return Err(Error::invalid("prices", message));
                }
                for (position, id) in (0..).zip(price_ids) {
                    let row = rows.iter().find(|row| row.id == *id).filter(|row| row.position != position);
                    if let Some(row) = row {
                        let mut change: price::ActiveModel = row.clone().into();
                        change.position = Set(position);
                        change.update_without_returning(txn).await?;
                    }
                }
                Ok(())
            })
            .await
    }
}

async fn in_order(txn: &DatabaseTransaction, machine_id: i64) -> Result<Vec<price::Model>> {
    let of_machine = price::Entity::find().filter(price::Column::MachineId.eq(machine_id));
    Ok(of_machine.order_by_asc(price::Column::Position).all(txn).await?)
}
