//! The dependencies of server and image, checked against deny.toml by cargo-deny. It is not needed to build or test
//! anything, so if it is not installed, or the list of advisories cannot be fetched, this is reported and skipped.

use crate::{
    firmware,
    program::{Program, root},
};
use anyhow::Result;
use std::path::Path;

/// What can be checked without the list of advisories.
const WITHOUT_ADVISORIES: [&str; 3] = ["bans", "licenses", "sources"];

/// Checks licenses, sources and known vulnerabilities.
pub fn run() -> Result<()> {
    if !Program::cargo(&["deny", "--version"]).says_something() {
        println!("skipped: cargo-deny is not installed (cargo install --locked cargo-deny)");
        return Ok(());
    }
    let workspaces = [root().join("Cargo.toml"), firmware::board().join("Cargo.toml")];
    for manifest in &workspaces {
        check(manifest, &WITHOUT_ADVISORIES)?;
    }
    if let Err(error) = Program::cargo(&["deny", "fetch", "db"]).output() {
        println!("skipped: the list of advisories cannot be fetched\n{error:#}");
        return Ok(());
    }
    for manifest in &workspaces {
        check(manifest, &["advisories"])?;
    }
    Ok(())
}

fn check(manifest: &Path, what: &[&str]) -> Result<()> {
    Program::cargo(&["deny", "--locked", "--manifest-path"])
        .arg(manifest)
        // Duplicate versions are many and only warned of: a plain `cargo deny check` shows them.
        .args(&["check", "--allow", "duplicate"])
        .args(what)
        .run()
}
