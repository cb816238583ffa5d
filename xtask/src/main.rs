//! Developer's commands: `cargo xtask --help`.
//!
//! It runs other programs, and itself checks only which file names which (`layers`) and the image's size and panics. It has no dependencies to speak of,
//! so that it is compiled in seconds.

mod ci;
mod database;
mod deny;
mod firmware;
mod fuzz;
mod kill;
mod layers;
mod production;
mod program;
mod rig;
mod setup;

use anyhow::{Result, bail};
use database::{Commits, MariaDb};
use program::{Program, binary, release_binaries};
use std::process::ExitCode;

const HELP: &str = "\
Developer's commands. Tests build with the dev profile: they wait for disks and timers, and are as fast as with
--release, which takes twice as long to build. What measures, or runs for long, builds with --release.

    cargo xtask check                    the inner loop: formatting, layers, clippy, unit tests of all libraries
    cargo xtask ci                       everything, from nothing: what a change must pass
    cargo xtask layers                   no circles of files in a crate; no noun calls a flow
    cargo xtask setup                    install what the tests need and this machine lacks (Debian, npm, PyPI)
    cargo xtask test [sqlite]            all Rust tests, the store's on SQLite
    cargo xtask test mariadb             the store's tests on a MariaDB of their own, started and ended here
    cargo xtask browser [FILE...]        the pages in a real browser; pictures go to target/screenshots
    cargo xtask deny                     licenses, sources and known vulnerabilities of the dependencies, by cargo-deny
    cargo xtask production               build the server without its demo, start it, and end it
    cargo xtask firmware                 build the module's image, print its size, hold its panics against the list
    cargo xtask rig [WORD...]            run the image in an emulator with a simulated modem, against the server: all of
                                         the rig's tests, or those whose names hold a word
    cargo xtask fuzz [TARGET] [--seconds N]
                                         fuzz the broker (before_connect, session) and the callbacks (wechat_callback,
                                         alipay_callback): one or all, a minute each
    cargo xtask fuzz TARGET FILE...      replay inputs
    cargo xtask sim [--seeds N] [...]    the simulation; what follows goes to it (--help)
    cargo xtask kill [--times N] [--mariadb]
                                         the long run: a server that sells is killed N times (20), on SQLite or on a
                                         MariaDB of its own; then each sale that was paid has ended once
    cargo xtask bench coins [PULSES]     the coin line: a million pulses with bounce and noise, none lost, none invented
    cargo xtask bench sale [...]         the whole sale's speed over real sockets
    cargo xtask bench sale --mariadb     the same on a MariaDB of its own, every commit durable
    cargo xtask bench callbacks [...]    what providers tell, proven and committed; --mariadb as above
    cargo xtask bench broker [...]       the gate beside mosquitto

A test alone: cargo test --workspace --test NAME. With COINWIRE_TEST_DATABASE=mysql://root@HOST:PORT set, the
store's tests run on that server instead of SQLite.
";

fn main() -> ExitCode {
    match run(std::env::args().skip(1).collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nxtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Vec<String>) -> Result<()> {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        [] | ["--help" | "-h" | "help"] => {
            print!("{HELP}");
            Ok(())
        }
        ["ci"] => ci::everything(),
        ["check"] => ci::inner_loop(),
        ["layers"] => layers::run(),
        ["setup"] => setup::install_missing(),
        ["test"] | ["test", "sqlite"] => ci::tests(),
        ["test", "mariadb"] => ci::tests_on_mariadb(),
        ["browser", files @ ..] => ci::browser(files),
        ["deny"] => deny::run(),
        ["production"] => production::run(),
        ["firmware"] => firmware::run(),
        ["rig", words @ ..] => rig::run(words),
        ["fuzz", rest @ ..] => fuzz::run(rest),
        ["kill", rest @ ..] => kill::run(rest),
        ["sim", rest @ ..] => {
            release_binaries()?;
            ci::simulation("release", rest)
        }
        // The module's logic alone: nothing of the server is built for it.
        ["bench", "coins", rest @ ..] => {
            Program::cargo(&["build", "--quiet", "--release", "--package", "module-host", "--bin", "bench-coins"])
                .run()?;
            Program::new(binary("release", "bench-coins")).args(rest).run()
        }
        ["bench", what @ ("sale" | "callbacks"), "--mariadb", rest @ ..] => {
            release_binaries()?;
            let server = MariaDb::start(Commits::Durable)?;
            let database = server.new_database("bench")?;
            Program::new(binary("release", "bench")).args(&[what, "--database", &database]).args(rest).run()
        }
        ["bench", rest @ ..] => {
            release_binaries()?;
            Program::new(binary("release", "bench")).args(rest).run()
        }
        _ => bail!("unknown command `{}`; `cargo xtask --help` lists them", args.join(" ")),
    }
}
