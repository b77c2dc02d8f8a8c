//! The pin, and what the comparison says about every kind of change.

use serde_json::json;

use super::*;
use crate::catalogue::catalogue;

const PIN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/catalogue.json");
const REFRESH: &str = "UPDATE_CATALOGUE=1 cargo test -p carelog-webhooks published_catalogue";

fn present() -> Value {
    serde_json::to_value(catalogue()).unwrap()
}

#[test]
fn the_published_catalogue_keeps_its_promises() {
    let present = present();
    let is_refresh = std::env::var_os("UPDATE_CATALOGUE").is_some();
    let pinned = match std::fs::read(PIN) {
        Ok(bytes) => serde_json::from_slice(&bytes).unwrap(),
        Err(_) if is_refresh => present.clone(),
        Err(error) => panic!("no pin ({error}); make one with\n{REFRESH}"),
    };

    let differences = compare(&pinned, &present);

    assert!(
        differences.breaking.is_empty(),
        "receivers of these events would break; make a new type of event instead:\n{}",
        differences.breaking.join("\n")
    );
    if is_refresh {
        std::fs::write(PIN, serde_json::to_string_pretty(&present).unwrap() + "\n").unwrap();
    } else {
        let changes = differences.compatible.join("\n");
        assert_eq!(pinned, present, "no receiver breaks; refresh the pin with\n{REFRESH}\n{changes}");
    }
}

/// A change to the catalogue, where it shows, and what is said about it.
type Case = (fn(&mut Value), &'static str, &'static str);

fn item<'v>(catalogue: &'v mut Value, name: &str) -> &'v mut Value {
    let items = catalogue["items"].as_array_mut().unwrap();
    items.iter_mut().find(|item| item["name"] == name).unwrap()
}

fn property<'v>(catalogue: &'v mut Value, of: &str, name: &str) -> &'v mut Value {
    &mut item(catalogue, of)["schema"]["properties"][name]
}

fn without(list: &mut Value, value: &str) {
    list.as_array_mut().unwrap().retain(|other| other != value);
}

fn with(list: &mut Value, value: &str) {
    list.as_array_mut().unwrap().push(value.into());
}

/// The differences after a change; a pointer into the items begins with the name of the type.
fn differences(change: fn(&mut Value)) -> Differences {
    let (pinned, mut changed) = (present(), present());
    change(&mut changed);
    let named = |difference: String| {
        let rest = difference.strip_prefix("/items/").and_then(|rest| rest.split_once(['/', ':']));
        let Some((index, _)) = rest else { return difference };
        let index: usize = index.parse().unwrap();
        let catalogue = if difference.ends_with("was added") && pinned["items"][index].is_null() {
            &changed
        } else {
            &pinned
        };
        let name = catalogue["items"][index]["name"].as_str().unwrap();
        difference.replacen(&format!("/items/{index}"), name, 1)
    };
    let Differences { breaking, compatible } = compare(&pinned, &changed);
    Differences {
        breaking: breaking.into_iter().map(named).collect(),
        compatible: compatible.into_iter().map(named).collect(),
    }
}

const BREAKING: &[Case] = &[
    (
        |catalogue| {
            catalogue["items"].as_array_mut().unwrap().retain(|item| item["name"] != "form.signed");
        },
        "form.signed",
        "\"form.signed\" was removed",
    ),
    (|catalogue| item(catalogue, "form.signed")["name"] = "form.sealed".into(), "form.signed", "was removed"),
    (
        |catalogue| item(catalogue, "form.signed")["aggregate"] = "patient".into(),
        "form.signed/aggregate",
        "changed",
    ),
    (
        |catalogue| item(catalogue, "form.signed")["schema_version"] = 0.into(),
        "form.signed/schema_version",
        "fell from 1 to 0",
    ),
    (
        |catalogue| item(catalogue, "form.signed")["dataschema"] = "urn:other".into(),
        "form.signed/dataschema",
        "another name",
    ),
    (
        |catalogue| {
            let schema = &mut item(catalogue, "appointment.booked")["schema"];
            let moved = schema["properties"].as_object_mut().unwrap().remove("starts_at").unwrap();
            schema["properties"]["begins_at"] = moved;
        },
        "appointment.booked/schema/properties/starts_at",
        "was removed or renamed",
    ),
    (
        |catalogue| without(&mut item(catalogue, "appointment.booked")["schema"]["required"], "mode"),
        "appointment.booked/schema/required",
        "\"mode\" is no longer required",
    ),
    (
        |catalogue| {
            let schema = &mut item(catalogue, "appointment.booked")["schema"];
            schema["properties"]["room_id"] = json!({ "type": "string", "format": "uuid" });
            with(&mut schema["required"], "room_id");
        },
        "appointment.booked/schema/required",
        "raise the schema version",
    ),
    (
        |catalogue| {
            property(catalogue, "appointment.booked", "starts_at")["type"] = json!(["string", "null"]);
        },
        "appointment.booked/schema/properties/starts_at/type",
        "changed",
    ),
    (
        |catalogue| {
            property(catalogue, "appointment.completed", "duration_minutes")["type"] = "number".into();
        },
        "appointment.completed/schema/properties/duration_minutes/type",
        "changed",
    ),
    (
        |catalogue| property(catalogue, "appointment.booked", "patient_id")["format"] = "uri".into(),
        "appointment.booked/schema/properties/patient_id/format",
        "changed",
    ),
    (
        |catalogue| {
            property(catalogue, "appointment.booked", "starts_at").as_object_mut().unwrap().remove("pattern");
        },
        "appointment.booked/schema/properties/starts_at/pattern",
        "changed",
    ),
    (
        |catalogue| property(catalogue, "appointment.booked", "status")["const"] = "made".into(),
        "appointment.booked/schema/properties/status/const",
        "changed",
    ),
    (
        |catalogue| with(&mut property(catalogue, "appointment.booked", "mode")["enum"], "hologram"),
        "appointment.booked/schema/properties/mode/enum",
        "\"hologram\" is a further value",
    ),
    (
        |catalogue| without(&mut property(catalogue, "appointment.booked", "mode")["enum"], "phone"),
        "appointment.booked/schema/properties/mode/enum",
        "\"phone\" is no longer a value, older events may not fit",
    ),
    (
        |catalogue| {
            property(catalogue, "appointment.completed", "duration_minutes")["maximum"] = 65_536.into();
        },
        "appointment.completed/schema/properties/duration_minutes/maximum",
        "was widened",
    ),
    (
        |catalogue| property(catalogue, "appointment.completed", "duration_minutes")["minimum"] = (-1).into(),
        "appointment.completed/schema/properties/duration_minutes/minimum",
        "was widened",
    ),
    (
        |catalogue| {
            let duration = property(catalogue, "appointment.completed", "duration_minutes");
            duration.as_object_mut().unwrap().remove("maximum");
        },
        "appointment.completed/schema/properties/duration_minutes/maximum",
        "was widened",
    ),
    (
        |catalogue| property(catalogue, "appointment.completed", "duration_minutes")["minimum"] = 1.into(),
        "appointment.completed/schema/properties/duration_minutes/minimum",
        "was narrowed, older events may not fit",
    ),
    (
        |catalogue| item(catalogue, "patient.erased")["schema"]["additionalProperties"] = false.into(),
        "patient.erased/schema/additionalProperties",
        "changed",
    ),
    (
        |catalogue| {
            catalogue["envelopes"]["standard"]["properties"].as_object_mut().unwrap().remove("sequence");
        },
        "/envelopes/standard/properties/sequence",
        "was removed or renamed",
    ),
    (
        |catalogue| {
            catalogue["envelopes"]["cloudevents"]["properties"]["sequence"]["type"] = "integer".into();
        },
        "/envelopes/cloudevents/properties/sequence/type",
        "changed",
    ),
];

const COMPATIBLE: &[Case] = &[
    (
        |catalogue| {
            let mut another = item(catalogue, "form.signed").clone();
            another["name"] = "form.countersigned".into();
            catalogue["items"].as_array_mut().unwrap().push(another);
        },
        "form.countersigned",
        "was added",
    ),
    (
        |catalogue| {
            item(catalogue, "appointment.booked")["schema"]["properties"]["room"] =
                json!({ "type": "integer" });
        },
        "appointment.booked/schema/properties/room",
        "was added",
    ),
    (
        |catalogue| {
            let booked = item(catalogue, "appointment.booked");
            booked["schema_version"] = 2.into();
            booked["dataschema"] = "urn:carelog:event-type:appointment.booked:2".into();
            booked["schema"]["properties"]["room"] = json!({ "type": "integer" });
            with(&mut booked["schema"]["required"], "room");
        },
        "appointment.booked/schema/required",
        "\"room\" is required now",
    ),
    (
        |catalogue| {
            let envelope = &mut catalogue["envelopes"]["standard"];
            envelope["properties"]["checkpoint"] = json!({ "type": "string" });
            with(&mut envelope["required"], "checkpoint");
        },
        "/envelopes/standard/required",
        "\"checkpoint\" is required now",
    ),
    (
        |catalogue| item(catalogue, "form.signed")["description"] = "Somebody signed.".into(),
        "form.signed/description",
        "changed",
    ),
    (
        |catalogue| property(catalogue, "form.signed", "signed_by")["description"] = "Who.".into(),
        "form.signed/schema/properties/signed_by/description",
        "changed",
    ),
    (
        |catalogue| item(catalogue, "form.signed")["examples"]["standard"]["sequence"] = 7.into(),
        "form.signed/examples",
        "changed",
    ),
];

fn holds(list: &[String], pointer: &str, what: &str) -> bool {
    list.iter().any(|difference| difference.starts_with(&format!("{pointer}:")) && difference.contains(what))
}

#[test]
fn what_would_break_a_receiver_is_named_with_its_place() {
    for (number, (change, pointer, what)) in BREAKING.iter().enumerate() {
        let Differences { breaking, .. } = differences(*change);

        assert!(holds(&breaking, pointer, what), "case {number}: {pointer} {what}: {breaking:?}");
    }
}

#[test]
fn what_no_receiver_minds_only_asks_for_a_new_pin() {
    for (number, (change, pointer, what)) in COMPATIBLE.iter().enumerate() {
        let Differences { breaking, compatible } = differences(*change);

        assert_eq!(breaking, [""; 0], "case {number}");
        assert!(holds(&compatible, pointer, what), "case {number}: {pointer} {what}: {compatible:?}");
    }
}

#[test]
fn what_is_as_before_is_no_difference() {
    assert_eq!(differences(|_| ()), Differences::default());
}
