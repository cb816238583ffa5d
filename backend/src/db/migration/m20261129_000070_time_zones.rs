//! Operators have a time zone by name in place of minutes before UTC, which knew no summer time.

use crate::{money::Currency, zones::Zone};
use sea_orm::{ConnectionTrait, Statement};
use sea_orm_migration::{prelude::*, schema::*};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let operators = || Table::alter().table(Alias::new("operators")).to_owned();
        if !manager.has_column("operators", "time_zone").await? {
            let column = string_len("time_zone", 64).default("").take();
            manager.alter_table(operators().add_column(column).to_owned()).await?;
        }
        // MySQL commits each step by itself: what was done before it was interrupted is not done again.
        if manager.has_column("operators", "utc_offset_min").await? {
            name_zones(manager).await?;
            manager.alter_table(operators().drop_column(Alias::new("utc_offset_min")).to_owned()).await?;
        }
        Ok(())
    }
}

async fn name_zones(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let db = manager.get_connection();
    let backend = manager.get_database_backend();
    let sql = "SELECT id, utc_offset_min, currency FROM operators WHERE time_zone = ''";
    for row in db.query_all_raw(Statement::from_string(backend, sql)).await? {
        let (id, offset_min): (i64, i32) = (row.try_get("", "id")?, row.try_get("", "utc_offset_min")?);
        let currency: String = row.try_get("", "currency")?;
        let zone = zone_of(offset_min, &currency);
        tracing::info!(operator = id, offset_min, zone, "an operator's time zone was taken from its offset");
        let sql = "UPDATE operators SET time_zone = ? WHERE id = ?";
        db.execute_raw(Statement::from_sql_and_values(backend, sql, [zone.into(), id.into()])).await?;
    }
    Ok(())
}

/// The zone of an offset; that of the nearest whole hour where there is none.
fn zone_of(offset_min: i32, currency: &str) -> String {
    let currency = Currency::parse(currency).unwrap_or(Currency::Cny);
    let nearest_min = (offset_min.clamp(-12 * 60, 14 * 60) + 30).div_euclid(60) * 60;
    let zone = Zone::of_offset(offset_min, currency).or_else(|| Zone::of_offset(nearest_min, currency));
    zone.map_or_else(|| "Etc/UTC".to_owned(), |zone| zone.name().to_owned())
}

#[cfg(test)]
mod tests {
    use super::zone_of;

    #[test]
    fn every_offset_that_could_be_stored_becomes_a_zone() {
        for (offset_min, currency, zone) in [
            (480, "CNY", "Asia/Shanghai"),
            (60, "EUR", "Europe/Berlin"),
            (345, "EUR", "Asia/Kathmandu"),
            (37, "EUR", "Europe/Berlin"),
            (-29, "CNY", "Etc/UTC"),
            (-841, "EUR", "Etc/GMT+12"),
            (840, "EUR", "Etc/GMT-14"),
        ] {
            assert_eq!(zone_of(offset_min, currency), zone, "{offset_min} {currency}");
        }
    }
}
