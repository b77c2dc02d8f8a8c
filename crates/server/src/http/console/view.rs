//! What every page looks like: one style, nothing from elsewhere, and no script but where something moves.

use axum::response::{Html, IntoResponse, Response};
use http::{StatusCode, header};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::sections::Sections;

const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'self'; \
                      frame-ancestors 'none'";
const SCRIPTED_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'self'; connect-src 'self'; \
                               base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// The one style.
pub(in crate::http) const STYLE: &str = "
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 18%, transparent); --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --bad: #f2b8b5; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 0 auto; padding: 1.5rem; }
header { display: flex; gap: 1.5rem; align-items: baseline; border-bottom: 1px solid var(--line); }
header form { margin-left: auto; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 1rem; }
caption { text-align: left; font-weight: 700; padding: .5rem 0; }
th, td { text-align: left; vertical-align: top; padding: .35rem .75rem .35rem 0; border-bottom: 1px solid var(--line); }
code { font: 14px/1.4 ui-monospace, monospace; overflow-wrap: anywhere; }
.notice { border-left: 4px solid var(--bad); padding: .5rem .75rem; margin: 1rem 0; }
.bad { color: var(--bad); font-weight: 600; }
form { display: inline; }
form.fields { display: grid; grid-template-columns: max-content minmax(12rem, 28rem); gap: .5rem 1rem; align-items: center; }
progress { width: 100%; }
label { display: block; }
input { font: inherit; width: min(100%, 40rem); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1.5rem; }
dd { margin: 0; }
figure { margin: 1rem 0; }
svg { max-width: 100%; height: auto; }";

/// A whole page.
pub(super) struct Page<'a> {
    pub(super) title: &'a str,
    /// What there is beside it; nothing for whoever has not signed in.
    pub(super) sections: Option<Sections>,
    pub(super) body: Markup,
}

impl IntoResponse for Page<'_> {
    fn into_response(self) -> Response {
        self.respond(None)
    }
}

impl Page<'_> {
    /// The page with a script of ours.
    pub(super) fn with_script(self, path: &str) -> Response {
        self.respond(Some(path))
    }

    fn respond(self, script: Option<&str>) -> Response {
        let policy = if script.is_some() { SCRIPTED_POLICY } else { POLICY };
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width";
                    title { (self.title) " – Carelog" }
                    style { (PreEscaped(STYLE)) }
                    @if let Some(path) = script { script src=(path) defer {} }
                }
                body {
                    header {
                        strong { "Carelog" }
                        @if let Some(sections) = self.sections {
                            nav aria-label="Console" {
                                @for section in sections.opened() {
                                    a href=(section.home) { (section.title) } " "
                                }
                            }
                            form method="post" action="/console/sign-out" { button { "Sign out" } }
                        }
                    }
                    main {
                        h1 { (self.title) }
                        (self.body)
                    }
                }
            }
        };
        let headers = [
            (header::CONTENT_SECURITY_POLICY, policy),
            (header::REFERRER_POLICY, "same-origin"),
            (header::CACHE_CONTROL, "no-store"),
        ];
        (headers, Html(page.into_string())).into_response()
    }
}

/// A page that says why there is no other.
pub(super) fn refusal(status: StatusCode, reason: &str) -> Response {
    let body = html! { p.notice role="alert" { (reason) } p { a href="/console" { "To the console" } } };
    (status, Page { title: "Not done", sections: None, body }).into_response()
}

/// A moment as people read it.
pub(super) fn moment(text: Option<&str>) -> Markup {
    html! {
        @match text {
            Some(text) => {
                time datetime=(text) { (text.get(..19).unwrap_or(text).replace('T', " ")) " UTC" }
            }
            None => "–",
        }
    }
}
