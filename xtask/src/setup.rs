//! What the tests need and a machine may lack: Debian's packages, and the browser tests' own from npm.

use crate::program::{Program, exists, root};
use anyhow::{Result, bail};
use std::{fs, path::PathBuf};

/// A command, and Debian's packages that bring it.
const COMMANDS: [(&str, &[&str]); 8] = [
    ("cc", &["gcc", "libc6-dev"]),
    ("python3", &["python3"]),
    ("mosquitto_sub", &["mosquitto-clients"]),
    ("mosquitto", &["mosquitto"]),
    // The server's core only: the full package would start a server of its own.
    ("mariadb-install-db", &["mariadb-server-core", "mariadb-client-core"]),
    ("chromium", &["chromium"]),
    ("node", &["nodejs"]),
    ("npm", &["npm"]),
];
/// Chinese glyphs, so that pictures of Chinese pages show words instead of boxes.
const CHINESE_FONT: &str = "fonts-wqy-microhei";
/// Parts of the Rust toolchain that some installations leave out.
const COMPONENTS: [&str; 2] = ["clippy", "rustfmt"];

/// Where the browser tests are.
pub fn browser_tests() -> PathBuf {
    root().join("web/browser")
}

/// Whether this is the machine's administrator.
pub fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    // The owner of one's own entry in /proc is the effective user.
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// Installs what is missing, and only that.
pub fn install_missing() -> Result<()> {
    toolchain()?;
    debian()?;
    npm()
}

fn toolchain() -> Result<()> {
    let missing = |component: &&str| {
        let command = if *component == "rustfmt" { "fmt" } else { component };
        !Program::cargo(&[command, "--version"]).says_something()
    };
    let missing: Vec<&str> = COMPONENTS.into_iter().filter(missing).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Program::new("rustup").args(&["component", "add"]).args(&missing).run()
}

fn debian() -> Result<()> {
    let mut packages: Vec<&str> = COMMANDS
        .iter()
        .filter(|(command, _)| !exists(command))
        .flat_map(|(_, packages)| packages.iter().copied())
        .collect();
    if !Program::new("fc-list").arg(":lang=zh").says_something() {
        packages.push(CHINESE_FONT);
    }
    if packages.is_empty() {
        println!("no Debian package is missing");
        return Ok(());
    }
    if !is_root() || !exists("apt-get") {
        bail!(
            "these are missing, and only root can install them on Debian or Ubuntu:\n    \
            sudo apt-get install --no-install-recommends {}\n\
            elsewhere, install what brings the commands {}",
            packages.join(" "),
            COMMANDS.map(|(command, _)| command).join(", ")
        );
    }
    let apt = |args: &[&str]| Program::new("apt-get").args(args).env("DEBIAN_FRONTEND", "noninteractive");
    apt(&["update", "-q"]).run()?;
    apt(&["install", "-q", "-y", "--no-install-recommends"]).args(&packages).run()
}

fn npm() -> Result<()> {
    let tests = browser_tests();
    let changed = |path: &str| fs::metadata(tests.join(path)).and_then(|file| file.modified()).ok();
    let (locked, installed) = (changed("package-lock.json"), changed("node_modules/.package-lock.json"));
    if installed.is_some() && installed >= locked {
        println!("the browser tests' packages are there");
        return Ok(());
    }
    Program::new("npm").args(&["ci", "--no-audit", "--no-fund", "--ignore-scripts"]).inside(&tests).run()
}
