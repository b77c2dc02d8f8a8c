//! What is checked before S3: that links are short, that signatures are of the present version, and who may ask from a
//! page of another origin.

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use s3s::Body;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{Duration, PrimitiveDateTime};

/// No signed link holds longer.
pub(super) const MAX_LINK_SECONDS: i64 = 900;
/// `X-Amz-Date` in a link.
const AMZ_DATE: &[BorrowedFormatItem<'_>] = format_description!("[year][month][day]T[hour][minute][second]Z");
/// So long a browser remembers what it may ask.
const PREFLIGHT_SECONDS: &str = "600";

/// Why a request is not even looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) message: &'static str,
}

const MALFORMED: Refusal = Refusal {
    status: StatusCode::BAD_REQUEST,
    code: "AuthorizationQueryParametersError",
    message: "the signature in the address is malformed, or holds for more than 15 minutes",
};
const EXPIRED: Refusal =
    Refusal { status: StatusCode::FORBIDDEN, code: "AccessDenied", message: "Request has expired" };
const OLD_SIGNATURE: Refusal = Refusal {
    status: StatusCode::BAD_REQUEST,
    code: "InvalidRequest",
    message: "only AWS Signature Version 4 is accepted",
};
const NO_FORMS: Refusal = Refusal {
    status: StatusCode::METHOD_NOT_ALLOWED,
    code: "MethodNotAllowed",
    message: "forms are not accepted",
};

/// Checks what `s3s` is more generous about. `now` is in seconds since 1970.
pub(super) fn check<B>(request: &Request<B>, now: i64) -> Result<(), Refusal> {
    let headers = request.headers();
    let begins =
        |name, prefix: &[u8]| headers.get_all(name).iter().any(|value| value.as_bytes().starts_with(prefix));
    if begins(header::AUTHORIZATION, b"AWS ") {
        return Err(OLD_SIGNATURE);
    }
    if request.method() == Method::POST && begins(header::CONTENT_TYPE, b"multipart/form-data") {
        return Err(NO_FORMS);
    }
    check_link(request.uri().query().unwrap_or_default(), now)
}

fn check_link(query: &str, now: i64) -> Result<(), Refusal> {
    // As `s3s` reads them, whatever they are written like.
    let pairs: Vec<_> = url::form_urlencoded::parse(query.as_bytes()).collect();
    if pairs.iter().any(|(name, _)| matches!(&**name, "Signature" | "AWSAccessKeyId")) {
        return Err(OLD_SIGNATURE);
    }
    if !pairs.iter().any(|(name, _)| name == "X-Amz-Signature") {
        return Ok(());
    }
    let only = |wanted: &str| {
        let mut found = pairs.iter().filter(|(name, _)| name == wanted).map(|(_, value)| &**value);
        // A second one could be read by somebody else than the first.
        found.next().filter(|_| found.next().is_none()).ok_or(MALFORMED)
    };
    let life: i64 = only("X-Amz-Expires")?.parse().map_err(|_| MALFORMED)?;
    if !(1..=MAX_LINK_SECONDS).contains(&life) {
        return Err(MALFORMED);
    }
    let signed = PrimitiveDateTime::parse(only("X-Amz-Date")?, AMZ_DATE).map_err(|_| MALFORMED)?;
    let end = signed.checked_add(Duration::seconds(life)).ok_or(MALFORMED)?;
    if end.assume_utc().unix_timestamp() < now { Err(EXPIRED) } else { Ok(()) }
}

/// The answer to a refused request, as S3 words it.
pub(super) fn refused(refusal: Refusal) -> Response<Body> {
    let Refusal { status, code, message } = refusal;
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    );
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    response
}

/// The answer to a browser that asks what it may ask.
pub(super) fn preflight() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD, PUT"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("*"));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(PREFLIGHT_SECONDS));
    response
}

/// What every answer says. Any page may use a link that it was given: the link is the right, and no cookie is one.
pub(super) fn add_headers(headers: &mut HeaderMap) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("ETag"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox"));
}
