//! The trail as it happened, replayed at a pace that its reader sets.
//!
//! The page has the console's only script, which loads nothing but entries: the API streams them, and each time that it is
//! asked, at the beginning, after a pause or at another speed, is an access that the trail shows.

use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use carelog_audit::Topic;
use http::{HeaderValue, header};
use maud::{Markup, html};

use super::Console;
use super::asking::Trouble;
use super::sections::Sections;
use super::session::Visitor;
use super::view::Page;

const SCRIPT: &str = include_str!("replay.js");
const SCRIPT_PATH: &str = "/console/trail/replay.js";

/// Times the pace at which the trail was written, and how people call that; an hour in a second to begin with.
const SPEEDS: [(u32, &str); 6] = [
    (1, "as it happened"),
    (60, "a minute in a second"),
    (3_600, "an hour in a second"),
    (86_400, "a day in a second"),
    (604_800, "a week in a second"),
    (1_000_000_000, "without pauses"),
];
const SPEED: u32 = 3_600;

/// `GET /console/trail`
pub(super) async fn show(State(console): State<Console>, visitor: Visitor) -> Result<Response, Trouble> {
    // What the key opened when its session began may have been taken back.
    let sections = Sections::of(&console.get(&visitor, "/v1/me").await?);
    if !sections.opens_trail() {
        return Err(Trouble::Forbidden);
    }
    let body = html! {
        p {
            "What happened at your clinic, in its order and with its pauses. Each replay is itself an entry of the trail, and "
            "so is each change of the speed."
        }
        noscript { p.notice role="alert" { "A replay needs scripts: allow them for this page." } }
        (form())
        p #told role="status" { "Not begun." }
        progress #progress aria-label="Entries shown" value="0" max="1" {}
        table {
            caption { "Entries, the newest first; times are UTC" }
            thead {
                tr { @for name in ["Written", "What", "Of", "By", "Done"] { th scope="col" { (name) } } }
            }
            tbody #entries {}
        }
    };
    Ok(Page { title: "Trail", sections: Some(sections), body }.with_script(SCRIPT_PATH))
}

fn form() -> Markup {
    html! {
        form #replay .fields {
            label for="speed" { "Speed" }
            select #speed name="speed" {
                @for (speed, title) in SPEEDS {
                    option value=(speed) selected[speed == SPEED] { (title) }
                }
            }
            label for="topic" { "About" }
            select #topic name="topic" {
                option value="" { "everything" }
                @for topic in Topic::ALL { option value=(topic) { (topic) } }
            }
            label for="patient" { "Patient" }
            input #patient name="patient_id" placeholder="any, or an id" autocomplete="off";
            label for="from" { "From (UTC)" }
            input #from name="from" type="datetime-local";
            label for="before" { "Before (UTC)" }
            input #before name="before" type="datetime-local";
            div {
                button #start { "Replay" }
                " "
                button #pause type="button" disabled { "Pause" }
            }
        }
    }
}

/// `GET /console/trail/replay.js`
pub(super) async fn script() -> Response {
    ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], SCRIPT).into_response()
}

/// `GET /console/trail/replay`: the API's answer as it is, a refusal too.
pub(super) async fn replay(
    State(console): State<Console>,
    visitor: Visitor,
    RawQuery(query): RawQuery,
) -> Result<Response, Trouble> {
    let path = format!("/v1/trail/replay?{}", query.unwrap_or_default());
    let mut answer = console.answer(&visitor, http::Method::GET, &path).await?;
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(answer)
}
