//! A virtual module by hand: `virtual-module ID SECRET_HEX BROKER [FLASH_FILE]`. Each line on standard input drops a
//! coin.

use anyhow::{Context, Result};
use module_host::{Config, Flash, VirtualModule};
use protocol::{ModuleId, ModuleSecret};
use tokio::io::{AsyncBufReadExt, BufReader};

const USAGE: &str = "usage: virtual-module ID SECRET_HEX HOST:PORT [FLASH_FILE]
  ID          10 characters, as printed by `coinwire add module` or in demo.json
  SECRET_HEX  64 hexadecimal digits
  HOST:PORT   the broker, for example 127.0.0.1:1883
  FLASH_FILE  where totals and journal are kept; without it they are forgotten at the end
Each line on standard input drops a coin; the end of input ends it.";

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (id, secret, broker, flash) = match arguments.as_slice() {
        [id, secret, broker] => (id, secret, broker, Flash::Memory),
        [id, secret, broker, file] => (id, secret, broker, Flash::File(file.into())),
        _ => anyhow::bail!("{USAGE}"),
    };
    let mut secret_bytes = [0; 32];
    hex::decode_to_slice(secret, &mut secret_bytes).context("SECRET_HEX must be 64 hexadecimal digits")?;
    let config = Config {
        id: ModuleId::parse_typed(id).context("ID")?,
        secret: ModuleSecret::new(secret_bytes),
        broker: tokio::net::lookup_host(broker).await.context("HOST:PORT")?.next().context("HOST:PORT")?,
        flash,
        seed: u64::from(std::process::id()),
    };
    let module = VirtualModule::start(config).await?;
    println!("module {} runs; its machine counted {} pulses", module.id(), module.machine_pulses());
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut changes = module.watch();
    loop {
        tokio::select! {
            line = lines.next_line() => match line? {
                Some(_) => module.insert_coin(1).await,
                None => break,
            },
            changed = changes.changed() => {
                changed?;
                println!("machine counted {} pulses", module.machine_pulses());
            }
        }
    }
    module.shutdown().await;
    Ok(())
}
