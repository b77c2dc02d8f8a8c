//! JSON Schema (2020-12) of facts, made from the same declarations as their types.
//!
//! Only what a receiver of JSON can use is said: one `type`, the values of an enum, bounds, formats. No references and
//! no choices between shapes, so that a schema reads like a table and two versions of it can be compared.

#[cfg(test)]
mod tests;

#[doc(hidden)]
pub use serde_json::Value;
use serde_json::{Map, json};

use crate::closed::ClosedValue;

/// A property of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Property {
    /// Its name in JSON.
    pub name: String,
    /// What it holds.
    pub schema: Value,
    /// Whether it is always there.
    pub is_required: bool,
}

impl Property {
    /// A property with what its declaration says about it.
    pub fn new(name: impl Into<String>, docs: &[&str], schema: Value) -> Self {
        Self { name: name.into(), schema: described(docs, schema), is_required: true }
    }
}

/// A property of the facts. The bound is what keeps text out of them: see [`closed`](crate::closed).
#[doc(hidden)]
pub fn fact<T: ClosedValue>(name: &str, docs: &[&str], may_be_absent: bool) -> Property {
    Property { is_required: !may_be_absent, ..Property::new(name, docs, T::schema()) }
}

/// An object with these properties, which may come to have more.
pub fn object(docs: &[&str], properties: Vec<Property>) -> Value {
    let mut required: Vec<String> = properties
        .iter()
        .filter(|property| property.is_required)
        .map(|property| property.name.clone())
        .collect();
    required.sort_unstable();
    let properties: Map<String, Value> =
        properties.into_iter().map(|property| (property.name, property.schema)).collect();
    described(
        docs,
        json!({
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": true,
        }),
    )
}

/// One of several names; the description says what each of them means.
#[doc(hidden)]
pub fn one_of<'a>(values: impl Iterator<Item = (&'a str, &'a str)>) -> Value {
    let (names, meanings): (Vec<&str>, Vec<String>) =
        values.map(|(name, meaning)| (name, format!("`{name}`: {meaning}"))).unzip();
    json!({ "type": "string", "enum": names, "description": meanings.join(" ") })
}

/// The same, or `null`.
pub(crate) fn nullable(mut schema: Value) -> Value {
    if let Some(kind) = schema.get_mut("type") {
        *kind = json!([kind.take(), "null"]);
    }
    if let Some(values) = schema.get_mut("enum").and_then(Value::as_array_mut) {
        values.push(Value::Null);
    }
    schema
}

/// Puts the words of a declaration before those of its type.
fn described(docs: &[&str], mut schema: Value) -> Value {
    let own = schema.get("description").and_then(Value::as_str);
    let words: Vec<&str> =
        docs.iter().map(|line| line.trim()).chain(own).filter(|words| !words.is_empty()).collect();
    let words = words.join(" ");
    if let Some(schema) = schema.as_object_mut().filter(|_| !words.is_empty()) {
        schema.insert("description".to_owned(), words.into());
    }
    schema
}
