//! Benchmarks over real sockets, with a peer or a physical limit beside each figure in the same run.
//!
//! `sale`: a complete sale. The server (gate, backend, web), the provider's sandbox and the virtual modules all share
//! this process and this computer's cores. `callbacks`: what providers send, verified and committed. `broker`: the gate
//! beside mosquitto.

mod broker;
mod callbacks;
mod disk;
mod load;
mod server;
mod signatures;
mod stopwatch;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::{path::PathBuf, sync::Arc, time::Duration};

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// A complete sale: callback in, command out, acks, credited in the store.
    Sale(SaleOptions),
    /// Callbacks of each provider, verified and committed.
    Callbacks(callbacks::Options),
    /// The gate beside mosquitto: throughput, round trips, a fleet, and how other clients are affected by nuisances.
    Broker(broker::Options),
    /// The gate in a process of its own, for the broker benchmark.
    #[command(hide = true)]
    Gate,
    /// Nuisance clients, for the broker benchmark.
    #[command(hide = true)]
    Nuisance { kind: broker::Kind, at: std::net::SocketAddr, seconds: u64 },
}

/// How the sale benchmark runs.
#[derive(clap::Args)]
pub struct SaleOptions {
    #[command(flatten)]
    server: server::ServerOptions,
    /// Sales a second in the part that measures latency.
    #[arg(long, default_value_t = 100)]
    rate: u32,
    /// Seconds of each part.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Where the temporary directory is made: on the disk whose speed is measured.
    #[arg(long)]
    dir: Option<PathBuf>,
}

fn main() -> Result<()> {
    // Each connection is an open file at either end, and the usual limit is 1,024.
    rlimit::increase_nofile_limit(u64::MAX)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match Cli::parse().command {
            Command::Sale(options) => sale(options).await,
            Command::Callbacks(options) => callbacks::run(options).await,
            Command::Broker(options) => broker::run(options).await,
            Command::Gate => broker::serve().await,
            Command::Nuisance { kind, at, seconds } => broker::run_nuisance(kind, at, seconds).await,
        }
    })
}

async fn sale(options: SaleOptions) -> Result<()> {
    let dir = match &options.dir {
        Some(dir) => tempfile::tempdir_in(dir)?,
        None => tempfile::tempdir()?,
    };
    let part = Duration::from_secs(options.seconds);
    let before = disk::limits(dir.path()).await?;
    let server = Arc::new(server::ServerUnderTest::start(&options.server, dir.path()).await?);

    println!("\n{} sales/s offered for {} s:", options.rate, options.seconds);
    let steady = load::open(&server, options.rate, part).await?;
    steady.print();

    println!("\nas many as it takes for {} s:", options.seconds);
    let full = load::closed(&server, part).await?;
    full.print();

    let after = disk::limits(dir.path()).await?;
    println!("\nthe disk and the store by themselves, before and after:");
    println!("  fdatasync of 4 KiB       {:>8.0}/s {:>8.0}/s", before.syncs_per_s, after.syncs_per_s);
    println!("  durable one-row commits  {:>8.0}/s {:>8.0}/s", before.commits_per_s, after.commits_per_s);
    let signed_per_s = signatures::sales_per_s()?;
    println!("\nthe cores by themselves:");
    println!("  sales whose RSA signatures they could make  {signed_per_s:>8.0}/s");
    println!("\nratios of this run:");
    println!("  sales to those signatures       {:.3}", full.per_s() / signed_per_s);
    println!("  sales to durable commits        {:.3}", full.per_s() / after.commits_per_s.max(before.commits_per_s));
    println!(
        "  callback-to-command p50 to a durable commit   {:.1}",
        steady.command.percentile_ms(50.0) * before.commits_per_s / 1000.0
    );
    if let Some(server) = Arc::into_inner(server) {
        server.shutdown().await;
    }
    Ok(())
}
