//! The first tables. Times are unix milliseconds, money is integer minor units.

use super::steps::create_table;
use sea_orm_migration::{prelude::*, schema::*};

#[derive(DeriveMigrationName)]
pub struct Migration;

/// Columns of short text that is compared: fits MySQL's index limits.
const SHORT: u32 = 64;
const TEXT: u32 = 190;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in [operators(), members(), sessions(), modules(), machines(), prices(), merchant_accounts()]
            .into_iter()
            .chain([sales(), attempts(), refunds(), commands(), inbox(), ledger_txns(), ledger_entries(), pulses()])
        {
            create_table(manager, table).await?;
        }
        for (table, columns, unique) in INDEXES {
            let name = format!("ix_{table}_{}", columns.join("_"));
            let mut index = Index::create();
            index.name(name).table(Alias::new(*table));
            for column in *columns {
                index.col(Alias::new(*column));
            }
            if *unique {
                index.unique();
            }
            manager.create_index(index).await?;
        }
        Ok(())
    }
}

const INDEXES: &[(&str, &[&str], bool)] = &[
    ("operators", &["slug"], true),
    ("members", &["email"], true),
    ("sessions", &["expires_ms"], false),
    ("machines", &["code"], true),
    ("machines", &["module_id"], true),
    ("machines", &["operator_id"], false),
    ("prices", &["machine_id"], false),
    ("merchant_accounts", &["token"], true),
    ("merchant_accounts", &["operator_id"], false),
    ("sales", &["token"], true),
    ("sales", &["form_key"], true),
    ("sales", &["operator_id", "created_ms"], false),
    ("sales", &["machine_id", "created_ms"], false),
    ("sales", &["operator_id", "paid_ms"], false),
    ("payment_attempts", &["account_id", "out_trade_no"], true),
    ("payment_attempts", &["account_id", "provider_txn_id"], true),
    ("payment_attempts", &["sale_id"], false),
    ("payment_attempts", &["due_ms"], false),
    ("refunds", &["account_id", "out_refund_no"], true),
    ("refunds", &["attempt_id", "cause"], true),
    ("refunds", &["sale_id"], false),
    ("refunds", &["due_ms"], false),
    ("commands", &["module_id", "sequence"], true),
    ("commands", &["sale_id"], true),
    ("commands", &["due_ms"], false),
    ("callback_inbox", &["account_id", "event_id"], true),
    ("ledger_txns", &["kind", "reference"], true),
    ("ledger_txns", &["sale_id"], false),
    ("ledger_txns", &["operator_id", "at_ms"], false),
    ("ledger_entries", &["txn_id"], false),
    ("ledger_entries", &["operator_id", "account"], false),
    ("coin_pulses", &["machine_id", "at_ms"], false),
    ("coin_pulses", &["operator_id", "at_ms"], false),
];

fn table(name: &'static str) -> TableCreateStatement {
    Table::create().table(Alias::new(name)).if_not_exists().to_owned()
}

fn id() -> ColumnDef {
    big_integer("id").auto_increment().primary_key().take()
}

fn operators() -> TableCreateStatement {
    table("operators")
        .col(id())
        .col(string_len("slug", SHORT))
        .col(string_len("name", TEXT))
        .col(string_len("currency", 3))
        .col(integer("utc_offset_min"))
        .col(boolean("refund_remainder"))
        .col(string_len_null("integrator_password_hash", TEXT))
        .col(big_integer("created_ms"))
        .take()
}

fn members() -> TableCreateStatement {
    table("members")
        .col(id())
        .col(big_integer("operator_id"))
        .col(string_len("email", TEXT))
        .col(string_len("password_hash", TEXT))
        .col(big_integer("created_ms"))
        .take()
}

fn sessions() -> TableCreateStatement {
    table("sessions").col(string_len("id", TEXT).primary_key()).col(text("data")).col(big_integer("expires_ms")).take()
}

fn modules() -> TableCreateStatement {
    table("modules")
        .col(string_len("id", 10).primary_key())
        .col(var_binary("secret_sealed", 255))
        .col(big_integer("registered_ms"))
        .col(big_integer("command_sequence"))
        .col(boolean("online"))
        .col(big_integer_null("seen_ms"))
        .col(big_integer("status_boot"))
        .col(big_integer("status_session"))
        .col(big_integer("status_sequence"))
        .col(big_integer("pulse_boot"))
        .col(big_integer("pulse_session"))
        .col(big_integer("pulse_sequence"))
        .col(string_len("firmware", SHORT))
        .col(integer_null("signal_csq"))
        .col(integer_null("supply_mv"))
        .col(big_integer("faults"))
        .col(boolean("locked"))
        .col(big_integer("settings_version"))
        .col(big_integer("coin_pulses"))
        .col(big_integer("credit_pulses"))
        .col(big_integer("noise_edges"))
        .take()
}

fn machines() -> TableCreateStatement {
    table("machines")
        .col(id())
        .col(big_integer("operator_id"))
        .col(string_len_null("module_id", 10))
        .col(string_len("code", 16))
        .col(string_len("name", TEXT))
        .col(string_len("site", TEXT))
        .col(boolean("active"))
        .col(big_integer("coin_value_minor"))
        .col(big_integer("created_ms"))
        .take()
}

fn prices() -> TableCreateStatement {
    table("prices")
        .col(id())
        .col(big_integer("machine_id"))
        .col(string_len("label", TEXT))
        .col(big_integer("amount_minor"))
        .col(integer("pulses"))
        .col(integer("position"))
        .take()
}

fn merchant_accounts() -> TableCreateStatement {
    table("merchant_accounts")
        .col(id())
        .col(big_integer("operator_id"))
        .col(string_len("provider", SHORT))
        .col(string_len("token", SHORT))
        .col(blob("config_sealed"))
        .col(boolean("active"))
        .col(big_integer("created_ms"))
        .take()
}

fn sales() -> TableCreateStatement {
    table("sales")
        .col(id())
        .col(string_len("token", SHORT))
        .col(string_len("form_key", TEXT))
        .col(big_integer("operator_id"))
        .col(big_integer("machine_id"))
        .col(string_len("module_id", 10))
        .col(string_len("label", TEXT))
        .col(big_integer("amount_minor"))
        .col(string_len("currency", 3))
        .col(integer("pulses"))
        .col(integer("pulses_given"))
        .col(string_len("state", SHORT))
        .col(string_len("reason", SHORT))
        .col(boolean("served_and_refunded"))
        .col(integer("version"))
        .col(big_integer("created_ms"))
        .col(big_integer("expires_ms"))
        .col(big_integer_null("paid_ms"))
        .col(big_integer_null("finished_ms"))
        .take()
}

fn attempts() -> TableCreateStatement {
    table("payment_attempts")
        .col(id())
        .col(big_integer("sale_id"))
        .col(big_integer("account_id"))
        .col(string_len("out_trade_no", SHORT))
        .col(string_len_null("provider_txn_id", SHORT))
        .col(string_len("state", SHORT))
        .col(big_integer("amount_minor"))
        .col(string_len("currency", 3))
        .col(string_len_null("payer_ip", SHORT))
        .col(string_len_null("pay_url", 1024))
        .col(big_integer("created_ms"))
        .col(big_integer("expires_ms"))
        .col(big_integer_null("due_ms"))
        .col(integer("polls"))
        .take()
}

fn refunds() -> TableCreateStatement {
    table("refunds")
        .col(id())
        .col(big_integer("sale_id"))
        .col(big_integer("attempt_id"))
        .col(big_integer("account_id"))
        .col(string_len("out_refund_no", SHORT))
        .col(string_len("cause", SHORT))
        .col(big_integer("amount_minor"))
        .col(string_len("currency", 3))
        .col(string_len("state", SHORT))
        .col(string_len("note", TEXT))
        .col(integer("tries"))
        .col(big_integer_null("due_ms"))
        .col(big_integer("created_ms"))
        .take()
}

fn commands() -> TableCreateStatement {
    table("commands")
        .col(big_integer("id").primary_key())
        .col(string_len("module_id", 10))
        .col(big_integer("sequence"))
        .col(big_integer_null("sale_id"))
        .col(string_len("action", SHORT))
        .col(var_binary("payload", 255))
        .col(string_len("state", SHORT))
        .col(string_len("reason", SHORT))
        .col(integer("pulses"))
        .col(integer("sends"))
        .col(big_integer("issued_ms"))
        .col(big_integer("expires_ms"))
        .col(big_integer_null("heard_ms"))
        .col(big_integer_null("due_ms"))
        .take()
}

fn inbox() -> TableCreateStatement {
    table("callback_inbox")
        .col(id())
        .col(big_integer("account_id"))
        .col(string_len("event_id", TEXT))
        .col(string_len("outcome", SHORT))
        .col(text("headers"))
        .col(blob("body"))
        .col(text("plaintext"))
        .col(big_integer("received_ms"))
        .take()
}

fn ledger_txns() -> TableCreateStatement {
    table("ledger_txns")
        .col(id())
        .col(string_len("kind", SHORT))
        .col(string_len("reference", SHORT))
        .col(big_integer("operator_id"))
        .col(big_integer_null("sale_id"))
        .col(big_integer_null("machine_id"))
        .col(big_integer("at_ms"))
        .take()
}

fn ledger_entries() -> TableCreateStatement {
    table("ledger_entries")
        .col(id())
        .col(big_integer("txn_id"))
        .col(big_integer("operator_id"))
        .col(string_len("account", SHORT))
        .col(big_integer("amount_minor"))
        .col(string_len("currency", 3))
        .take()
}

fn pulses() -> TableCreateStatement {
    table("coin_pulses")
        .col(id())
        .col(big_integer("operator_id"))
        .col(big_integer("machine_id"))
        .col(string_len("module_id", 10))
        .col(big_integer("at_ms"))
        .col(integer("pulses"))
        .col(big_integer("total"))
        .col(integer("width_ms"))
        .col(integer("gap_ms"))
        .take()
}
