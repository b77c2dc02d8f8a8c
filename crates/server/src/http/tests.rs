//! The service around a router, without a database.

use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Router, body::Body};
use http::{Request, StatusCode, header};
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::{Problem, Service, body_bytes};

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn service() -> Service {
    let router = Router::new()
        .route("/fine", get(async || "fine"))
        .route("/refused", post(async || Problem::invalid("/name", "is missing").into_response()))
        .route("/broken", get(async || -> &'static str { panic!("the name is Ada Lovelace") }))
        .fallback(async || Problem::not_found());
    Service::new(router, Duration::from_secs(5))
}

async fn ask(method: &str, path: &str, request_id: Option<&str>) -> axum::response::Response {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(id) = request_id {
        request = request.header("x-request-id", id);
    }
    service().respond(request.body(Body::empty()).unwrap(), PEER).await
}

async fn problem_of(method: &str, path: &str) -> (StatusCode, Value) {
    let response = ask(method, path, None).await;
    let status = response.status();
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
    let request_id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    let body: Value = serde_json::from_slice(&body_bytes(response.into_body()).await.unwrap()).unwrap();
    assert_eq!(body["request_id"], request_id.as_str());
    (status, body)
}

#[tokio::test]
async fn a_refusal_carries_the_request_id() {
    let (status, body) = problem_of("POST", "/refused").await;

    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(body["errors"][0]["pointer"], "/name");
}

#[tokio::test]
async fn an_unknown_path_and_a_wrong_method_are_problems_too() {
    assert_eq!(problem_of("GET", "/nowhere").await.1["code"], "not_found");

    let response = ask("DELETE", "/refused", None).await;
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(response.headers()[header::ALLOW], "POST");
}

#[tokio::test]
async fn a_panic_is_a_problem_that_says_nothing() {
    let (status, body) = problem_of("GET", "/broken").await;

    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(!body.to_string().contains("Ada"));
}

#[tokio::test]
async fn a_request_id_is_kept_when_it_is_one() {
    let given = "6b29fc40-ca47-1067-b31d-00dd010662da";

    let kept = ask("GET", "/fine", Some(given)).await;
    let replaced = ask("GET", "/fine", Some("Ada Lovelace")).await;

    assert_eq!(kept.headers()["x-request-id"], given);
    assert_ne!(replaced.headers()["x-request-id"], "Ada Lovelace");
}
