//! `coinwire manufacturer`: who makes modules.

use super::{Execute, input, print};
use crate::{authenticator::TOOL_PREFIX, config::Settings};
use anyhow::Result;
use backend::access::manufacturers;
use clap::Subcommand;

#[derive(Subcommand)]
pub enum Manufacturer {
    /// Add a manufacturer, who makes modules. Prints its number.
    Add {
        /// Short name in MQTT topics and its tool's user name: a-z, 0-9, -. It never changes.
        slug: String,
        /// Its name.
        name: String,
    },
    /// List all manufacturers.
    List(print::Form),
    /// Set the password by which a manufacturer's tool reads the health of its modules, read from standard input.
    SetToolPassword {
        /// The manufacturer's number.
        manufacturer: i64,
    },
}

impl Execute for Manufacturer {
    async fn act(self, backend: &backend::Context, _: &Settings) -> Result<()> {
        match self {
            Manufacturer::Add { slug, name } => {
                println!("manufacturer {}", manufacturers::add_manufacturer(backend, &slug, &name).await?);
                Ok(())
            }
            Manufacturer::List(form) => {
                let heads = ["NUMBER", "SHORT NAME", "NAME", "TOOL HAS A PASSWORD"];
                form.rows(&manufacturers::manufacturers(backend).await?, heads, |row| {
                    let (slug, name) = (row.slug.clone(), row.name.clone());
                    [row.manufacturer_id.to_string(), slug, name, print::yes_no(row.has_tool)]
                })
            }
            Manufacturer::SetToolPassword { manufacturer } => set_tool_password(backend, manufacturer).await,
        }
    }
}

/// Sets a tool's password from standard input.
pub async fn set_tool_password(backend: &backend::Context, manufacturer: i64) -> Result<()> {
    manufacturers::set_tool_password(backend, manufacturer, &input::secret("password")?).await?;
    println!("password set; the user name is {TOOL_PREFIX} and the manufacturer's short name");
    Ok(())
}
