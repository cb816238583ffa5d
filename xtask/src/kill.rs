//! The long run: the real server, killed under sales.

use crate::{
    database::{Commits, MariaDb},
    program::Program,
};
use anyhow::{Context, Result, bail};

const TIMES: u32 = 20;

pub fn run(args: &[&str]) -> Result<()> {
    let (mut times, mut on_mariadb) = (TIMES, false);
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        match *arg {
            "--times" => {
                let number = rest.next().context("--times needs a number")?;
                times = number.parse().with_context(|| format!("--times {number} is no number"))?;
            }
            "--mariadb" => on_mariadb = true,
            other => bail!("unknown argument `{other}`; `cargo xtask --help` lists them"),
        }
    }
    let server = if on_mariadb { Some(MariaDb::start(Commits::Durable)?) } else { None };
    let database = server.as_ref().map(|server| server.new_database("killed")).transpose()?;
    let mut test = Program::cargo(&["test", "--workspace", "--test", "process", "killed_again_and_again"])
        .args(&["--", "--ignored", "--nocapture"])
        .env("COINWIRE_KILLS", times.to_string());
    if let Some(database) = database {
        test = test.env("COINWIRE_KILL_DATABASE", database);
    }
    test.run()
}
