//! Fuzzing with libFuzzer, built by the stable toolchain: the broker (broker/fuzz) and the callbacks' parsers (backend/fuzz).

use crate::program::{Program, binary, root, target};
use anyhow::{Context, Result, bail};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// What is fuzzed together: targets of one package.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Package {
    /// A workspace of its own.
    Broker,
    /// A member of the workspace: what the backend stands on is compiled already.
    Callbacks,
}

const TARGETS: [(&str, Package); 4] = [
    ("before_connect", Package::Broker),
    ("session", Package::Broker),
    ("wechat_callback", Package::Callbacks),
    ("alipay_callback", Package::Callbacks),
];
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
/// How often an input is replayed: the broker's core has a thread of its own, so what failed may not fail each time.
const REPLAYS: u64 = 200;
/// Lines that are shown of a run that failed, of its end and of what failed.
const LAST_LINES: usize = 12;
const PANIC_LINES: usize = 2;

/// `[TARGET] [--seconds N]`, or `TARGET FILE...` to replay inputs.
pub fn run(args: &[&str]) -> Result<()> {
    let (targets, rest) = match args {
        [name, rest @ ..] if !name.starts_with("--") => (vec![named(name)?], rest),
        rest => (TARGETS.to_vec(), rest),
    };
    match (rest, &*targets) {
        ([], _) => fuzz(&targets, SECONDS, &[]),
        (["--seconds", seconds], _) => fuzz(&targets, seconds.parse().context("--seconds takes a number")?, &[]),
        ([option, ..], _) if option.starts_with("--") => bail!("unknown option `{option}`"),
        (files, [target, ..]) => replay(*target, files),
        (_, []) => Ok(()),
    }
}

/// As long as `cargo xtask ci` can wait.
pub fn run_for_ci() -> Result<()> {
    fuzz(&TARGETS, SECONDS_IN_CI, &[SEED_IN_CI])
}

fn named(name: &str) -> Result<(&'static str, Package)> {
    let found = TARGETS.into_iter().find(|(known, _)| *known == name);
    found.with_context(|| {
        let names: Vec<&str> = TARGETS.iter().map(|(known, _)| *known).collect();
        format!("there is no target `{name}`: {}", names.join(", "))
    })
}

fn fuzz(targets: &[(&'static str, Package)], seconds: u64, options: &[&str]) -> Result<()> {
    for package in [Package::Broker, Package::Callbacks] {
        let of_package: Vec<_> = targets.iter().filter(|(_, of)| *of == package).collect();
        if !of_package.is_empty() {
            package.build()?;
        }
        for (target, _) in of_package {
            run_target(target, package, seconds, options)?;
        }
    }
    Ok(())
}

fn built() -> PathBuf {
    target().join("fuzz")
}

impl Package {
    fn folder(self) -> PathBuf {
        root().join(match self {
            Package::Broker => "broker/fuzz",
            Package::Callbacks => "backend/fuzz",
        })
    }

    fn build(self) -> Result<()> {
        let wrapper = root().join("xtask/instrumented.sh");
        match self {
            Package::Broker => Program::cargo(&["build", "--quiet", "--release", "--manifest-path"])
                .arg(self.folder().join("Cargo.toml"))
                .arg("--target-dir")
                .arg(built())
                .env("RUSTC_WRAPPER", wrapper)
                .env("INSTRUMENTED", "broker mqtt_protocol_core"),
            // Cargo keeps what a workspace's wrapper compiles apart from what is compiled without.
            Package::Callbacks => {
                Program::cargo(&["build", "--quiet", "--workspace", "--features", "callback-fuzz/libfuzzer"])
                    .args(&["--bin", "wechat_callback", "--bin", "alipay_callback"])
                    .env("RUSTC_WORKSPACE_WRAPPER", wrapper)
                    .env("INSTRUMENTED", "backend")
                    .env("CARGO_INCREMENTAL", "0")
            }
        }
        .run()
    }

    fn binary(self, target: &str) -> PathBuf {
        match self {
            Package::Broker => built().join("release").join(target),
            Package::Callbacks => binary("debug", target),
        }
    }

    /// Longest input made, in bytes: some dozen packets, or a callback.
    fn input_bytes_max(self) -> u64 {
        match self {
            Package::Broker => 2_048,
            Package::Callbacks => 4_096,
        }
    }
}

fn program(target: &str, package: Package) -> Program {
    Program::new(package.binary(target))
        .arg(format!("-timeout={INPUT_SECONDS_MAX}"))
        .arg(format!("-rss_limit_mb={MEMORY_MAX_MB}"))
}

fn run_target(target: &str, package: Package, seconds: u64, options: &[&str]) -> Result<()> {
    // What is found is kept from run to run; what is worth committing is chosen by hand.
    let (found, failures) = (built().join("corpus").join(target), built().join("failures").join(target));
    for dir in [&found, &failures] {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    let log = built().join(format!("{target}.log"));
    let succeeded = program(target, package)
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={}", package.input_bytes_max()))
        .arg(format!("-artifact_prefix={}/", failures.display()))
        .arg("-print_final_stats=1")
        .args(options)
        .arg(&found)
        .arg(package.folder().join("corpus").join(target))
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
            Mended, the input belongs into {}.",
            panicked.copied().collect::<Vec<_>>().join("\n"),
            log.display(),
            package.folder().join("corpus").join(target).display()
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

fn replay((target, package): (&str, Package), files: &[&str]) -> Result<()> {
    for file in files {
        if !Path::new(file).is_file() {
            bail!("there is no file {file}");
        }
    }
    package.build()?;
    let steps = built().join("steps");
    for file in files {
        // What a session's input means cannot be read from its bytes: it is written out.
        let once = program(target, package).env("RUST_LIBFUZZER_DEBUG_PATH", &steps).arg("-runs=1").arg(file).run();
        println!("{}", fs::read_to_string(&steps).unwrap_or_default());
        once?;
        program(target, package).arg(format!("-runs={REPLAYS}")).arg(file).run()?;
    }
    Ok(())
}
