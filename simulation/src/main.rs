//! Runs seeds: `simulation --seeds 1000`; replays one with all that happened: `simulation --seed 17 --trace`.

use anyhow::Context;
use clap::Parser;
use simulation::{Manners, Options, Outcome, Sales, run};
use std::{
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// Lines of a failing seed's trace that are printed without `--trace`.
const TAIL_LINES: usize = 60;

/// Proves the promises on the real backend and the real module logic, in simulated time, under faults from a seed.
#[derive(Parser)]
struct Arguments {
    /// How many seeds to run.
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    start: u64,
    /// Run this seed alone.
    #[arg(long)]
    seed: Option<u64>,
    /// Have all operators merchant accounts of this manner (of each one, if they have both), whatever the seed says.
    #[arg(long)]
    manners: Option<Manners>,
    /// Print everything that happened (of one seed).
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Seeds run at once; by default as many as there are cores.
    #[arg(long)]
    jobs: Option<usize>,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    match arguments.seed {
        Some(seed) => one(seed, arguments.manners, arguments.trace),
        None => many(&arguments),
    }
}

fn one(seed: u64, manners: Option<Manners>, trace: bool) -> anyhow::Result<ExitCode> {
    let outcome = run(seed, &Options { trace: true, manners, ..Options::default() })?;
    let skipped = if trace || outcome.violation.is_none() { 0 } else { outcome.trace.len().saturating_sub(TAIL_LINES) };
    if trace || outcome.violation.is_some() {
        outcome.trace.iter().skip(skipped).for_each(|line| println!("{line}"));
    }
    println!("seed {seed}, trace {:016x}: {:?}", outcome.hash, outcome.sales);
    Ok(verdict(&outcome, manners))
}

fn verdict(outcome: &Outcome, manners: Option<Manners>) -> ExitCode {
    match &outcome.violation {
        None => ExitCode::SUCCESS,
        Some(violation) => {
            let seed = outcome.seed;
            println!("seed {seed} broke a promise: {violation}");
            let manners = manners.map_or(String::new(), |manners| format!(" --manners {}", manners.as_str()));
            println!("replay it: cargo run -p simulation -- --seed {seed}{manners} --trace");
            ExitCode::FAILURE
        }
    }
}

fn many(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let jobs = arguments.jobs.or_else(|| std::thread::available_parallelism().ok().map(usize::from)).unwrap_or(1);
    let next = AtomicU64::new(arguments.start);
    let end = arguments.start.saturating_add(arguments.seeds);
    let failed: Mutex<Option<Outcome>> = Mutex::new(None);
    let sums = Mutex::new(Sales::default());
    std::thread::scope(|scope| {
        let workers: Vec<_> =
            (0..jobs.max(1)).map(|_| scope.spawn(|| work(&next, end, arguments.manners, &failed, &sums))).collect();
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| anyhow::anyhow!("a run panicked"))?)
    })
    .context("a seed could not be run")?;
    let sums = *sums.lock().unwrap_or_else(PoisonError::into_inner);
    println!("{} seeds from {}: {sums:?}", arguments.seeds, arguments.start);
    match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        None => Ok(ExitCode::SUCCESS),
        Some(outcome) => one(outcome.seed, arguments.manners, false),
    }
}

/// Runs seeds until there are no more, or one fails.
fn work(
    next: &AtomicU64,
    end: u64,
    manners: Option<Manners>,
    failed: &Mutex<Option<Outcome>>,
    sums: &Mutex<Sales>,
) -> anyhow::Result<()> {
    loop {
        let seed = next.fetch_add(1, Relaxed);
        if seed >= end || failed.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
            return Ok(());
        }
        let outcome = run(seed, &Options { manners, ..Options::default() })?;
        sums.lock().unwrap_or_else(PoisonError::into_inner).add(&outcome.sales);
        if outcome.violation.is_some() {
            failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(outcome);
        }
    }
}
