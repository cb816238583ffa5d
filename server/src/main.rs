//! The one binary, `coinwire`: `serve`, `demo`, `migrate`, `config`, `add` for what an operation begins with, and
//! `module`.
//!
//! It decides nothing and stores nothing: it reads settings, puts the house together (`house.rs`), says who may connect
//! by MQTT (`gate.rs`), and ends it cleanly.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod add;
mod config;
mod connections;
mod demo;
mod files;
mod gate;
mod house;
mod key_file;
mod module;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use config::Settings;
use house::{Foundation, House};
use std::path::PathBuf;
use tracing_subscriber::EnvFilter;

/// Phone payments for small self-service machines: money in, credit out, once.
#[derive(Parser)]
#[command(
    name = "coinwire",
    version,
    after_help = "Begin with `coinwire demo`: everything on this machine, in one process, with play money.\n\
    For real: `coinwire config > coinwire.toml`, change it, `coinwire add operator ...`, `coinwire serve --config coinwire.toml`."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve payments: broker, backend and web in one process.
    Serve(ConfigFile),
    /// Show it all on this machine: virtual modules and machines, and a payment provider with play money.
    Demo(demo::Options),
    /// Bring the database's tables up to date, and end.
    Migrate(ConfigFile),
    /// Print every setting with what it means and its default.
    Config,
    /// Add an operator, a member, a module, a machine or a merchant account.
    Add(add::Add),
    /// Disable a module's credential, or enable it again.
    Module(module::Module),
}

/// Which settings.
#[derive(Args)]
struct ConfigFile {
    /// The configuration file; without it the defaults and the environment (COINWIRE_...).
    #[arg(long, value_name = "FILE", env = "COINWIRE_CONFIG")]
    config: Option<PathBuf>,
}

impl ConfigFile {
    fn read(&self) -> Result<Settings> {
        Settings::read(self.config.as_deref())
    }
}

fn main() -> Result<()> {
    // Two providers are compiled in, and the library refuses to choose.
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("a TLS provider was installed twice"))?;
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    let outcome = runtime.block_on(run(cli.command));
    // Work that blocks (hashing) must not hold up the end.
    runtime.shutdown_background();
    outcome
}

async fn run(command: Command) -> Result<()> {
    match command {
        Command::Config => {
            print!("{}", config::ANNOTATED);
            Ok(())
        }
        Command::Serve(file) => serve(&file.read()?).await,
        Command::Migrate(file) => {
            let settings = file.read()?;
            log_to_stderr(&settings.log)?;
            let db = backend::db::Db::open(&settings.database_url.0).await.context("cannot open database_url")?;
            let pending = db.pending_migrations().await?;
            drop(db);
            house::open_store(&settings).await?;
            println!("{pending} migrations applied");
            Ok(())
        }
        Command::Add(add) => {
            let settings = add.settings()?;
            log_to_stderr(&settings.log)?;
            add.run(&settings).await
        }
        Command::Module(module) => {
            let settings = module.settings()?;
            log_to_stderr(&settings.log)?;
            module.run(&settings).await
        }
        Command::Demo(options) => {
            log_to_stderr(&options.log)?;
            demo::run(options).await
        }
    }
}

async fn serve(settings: &Settings) -> Result<()> {
    log_to_stderr(&settings.log)?;
    let foundation = Foundation::lay(settings.http_listen).await?;
    let house = House::start(settings, foundation, async |_, _| Ok(None)).await?;
    tracing::info!(http = %house.http, mqtt = ?house.mqtt, public_url = settings.public_url, "serving");
    asked_to_end().await?;
    tracing::info!("ending");
    house.shutdown().await;
    Ok(())
}

/// Waits for SIGTERM or Ctrl-C.
pub async fn asked_to_end() -> Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        tokio::select! {
            _ = terminate.recv() => {}
            interrupted = tokio::signal::ctrl_c() => interrupted.context("cannot listen for Ctrl-C")?,
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await.context("cannot listen for Ctrl-C")?;
    Ok(())
}

fn log_to_stderr(filter: &str) -> Result<()> {
    let filter =
        EnvFilter::try_new(filter).with_context(|| format!("setting log: {filter:?} is no filter like info"))?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    Ok(())
}
