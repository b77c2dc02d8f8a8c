use std::collections::BTreeSet;

use super::*;

fn operations() -> Vec<(&'static str, &'static Map<String, Value>)> {
    let paths = document()["paths"].as_object().unwrap();
    paths
        .iter()
        .flat_map(|(path, item)| {
            item.as_object()
                .unwrap()
                .values()
                .map(move |operation| (path.as_str(), operation.as_object().unwrap()))
        })
        .collect()
}

#[test]
fn operations_have_names_of_their_own() {
    let names: BTreeSet<&str> =
        operations().iter().map(|(_, operation)| operation["operationId"].as_str().unwrap()).collect();

    assert_eq!(names.len(), operations().len());
    assert!(names.contains("post_appointments_appointment_id_confirm"), "{names:?}");
}

#[test]
fn every_reference_leads_somewhere() {
    fn walk(value: &Value, references: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => {
                if let Some(Value::String(reference)) = map.get("$ref") {
                    references.insert(reference.clone());
                }
                map.values().for_each(|value| walk(value, references));
            }
            Value::Array(values) => values.iter().for_each(|value| walk(value, references)),
            _ => {}
        }
    }
    let mut references = BTreeSet::new();
    walk(document(), &mut references);

    assert!(!references.is_empty());
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document().pointer(pointer).is_some(), "{reference}");
    }
}

#[test]
fn paths_declare_what_stands_in_braces() {
    for (path, operation) in operations() {
        let declared = operation["parameters"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|parameter| parameter["in"] == "path")
            .count();
        assert_eq!(declared, path.matches('{').count(), "{path}");
    }
}
