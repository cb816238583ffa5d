//! Which file names which, within a crate: no circles, and the backend's nouns call no flow and no job.
//!
//! Read from the text: `use` trees, and paths that begin with `crate` or `super`. What `lib.rs` re-exports counts as the
//! file that has it; what another file re-exports counts as that file. A folder's own file may name the files in the folder,
//! which are its parts.

use crate::program::root;
use anyhow::{Context, Result, ensure};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// Crates whose files must not form circles.
const CRATES: [&str; 7] = ["protocol", "broker", "module-firmware", "backend", "web", "server", "xtask"];
/// What may name flows and jobs. The context holds what jobs remember.
const ABOVE: [&str; 3] = ["flows", "jobs", "context"];

type Module = Vec<String>;

/// Checks every crate of [`CRATES`].
pub fn run() -> Result<()> {
    for name in CRATES {
        let files = read(&root().join(name).join("src"))?;
        let exports = exports_of_root(&files);
        let named: BTreeMap<&Module, BTreeSet<&Module>> =
            files.iter().map(|(module, text)| (module, named_by(module, text, &files, &exports))).collect();
        let circles = circles(&named);
        ensure!(circles.is_empty(), "{name}: files that name each other in a circle:\n{}", circles.join("\n"));
        if name == "backend" {
            let wrong = calls_of_flows(&named);
            ensure!(wrong.is_empty(), "{name}: what is below flows and jobs names one:\n{}", wrong.join("\n"));
        }
        println!("{name}: {} files, no circle", files.len());
    }
    Ok(())
}

/// The text of each module's file, without comments and tests.
fn read(source: &Path) -> Result<BTreeMap<Module, String>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![(source.to_owned(), vec![])];
    while let Some((folder, module)) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            let Some(stem) = path.file_stem().and_then(|stem| stem.to_str()) else { continue };
            let mut inner: Module = module.clone();
            if !["mod", "lib", "main"].contains(&stem) {
                inner.push(stem.to_owned());
            }
            if path.is_dir() && stem != "tests" {
                folders.push((path, inner));
            } else if path.extension().is_some_and(|end| end == "rs") && stem != "tests" {
                let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
                let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
                let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
                files.insert(inner, lines.collect::<Vec<_>>().join("\n"));
            }
        }
    }
    Ok(files)
}

/// The modules whose files a file names.
fn named_by<'a>(
    module: &Module,
    text: &str,
    files: &'a BTreeMap<Module, String>,
    exports: &BTreeMap<String, Module>,
) -> BTreeSet<&'a Module> {
    let mut named = BTreeSet::new();
    for (start, _) in text.match_indices("crate::").chain(text.match_indices("super::")) {
        let before = text[..start].chars().next_back();
        if before.is_some_and(|before| before.is_alphanumeric() || "_:$".contains(before)) {
            continue;
        }
        for path in leaves(&text[start..]) {
            let mut absolute = absolute(&path, module);
            if let [name, ..] = absolute.as_slice()
                && let Some(exported) = exports.get(name)
            {
                absolute = exported.clone();
            }
            // The longest beginning that is a file.
            let file = (1..=absolute.len()).rev().find_map(|length| files.get_key_value(&absolute[..length]));
            named.extend(file.map(|(file, _)| file).filter(|file| *file != module));
        }
    }
    named
}

/// What `lib.rs` re-exports, by name.
fn exports_of_root(files: &BTreeMap<Module, String>) -> BTreeMap<String, Module> {
    let root = files.get(&vec![]).map(String::as_str).unwrap_or_default();
    let trees = root.match_indices("pub use ").flat_map(|(start, found)| leaves(&root[start + found.len()..]));
    trees.filter_map(|path| Some((path.last()?.clone(), path))).collect()
}

/// `super::a` within `x::y` is `x::a`.
fn absolute(path: &[String], module: &Module) -> Module {
    let ups = path.iter().take_while(|part| *part == "super").count();
    let base = if ups > 0 { module[..module.len().saturating_sub(ups)].to_vec() } else { vec![] };
    let rest = path.iter().filter(|part| !["crate", "super", "self"].contains(&part.as_str()));
    base.into_iter().chain(rest.cloned()).collect()
}

/// All paths of a `use` tree, or the one path, at the beginning of a text.
fn leaves(text: &str) -> Vec<Module> {
    let mut paths = vec![];
    read_tree(text, vec![], &mut paths);
    paths
}

/// Reads a path and what branches off it; gives what follows.
fn read_tree<'a>(mut rest: &'a str, mut path: Module, paths: &mut Vec<Module>) -> &'a str {
    loop {
        if let Some(branches) = rest.strip_prefix('{') {
            rest = branches;
            loop {
                rest = rest.trim_start_matches(|letter: char| letter.is_whitespace() || letter == ',');
                if rest.is_empty() || rest.starts_with('}') {
                    return rest.get(1..).unwrap_or_default();
                }
                rest = read_tree(rest, path.clone(), paths);
            }
        }
        let end = rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(rest.len());
        if end == 0 {
            // `*`, or a type's arguments.
            paths.push(path);
            return rest.get(1..).unwrap_or_default();
        }
        path.push(rest[..end].to_owned());
        rest = &rest[end..];
        match rest.strip_prefix("::") {
            Some(more) => rest = more,
            None => {
                paths.push(path);
                return rest;
            }
        }
    }
}

/// The files left when those that name no other are taken away again and again, from both ends: each stands in a circle,
/// or between two.
fn circles(named: &BTreeMap<&Module, BTreeSet<&Module>>) -> Vec<String> {
    let mut left: BTreeSet<&Module> = named.keys().copied().collect();
    loop {
        let names_one = |module: &&Module| named[*module].iter().any(|other| left.contains(other));
        let is_named = |module: &&Module| left.iter().any(|other| named[*other].contains(*module));
        let stay: BTreeSet<&Module> = left.iter().copied().filter(|one| names_one(one) && is_named(one)).collect();
        if stay.len() == left.len() {
            break;
        }
        left = stay;
    }
    let line = |module: &Module| {
        let others = named[module].iter().filter(|other| left.contains(*other)).map(|other| other.join("::"));
        format!("  {} names {}", module.join("::"), others.collect::<Vec<_>>().join(", "))
    };
    left.iter().map(|module| line(module)).collect()
}

fn calls_of_flows(named: &BTreeMap<&Module, BTreeSet<&Module>>) -> Vec<String> {
    let is_above = |module: &Module| module.first().is_none_or(|first| ABOVE.contains(&first.as_str()));
    let is_flow = |module: &&&Module| module.first().is_some_and(|first| first == "flows" || first == "jobs");
    let below = named.iter().filter(|(module, _)| !is_above(module));
    let calls = below.flat_map(|(module, others)| others.iter().filter(is_flow).map(move |flow| (module, flow)));
    calls.map(|(module, flow)| format!("  {} calls {}", module.join("::"), flow.join("::"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(path: &str) -> Module {
        path.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect()
    }

    #[test]
    fn reads_trees_and_paths() {
        let tree = leaves("crate::{\n    a::{b, c::D},\n    e,\n};\nuse x::y;");
        assert_eq!(tree, ["crate::a::b", "crate::a::c::D", "crate::e"].map(module));
        assert_eq!(leaves("super::a::b(1, 2)"), [module("super::a::b")]);
        assert_eq!(absolute(&module("super::a::b"), &module("x::y")), module("x::a::b"));
        assert_eq!(absolute(&module("crate::a"), &module("x::y")), module("a"));
    }

    #[test]
    fn finds_a_circle_and_a_noun_that_calls_a_flow() {
        let text = |text: &str| text.to_owned();
        let files = BTreeMap::from([
            (module("flows::a"), text("use crate::sales;")),
            (module("sales"), text("use crate::{Error, money};\nfn f() { crate::flows::a::run() }")),
            (module("money"), text("use crate::Error;")),
            (module("error"), text("")),
            (module(""), text("pub use error::{Error, Result};")),
        ]);
        let exports = exports_of_root(&files);
        let named = files.iter().map(|(module, text)| (module, named_by(module, text, &files, &exports))).collect();
        assert_eq!(circles(&named), ["  flows::a names sales", "  sales names flows::a"]);
        assert_eq!(calls_of_flows(&named), ["  sales calls flows::a"]);
    }
}
