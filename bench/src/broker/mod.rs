//! The gate beside mosquitto, both in processes of their own, on the same cores as the load.

mod client;
mod loads;
mod nuisance;
mod server;

pub use nuisance::{Kind, run_kind as run_nuisance};
pub use server::serve;

use crate::stopwatch::Durations;
use anyhow::Result;
use client::{VERSIONS, Version};
use loads::Fleet;
use nuisance::{KINDS, Nuisance};
use server::{PEERS, Server};
use std::{path::Path, time::Duration};

/// Sizes of the fleet whose memory is looked at.
const FLEETS: [usize; 3] = [5_000, 10_000, 19_000];
const PUBLISHERS: [usize; 3] = [1, 10, 100];
const PAYLOAD_BYTES: [usize; 2] = [64, 256];
/// Round trips a second.
const RATE: u32 = 200;
/// The least time to observe nuisances: longer than the gate's time to CONNECT, after which it cuts silent clients and
/// they reconnect.
const NUISANCE_MIN: Duration = Duration::from_secs(14);
/// A fleet is watched for two of its periods at least.
const FLEET_MIN: Duration = Duration::from_secs(20);

/// How the broker benchmark runs.
#[derive(clap::Args)]
pub struct Options {
    /// Seconds of each part that measures.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Modules of the largest fleet.
    #[arg(long, default_value_t = FLEETS[2])]
    modules: usize,
    /// Only these parts: throughput, round-trips, fleet, nuisances.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
}

impl Options {
    fn wants(&self, part: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == part)
    }
}

/// Runs all of it.
pub async fn run(options: Options) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let part = Duration::from_secs(options.seconds);
    if options.wants("throughput") {
        throughput(dir.path(), part).await?;
    }
    if options.wants("round-trips") {
        round_trips(dir.path(), part).await?;
    }
    if options.wants("fleet") {
        fleet(dir.path(), options.modules, part).await?;
    }
    if options.wants("nuisances") {
        nuisances(dir.path(), part.max(NUISANCE_MIN)).await?;
    }
    Ok(())
}

fn ratio(gate: f64, mosquitto: f64) -> f64 {
    gate / mosquitto
}

async fn throughput(dir: &Path, part: Duration) -> Result<()> {
    println!("\nmessages a second, QoS 1 in and out, from so many publishers to one subscriber:");
    println!("  MQTT   publishers  bytes       gate  mosquitto  ratio");
    for version in VERSIONS {
        for publishers in PUBLISHERS {
            for payload_bytes in PAYLOAD_BYTES {
                let mut per_s = [0.0; 2];
                for (peer, per_s) in PEERS.into_iter().zip(&mut per_s) {
                    let server = Server::start(peer, dir).await?;
                    *per_s = loads::throughput(server.at, version, publishers, payload_bytes, part).await?;
                }
                println!(
                    "  {:<5}  {publishers:>10}  {payload_bytes:>5}  {:>9.0}  {:>9.0}  {:>5.2}",
                    version.as_str(),
                    per_s[0],
                    per_s[1],
                    ratio(per_s[0], per_s[1])
                );
            }
        }
    }
    Ok(())
}

async fn round_trips(dir: &Path, part: Duration) -> Result<()> {
    println!("\nfrom a publish to its arrival, QoS 1, {RATE} a second, ms:");
    println!("  MQTT         gate p50    p99   mosquitto p50    p99   ratio p50    p99");
    for version in VERSIONS {
        let mut took = [Durations::default(), Durations::default()];
        // Alternately, so that a disturbance on the computer affects both.
        for _ in 0..2 {
            for (peer, took) in PEERS.into_iter().zip(&mut took) {
                let server = Server::start(peer, dir).await?;
                took.extend(loads::round_trips(server.at, version, RATE, part).await?);
            }
        }
        let [gate, mosquitto] = took.map(|took| (took.percentile_ms(50.0), took.percentile_ms(99.0)));
        println!(
            "  {:<5}        {:>8.3} {:>6.3}        {:>8.3} {:>6.3}       {:>5.2} {:>6.2}",
            version.as_str(),
            gate.0,
            gate.1,
            mosquitto.0,
            mosquitto.1,
            ratio(gate.0, mosquitto.0),
            ratio(gate.1, mosquitto.1)
        );
    }
    Ok(())
}

async fn fleet(dir: &Path, largest: usize, part: Duration) -> Result<()> {
    println!("\nmodules that are connected, each subscribed to its commands (MQTT 5):");
    println!("             modules  connects/s  memory of each, KiB");
    let mut lives = Vec::new();
    for peer in PEERS {
        let server = Server::start(peer, dir).await?;
        let empty_bytes = server.resident_bytes()?;
        let mut fleet = Fleet::default();
        for size in FLEETS.into_iter().map(|size| size.min(largest)) {
            let per_s = fleet.grow(server.at, size).await?;
            let cost_bytes = fleet.cost_bytes(&server, empty_bytes).await?;
            println!("  {:<9}  {size:>7}  {per_s:>10.0}  {:>6.2}", peer.as_str(), cost_bytes as f64 / 1024.0);
            if size == largest {
                break;
            }
        }
        lives.push((peer, fleet.live(server.at, part.max(FLEET_MIN)).await?));
    }
    println!("\n{largest} modules, each with a status every 10 s, 100 commands a second beside, ms:");
    println!("             status to its ack p50     p99   command to its module p50     p99");
    for (peer, (acknowledged, commanded)) in &lives {
        println!(
            "  {:<9}               {:>8.3} {:>7.3}                    {:>8.3} {:>7.3}   ({} and {} measured)",
            peer.as_str(),
            acknowledged.percentile_ms(50.0),
            acknowledged.percentile_ms(99.0),
            commanded.percentile_ms(50.0),
            commanded.percentile_ms(99.0),
            acknowledged.count(),
            commanded.count()
        );
    }
    Ok(())
}

async fn nuisances(dir: &Path, part: Duration) -> Result<()> {
    println!(
        "\nround trips of well-behaved clients beside nuisances, {RATE} a second, MQTT 5, p99 in ms and to a quiet time:"
    );
    for peer in PEERS {
        let server = Server::start(peer, dir).await?;
        let quiet = loads::round_trips(server.at, Version::V5, RATE, part).await?.percentile_ms(99.0);
        println!("  {:<9}  {:<40} {quiet:>8.3}", peer.as_str(), "quiet");
        for kind in KINDS {
            // A new broker each time, so that an earlier nuisance has no effect on it.
            let server = Server::start(peer, dir).await?;
            let nuisance = Nuisance::start(kind, server.at, part * 2)?;
            let p99 = loads::round_trips(server.at, Version::V5, RATE, part).await?.percentile_ms(99.0);
            drop(nuisance);
            println!("  {:<9}  {:<40} {p99:>8.3}  {:>6.2}x", peer.as_str(), kind.as_str(), ratio(p99, quiet));
        }
    }
    Ok(())
}
