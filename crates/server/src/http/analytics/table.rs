//! Cells of a view as a table, for whoever wants the figures behind a chart.

use maud::{Markup, html};
use serde_json::Value;

/// A row for each cell, with a column for each of the names.
pub(in crate::http) fn table(names: &[&str], cells: &[Value]) -> Markup {
    html! {
        table {
            caption { "The figures; what is empty is withheld, or is nothing" }
            thead { tr { @for name in names { th scope="col" { (name.replace('_', " ")) } } } }
            tbody {
                @if cells.is_empty() { tr { td colspan=(names.len()) { "None." } } }
                @for cell in cells {
                    tr { @for name in names { td { (told(cell.get(*name))) } } }
                }
            }
        }
    }
}

fn told(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::Bool(is_so)) => if *is_so { "yes" } else { "no" }.to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) if number.is_f64() => {
            format!("{:.3}", number.as_f64().unwrap_or_default())
        }
        Some(other) => other.to_string(),
    }
}
