//! The data dictionary of analytics for people: made from the comments of the tables and of their columns.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use carelog_analytics::queries::{self, Column, Table};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{STYLE, answer};
use crate::http::Api;
use crate::http::problem::Problem;

/// What the class of a column tells of it.
const CLASSES: [(&str, &str); 9] = [
    ("organization", "the id of the clinic"),
    (
        "pseudonym",
        "an HMAC of an id under a key of the clinic and an epoch; it leads to nobody without the key",
    ),
    ("catalogue", "an id from a catalogue of the clinic: an exercise, a template of forms"),
    ("place", "a place in the log"),
    ("time", "a moment that was cut, or a day"),
    ("number", "a count, a duration, a rate"),
    ("flag", "yes or no"),
    ("code", "one of a short list of values"),
    ("access", "who may sign in"),
];

const OWN_STYLE: &str = "
h2, nav a { text-transform: none; }
caption { text-align: left; font-weight: 700; padding: .25rem 0; }
tbody th { font-weight: 400; white-space: nowrap; }
td:first-child { white-space: normal; }
td:nth-child(2) { white-space: nowrap; }
.skip { position: absolute; left: -100rem; }
.skip:focus { position: static; }";

/// `GET /docs/analytics`
pub(in crate::http) async fn serve(State(api): State<Arc<Api>>) -> Result<Response, Problem> {
    // Comments change with the schema alone, which a new binary brings.
    let made = api.analytics_page.get_or_try_init(async || {
        let mut connection = api.system.databases.analytics_app.acquire().await?;
        let tables = queries::dictionary(&mut connection).await?;
        Ok::<_, Problem>(page(&tables).into_string().into())
    });
    Ok(answer(made.await?.clone()))
}

fn page(tables: &[Table]) -> Markup {
    let published: Vec<&Table> = tables.iter().filter(|table| table.is_published).collect();
    let facts: Vec<&Table> = tables.iter().filter(|table| !table.is_published).collect();
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                title { "Carelog analytics" }
                meta name="viewport" content="width=device-width";
                style { (PreEscaped(STYLE)) (PreEscaped(OWN_STYLE)) }
            }
            body {
                a.skip href="#main" { "Skip to the content" }
                header {
                    h1 { "Carelog analytics" }
                    p {
                        "What every table and column of analytics means. Analysts read the published tables, by SQL or by "
                        code { "GET /v1/analytics/{view}" } " (" a href="/docs#analytics" { "API reference" } "). "
                        "Figures that would lead to few patients are withheld there. They are made from facts under "
                        "pseudonyms, which nobody reads."
                    }
                }
                nav aria-label="Tables" {
                    @for table in published.iter().chain(&facts) {
                        a href={ "#" (table.name) } { (table.name) } " "
                    }
                }
                main id="main" {
                    (section("Published", "published", &published))
                    (section("Facts", "facts", &facts))
                    (classes())
                }
            }
        }
    }
}

fn section(title: &str, id: &str, tables: &[&Table]) -> Markup {
    html! {
        section aria-labelledby=(id) {
            h2 id=(id) { (title) }
            @for table in tables {
                article aria-labelledby=(table.name) {
                    h3 id=(table.name) { code { (table.name) } }
                    p { (table.description) "." }
                    (columns(table))
                }
            }
        }
    }
}

fn columns(table: &Table) -> Markup {
    html! {
        table {
            caption { "Columns of " (table.name) }
            thead {
                tr {
                    th scope="col" { "Column" } th scope="col" { "Unit and definition" } th scope="col" { "Type" }
                    th scope="col" { "Class" }
                }
            }
            tbody {
                @for column in &table.columns {
                    @let (definition, class) = told(column);
                    tr {
                        th scope="row" { code { (column.name) } }
                        td { (definition) }
                        td { (column.sql_type) }
                        td { @if !class.is_empty() { a href={ "#class-" (class) } { (class) } } }
                    }
                }
            }
        }
    }
}

fn classes() -> Markup {
    html! {
        section aria-labelledby="classes" {
            h2 id="classes" { "Classes" }
            p { "There is no column for words: every column is of one of these classes." }
            dl {
                @for (class, meaning) in CLASSES {
                    dt id={ "class-" (class) } { code { (class) } }
                    dd { (meaning) }
                }
            }
        }
    }
}

/// The two parts of a column's comment.
fn told(column: &Column) -> (&str, &str) {
    column.description.rsplit_once(" Class: ").unwrap_or((&column.description, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_is_told_as_definition_and_class_and_escaped() {
        let column = Column {
            name: "lead_days".to_owned(),
            sql_type: "integer".to_owned(),
            description: "From booking to beginning, days; <0 never. Class: number".to_owned(),
        };
        let table = Table {
            name: "appointment_facts".to_owned(),
            description: "Appointments".to_owned(),
            is_published: false,
            columns: vec![column],
        };

        let page = page(&[table]).into_string();

        assert!(page.contains("<td>From booking to beginning, days; &lt;0 never.</td><td>integer</td>"));
        assert!(
            page.contains("<a href=\"#class-number\">number</a>")
                && page.contains("<dt id=\"class-number\">")
        );
        assert!(!page.contains("<script") && !page.contains("src="));
    }
}
