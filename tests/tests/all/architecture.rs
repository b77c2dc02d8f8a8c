//! Who may import whom.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

/// A package may use those above it, and none beside or below it.
const LAYERS: [&[&str]; 7] = [
    &["carelog-domain", "carelog-proof"],
    &["carelog-vault"],
    &["carelog-event-log"],
    &[
        "carelog-analytics",
        "carelog-audit",
        "carelog-files",
        "carelog-records",
        "carelog-video",
        "carelog-webhooks",
    ],
    &["carelog-embedded"],
    &["carelog-server"],
    &["carelog-tests"],
];

/// The benchmark fills databases of its own with more than the batchers could write in time.
const FILLS_ITS_OWN: &str = "crates/server/src/bench/";

/// What the domain may use: nothing here performs I/O, reads a clock or draws random values.
const DOMAIN_MAY_USE: [&str; 7] =
    ["cqrs-es", "serde", "serde_json", "serde_json_canonicalizer", "thiserror", "time", "uuid"];

fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

fn layer_of(package: &str) -> usize {
    let layer = LAYERS.iter().position(|layer| layer.contains(&package));
    layer.unwrap_or_else(|| panic!("{package} has no layer: give it one in design and here"))
}

fn names<'a>(package: &'a Value, kinds: &'a [&str]) -> impl Iterator<Item = &'a str> {
    package["dependencies"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|dependency| kinds.contains(&dependency["kind"].as_str().unwrap_or("normal")))
        .map(|dependency| dependency["name"].as_str().unwrap())
}

#[test]
fn every_arrow_between_our_packages_points_up() {
    let mut wrong = Vec::new();
    for package in packages() {
        let user = package["name"].as_str().unwrap();
        for used in names(&package, &["normal", "dev", "build"]).filter(|name| name.starts_with("carelog-")) {
            if layer_of(used) >= layer_of(user) {
                wrong.push(format!("{user} uses {used}"));
            }
        }
        layer_of(user);
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn the_domain_uses_nothing_that_touches_the_world() {
    let packages = packages();
    let domain = packages.iter().find(|package| package["name"] == "carelog-domain").unwrap();

    let used: BTreeSet<&str> = names(domain, &["normal", "build"]).collect();

    assert_eq!(used, BTreeSet::from(DOMAIN_MAY_USE));
}

#[test]
fn the_tables_of_the_log_are_named_by_the_event_log_alone() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut wrong = Vec::new();
    for folder in
        ["crates/domain", "crates/vault", "crates/embedded", "crates/files", "crates/server", "projections"]
    {
        visit(&root.join(folder), &mut |path, text| {
            let writes = ["insert into log.", "update log.", "delete from log.", "log.append_batch"];
            let is_exempt = path.to_string_lossy().contains(FILLS_ITS_OWN);
            if !is_exempt && writes.iter().any(|write| text.contains(write)) {
                wrong.push(path.display().to_string());
            }
        });
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

fn visit(folder: &std::path::Path, look: &mut impl FnMut(&std::path::Path, &str)) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            visit(&path, look);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            look(&path, &std::fs::read_to_string(&path).unwrap());
        }
    }
}

/// Whether there is a test of this name, and nothing keeps it from being run: among the attributes before it is one of
/// those that make a test, and none that leaves it out.
fn runs(sources: &str, name: &str) -> bool {
    let function = format!("fn {name}(");
    sources.match_indices(&function).map(|(place, _)| &sources[..place]).any(|before| {
        let attributes = before.rsplit("\n\n").next().unwrap();
        let attributes: Vec<&str> =
            attributes.lines().map(str::trim).filter(|line| line.starts_with("#[")).collect();
        let is_test = |line: &&str| line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        let is_left_out = |line: &&str| line.starts_with("#[ignore") || line.starts_with("#[cfg");
        attributes.iter().any(is_test) && !attributes.iter().any(is_left_out)
    })
}

#[test]
fn what_is_not_run_is_no_test_of_the_list() {
    let runs = |attributes: &str| runs(&format!("}}\n\n{attributes}async fn name() {{}}\n"), "name");

    assert!(runs("#[test]\n") && runs("/// Says why.\n#[tokio::test(start_paused = true)]\n"));
    assert!(!runs("") && !runs("#[test]\n#[ignore]\n") && !runs("#[cfg(none)]\n#[test]\n"));
    assert!(!runs("#[test]\nfn other() {}\n\n"), "another's attribute");
}

#[test]
fn every_test_of_the_list_exists() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let list = std::fs::read_to_string(root.join("tests/SENDER.md")).unwrap();
    let mut sources = String::new();
    for folder in ["crates", "projections", "tests"] {
        visit(&root.join(folder), &mut |_, text| sources.push_str(text));
    }
    let rows: Vec<&str> = list.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    let names = rows.iter().flat_map(|row| row.split('`').skip(1).step_by(2));
    let names: BTreeSet<&str> = names.filter(|name| name.contains('_') && !name.contains('=')).collect();

    let missing: Vec<_> = names.iter().filter(|name| !runs(&sources, name)).collect();

    assert!(missing.is_empty(), "{missing:?}");
    assert_eq!(rows.len(), 55, "1 to 54, and 35b");
}
