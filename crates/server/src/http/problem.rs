//! Every refusal and every failure as `application/problem+json` (RFC 9457).
//!
//! A handler returns a [`Problem`]; the service around the router writes it out, because only the service knows
//! the request id that the body and the log line share. What lies behind a 5xx is logged there and never shown.

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::error::Error;
use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use carelog_domain::{Rejection, RejectionKind};
use carelog_event_log::{AppendError, ExecuteError, ReadError, SealError};
use carelog_vault::VaultError;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use uuid::Uuid;

/// Why a request was not granted.
#[derive(Clone, Debug)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: Option<Cow<'static, str>>,
    errors: Vec<FieldProblem>,
    retry_after_seconds: Option<u64>,
    cause: Option<Arc<str>>,
}

/// What is wrong with one part of a body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct FieldProblem {
    /// JSON pointer (RFC 6901) into the body.
    pub pointer: String,
    /// In words.
    pub detail: Cow<'static, str>,
}

/// The body of a refusal (RFC 9457).
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Problem)]
pub(super) struct ProblemBody<'a> {
    /// Names the kind of problem.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    kind: String,
    /// The kind in words.
    title: &'a str,
    /// The HTTP status.
    status: u16,
    /// The kind as a stable name.
    code: &'a str,
    /// What happened here.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    /// Names the request in the log.
    request_id: Uuid,
    /// The parts of the body that are wrong.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldProblem],
}

impl Problem {
    /// A refusal with a status and a stable name.
    pub const fn new(status: StatusCode, code: &'static str) -> Self {
        Self { status, code, detail: None, errors: Vec::new(), retry_after_seconds: None, cause: None }
    }

    /// The caller's id or name leads to nothing that the caller may know of.
    pub const fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found")
    }

    /// A part of the body does not fit.
    pub fn invalid(pointer: impl Into<String>, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_body").and_field(pointer, detail)
    }

    /// A header does not fit.
    pub fn invalid_header(name: &'static str, expected: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_header").detail(format!("{name}: expected {expected}"))
    }

    /// A part of the query does not fit.
    pub fn invalid_query(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_query").detail(detail)
    }

    /// Something here failed that a further try cannot help.
    pub fn internal(cause: &(dyn Error + 'static)) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error").caused_by(cause)
    }

    /// A value that this process made itself does not fit; a fault in the program.
    pub fn fault(cause: &str) -> Self {
        let problem = Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error");
        Self { cause: Some(Arc::from(cause)), ..problem }
    }

    /// Something that Carelog needs does not answer.
    pub fn unavailable(cause: &(dyn Error + 'static)) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable").retry_after(1).caused_by(cause)
    }

    /// An aggregate refused.
    pub(super) fn rejected(rejection: &impl Rejection) -> Self {
        let status = match rejection.kind() {
            RejectionKind::NotFound => StatusCode::NOT_FOUND,
            RejectionKind::Conflict => StatusCode::CONFLICT,
            RejectionKind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self::new(status, rejection.code()).detail(rejection.to_string())
    }

    /// Says what happened here.
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Names a further part of the body that is wrong.
    pub fn and_field(mut self, pointer: impl Into<String>, detail: impl Into<Cow<'static, str>>) -> Self {
        self.errors.push(FieldProblem { pointer: pointer.into(), detail: detail.into() });
        self
    }

    /// Says when another try makes sense.
    pub const fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }

    fn caused_by(mut self, cause: &(dyn Error + 'static)) -> Self {
        let mut chain = cause.to_string();
        let mut source = cause.source();
        while let Some(error) = source {
            chain.push_str(": ");
            chain.push_str(&error.to_string());
            source = error.source();
        }
        self.cause = Some(chain.into());
        self
    }

    /// The HTTP status.
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// The stable name.
    pub const fn code(&self) -> &'static str {
        self.code
    }

    /// What lies behind it, for the log.
    pub fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    /// Writes it out.
    pub(super) fn render(&self, request_id: Uuid) -> Response {
        let shows_detail = !self.status.is_server_error();
        let body = ProblemBody {
            kind: format!("urn:carelog:problem:{}", self.code),
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            code: self.code,
            detail: self.detail.as_deref().filter(|_| shows_detail),
            request_id,
            errors: &self.errors,
        };
        let bytes = serde_json::to_vec(&body).unwrap_or_default();
        let mut response = (self.status, bytes).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// A response that only carries the problem to the service, which writes it out.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        if is_outage(&error) { Self::unavailable(&error) } else { Self::internal(&error) }
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Database(error) => error.into(),
            ReadError::Stored { .. } => Self::internal(&error),
        }
    }
}

impl From<carelog_records::QueryError> for Problem {
    fn from(error: carelog_records::QueryError) -> Self {
        match error {
            carelog_records::QueryError::Database(error) => error.into(),
            carelog_records::QueryError::Stored { .. } => Self::internal(&error),
        }
    }
}

impl From<carelog_audit::QueryError> for Problem {
    fn from(error: carelog_audit::QueryError) -> Self {
        match error {
            carelog_audit::QueryError::Database(error) => error.into(),
            carelog_audit::QueryError::Stored { .. } => Self::internal(&error),
        }
    }
}

impl From<carelog_audit::trees::TreeError> for Problem {
    fn from(error: carelog_audit::trees::TreeError) -> Self {
        match error {
            carelog_audit::trees::TreeError::Database(error) => error.into(),
            error => Self::internal(&error),
        }
    }
}

impl From<carelog_video::queries::QueryError> for Problem {
    fn from(error: carelog_video::queries::QueryError) -> Self {
        match error {
            carelog_video::queries::QueryError::Database(error) => error.into(),
            carelog_video::queries::QueryError::Stored { .. } => Self::internal(&error),
        }
    }
}

impl From<carelog_audit::signer::SignerError> for Problem {
    fn from(error: carelog_audit::signer::SignerError) -> Self {
        match error {
            carelog_audit::signer::SignerError::Database(error) => error.into(),
            carelog_audit::signer::SignerError::Tree(error) => error.into(),
            carelog_audit::signer::SignerError::Stored { .. } => Self::internal(&error),
        }
    }
}

impl From<carelog_video::DirectoryError> for Problem {
    fn from(error: carelog_video::DirectoryError) -> Self {
        match error {
            carelog_video::DirectoryError::Query(error) => error.into(),
            carelog_video::DirectoryError::Vault(error) => error.into(),
            carelog_video::DirectoryError::Read(error) => error.into(),
            carelog_video::DirectoryError::Codec(_) => Self::internal(&error),
        }
    }
}

impl From<carelog_webhooks::DirectoryError> for Problem {
    fn from(error: carelog_webhooks::DirectoryError) -> Self {
        match error {
            carelog_webhooks::DirectoryError::Database(error) => error.into(),
            carelog_webhooks::DirectoryError::Vault(error) => error.into(),
            carelog_webhooks::DirectoryError::Stored(_) => Self::internal(&error),
        }
    }
}

impl From<carelog_webhooks::answers::AnswersError> for Problem {
    fn from(error: carelog_webhooks::answers::AnswersError) -> Self {
        match error {
            carelog_webhooks::answers::AnswersError::Database(error) => error.into(),
            carelog_webhooks::answers::AnswersError::Vault(error) => error.into(),
            carelog_webhooks::answers::AnswersError::Stored(_) => Self::internal(&error),
        }
    }
}

impl From<VaultError> for Problem {
    fn from(error: VaultError) -> Self {
        if error.is_transient() { Self::unavailable(&error) } else { Self::internal(&error) }
    }
}

impl<R: Rejection> From<ExecuteError<R>> for Problem {
    fn from(error: ExecuteError<R>) -> Self {
        match error {
            ExecuteError::Rejected(rejection) => Self::rejected(&rejection),
            ExecuteError::StaleVersion { current_version } => {
                Self::new(StatusCode::PRECONDITION_FAILED, "stale_version")
                    .detail(format!("it is at version {current_version}"))
            }
            ExecuteError::Contended | ExecuteError::PremiseMoved => {
                Self::new(StatusCode::CONFLICT, "contended")
                    .detail("others kept changing it, try again")
                    .retry_after(1)
            }
            ExecuteError::KeyReused => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused")
                .detail("the idempotency key was used for another request"),
            ExecuteError::Seal(SealError::SubjectErased) => Self::new(StatusCode::CONFLICT, "patient_erased")
                .detail("the patient was erased: nothing personal can be written any more"),
            ExecuteError::Seal(SealError::Vault(error)) => error.into(),
            ExecuteError::Seal(error) => Self::internal(&error),
            ExecuteError::Read(error) => error.into(),
            ExecuteError::Codec(error) => Self::internal(&error),
            ExecuteError::Append(error @ AppendError::Stored { .. }) => Self::internal(&error),
            ExecuteError::Append(error) => Self::unavailable(&error),
        }
    }
}

/// Whether the database is away or overloaded, rather than refusing a statement.
fn is_outage(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(error) => {
            error.code().is_some_and(|code| matches!(code.get(..2), Some("08" | "53" | "57" | "3D")))
        }
        _ => false,
    }
}
