//! `coinwire manufacturer`: who makes modules.

use super::{Execute, input, print};
use crate::{authenticator::TOOL_PREFIX, config::Settings};
use anyhow::Result;
use backend::{
    access::{actor::Actor, manufacturers},
    flows::operate::manufacturer,
    ids::ManufacturerId,
};
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
        manufacturer: ManufacturerId,
    },
}

impl Execute for Manufacturer {
    async fn act(self, backend: &backend::Context, actor: &Actor, _: &Settings) -> Result<()> {
        match self {
            Manufacturer::Add { slug, name } => {
                println!("manufacturer {}", manufacturer::add_manufacturer(backend, actor, &slug, &name).await?);
                Ok(())
            }
            Manufacturer::List(form) => {
                let heads = ["NUMBER", "SHORT NAME", "NAME", "TOOL HAS A PASSWORD"];
                form.rows(&manufacturers::manufacturers(backend, actor).await?, heads, |row| {
                    let (slug, name) = (row.slug.clone(), row.name.clone());
                    [row.manufacturer_id.to_string(), slug, name, print::yes_no(row.has_tool)]
                })
            }
            Manufacturer::SetToolPassword { manufacturer } => set_tool_password(backend, actor, manufacturer).await,
        }
    }
}

/// Sets a tool's password from standard input.
pub async fn set_tool_password(backend: &backend::Context, actor: &Actor, manufacturer: ManufacturerId) -> Result<()> {
    manufacturer::set_tool_password(backend, actor, manufacturer, &input::secret("password")?).await?;
    println!("password set; the user name is {TOOL_PREFIX} and the manufacturer's short name");
    Ok(())
}
