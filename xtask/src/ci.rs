//! The checks: each a step that can be run alone, and all of them in order.

use crate::{
    database::{Commits, MariaDb},
    deny, firmware, fuzz, layers, production,
    program::{Program, binaries, binary, root, target},
    rig, setup,
};
use anyhow::{Context, Result, bail};
use std::{fs, time::Instant};

/// The seed of the property tests' cases. It is the same in each run of all checks, so that a rare failure is not
/// blamed on the change being checked. Other runs of the tests, and `cargo xtask fuzz`, use new cases.
const PROPERTY_SEED: (&str, &str) = ("PROPTEST_RNG_SEED", "1");
/// Seeds of the simulation, from far beyond those that its own tests run.
const EXTRA_SEEDS: &str = "100";

/// The web's test target that is on the store, too: what payers and providers do at the same time, over HTTP.
const RACES: &str = "races";

type Step = (&'static str, fn() -> Result<()>);

/// Everything a change must pass, cheapest first.
pub fn everything() -> Result<()> {
    in_order(&[
        ("what the tests need", setup::install_missing),
        ("formatting", formatting),
        ("layers", layers::run),
        ("golden vectors", vectors),
        ("licenses and advisories of the dependencies", deny::run),
        ("clippy", clippy),
        ("documentation", documentation),
        ("the production binary: built, started, ended", production::run),
        ("the image's formatting and clippy", firmware::lints),
        ("the image, its size and its panics", firmware::run),
        ("tests, on SQLite", || run_tests(Cases::Same)),
        ("the image on the rig", || rig::run(&[])),
        ("the store's tests, on MariaDB", || run_tests_on_mariadb(Cases::Same)),
        ("pages in a browser", || browser(&[])),
        ("the broker and the callbacks, fuzzed", fuzz::run_for_ci),
        ("simulation, more seeds", || simulation("debug", &["--start", "1000000", "--seeds", EXTRA_SEEDS])),
    ])
}

/// The most useful checks in the least time.
pub fn inner_loop() -> Result<()> {
    in_order(&[
        ("formatting", formatting),
        ("layers", layers::run),
        ("clippy", clippy),
        ("unit tests", || Program::cargo(&["test", "--quiet", "--workspace", "--lib"]).run()),
    ])
}

fn in_order(steps: &[Step]) -> Result<()> {
    let begun = Instant::now();
    let mut times = vec![];
    for (number, (name, step)) in steps.iter().enumerate() {
        println!("\n=== {} of {}: {name}", number + 1, steps.len());
        let begun = Instant::now();
        step().with_context(|| format!("step {} of {}, {name}", number + 1, steps.len()))?;
        times.push((name, begun.elapsed()));
    }
    println!("\n=== passed");
    for (name, time) in times {
        println!("{:7.1} s  {name}", time.as_secs_f64());
    }
    println!("{:7.1} s  in all", begun.elapsed().as_secs_f64());
    Ok(())
}

fn formatting() -> Result<()> {
    Program::cargo(&["fmt", "--all", "--check"]).run()?;
    // A workspace of its own.
    Program::cargo(&["fmt", "--manifest-path", "broker/fuzz/Cargo.toml", "--check"]).run()
}

/// The golden vectors are what an independent writer makes of docs/PROTOCOL.md.
fn vectors() -> Result<()> {
    Program::new("python3").args(&["protocol/vectors/make.py", "--check"]).run()
}

fn clippy() -> Result<()> {
    Program::cargo(&["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]).run()
}

fn documentation() -> Result<()> {
    Program::cargo(&["doc", "--quiet", "--workspace", "--no-deps", "--document-private-items"])
        .env("RUSTDOCFLAGS", "-D warnings")
        .run()
}

/// Which cases the property tests try.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cases {
    Same,
    Drawn,
}

impl Cases {
    fn of(self, tests: Program) -> Program {
        match self {
            Cases::Same => tests.env(PROPERTY_SEED.0, PROPERTY_SEED.1),
            Cases::Drawn => tests,
        }
    }
}

/// All Rust tests, those of the finished binary among them.
pub fn tests() -> Result<()> {
    run_tests(Cases::Drawn)
}

fn run_tests(cases: Cases) -> Result<()> {
    cases.of(Program::cargo(&["test", "--workspace"])).run()
}

/// The backend's tests and the races of payments once more, on a real server.
pub fn tests_on_mariadb() -> Result<()> {
    run_tests_on_mariadb(Cases::Drawn)
}

fn run_tests_on_mariadb(cases: Cases) -> Result<()> {
    let database = MariaDb::start(Commits::NotDurable)?;
    // Chosen by target, not by package, so that the workspace's features stay the same and nothing is compiled again.
    let mut program = Program::cargo(&["test", "--workspace"]);
    for name in store_tests()? {
        program = program.args(&["--test", &name]);
    }
    cases.of(program).env("COINWIRE_TEST_DATABASE", database.url()).run()
}

/// The test targets that are on the store: all of the backend's, and the races.
fn store_tests() -> Result<Vec<String>> {
    let dir = root().join("backend/tests");
    let mut names = vec![];
    for entry in fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let path = entry?.path();
        let is_target = path.extension().is_some_and(|extension| extension == "rs") || path.join("main.rs").is_file();
        if let Some(name) = path.file_stem().filter(|_| is_target) {
            names.push(name.to_string_lossy().into_owned());
        }
    }
    if names.is_empty() {
        bail!("there are no tests in {}", dir.display());
    }
    names.push(RACES.to_owned());
    names.sort();
    Ok(names)
}

/// The pages in a real browser, all of them or the files named.
pub fn browser(files: &[&str]) -> Result<()> {
    binaries()?;
    let dir = setup::browser_tests();
    let screenshots = target().join("screenshots");
    fs::create_dir_all(&screenshots).with_context(|| format!("cannot make {}", screenshots.display()))?;
    let all = [
        "consumer.test.mjs",
        "wechat.test.mjs",
        "alipay.test.mjs",
        "phones.test.mjs",
        "module.test.mjs",
        "operator.test.mjs",
        "outage.test.mjs",
    ];
    Program::new("node")
        // One file after another: each has a demo and a browser of its own.
        .args(&["--test", "--test-reporter=spec", "--test-concurrency=1"])
        .args(if files.is_empty() { &all } else { files })
        .env("COINWIRE_BIN", binary("debug", "coinwire"))
        .env("COINWIRE_SCREENSHOTS", screenshots)
        .inside(&dir)
        .run()
}

/// The simulation; it ends with an error where a seed breaks a promise, and names the seed.
pub fn simulation(profile: &str, args: &[&str]) -> Result<()> {
    Program::new(binary(profile, "simulation")).args(args).run()
}
