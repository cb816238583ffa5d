//! The module's image: built with the compiler that is installed for its processor, measured, and its possible panics
//! compared with a list of those that were reviewed.

use crate::program::{Program, root};
use anyhow::{Context, Result, bail};
use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fs,
    path::{Path, PathBuf},
};

const TARGET: &str = "thumbv7em-none-eabihf";
/// Debian's compiler for the web packages, with its source.
const DEBIANS_RUSTC: &str = "/usr/bin/rustc";
const DEBIANS_SOURCE: &str = "/usr/lib/rustlib/src/rust/library/core";
const DEBIANS_CLIPPY: &str = "/usr/bin/clippy-driver";
const BINUTILS: &str = "arm-none-eabi";
/// What the repository, the firmware in it, the folder of all crates and Debian's source are called in the image: in few
/// letters, for each file is named there.
const REPOSITORY: &str = "/r";
const FIRMWARE: (&str, &str) = ("module-firmware/src", "/f");
const CRATES: &str = "/c";
const DEBIANS: (&str, &str) = ("/usr/lib/rustlib/src/rust", "/s");
/// The image's size limits, in bytes. Its slot of flash (192 KB: `memory.x`, `facts.rs`) is larger, as room for later
/// features and for compilers that produce more code.
const FLASH_MAX: u64 = 160 * 1024;
const RAM_MAX: u64 = 32 * 1024;

/// The board's folder: a workspace of its own.
pub fn board() -> PathBuf {
    root().join("module-firmware/boards/stm32l475")
}

/// The image, once built.
pub fn image() -> PathBuf {
    board().join("target").join(TARGET).join("release/coinwire-stm32l475")
}

/// Builds the image, prints its size, and checks size and panics.
pub fn run() -> Result<()> {
    build()?;
    let image = image();
    let weighed = check_size(&image);
    panics(&image)?;
    weighed
}

/// Builds the image.
pub fn build() -> Result<()> {
    cargo(&["build", "--release"])?.run()
}

/// Formatting, and clippy where there is one for the compiler.
pub fn lints() -> Result<()> {
    Program::cargo(&["fmt", "--check"]).inside(&board()).run()?;
    if rustup_has_target() {
        return cargo(&["clippy", "--release", "--", "-D", "warnings"])?.run();
    }
    // Debian's clippy stands in for its compiler, which alone knows the library that was built.
    if !Path::new(DEBIANS_CLIPPY).is_file() {
        println!("no clippy for the image: rust-web-clippy is not installed");
        return Ok(());
    }
    cargo(&["check", "--release"])?
        .env("RUSTC_WORKSPACE_WRAPPER", DEBIANS_CLIPPY)
        .env("CLIPPY_ARGS", "-D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__")
        .run()
}

/// Whether rustup's toolchain can build for the processor, as a person with a board has it.
fn rustup_has_target() -> bool {
    let libraries = Program::new("rustc").args(&["--print", "target-libdir", "--target", TARGET]).output();
    libraries.is_ok_and(|path| Path::new(path.trim()).is_dir())
}

/// Whether there is a compiler for the processor.
pub fn has_compiler() -> bool {
    rustup_has_target() || (Path::new(DEBIANS_RUSTC).is_file() && Path::new(DEBIANS_SOURCE).is_dir())
}

/// Cargo in the board's folder, with the compiler that there is.
fn cargo(args: &[&str]) -> Result<Program> {
    let target = board().join("target");
    let cargo = Program::cargo(args)
        .arg("--config")
        .arg(path_remapping_flags()?)
        .inside(&board())
        .env("CARGO_TARGET_DIR", target);
    if rustup_has_target() {
        return Ok(cargo);
    }
    if !has_compiler() {
        bail!(
            "there is no compiler for {TARGET}: `rustup target add {TARGET}`, or on Debian install rustc-web, \
             rust-web-src and binutils-arm-none-eabi (`cargo xtask setup`)"
        );
    }
    // Debian has the library as source only; building it is a feature that the stable compiler must be told to have.
    Ok(cargo
        .env("RUSTC", DEBIANS_RUSTC)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_UNSTABLE_BUILD_STD", "core,alloc")
        .env("CARGO_TARGET_THUMBV7EM_NONE_EABIHF_LINKER", format!("{BINUTILS}-ld")))
}

/// Makes the image's source names the same on every computer: relative to the repository, or to the folder of all
/// crates. A panic is reported by a hash of its file's name, and names take space.
fn path_remapping_flags() -> Result<String> {
    Program::cargo(&["fetch", "--quiet", "--locked"]).inside(&board()).run()?;
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(std::env::home_dir()?.join(".cargo"))).context("cargo has no home")?;
    let sources = home.join("registry/src");
    let remap = |folder: &Path, name| format!("'--remap-path-prefix={}={name}'", folder.display());
    // Of several that fit the last counts.
    let mut flags = vec![
        remap(root(), REPOSITORY),
        remap(&root().join(FIRMWARE.0), FIRMWARE.1),
        remap(Path::new(DEBIANS.0), DEBIANS.1),
    ];
    for registry in fs::read_dir(&sources).with_context(|| format!("cannot read {}", sources.display()))? {
        flags.push(remap(&registry?.path(), CRATES));
    }
    Ok(format!("target.{TARGET}.rustflags=[{}]", flags.join(",")))
}

fn binutil(name: &str) -> Program {
    Program::new(format!("{BINUTILS}-{name}"))
}

/// Prints the image's size by section, and fails beyond the limits.
fn check_size(image: &Path) -> Result<()> {
    let sizes = binutil("size").arg("-A").arg(image).output()?;
    let section = |name: &str| {
        let line = sizes.lines().find(|line| line.split_whitespace().next() == Some(name));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).unwrap_or(0)
    };
    // What lies in flash, and what of that is copied to RAM; what lies in RAM alone.
    let sections = [
        (".vector_table", true, false),
        (".text", true, false),
        (".rodata", true, false),
        (".data", true, true),
        (".bss", false, true),
        (".uninit", false, true),
    ];
    if section(".text") == 0 {
        bail!("{} has no code", image.display());
    }
    println!("{:<14} {:>9} {:>9}", "section", "flash", "RAM");
    let (mut flash, mut ram) = (0, 0);
    for (name, in_flash, in_ram) in sections {
        let size = section(name);
        let column = |there: bool| if there { size } else { 0 };
        println!("{name:<14} {:>9} {:>9}", column(in_flash), column(in_ram));
        flash += column(in_flash);
        ram += column(in_ram);
    }
    let stack = symbol(image, "_stack_start")?.saturating_sub(symbol(image, "_stack_end")?);
    ram += stack;
    println!("{:<14} {:>9} {:>9}", "stack", 0, stack);
    println!("{:<14} {:>9} {:>9}", "in all", flash, ram);
    println!("{:<14} {FLASH_MAX:>9} {RAM_MAX:>9}", "at most");
    if flash > FLASH_MAX || ram > RAM_MAX {
        bail!("the image is too large: {flash} bytes of flash of {FLASH_MAX}, {ram} bytes of RAM of {RAM_MAX}");
    }
    Ok(())
}

fn symbol(image: &Path, name: &str) -> Result<u64> {
    let symbols = binutil("nm").arg(image).output()?;
    let line = symbols.lines().find(|line| line.split_whitespace().nth(2) == Some(name));
    let address = line.and_then(|line| line.split_whitespace().next()).context("the image lacks a symbol")?;
    u64::from_str_radix(address, 16).with_context(|| format!("the address of {name}"))
}

/// A call that ends in a panic: the source file that makes it, and what it calls.
type PanicCall = (String, String);

/// Lists every place in the image that calls into a panic, by its source line, and compares it with the board's list: a
/// place that is not in the list was not reviewed.
fn panics(image: &Path) -> Result<()> {
    let found = panic_calls(image)?;
    let list = board().join("panics.txt");
    let text = fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?;
    let mut allowed: BTreeMap<String, usize> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let mut words = line.split_whitespace();
        let (Some(file), Some(_callee), Some(lines), Some(_why)) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            bail!("{}: not FILE CALLEE LINES WHY: {line}", list.display());
        };
        *allowed.entry(origin(file)).or_default() += lines.parse::<usize>().with_context(|| line.to_owned())?;
    }
    // A line that calls twice is one place: whether it does depends on what was inlined.
    let mut places: BTreeMap<String, BTreeMap<(&str, &str), &str>> = BTreeMap::new();
    for ((file, callee), lines) in &found {
        let here = lines.iter().map(|line| ((file.as_str(), line.as_str()), callee.as_str()));
        places.entry(origin(file)).or_default().extend(here);
    }
    println!("{} places call into a panic", places.values().map(BTreeMap::len).sum::<usize>());
    let mut unknown = vec![];
    for (origin, places) in &places {
        let known = allowed.get(origin).copied().unwrap_or(0);
        if places.len() > known {
            unknown.push(format!("{origin}: {known} are listed, these are there:"));
            unknown.extend(places.iter().map(|((file, line), callee)| format!("    {file}:{line} {callee}")));
        }
    }
    if !unknown.is_empty() {
        bail!("places that may panic and are not in {}:\n    {}", list.display(), unknown.join("\n    "));
    }
    Ok(())
}

/// The key for counting places: their file, or Rust's library as a whole. The library function in which a line panics,
/// and its place in the library, depend on inlining, and that depends on the folder in which the image is built.
fn origin(file: &str) -> String {
    if file.starts_with("rust/") { "rust".into() } else { file.into() }
}

/// An async function that is polled after its end panics; each has that check. Nothing outside reaches it: a future is
/// polled by its own `await`, by `select`, or by the executor, none of which goes on after the end.
const RESUMED: &str = "core::panicking::panic_const::panic_const_async_fn_resumed";

/// What a call into a panic goes to. Every panic of Rust's library goes through one of these.
fn is_panic(callee: &str) -> bool {
    let exact = ["core::option::unwrap_failed", "core::option::expect_failed", "core::result::unwrap_failed"];
    let within =
        ["core::panicking::", "core::slice::index::slice_", "core::cell::panic_", "core::str::slice_error_fail"];
    exact.contains(&callee)
        || within.iter().any(|prefix| callee.starts_with(prefix))
        || callee.contains("len_mismatch_fail")
}

/// A function of Rust's library that panics for its caller. If it is not inlined, its caller counts.
fn panics_for_its_caller(name: &str) -> bool {
    name.contains(" as core::slice::index::SliceIndex<")
        || name.contains(" as core::ops::index::Index")
        || name.starts_with("<core::cell::RefCell<")
        || (name.starts_with("<core::result::Result<") || name.starts_with("<core::option::Option<"))
            && (name.ends_with(">::expect") || name.ends_with(">::unwrap"))
}

fn panic_calls(image: &Path) -> Result<BTreeMap<PanicCall, BTreeSet<String>>> {
    let code = binutil("objdump").args(&["-d", "-C", "--no-show-raw-insn"]).arg(image).output()?;
    let calls = calls(&code);
    // The compiler puts equal ends of functions into functions of their own; those are no source line's.
    let mut outlined: HashSet<&str> = HashSet::new();
    loop {
        let before = outlined.len();
        for (_, caller, callee) in &calls {
            let panics = (is_panic(callee) && *callee != RESUMED) || outlined.contains(callee);
            if (caller.starts_with("OUTLINED_FUNCTION") || panics_for_its_caller(caller)) && panics {
                outlined.insert(caller);
            }
        }
        if outlined.len() == before {
            break;
        }
    }
    let of_interest = |(_, caller, callee): &&(&str, &str, &str)| {
        *callee != RESUMED
            && (is_panic(callee) || outlined.contains(callee))
            && !is_panic(caller)
            && !outlined.contains(caller)
    };
    let calls: Vec<_> = calls.iter().filter(of_interest).collect();
    if calls.is_empty() {
        bail!("no call into a panic was found: the check is blind");
    }
    let addresses: Vec<&str> = calls.iter().map(|(address, ..)| *address).collect();
    let lines = binutil("addr2line").args(&["-f", "-i", "-C", "-a", "-e"]).arg(image).args(&addresses).output()?;
    let places = places(&lines);
    let mut found: BTreeMap<PanicCall, BTreeSet<String>> = BTreeMap::new();
    for (address, caller, callee) in calls {
        let (file, line) = match u64::from_str_radix(address, 16).ok().and_then(|at| places.get(&at)) {
            Some((file, line)) => (file.clone(), line.clone()),
            None => ((*caller).to_owned(), "?".to_owned()),
        };
        let callee = if callee.starts_with("OUTLINED") { "outlined" } else { callee };
        // Type parameters behind the name are no part of it; those before are cut off below.
        let callee = if callee.starts_with('<') { callee } else { callee.split('<').next().unwrap_or(callee) };
        let callee = callee.trim_end_matches("::");
        let callee = callee.rsplit("::").next().unwrap_or(callee);
        found.entry((file, callee.to_owned())).or_default().insert(line);
    }
    Ok(found)
}

/// Branches and calls to the beginning of a function: address, caller, callee.
fn calls(code: &str) -> Vec<(&str, &str, &str)> {
    let mut caller = "";
    let mut calls = vec![];
    for line in code.lines() {
        if let Some((_, name)) = line.strip_suffix(">:").and_then(|line| line.split_once(" <")) {
            caller = name;
            continue;
        }
        let Some((address, instruction)) = line.trim_start().split_once(":\t") else { continue };
        if !instruction.starts_with('b') {
            continue;
        }
        let Some(callee) = instruction.split_once(" <").and_then(|(_, name)| name.strip_suffix('>')) else { continue };
        // With an offset it is a jump within a function.
        if callee.rsplit_once("+0x").is_none_or(|(_, offset)| u64::from_str_radix(offset, 16).is_err()) {
            calls.push((address, caller, callee));
        }
    }
    calls
}

/// Of addr2line's answer, per address the innermost line that is not of Rust's own library.
fn places(text: &str) -> BTreeMap<u64, (String, String)> {
    let mut places = BTreeMap::new();
    let mut lines = text.lines();
    let mut address = 0;
    while let Some(line) = lines.next() {
        if let Some(number) = line.strip_prefix("0x").and_then(|digits| u64::from_str_radix(digits, 16).ok()) {
            address = number;
            continue;
        }
        let Some(place) = lines.next() else { break };
        let place = place.split(" (").next().unwrap_or(place);
        let Some((file, number)) = place.rsplit_once(':') else { continue };
        let of_the_library = file.contains("/library/") || file.starts_with('?');
        let known: Option<&(String, String)> = places.get(&address);
        // If there is nothing better, the last one that addr2line gives: the outermost.
        if known.is_none_or(|(known, _)| known.starts_with("rust/")) {
            let file = if of_the_library { library_file(file) } else { source_file(file) };
            places.insert(address, (file, number.to_owned()));
        }
    }
    places
}

fn library_file(file: &str) -> String {
    format!("rust/{}", file.rsplit_once("/library/").map_or(file, |(_, file)| file))
}

fn source_file(file: &str) -> String {
    let within = |folder| file.strip_prefix(folder)?.strip_prefix('/');
    match within(FIRMWARE.1) {
        Some(file) => format!("{}/{file}", FIRMWARE.0),
        None => within(REPOSITORY).or_else(|| within(CRATES)).unwrap_or(file).to_owned(),
    }
}
