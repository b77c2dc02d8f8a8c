//! Whether a receiver of the pinned catalogue can go on with the present one.
//!
//! Compared is what a receiver may rely on. Words and examples may change, types and properties may be added. What a
//! schema allowed less is a promise too: a further enum value or a wider bound breaks whoever counted on it. What it
//! allows less than before breaks the other way round, because older events are sent again with what they hold, unless
//! the schema version grew and an upcaster lifts them.

mod tests;

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// Words for people; no receiver acts on them.
const ANNOTATIONS: [&str; 5] = ["$comment", "$id", "description", "examples", "title"];
const LOWER_BOUNDS: [&str; 3] = ["minimum", "minLength", "minItems"];
const UPPER_BOUNDS: [&str; 3] = ["maximum", "maxLength", "maxItems"];

/// What is different, each with a JSON pointer into the pinned catalogue, or into the present one where it is new.
#[derive(Debug, Default, PartialEq, Eq)]
struct Differences {
    breaking: Vec<String>,
    compatible: Vec<String>,
}

fn compare(pinned: &Value, present: &Value) -> Differences {
    let mut differences = Differences::default();
    for format in ["standard", "cloudevents"] {
        let pointer = format!("/envelopes/{format}");
        let of = |catalogue: &Value| catalogue.pointer(&pointer).cloned().unwrap_or_default();
        // The envelope is written anew for every event, old ones included.
        Comparison { differences: &mut differences, lifts: true }.schema(&pointer, &of(pinned), &of(present));
    }
    let (old, new) = (items(pinned), items(present));
    for (index, item) in old.iter().enumerate() {
        let pointer = format!("/items/{index}");
        match new.iter().find(|other| other["name"] == item["name"]) {
            Some(other) => compare_items(&mut differences, &pointer, item, other),
            None => differences.breaking.push(format!("{pointer}: {} was removed", item["name"])),
        }
    }
    for (index, item) in new.iter().enumerate() {
        if old.iter().all(|other| other["name"] != item["name"]) {
            differences.compatible.push(format!("/items/{index}: {} was added", item["name"]));
        }
    }
    differences
}

fn items(catalogue: &Value) -> &[Value] {
    catalogue["items"].as_array().map_or(&[], Vec::as_slice)
}

fn compare_items(differences: &mut Differences, pointer: &str, old: &Value, new: &Value) {
    let version = |item: &Value| item["schema_version"].as_u64().unwrap_or_default();
    let (before, after) = (version(old), version(new));
    if after < before {
        differences.breaking.push(format!("{pointer}/schema_version: fell from {before} to {after}"));
    }
    if old["aggregate"] != new["aggregate"] {
        differences.breaking.push(format!("{pointer}/aggregate: changed"));
    }
    if after == before && old["dataschema"] != new["dataschema"] {
        differences.breaking.push(format!("{pointer}/dataschema: the schema has another name"));
    }
    for words in ["description", "examples"] {
        if old[words] != new[words] {
            differences.compatible.push(format!("{pointer}/{words}: changed"));
        }
    }
    let mut comparison = Comparison { differences, lifts: after > before };
    comparison.schema(&format!("{pointer}/schema"), &old["schema"], &new["schema"]);
}

struct Comparison<'d> {
    differences: &'d mut Differences,
    /// Whether older events come out in the new shape.
    lifts: bool,
}

impl Comparison<'_> {
    fn breaks(&mut self, pointer: &str, what: &str) {
        self.differences.breaking.push(format!("{pointer}: {what}"));
    }

    /// The schema promises more than before, which older events may not keep.
    fn narrows(&mut self, pointer: &str, what: &str) {
        if self.lifts {
            self.differences.compatible.push(format!("{pointer}: {what}"));
        } else {
            let why = "older events may not fit: raise the schema version and lift them";
            self.breaks(pointer, &format!("{what}, {why}"));
        }
    }

    fn schema(&mut self, pointer: &str, old: &Value, new: &Value) {
        let none = Map::new();
        let [before, after] = [old, new].map(|schema| schema.as_object().unwrap_or(&none));
        let keywords: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        for keyword in keywords {
            let pointer = format!("{pointer}/{}", keyword.replace('~', "~0").replace('/', "~1"));
            let (was, is) = (before.get(keyword), after.get(keyword));
            if was == is {
                continue;
            }
            match (keyword.as_str(), was, is) {
                (word, ..) if ANNOTATIONS.contains(&word) => {
                    self.differences.compatible.push(format!("{pointer}: changed"));
                }
                ("properties", Some(was), Some(is)) => self.properties(&pointer, was, is),
                ("required", Some(was), Some(is)) => self.required(&pointer, was, is),
                ("enum", Some(was), Some(is)) => self.values(&pointer, was, is),
                ("items", Some(was), Some(is)) => self.schema(&pointer, was, is),
                (bound, ..) if LOWER_BOUNDS.contains(&bound) => {
                    let is_wider = is.is_none_or(|is| was.is_some_and(|was| number(is) < number(was)));
                    self.bound(&pointer, is_wider);
                }
                (bound, ..) if UPPER_BOUNDS.contains(&bound) => {
                    let is_wider = is.is_none_or(|is| was.is_some_and(|was| number(is) > number(was)));
                    self.bound(&pointer, is_wider);
                }
                _ => self.breaks(&pointer, "changed"),
            }
        }
    }

    fn properties(&mut self, pointer: &str, old: &Value, new: &Value) {
        let none = Map::new();
        let [old, new] = [old, new].map(|properties| properties.as_object().unwrap_or(&none));
        for (name, was) in old {
            let pointer = format!("{pointer}/{name}");
            match new.get(name) {
                Some(is) => self.schema(&pointer, was, is),
                None => self.breaks(&pointer, "was removed or renamed"),
            }
        }
        for name in new.keys().filter(|name| !old.contains_key(*name)) {
            self.differences.compatible.push(format!("{pointer}/{name}: was added"));
        }
    }

    fn required(&mut self, pointer: &str, old: &Value, new: &Value) {
        let (gone, added) = difference(old, new);
        for name in gone {
            self.breaks(pointer, &format!("{name} is no longer required"));
        }
        for name in added {
            self.narrows(pointer, &format!("{name} is required now"));
        }
    }

    fn values(&mut self, pointer: &str, old: &Value, new: &Value) {
        let (gone, added) = difference(old, new);
        for value in added {
            self.breaks(pointer, &format!("{value} is a further value"));
        }
        for value in gone {
            self.narrows(pointer, &format!("{value} is no longer a value"));
        }
    }

    fn bound(&mut self, pointer: &str, is_wider: bool) {
        if is_wider {
            self.breaks(pointer, "was widened");
        } else {
            self.narrows(pointer, "was narrowed");
        }
    }
}

fn number(bound: &Value) -> i128 {
    let number = bound.as_i64().map(i128::from).or(bound.as_u64().map(i128::from));
    number.expect("bounds are whole numbers")
}

/// What stands only in the old list, and only in the new one.
fn difference<'v>(old: &'v Value, new: &'v Value) -> (Vec<&'v Value>, Vec<&'v Value>) {
    let list = |value: &'v Value| value.as_array().map_or(&[][..], Vec::as_slice);
    let (old, new) = (list(old), list(new));
    let gone = old.iter().filter(|value| !new.contains(value)).collect();
    let added = new.iter().filter(|value| !old.contains(value)).collect();
    (gone, added)
}
