//! The migrations, one tree for both databases. An applied one is never edited.

use sea_orm_migration::prelude::*;

mod m20261123_000001_first;
mod m20261126_000002_settings;
mod m20261126_000003_lives;
mod m20261126_000004_disabled;
mod m20261126_000005_manufacturers;
mod m20261129_000010_store;
mod m20261129_000030_restore;
mod m20261129_000040_facts;
mod m20261129_000050_contact;
mod m20261129_000070_time_zones;
mod m20261129_000071_admin;
mod m20261129_000080_device;
mod m20261129_000090_open_commands;
mod m20261130_000100_audit;
mod m20261130_000110_ways_to_pay;
mod m20261130_000120_kept_for_form;
mod steps;

/// All migrations in order.
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261123_000001_first::Migration),
            Box::new(m20261126_000002_settings::Migration),
            Box::new(m20261126_000003_lives::Migration),
            Box::new(m20261126_000004_disabled::Migration),
            Box::new(m20261126_000005_manufacturers::Migration),
            Box::new(m20261129_000010_store::Migration),
            Box::new(m20261129_000080_device::Migration),
            Box::new(m20261129_000090_open_commands::Migration),
            Box::new(m20261129_000050_contact::Migration),
            Box::new(m20261129_000070_time_zones::Migration),
            Box::new(m20261129_000071_admin::Migration),
            Box::new(m20261129_000030_restore::Migration),
            Box::new(m20261129_000040_facts::Migration),
            Box::new(m20261130_000100_audit::Migration),
            Box::new(m20261130_000110_ways_to_pay::Migration),
            Box::new(m20261130_000120_kept_for_form::Migration),
        ]
    }
}
