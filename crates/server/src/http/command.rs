//! From a request to an executed command, and from there to the answer.

mod resting;

use std::sync::Arc;

use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};
use carelog_domain::{PartnerId, PatientId, Rejection, StreamEvent, Timestamp};
use carelog_event_log::{Appended, Executed, Expected, Idempotency, derived_id, new_id};
use cqrs_es::Aggregate;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use uuid::Uuid;

pub(super) use self::resting::Decided;
use super::caller::{Caller, text};
use super::limits::InFlight;
use super::problem::Problem;
use super::{Api, body, freshness};

const MAX_KEY_CHARACTERS: usize = 255;
/// Clocks of clients may run ahead by this much.
const MAX_AHEAD_MICROS: i64 = 5 * 60 * 1_000_000;

/// What a client asks for, and on which terms.
#[derive(Clone, Debug)]
pub(super) struct Wish<B> {
    pub(super) body: B,
    pub(super) terms: Terms,
}

/// On which terms a command is to be executed.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    if_match: Option<i64>,
    idempotency: Option<Idempotency>,
}

/// A body with nothing in it but when it happened.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Moment {
    /// When it happened; now, where it is absent.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub occurred_at: Option<Timestamp>,
}

/// A body with nothing in it.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// What a command led to.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct CommandAnswer {
    /// The thing that was changed.
    pub id: Uuid,
    /// Its version, also in `ETag`.
    pub version: i64,
    /// Give it to a read as `wait_for`, and the read shows this change. Absent where nothing had to change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<String>,
    /// How many events were written.
    pub events: i32,
}

/// An executed command.
#[derive(Clone, Debug)]
pub(super) struct Done {
    pub(super) answer: CommandAnswer,
    pub(super) is_replayed: bool,
}

impl<B: DeserializeOwned> FromRequest<Arc<Api>> for Wish<B> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<Self, Problem> {
        let (parts, payload) = request.into_parts();
        let if_match = if_match(&parts.headers)?;
        let key = idempotency_key(&parts.headers)?;
        let bytes = body::collect(&parts.headers, payload, api.config.max_body_bytes).await?;
        let idempotency = key.map(|key| {
            let fingerprint = Sha256::new()
                .chain_update(parts.method.as_str())
                .chain_update([0])
                .chain_update(parts.uri.path())
                .chain_update([0])
                .chain_update(&bytes);
            Idempotency { key, fingerprint: fingerprint.finalize().into() }
        });
        Ok(Self { body: body::parse(&bytes)?, terms: Terms { if_match, idempotency } })
    }
}

fn if_match(headers: &HeaderMap) -> Result<Option<i64>, Problem> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let value = value.to_str().unwrap_or_default().trim();
    if value == "*" {
        return Ok(None);
    }
    let version = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let version = version.and_then(|digits| digits.parse().ok()).filter(|version| *version >= 0);
    version.map(Some).ok_or_else(|| Problem::invalid_header("If-Match", "one version in quotes"))
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    if !headers.contains_key("idempotency-key") {
        return Ok(None);
    }
    text(headers, "idempotency-key")
        .filter(|key| (1..=MAX_KEY_CHARACTERS).contains(&key.len()))
        .map(|key| Some(key.to_owned()))
        .ok_or_else(|| Problem::invalid_header("Idempotency-Key", "1 to 255 characters of ASCII"))
}

impl Terms {
    /// No condition and no key: for what follows from a command that had its own.
    pub(super) const NONE: Self = Self { if_match: None, idempotency: None };

    /// The id of a new thing: the client's, or one made here. With an idempotency key it follows from the key, so
    /// that a repetition names the same thing.
    pub(super) fn id_of_new(&self, caller: &Caller, given: Option<Uuid>) -> Uuid {
        match (given, self.kept(caller)) {
            (Some(given), _) => given,
            (None, Some(kept)) => derived_id(caller.organization_id.uuid(), kept.key.as_bytes()),
            (None, None) => new_id(),
        }
    }

    /// Without the key: where a repetition is a wish of its own, which has to be in the log.
    pub(super) fn each_anew(self) -> Self {
        Self { idempotency: None, ..self }
    }

    /// The same wish with something that its body does not tell, and that makes another wish of it.
    pub(super) fn with(self, told_beside: &[u8]) -> Self {
        let idempotency = self.idempotency.map(|Idempotency { key, fingerprint }| {
            let fingerprint = Sha256::new().chain_update(fingerprint).chain_update(told_beside);
            Idempotency { key, fingerprint: fingerprint.finalize().into() }
        });
        Self { idempotency, ..self }
    }

    /// The key under which the first answer is kept. A partner and a patient have keys of their own, so that none of
    /// them finds what another one wished.
    fn kept(&self, caller: &Caller) -> Option<Idempotency> {
        let Idempotency { key, fingerprint } = self.idempotency.clone()?;
        let owner = caller.partner().map(PartnerId::uuid).or(caller.bound_to().map(PatientId::uuid));
        let key = match owner {
            Some(owner) => hex::encode(Sha256::new().chain_update(owner).chain_update(key).finalize()),
            None => key,
        };
        Some(Idempotency { key, fingerprint })
    }

    pub(super) fn idempotency(&self) -> Option<&Idempotency> {
        self.idempotency.as_ref()
    }
}

impl Caller {
    /// Whether this is a repetition of a request that was answered: then it gets that answer, whatever has become of what
    /// was looked at for it.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub(super) async fn is_repeated(&self, terms: &Terms) -> Result<bool, Problem> {
        match terms.kept(self) {
            Some(kept) => Ok(self.api.log().has_answered(self.organization_id, &kept.key).await?),
            None => Ok(false),
        }
    }

    /// Executes a command that begins a stream.
    ///
    /// # Errors
    /// See [`Problem`].
    pub(super) async fn create<A>(
        &self,
        terms: &Terms,
        stream_id: Uuid,
        occurred_at: Option<Timestamp>,
        command: A::Command,
    ) -> Result<Done, Problem>
    where
        A: Aggregate<Services = ()> + 'static,
        A::Event: StreamEvent,
        A::Command: Clone,
        A::Error: Rejection,
    {
        self.run::<A>(terms, Expected::New, stream_id, occurred_at, command).await
    }

    /// Executes a command on a stream that is there.
    ///
    /// # Errors
    /// See [`Problem`].
    pub(super) async fn change<A>(
        &self,
        terms: &Terms,
        stream_id: Uuid,
        occurred_at: Option<Timestamp>,
        command: A::Command,
    ) -> Result<Done, Problem>
    where
        A: Aggregate<Services = ()> + 'static,
        A::Event: StreamEvent,
        A::Command: Clone,
        A::Error: Rejection,
    {
        self.run::<A>(terms, Expected::Any, stream_id, occurred_at, command).await
    }

    async fn run<A>(
        &self,
        terms: &Terms,
        expected: Expected,
        stream_id: Uuid,
        occurred_at: Option<Timestamp>,
        command: A::Command,
    ) -> Result<Done, Problem>
    where
        A: Aggregate<Services = ()> + 'static,
        A::Event: StreamEvent,
        A::Command: Clone,
        A::Error: Rejection,
    {
        if occurred_at.is_some_and(|moment| moment.micros_since(self.api.now()) > MAX_AHEAD_MICROS) {
            return Err(Problem::invalid("/occurred_at", "lies in the future"));
        }
        let idempotency = terms.kept(self);
        let _claim = self.claim(idempotency.as_ref())?;
        let expected = terms.if_match.map_or(expected, Expected::Version);
        let scope = self.scope(expected, occurred_at, idempotency).await?;
        let executed = self.api.log().execute::<A>(&scope, stream_id, command).await?;
        Ok(Done::of(stream_id, executed))
    }

    /// Keeps others from wishing under a key while its first wish is under way.
    fn claim(&self, idempotency: Option<&Idempotency>) -> Result<Option<InFlight<'_>>, Problem> {
        idempotency.map(|kept| self.api.limits.begin(self.organization_id, &kept.key)).transpose()
    }
}

impl Done {
    fn of(stream_id: Uuid, executed: Executed) -> Self {
        match executed {
            Executed::Appended(appended) => Self::new(stream_id, &appended, false),
            Executed::Replayed(known) => Self::new(known.stream_id, &known.appended, true),
            Executed::Unchanged { version } => Self {
                answer: CommandAnswer { id: stream_id, version, position: None, events: 0 },
                is_replayed: false,
            },
        }
    }

    fn new(id: Uuid, appended: &Appended, is_replayed: bool) -> Self {
        let answer = CommandAnswer {
            id,
            version: appended.version,
            // Who hears that nothing had to change hears of no place either, however often.
            position: (appended.event_count > 0).then(|| freshness::token(appended.position)),
            events: appended.event_count,
        };
        Self { answer, is_replayed }
    }

    /// The answer to a change.
    pub(super) fn changed(&self) -> Response {
        self.respond(StatusCode::OK, &self.answer)
    }

    /// The answer to a creation.
    pub(super) fn created(&self) -> Response {
        self.respond(StatusCode::CREATED, &self.answer)
    }

    /// An answer of another shape.
    pub(super) fn respond(&self, status: StatusCode, answer: &impl Serialize) -> Response {
        let mut response = json(status, answer);
        if let Ok(etag) = etag(self.answer.version) {
            response.headers_mut().insert(header::ETAG, etag);
        }
        if self.is_replayed {
            response.headers_mut().insert("idempotency-replayed", HeaderValue::from_static("true"));
        }
        response
    }
}

/// A record, with its version as entity tag.
///
/// # Errors
/// Never for a version that the log gave.
pub(super) fn shown(version: i64, view: &impl Serialize) -> Result<Response, Problem> {
    let mut response = json(StatusCode::OK, view);
    response.headers_mut().insert(header::ETAG, etag(version).map_err(|error| Problem::internal(&error))?);
    Ok(response)
}

/// A version as an entity tag.
fn etag(version: i64) -> Result<HeaderValue, http::header::InvalidHeaderValue> {
    HeaderValue::from_str(&format!("\"{version}\""))
}

/// An answer in JSON.
pub(super) fn json(status: StatusCode, answer: &impl Serialize) -> Response {
    match serde_json::to_vec(answer) {
        Ok(bytes) => {
            let content_type = HeaderValue::from_static("application/json");
            (status, [(header::CONTENT_TYPE, content_type)], bytes).into_response()
        }
        Err(error) => Problem::internal(&error).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::HeaderName::from_static(name), value.parse().unwrap())])
    }

    #[test]
    fn if_match_is_one_version_in_quotes() {
        assert_eq!(if_match(&HeaderMap::new()).unwrap(), None);
        assert_eq!(if_match(&headers("if-match", "\"7\"")).unwrap(), Some(7));
        assert_eq!(if_match(&headers("if-match", "*")).unwrap(), None);
        for wrong in ["7", "W/\"7\"", "\"seven\"", "\"7\", \"8\"", "\"-1\""] {
            assert_eq!(
                if_match(&headers("if-match", wrong)).unwrap_err().code(),
                "invalid_header",
                "{wrong}"
            );
        }
    }

    #[test]
    fn an_idempotency_key_has_a_length() {
        assert_eq!(idempotency_key(&HeaderMap::new()).unwrap(), None);
        assert_eq!(idempotency_key(&headers("idempotency-key", "a b")).unwrap().as_deref(), Some("a b"));
        for wrong in [String::new(), "x".repeat(256)] {
            assert!(idempotency_key(&headers("idempotency-key", &wrong)).is_err());
        }
    }
}
