//! Signing in and out.
//!
//! The cookie holds the API key, sealed under the organization's own key of class *network* for the session's id, and
//! the time at which the session ends. Nothing is stored, so every process opens what any other sealed; a revoked key
//! ends its sessions at once, and a browser never sees the key again.

use axum::Form;
use axum::extract::{FromRequestParts, State};
use axum::response::{IntoResponse, Redirect, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use carelog_domain::{
    DataClass, EventId, EventType, KeyId, KeyScope, OrganizationId, Sealed, StreamKind, Timestamp,
};
use carelog_event_log::new_id;
use carelog_vault::{KeyState, SealContext, VaultError};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use maud::html;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::super::caller::text;
use super::Console;
use super::asking::Trouble;
use super::sections::Sections;
use super::view::{self, Page};
use crate::http::service::Arrival;

/// `__Host-` lets a browser keep it for this host alone, on encrypted connections and on the machine itself.
const COOKIE: &str = "__Host-carelog";
/// How long a session lasts: a day's work.
const LASTS_MICROS: i64 = 10 * 60 * 60 * 1_000_000;
const IDS_BYTES: usize = 48;

/// Somebody who signed in.
#[derive(Debug)]
pub(super) struct Visitor {
    /// `Authorization` of what is asked for them.
    pub(super) authorization: HeaderValue,
    pub(super) arrival: Arrival,
    pub(super) network: HeaderMap,
    pub(super) sections: Sections,
}

/// What the cookie seals.
#[derive(Serialize, Deserialize)]
struct Session {
    api_key: String,
    /// What it opened when it signed in; each page is refused or not by itself.
    #[serde(default)]
    sections: Sections,
    ends_at: Timestamp,
}

/// What the form of the sign-in page sends.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SignIn {
    api_key: String,
}

/// Why the sign-in page is shown again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    No,
    NoKey,
}

impl FromRequestParts<Console> for Visitor {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, console: &Console) -> Result<Self, Response> {
        if parts.method == Method::POST && !is_of_this_site(&parts.headers) {
            return Err(view::refusal(StatusCode::FORBIDDEN, "The request came from another site."));
        }
        let Some(arrival) = parts.extensions.get::<Arrival>().copied() else {
            return Err(view::refusal(StatusCode::INTERNAL_SERVER_ERROR, "Something failed here."));
        };
        let to_sign_in = || Redirect::to("/console/sign-in").into_response();
        let Some(cookie) = cookie(&parts.headers) else { return Err(to_sign_in()) };
        let (session_id, session) = match open(console, cookie).await {
            Ok(Some(opened)) => opened,
            Ok(None) => return Err(to_sign_in()),
            Err(error) => {
                tracing::warn!(%error, "a session cannot be opened");
                return Err(view::refusal(StatusCode::SERVICE_UNAVAILABLE, "Please try again in a moment."));
            }
        };
        let Some(authorization) = authorization(&session.api_key) else { return Err(to_sign_in()) };
        let arrival = Arrival { session_id: Some(session_id), ..arrival };
        Ok(Self { authorization, arrival, network: network(&parts.headers), sections: session.sections })
    }
}

/// `GET /console/sign-in`
pub(super) async fn page() -> Response {
    sign_in_page(Again::No)
}

/// `POST /console/sign-in`
pub(super) async fn sign_in(
    State(console): State<Console>,
    parts: Parts,
    Form(form): Form<SignIn>,
) -> Response {
    if !is_of_this_site(&parts.headers) {
        return view::refusal(StatusCode::FORBIDDEN, "The request came from another site.");
    }
    let api_key = form.api_key.trim().to_owned();
    let (Some(authorization), Some(arrival)) = (authorization(&api_key), parts.extensions.get().copied())
    else {
        return sign_in_page(Again::NoKey);
    };
    let sections = Sections::default();
    let visitor = Visitor { authorization, arrival, network: network(&parts.headers), sections };
    // Whoever may ask who they are has a valid key.
    let me = match console.get(&visitor, "/v1/me").await {
        Ok(me) => me,
        Err(Trouble::SignedOut) => return sign_in_page(Again::NoKey),
        Err(trouble) => return trouble.into_response(),
    };
    let organization_id = me.pointer("/organization_id").and_then(|id| id.as_str()?.parse().ok());
    let Some(organization_id) = organization_id.map(OrganizationId::new) else {
        return sign_in_page(Again::NoKey);
    };
    let sections = Sections::of(&me);
    let ends_at = console.api.now().saturating_add_micros(LASTS_MICROS);
    match seal(&console, organization_id, &Session { api_key, sections, ends_at }).await {
        Ok(Some(value)) => {
            let cookie = set_cookie(&value, LASTS_MICROS / 1_000_000);
            ([(header::SET_COOKIE, cookie)], Redirect::to(sections.home())).into_response()
        }
        Ok(None) => sign_in_page(Again::NoKey),
        Err(error) => {
            tracing::warn!(%error, "a session cannot be sealed");
            view::refusal(StatusCode::SERVICE_UNAVAILABLE, "Please try again in a moment.")
        }
    }
}

/// `POST /console/sign-out`
pub(super) async fn sign_out(headers: HeaderMap) -> Response {
    if !is_of_this_site(&headers) {
        return view::refusal(StatusCode::FORBIDDEN, "The request came from another site.");
    }
    ([(header::SET_COOKIE, set_cookie("", 0))], Redirect::to("/console/sign-in")).into_response()
}

fn sign_in_page(again: Again) -> Response {
    let status = if again == Again::No { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
    let body = html! {
        @if again == Again::NoKey {
            p.notice role="alert" { "This key is not known, or no longer valid." }
        }
        form method="post" action="/console/sign-in" {
            label for="api_key" { "API key" }
            input #api_key name="api_key" type="password" required autocomplete="current-password" autofocus;
            button { "Sign in" }
        }
        p { "The key of your clinic's administrator, of a partner or of an analyst. The session ends after ten hours." }
    };
    (status, Page { title: "Sign in", sections: None, body }).into_response()
}

/// Browsers say where a form was sent from. `SameSite` keeps the cookie from other sites already; this keeps their
/// forms from signing somebody in or out.
fn is_of_this_site(headers: &HeaderMap) -> bool {
    if let Some(site) = text(headers, "sec-fetch-site") {
        return site == "same-origin";
    }
    let host = text(headers, header::HOST.as_str());
    let origin = text(headers, header::ORIGIN.as_str());
    let origin = origin.and_then(|origin| origin.split_once("://")).map(|(_, authority)| authority);
    host.is_some() && origin == host
}

fn authorization(api_key: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {api_key}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// What tells where a request came from.
fn network(headers: &HeaderMap) -> HeaderMap {
    let mut network = HeaderMap::new();
    for name in ["x-forwarded-for", header::USER_AGENT.as_str()] {
        for value in headers.get_all(name) {
            network.append(http::HeaderName::from_static(name), value.clone());
        }
    }
    network
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let pairs = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    pairs
        .flat_map(|pairs| pairs.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(name, value)| (name == COOKIE).then_some(value))
}

fn set_cookie(value: &str, seconds: i64) -> String {
    format!("{COOKIE}={value}; Path=/; Max-Age={seconds}; Secure; HttpOnly; SameSite=Strict")
}

fn context(scope: KeyScope, session_id: Uuid) -> SealContext {
    SealContext {
        scope,
        stream_kind: StreamKind::Organization,
        stream_id: session_id,
        // No event has this version, so that nothing of the log opens as a session.
        version: u64::MAX,
        event_id: EventId::new(session_id),
        event_type: EventType::OrganizationApiKeyIssued,
        schema_version: 0,
    }
}

async fn seal(
    console: &Console,
    organization_id: OrganizationId,
    session: &Session,
) -> Result<Option<String>, VaultError> {
    let scope = KeyScope { organization_id, subject: None, class: DataClass::Network };
    let KeyState::Live(key) = console.api.log().vault().data_key(&scope).await? else { return Ok(None) };
    let session_id = new_id();
    let plaintext = serde_json::to_vec(session).expect("texts can be written as JSON");
    let sealed = key.seal(&context(scope, session_id), &plaintext)?;
    let mut bytes = Vec::with_capacity(IDS_BYTES + sealed.bytes.len());
    for id in [organization_id.uuid(), session_id, sealed.key_id.uuid()] {
        bytes.extend_from_slice(id.as_bytes());
    }
    bytes.extend_from_slice(&sealed.bytes);
    Ok(Some(URL_SAFE_NO_PAD.encode(bytes)))
}

/// What a cookie holds, and the session's id; nothing where it is none of ours, or has ended.
async fn open(console: &Console, cookie: &str) -> Result<Option<(Uuid, Session)>, VaultError> {
    let Ok(bytes) = URL_SAFE_NO_PAD.decode(cookie) else { return Ok(None) };
    let Some((ids, sealed)) = bytes.split_at_checked(IDS_BYTES) else { return Ok(None) };
    let mut ids = ids.chunks_exact(16).filter_map(|id| Uuid::from_slice(id).ok());
    let (Some(organization_id), Some(session_id), Some(key_id)) = (ids.next(), ids.next(), ids.next()) else {
        return Ok(None);
    };
    let sealed = Sealed { key_id: KeyId::new(key_id), bytes: sealed.to_vec().into() };
    let scope = KeyScope {
        organization_id: OrganizationId::new(organization_id),
        subject: None,
        class: DataClass::Network,
    };
    // The organization's key by its scope, where it has one: anybody can write an id into a cookie.
    let found = console.api.log().vault().find_data_key(&scope).await?;
    let Some(KeyState::Live(key)) = found else { return Ok(None) };
    if key.id() != sealed.key_id {
        return Ok(None);
    }
    let Ok(plaintext) = key.open(&context(scope, session_id), &sealed) else { return Ok(None) };
    let session: Option<Session> = serde_json::from_slice(&plaintext).ok();
    Ok(session.filter(|session| session.ends_at > console.api.now()).map(|session| (session_id, session)))
}
