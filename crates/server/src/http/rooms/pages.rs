//! The page of the embedded room, its script and its style. They are the same for everybody and load nothing from
//! elsewhere.

use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use http::header;
use maud::{DOCTYPE, Markup, html};

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const PERMISSIONS: &str =
    "camera=(self), microphone=(self), speaker-selection=(self), display-capture=(), geolocation=()";
const SCRIPT: &str = include_str!("room.js");
const RECORDER: &str = include_str!("recorder.js");
const STYLE: &str = include_str!("room.css");

static PAGE: LazyLock<bytes::Bytes> = LazyLock::new(|| page().into_string().into());

/// `GET /rooms`
pub(super) async fn room() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::HeaderName::from_static("permissions-policy"), PERMISSIONS),
    ];
    (headers, PAGE.clone()).into_response()
}

/// `GET /rooms/room.js`
pub(super) async fn script() -> Response {
    ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], SCRIPT).into_response()
}

/// `GET /rooms/recorder.js`
pub(super) async fn recorder() -> Response {
    ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], RECORDER).into_response()
}

/// `GET /rooms/room.css`
pub(super) async fn style() -> Response {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], STYLE).into_response()
}

fn page() -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width";
                meta name="robots" content="noindex";
                title { "Video room" }
                link rel="stylesheet" href="/rooms/room.css";
                script src="/rooms/recorder.js" defer {}
                script src="/rooms/room.js" defer {}
            }
            body data-phase="opening" data-media="none" data-link="none" {
                header {
                    h1 { "Video room" }
                    p #clock hidden { "Closes in " span #countdown role="timer" {} }
                }
                p #warning .notice role="alert" hidden {}
                p #recorded .notice role="status" {}
                p #status role="status" aria-live="polite" { "Opening the room …" }
                main {
                    noscript { p .notice { "A video call needs scripts: allow them for this page." } }
                    (check_in())
                    (waiting())
                    (call())
                    section #end aria-labelledby="end-title" tabindex="-1" hidden {
                        h2 #end-title {}
                        p #end-text {}
                        button #again type="button" hidden { "Try again" }
                    }
                }
            }
        }
    }
}

fn check_in() -> Markup {
    html! {
        section #check-in aria-labelledby="check-in-title" tabindex="-1" hidden {
            h2 #check-in-title { "Before you go in" }
            video #preview aria-label="Your own picture" autoplay playsinline muted {}
            p #device-help .notice role="alert" hidden {}
            div .row { label for="camera" { "Camera" } select #camera {} }
            div .row { label for="microphone" { "Microphone" } select #microphone {} }
            div .row {
                label for="level" { "Speak: the bar moves when you are heard" }
                meter #level min="0" max="1" low="0.05" value="0" {}
            }
            div .row { label for="speaker" { "Speaker" } select #speaker {} }
            div .row {
                button #play type="button" { "Play a sound" }
                span #played {}
            }
            div .row {
                button #test type="button" { "Test the network" }
                span #network role="status" { "Not tested yet." }
            }
            div .row {
                input #without-video type="checkbox";
                label for="without-video" { "Sound only: for a slow network, or without a camera" }
            }
            button #enter type="button" .primary disabled { "Go in" }
        }
    }
}

fn waiting() -> Markup {
    html! {
        section #waiting aria-labelledby="waiting-title" tabindex="-1" hidden {
            h2 #waiting-title { "Waiting room" }
            p { "Your specialist sees that you are here and will let you in. Keep this page open." }
            button #leave-waiting type="button" { "Leave" }
        }
    }
}

fn call() -> Markup {
    html! {
        section #call aria-labelledby="call-title" tabindex="-1" hidden {
            h2 #call-title { "Conversation" }
            div .stage {
                video #remote aria-label="The other participant" autoplay playsinline {}
                p #alone { "Nobody else is here yet." }
                video #self aria-label="Your own picture" autoplay playsinline muted {}
            }
            div .tools role="toolbar" aria-label="Conversation" {
                button #mute type="button" aria-pressed="false" { "Mute" }
                button #camera-off type="button" aria-pressed="false" { "Camera off" }
                button #record type="button" aria-pressed="false" hidden { "Record" }
                button #extend type="button" hidden { "15 minutes more" }
                button #send-back type="button" hidden { "Send back to the waiting room" }
                button #leave type="button" .danger { "Leave" }
            }
            section #lobby aria-labelledby="lobby-title" hidden {
                h3 #lobby-title { "Waiting room" }
                ul #knocking aria-live="polite" {}
            }
        }
    }
}
