//! What differs between two states of a record, by JSON pointer (RFC 6901).

use serde_json::{Map, Value};

/// One place that differs.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Where, as a JSON pointer into the state.
    pub pointer: String,
    /// What stood there before; nothing where nothing did.
    pub before: Option<Value>,
    /// What stands there after; nothing where nothing does.
    pub after: Option<Value>,
}

/// The places that differ, in the order of their pointers' parts. Objects are compared by name and lists by index; whatever
/// differs in kind is one difference as a whole.
pub fn differences(before: &Value, after: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare(String::new(), Some(before), Some(after), &mut found);
    found
}

fn compare(pointer: String, before: Option<&Value>, after: Option<&Value>, found: &mut Vec<Difference>) {
    match (before, after) {
        (before, after) if before == after => {}
        (Some(Value::Object(before)), Some(Value::Object(after))) => {
            compare_objects(&pointer, before, after, found);
        }
        (Some(Value::Array(before)), Some(Value::Array(after))) => {
            for index in 0..before.len().max(after.len()) {
                compare(format!("{pointer}/{index}"), before.get(index), after.get(index), found);
            }
        }
        (before, after) => {
            found.push(Difference { pointer, before: before.cloned(), after: after.cloned() });
        }
    }
}

fn compare_objects(
    pointer: &str,
    before: &Map<String, Value>,
    after: &Map<String, Value>,
    found: &mut Vec<Difference>,
) {
    let added = after.keys().filter(|name| !before.contains_key(*name));
    for name in before.keys().chain(added) {
        let place = format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
        compare(place, before.get(name), after.get(name), found);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn difference(pointer: &str, before: Option<Value>, after: Option<Value>) -> Difference {
        Difference { pointer: pointer.to_owned(), before, after }
    }

    #[test]
    fn equal_states_do_not_differ() {
        let state = json!({ "a": [1, { "b": null }] });

        assert_eq!(differences(&state, &state), []);
    }

    #[test]
    fn each_place_is_named_with_both_values() {
        let before = json!({ "status": "booked", "list": [1, 2, 3], "gone": 1, "same": { "x": 1 } });
        let after = json!({ "status": "confirmed", "list": [1, 5], "same": { "x": 1 }, "new": { "y": 2 } });

        let expected = [
            difference("/gone", Some(json!(1)), None),
            difference("/list/1", Some(json!(2)), Some(json!(5))),
            difference("/list/2", Some(json!(3)), None),
            difference("/new", None, Some(json!({ "y": 2 }))),
            difference("/status", Some(json!("booked")), Some(json!("confirmed"))),
        ];
        let mut found = differences(&before, &after);
        found.sort_by(|a, b| a.pointer.cmp(&b.pointer));
        assert_eq!(found, expected);
    }

    #[test]
    fn null_and_absent_are_told_apart_and_names_are_escaped() {
        let before = json!({ "a/b": null, "c~d": null });
        let after = json!({ "c~d": 1 });

        let mut found = differences(&before, &after);
        found.sort_by(|a, b| a.pointer.cmp(&b.pointer));
        let expected = [
            difference("/a~1b", Some(Value::Null), None),
            difference("/c~0d", Some(Value::Null), Some(json!(1))),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn another_kind_of_value_differs_as_a_whole() {
        let found = differences(&json!({ "a": [1] }), &json!({ "a": { "0": 1 } }));

        assert_eq!(found, [difference("/a", Some(json!([1])), Some(json!({ "0": 1 })))]);
    }
}
