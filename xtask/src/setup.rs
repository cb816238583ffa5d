//! What the tests need and a machine may lack: Debian's packages, and from npm and PyPI the browser tests' own packages
//! and the MQTT clients that the broker is tried with.

use crate::program::{Program, exists, root, target};
use anyhow::{Context, Result, bail};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// A command, and Debian's packages that bring it.
const COMMANDS: [(&str, &[&str]); 9] = [
    ("cc", &["gcc", "libc6-dev"]),
    ("c++", &["g++"]),
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
/// Python's means to make an environment of its own, which Debian leaves out of python3.
const PYTHON_ENVIRONMENTS: &str = "python3-venv";
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
    npm(&browser_tests())?;
    npm(&mqtt_clients().join("mqttjs"))?;
    pip(&mqtt_clients().join("paho"))
}

/// MQTT clients of other families, which the broker's tests run.
fn mqtt_clients() -> PathBuf {
    root().join("broker/tests/clients")
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
    if !Program::new("python3").args(&["-c", "import ensurepip, sys; print(sys.version)"]).says_something() {
        packages.push(PYTHON_ENVIRONMENTS);
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

/// Installs what the folder's lock file names.
fn npm(dir: &Path) -> Result<()> {
    let changed = |path: &str| fs::metadata(dir.join(path)).and_then(|file| file.modified()).ok();
    let (locked, installed) = (changed("package-lock.json"), changed("node_modules/.package-lock.json"));
    if installed.is_some() && installed >= locked {
        println!("the packages of {} are there", dir.display());
        return Ok(());
    }
    Program::new("npm").args(&["ci", "--no-audit", "--no-fund", "--ignore-scripts"]).inside(dir).run()
}

/// Installs what the folder's requirements name, each file by its hash, into an environment of their own.
fn pip(dir: &Path) -> Result<()> {
    // broker/tests/families.rs looks for it there.
    let environment = target().join("mqtt-clients/venv");
    let (wanted, installed) = (dir.join("requirements.txt"), environment.join("requirements.txt"));
    let requirements = fs::read(&wanted).with_context(|| format!("cannot read {}", wanted.display()))?;
    if fs::read(&installed).is_ok_and(|installed| installed == requirements) {
        println!("the packages of {} are there", dir.display());
        return Ok(());
    }
    Program::new("python3").args(&["-m", "venv", "--clear"]).arg(&environment).run()?;
    Program::new(environment.join("bin/python"))
        .args(&["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
        // No package's own code runs while it is installed.
        .args(&["--require-hashes", "--only-binary", ":all:", "-r"])
        .arg(&wanted)
        .run()?;
    // Last, so that it is there only with what it names.
    fs::write(&installed, requirements).with_context(|| format!("cannot write {}", installed.display()))
}
