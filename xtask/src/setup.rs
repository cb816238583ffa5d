//! What the tests need and a machine may lack: Debian's packages, and from npm and PyPI the browser tests' own packages
//! and the MQTT clients that the broker is tried with.

use crate::{
    firmware,
    program::{Program, exists, root, target},
};
use anyhow::{Context, Result, bail};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// A command, and Debian's packages that bring it.
const COMMANDS: [(&str, &[&str]); 10] = [
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
    ("arm-none-eabi-ld", &["binutils-arm-none-eabi"]),
];
/// A compiler for the module's processor, where rustup has none.
const COMPILER: [&str; 3] = ["rustc-web", "rust-web-src", "rust-web-clippy"];
/// The emulator of the module's board. Bookworm's own does not know that board; its backports' does.
const EMULATOR: &str = "qemu-system-arm";
const BACKPORTS: &str = "bookworm-backports";
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
    emulator()?;
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
    if !firmware::has_compiler() {
        packages.extend(COMPILER);
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
    apt(&["update", "-q"]).run()?;
    apt(&["install", "-q", "-y", "--no-install-recommends"]).args(&packages).run()
}

fn apt(args: &[&str]) -> Program {
    Program::new("apt-get").args(args).env("DEBIAN_FRONTEND", "noninteractive")
}

/// Installs an emulator that knows the module's board.
fn emulator() -> Result<()> {
    let knows =
        || Program::new(EMULATOR).args(&["-M", "help"]).output().is_ok_and(|list| list.contains("b-l475e-iot01a"));
    if knows() {
        println!("the emulator of the module's board is there");
        return Ok(());
    }
    let sources = Path::new("/etc/apt/sources.list.d");
    if !is_root() || !exists("apt-get") {
        bail!("{EMULATOR} 10 or later is missing: on Debian 12, as root, install it from {BACKPORTS}");
    }
    let bookworm = fs::read_to_string("/etc/os-release").is_ok_and(|text| text.contains("VERSION_CODENAME=bookworm"));
    if !bookworm {
        // Every later Debian has one that is new enough.
        apt(&["update", "-q"]).run()?;
        return apt(&["install", "-q", "-y", "--no-install-recommends", EMULATOR]).run();
    }
    let file = sources.join("backports.sources");
    if !names_backports(sources)? {
        fs::write(&file, backports(sources)).with_context(|| format!("cannot write {}", file.display()))?;
    }
    apt(&["update", "-q"]).run()?;
    apt(&["install", "-q", "-y", "--no-install-recommends", "-t", BACKPORTS, EMULATOR]).run()?;
    if !knows() {
        bail!("{EMULATOR} from {BACKPORTS} does not know the board");
    }
    Ok(())
}

/// Whether a source of packages names the backports already.
fn names_backports(sources: &Path) -> Result<bool> {
    for entry in fs::read_dir(sources).with_context(|| format!("cannot read {}", sources.display()))? {
        let path = entry?.path();
        let read = path.extension().is_some_and(|extension| extension == "sources" || extension == "list");
        if read && fs::read_to_string(&path).is_ok_and(|text| text.contains(BACKPORTS)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A source of packages for the backports, from where and by whose key this machine gets the others.
fn backports(sources: &Path) -> String {
    let debian = fs::read_to_string(sources.join("debian.sources")).unwrap_or_default();
    let field = |name: &str, without: &str| {
        let line = debian.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap_or(without).trim().to_owned()
    };
    format!(
        "Types: deb\nURIs: {}\nSuites: {BACKPORTS}\nComponents: main\nSigned-By: {}\n",
        field("URIs", "http://deb.debian.org/debian"),
        field("Signed-By", "/usr/share/keyrings/debian-archive-keyring.gpg"),
    )
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
