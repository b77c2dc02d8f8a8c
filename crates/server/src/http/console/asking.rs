//! Asking the API of this process for somebody.

use axum::body::Body;
use axum::response::{IntoResponse, Redirect, Response};
use http::{Method, Request, StatusCode, header};
use serde_json::Value;
use tower::ServiceExt;

use super::session::Visitor;
use super::{Console, view};
use crate::http::{Problem, body_bytes};

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The key is not, or no longer, valid.
    SignedOut,
    /// The key may not do this.
    Forbidden,
    /// There is nothing of that name.
    NotFound,
    /// Anything else, with the API's code for it.
    Other(StatusCode, String),
}

impl Console {
    /// What `GET` answers.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub(super) async fn get(&self, visitor: &Visitor, path: &str) -> Result<Value, Trouble> {
        self.json(visitor, Method::GET, path).await
    }

    /// What an empty `POST` answers.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub(super) async fn post(&self, visitor: &Visitor, path: &str) -> Result<Value, Trouble> {
        self.json(visitor, Method::POST, path).await
    }

    async fn json(&self, visitor: &Visitor, method: Method, path: &str) -> Result<Value, Trouble> {
        let response = self.ask(visitor, method, path).await?;
        let unreadable = || Trouble::Other(StatusCode::OK, "internal_error".to_owned());
        let bytes = body_bytes(response.into_body()).await.map_err(|_| unreadable())?;
        serde_json::from_slice(&bytes).map_err(|_| unreadable())
    }

    /// What a request answers that is not refused.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub(super) async fn ask(
        &self,
        visitor: &Visitor,
        method: Method,
        path: &str,
    ) -> Result<Response, Trouble> {
        let response = self.answer(visitor, method, path).await?;
        match response.status() {
            StatusCode::UNAUTHORIZED => Err(Trouble::SignedOut),
            StatusCode::FORBIDDEN => Err(Trouble::Forbidden),
            StatusCode::NOT_FOUND => Err(Trouble::NotFound),
            status if !status.is_success() => {
                let problem = response.extensions().get::<Problem>();
                if let Some(cause) = problem.and_then(Problem::cause) {
                    tracing::warn!(error = cause, "the console got no answer");
                }
                let code = problem.map_or("internal_error", Problem::code);
                Err(Trouble::Other(status, code.to_owned()))
            }
            _ => Ok(response),
        }
    }

    /// What a request answers, whether it is refused or not.
    ///
    /// # Errors
    /// When the path is none.
    pub(super) async fn answer(
        &self,
        visitor: &Visitor,
        method: Method,
        path: &str,
    ) -> Result<Response, Trouble> {
        let body = if method == Method::GET { Body::empty() } else { Body::from("{}") };
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::AUTHORIZATION, visitor.authorization.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .extension(visitor.arrival)
            .body(body)
            .map_err(|_| Trouble::NotFound)?;
        request.headers_mut().extend(visitor.network.clone());
        let Ok(response) = self.router.clone().oneshot(request).await;
        Ok(response)
    }
}

impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        match self {
            Self::SignedOut => Redirect::to("/console/sign-in").into_response(),
            Self::Forbidden => view::refusal(StatusCode::FORBIDDEN, "Your key does not open this page."),
            Self::NotFound => view::refusal(StatusCode::NOT_FOUND, "There is nothing here."),
            Self::Other(status, code) => {
                let status = if status.is_client_error() { status } else { StatusCode::SERVICE_UNAVAILABLE };
                view::refusal(status, &format!("That did not work ({code})."))
            }
        }
    }
}
