//! The one binary, `coinwire`: `serve`, `demo`, `migrate`, `config`, and administration, noun first.
//!
//! It decides nothing and stores nothing: it reads settings, starts the server (`server.rs`), authenticates MQTT clients
//! (`authenticator.rs`), and shuts down cleanly.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod admin;
mod authenticator;
mod config;
mod connections;
#[cfg(feature = "demo")]
mod demo;
mod files;
mod key_file;
mod log;
mod server;

use admin::StoreCommand;
use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use config::Settings;
use server::{Server, ServerBuilder, shutdown_signal};
use std::{path::PathBuf, process::ExitCode};

#[cfg(feature = "demo")]
const BEGIN: &str =
    "Begin with `coinwire demo`: everything on this machine, in one process, with play money.\nFor real";
#[cfg(not(feature = "demo"))]
const BEGIN: &str = "This program is built for production, without the demo.\nBegin with";
const NEXT: &str = "`coinwire config > coinwire.toml`, change it, `coinwire operator add ...`, `coinwire serve --config coinwire.toml`.\n\
    Commands end with 0 when they did it, with 1 when they were refused or failed, and with 2 when the words make no sense.";

/// Phone payments for small self-service machines: money in, credit out, once.
#[derive(Parser)]
#[command(name = "coinwire", version, after_help = format!("{BEGIN}: {NEXT}"))]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve payments: broker, backend and web in one process.
    Serve(ConfigFile),
    /// Run a demo on this computer: virtual modules and machines, and a payment provider with play money.
    #[cfg(feature = "demo")]
    Demo(demo::Options),
    /// Without the feature `demo`: only says where to find the demo.
    #[cfg(not(feature = "demo"))]
    #[command(hide = true, disable_help_flag = true)]
    Demo {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
        _words: Vec<String>,
    },
    /// Bring the database's tables up to date, and end.
    Migrate(ConfigFile),
    /// Print every setting with its meaning and its default.
    Config,
    /// Operators, the businesses that own machines: add, list, set, takings.
    Operator(StoreCommand<admin::Operator>),
    /// Members, the people who sign in: add, list, set-password, remove.
    Member(StoreCommand<admin::Member>),
    /// Machines: add, list, set, replace-module, retire, bring-back.
    Machine(StoreCommand<admin::Machine>),
    /// Cloud modules: add, list, give, disable, enable.
    Module(StoreCommand<admin::Module>),
    /// Prices on machines: add, list, set, remove, order.
    Price(StoreCommand<admin::Price>),
    /// Merchant accounts with payment providers: add, list.
    Merchant(StoreCommand<admin::Merchant>),
    /// Programs that read an operator's topics by MQTT: set-password, list.
    Integrator(StoreCommand<admin::Integrator>),
    /// Manufacturers of modules: add, list, set-tool-password.
    Manufacturer(StoreCommand<admin::Manufacturer>),
    /// Sales: list, show, refund, settle.
    Sale(StoreCommand<admin::Sale>),
    /// Who did what: list.
    Audit(StoreCommand<admin::Audit>),
    /// Older form of `operator add`, `member add`, `machine add` and the like.
    #[command(hide = true)]
    Add(StoreCommand<admin::Add>),
}

/// Which settings.
#[derive(Args)]
struct ConfigFile {
    /// The configuration file; without it the defaults and the environment (COINWIRE_...).
    #[arg(long, value_name = "FILE", env = "COINWIRE_CONFIG", global = true)]
    config: Option<PathBuf>,
}

impl ConfigFile {
    fn read(&self) -> Result<Settings> {
        Settings::read(self.config.as_deref())
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = run_to_end(cli.command);
    log::end(outcome.as_ref().err());
    if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run_to_end(command: Command) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    let outcome = runtime.block_on(run(command));
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
            log::begin(&settings.log)?;
            let db = backend::db::Db::open(&settings.database_url.0).await.context("cannot open database_url")?;
            let pending = db.pending_migrations().await?;
            drop(db);
            server::open_store(&settings).await?;
            println!("{pending} migrations applied");
            Ok(())
        }
        Command::Operator(on) => on.run().await,
        Command::Member(on) => on.run().await,
        Command::Machine(on) => on.run().await,
        Command::Module(on) => on.run().await,
        Command::Price(on) => on.run().await,
        Command::Merchant(on) => on.run().await,
        Command::Integrator(on) => on.run().await,
        Command::Manufacturer(on) => on.run().await,
        Command::Sale(on) => on.run().await,
        Command::Audit(on) => on.run().await,
        Command::Add(on) => on.run().await,
        #[cfg(not(feature = "demo"))]
        Command::Demo { .. } => no_demo(),
        #[cfg(feature = "demo")]
        Command::Demo(options) => {
            log::begin(&options.log)?;
            demo::run(options).await
        }
    }
}

/// Ends as every command that is not known here.
#[cfg(not(feature = "demo"))]
fn no_demo() -> ! {
    use clap::{CommandFactory, error::ErrorKind};
    const WHY: &str = "unknown command 'demo': this program is built for production, without its demo (the feature \"demo\"). \
        In the sources, `cargo run --release -- demo` builds and runs the demo.";
    Cli::command().error(ErrorKind::InvalidSubcommand, WHY).exit()
}

async fn serve(settings: &Settings) -> Result<()> {
    log::begin(&settings.log)?;
    let builder = ServerBuilder::bind(settings.http_listen).await?;
    let server = Server::start(settings, builder, async |_, _| Ok(None)).await?;
    tracing::info!(
        http = %server.http,
        mqtt = ?server.mqtt,
        mqtt_tls = ?server.mqtt_tls,
        mqtt_ws = ?server.mqtt_ws,
        public_url = settings.public_url,
        "serving"
    );
    shutdown_signal().await?;
    tracing::info!("ending");
    server.shutdown().await;
    Ok(())
}
