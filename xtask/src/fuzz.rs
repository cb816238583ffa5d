//! Fuzzing the broker with libFuzzer: the targets in broker/fuzz, built by the stable toolchain.

use crate::program::{Program, root, target};
use anyhow::{Context, Result, bail};
use std::{
    fs,
    path::{Path, PathBuf},
};

const TARGETS: [&str; 2] = ["before_connect", "session"];
/// How long each target is run where nothing else is asked for.
const SECONDS: u64 = 60;
/// In `cargo xtask ci`: enough to see that the targets work, and that nothing broke what was found before.
const SECONDS_IN_CI: u64 = 20;
/// What inputs are made from there: a rare find is no fault of the change that is checked.
const SEED_IN_CI: &str = "-seed=1";
/// More memory than that is a leak: the broker takes a tenth of it.
const MEMORY_MAX_MB: u64 = 1_024;
/// An input that takes longer hangs.
const INPUT_SECONDS_MAX: u64 = 30;
/// Longest input made, in bytes: some dozen packets.
const INPUT_BYTES_MAX: u64 = 2_048;
/// How often an input is replayed: the core has a thread of its own, so what failed may not fail each time.
const REPLAYS: u64 = 200;
/// Lines that are shown of a run that failed, of its end and of what failed.
const LAST_LINES: usize = 12;
const PANIC_LINES: usize = 2;

/// `[TARGET] [--seconds N]`, or `TARGET FILE...` to replay inputs.
pub fn run(args: &[&str]) -> Result<()> {
    let (targets, rest) = match args {
        [target, rest @ ..] if !target.starts_with("--") => (vec![*target], rest),
        rest => (TARGETS.to_vec(), rest),
    };
    if let Some(unknown) = targets.iter().find(|target| !TARGETS.contains(target)) {
        bail!("there is no target `{unknown}`: {}", TARGETS.join(", "));
    }
    match rest {
        [] => fuzz(&targets, SECONDS, &[]),
        ["--seconds", seconds] => fuzz(&targets, seconds.parse().context("--seconds takes a number")?, &[]),
        [option, ..] if option.starts_with("--") => bail!("unknown option `{option}`"),
        files => replay(targets[0], files),
    }
}

/// As long as `cargo xtask ci` can wait.
pub fn run_for_ci() -> Result<()> {
    fuzz(&TARGETS, SECONDS_IN_CI, &[SEED_IN_CI])
}

fn fuzz(targets: &[&str], seconds: u64, options: &[&str]) -> Result<()> {
    build()?;
    for target in targets {
        run_target(target, seconds, options)?;
    }
    Ok(())
}

fn project() -> PathBuf {
    root().join("broker/fuzz")
}

fn built() -> PathBuf {
    target().join("fuzz")
}

fn build() -> Result<()> {
    Program::cargo(&["build", "--quiet", "--release", "--manifest-path"])
        .arg(project().join("Cargo.toml"))
        .arg("--target-dir")
        .arg(built())
        .env("RUSTC_WRAPPER", project().join("instrumented.sh"))
        .run()
}

fn program(target: &str) -> Program {
    Program::new(built().join("release").join(target))
        .arg(format!("-timeout={INPUT_SECONDS_MAX}"))
        .arg(format!("-rss_limit_mb={MEMORY_MAX_MB}"))
}

fn run_target(target: &str, seconds: u64, options: &[&str]) -> Result<()> {
    // What is found is kept from run to run; what is worth committing is chosen by hand.
    let (found, failures) = (built().join("corpus").join(target), built().join("failures").join(target));
    for dir in [&found, &failures] {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    let log = built().join(format!("{target}.log"));
    let succeeded = program(target)
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={INPUT_BYTES_MAX}"))
        .arg(format!("-artifact_prefix={}/", failures.display()))
        .arg("-print_final_stats=1")
        .args(options)
        .arg(&found)
        .arg(project().join("corpus").join(target))
        .run_into(&log)?;
    let said = fs::read(&log).with_context(|| format!("cannot read {}", log.display()))?;
    let said = String::from_utf8_lossy(&said);
    if !succeeded {
        let lines: Vec<&str> = said.lines().collect();
        let last = lines[lines.len().saturating_sub(LAST_LINES)..].join("\n");
        let Some(input) = kept_input(&said) else { bail!("{target} did not run:\n{last}") };
        let panicked = lines.iter().skip_while(|line| !line.contains("panicked at")).take(PANIC_LINES);
        bail!(
            "{target} failed:\n{}\n{last}\n\nthe whole: {}\nagain: cargo xtask fuzz {target} {input}\n\
            Mended, the input belongs into broker/fuzz/corpus/{target}.",
            panicked.copied().collect::<Vec<_>>().join("\n"),
            log.display()
        );
    }
    println!("{target}: {}", figures(&said).with_context(|| format!("no figures in {}", log.display()))?);
    Ok(())
}

/// The input that libFuzzer kept of a failure.
fn kept_input(said: &str) -> Option<&str> {
    said.lines().find_map(|line| line.split_once("Test unit written to ")).map(|(_, path)| path)
}

/// What a run that went well amounts to, from its last lines.
fn figures(said: &str) -> Option<String> {
    let stat = |name: &str| said.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let done: Vec<&str> = said.lines().rfind(|line| line.contains("\tDONE "))?.split_whitespace().collect();
    let after = |name: &str| done.iter().position(|word| *word == name).and_then(|at| done.get(at + 1));
    Some(format!(
        "{} executions ({} a second), {} edges covered, {} inputs in the corpus, {} MB at most",
        stat("stat::number_of_executed_units:")?,
        stat("stat::average_exec_per_sec:")?,
        after("cov:")?,
        after("corp:")?.split('/').next()?,
        stat("stat::peak_rss_mb:")?,
    ))
}

fn replay(target: &str, files: &[&str]) -> Result<()> {
    for file in files {
        if !Path::new(file).is_file() {
            bail!("there is no file {file}");
        }
    }
    build()?;
    let steps = built().join("steps");
    for file in files {
        // What a session's input means cannot be read from its bytes: it is written out.
        let once = program(target).env("RUST_LIBFUZZER_DEBUG_PATH", &steps).arg("-runs=1").arg(file).run();
        println!("{}", fs::read_to_string(&steps).unwrap_or_default());
        once?;
        program(target).arg(format!("-runs={REPLAYS}")).arg(file).run()?;
    }
    Ok(())
}
