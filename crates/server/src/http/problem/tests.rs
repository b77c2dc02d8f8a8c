use carelog_domain::appointment::{AppointmentRejection, AppointmentStatus};
use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::*;

const REQUEST_ID: Uuid = Uuid::from_u128(7);

async fn body_of(problem: &Problem) -> Value {
    let bytes = problem.render(REQUEST_ID).into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&bytes).unwrap()
}

#[tokio::test]
async fn a_refused_field_is_named_by_its_pointer() {
    let problem = Problem::invalid("/starts_at", "expected an RFC 3339 timestamp");

    assert_eq!(
        body_of(&problem).await,
        json!({
            "type": "urn:carelog:problem:invalid_body",
            "title": "Unprocessable Entity",
            "status": 422,
            "code": "invalid_body",
            "request_id": REQUEST_ID,
            "errors": [{ "pointer": "/starts_at", "detail": "expected an RFC 3339 timestamp" }],
        })
    );
}

#[tokio::test]
async fn a_failure_hides_what_happened() {
    let problem = Problem::from(sqlx::Error::PoolTimedOut).detail("the password is hunter2");

    let body = body_of(&problem).await;

    assert_eq!(body["status"], 503);
    assert_eq!(body.get("detail"), None);
    assert!(problem.cause().unwrap().contains("pool timed out"));
}

#[test]
fn a_rejection_keeps_its_code() {
    let cases = [
        (AppointmentRejection::NotBooked, StatusCode::NOT_FOUND, "not_booked"),
        (
            AppointmentRejection::CannotStart { status: AppointmentStatus::Completed },
            StatusCode::CONFLICT,
            "cannot_start",
        ),
    ];
    for (rejection, status, code) in cases {
        let problem = Problem::from(ExecuteError::Rejected(rejection));

        assert_eq!((problem.status(), problem.code()), (status, code));
    }
}

#[test]
fn a_stale_version_and_a_reused_key_have_statuses_of_their_own() {
    let stale = Problem::from(ExecuteError::<AppointmentRejection>::StaleVersion { current_version: 3 });
    let reused = Problem::from(ExecuteError::<AppointmentRejection>::KeyReused);

    assert_eq!((stale.status().as_u16(), stale.code()), (412, "stale_version"));
    assert_eq!((reused.status().as_u16(), reused.code()), (422, "idempotency_key_reused"));
}

#[tokio::test]
async fn a_limit_says_when_to_come_back() {
    let response =
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited").retry_after(3).render(REQUEST_ID);

    assert_eq!(response.headers()[header::RETRY_AFTER], "3");
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
}
