//! Charts in pages of others: a link that shows one chart of one clinic, with its table, for a while.
//!
//! A link says what it shows, until when, and which key made it, and is signed by HMAC-SHA256 under a secret of the
//! organization that follows from the vault; it is kept nowhere. It ends with its time, and with its key. Whoever opens
//! it acts with that key, so that each look is in the log before it is shown, under the link's id; so is the making of a
//! link before it is handed out. Which pages may frame a chart is the
//! operator's to say (`frame_ancestors`).

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use carelog_analytics::queries::{self, CellFilter};
use carelog_domain::access::{
    AccessAnalyticsLinkIssued, AccessAnalyticsQueried, AnalyticsDimension, AnalyticsView, CellValue,
    YearMonth,
};
use carelog_domain::{ApiKeyId, ChartLinkId, OrganizationId, Timestamp};
use carelog_event_log::new_id;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use utoipa::ToSchema;

use super::framed::Look;
use super::{CellQuery, filter, refused};
use crate::http::body::{PathName, Query};
use crate::http::caller::Caller;
use crate::http::command::{Wish, json};
use crate::http::problem::Problem;
use crate::http::{Api, access, schemas};

/// Where links lead.
pub(in crate::http) const PATH: &str = "/charts/{link}";
const PURPOSE: &str = "chart_link";
/// <https://fetch.spec.whatwg.org/#cross-origin-resource-policy-header>
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
/// How long a link works where nothing else is said, and at most; hours.
const HOURS: u16 = 30 * 24;
const MAX_HOURS: u16 = 366 * 24;
const HOUR_MICROS: i64 = 3_600_000_000;
/// Longer texts are no links: 64 values of 36 characters, and what else there is.
const MAX_LINK_BYTES: usize = 8 << 10;

/// What a chart is to show, and for how long.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChartLinkBody {
    /// Only this dimension of the view.
    #[serde(default)]
    dimension: Option<String>,
    /// Only these values of the dimension, separated by commas.
    #[serde(default)]
    #[schema(max_length = 2048)]
    value: Option<String>,
    /// Only this month and later ones, as in `2026-03`.
    #[serde(default)]
    from: Option<String>,
    /// Only this month and earlier ones.
    #[serde(default)]
    until: Option<String>,
    /// For how many hours; 30 days where nothing is said.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 8784)]
    valid_hours: Option<u16>,
}

/// A link to a chart.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ChartLinkView {
    /// Under which the log tells of it and of each look at it.
    #[schema(value_type = uuid::Uuid)]
    link_id: ChartLinkId,
    /// The view that it shows.
    #[schema(schema_with = schemas::analytics_view)]
    view: AnalyticsView,
    /// The address of the chart, for a frame. Whoever has it sees the chart.
    url: String,
    /// Until when it works, unless the key that made it ends before.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// What a link says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    link_id: ChartLinkId,
    organization_id: OrganizationId,
    api_key_id: ApiKeyId,
    view: AnalyticsView,
    dimension: Option<AnalyticsDimension>,
    values: Vec<CellValue>,
    from: Option<YearMonth>,
    until: Option<YearMonth>,
    expires_at: Timestamp,
}

/// Makes a link to a chart of a view, for a page of somebody else. That it was made is written to the log before it is
/// handed out, and each look at it as a query of the key that made it, with the id of the link.
#[utoipa::path(post, path = "/v1/analytics/{view}/links", tag = "analytics",
    params(("view" = String, Path)), request_body = ChartLinkBody,
    responses((status = 200, description = "The link.", body = ChartLinkView)))]
pub(super) async fn create(
    caller: Caller,
    PathName(view): PathName<AnalyticsView>,
    headers: HeaderMap,
    wish: Wish<ChartLinkBody>,
) -> Result<Response, Problem> {
    let ChartLinkBody { dimension, value, from, until, valid_hours } = wish.body;
    let valid_hours = valid_hours.unwrap_or(HOURS);
    if !(1..=MAX_HOURS).contains(&valid_hours) {
        return Err(Problem::invalid("/valid_hours", format!("expected 1 to {MAX_HOURS}")));
    }
    let CellFilter { dimension, values, from, until } =
        filter(view, &CellQuery { dimension, value, from, until, format: None })?;
    let principal = caller.principal.as_ref().ok_or_else(|| Problem::fault("a link is made by a key"))?;
    let expires_at = caller.api.now().saturating_add_micros(i64::from(valid_hours) * HOUR_MICROS);
    let link_id = ChartLinkId::new(new_id());
    let issued =
        AccessAnalyticsLinkIssued { view, dimension, values: values.clone(), from, until, expires_at };
    let claims = Claims {
        link_id,
        organization_id: caller.organization_id,
        api_key_id: principal.api_key_id,
        view,
        dimension,
        values,
        from,
        until,
        expires_at,
    };
    let said = serde_json::to_vec(&claims).map_err(|error| Problem::internal(&error))?;
    let signature = mac(&caller.api, caller.organization_id, &said).await?.finalize().into_bytes();
    let link = format!("{}.{}", URL_SAFE_NO_PAD.encode(&said), URL_SAFE_NO_PAD.encode(signature));
    let url = format!("{}{}", caller.public_url(&headers)?, PATH.replace("{link}", &link));
    access::record_analytics_link(&caller, link_id, issued).await?;
    Ok(json(StatusCode::OK, &ChartLinkView { link_id, view, url, expires_at }))
}

/// `GET /charts/{link}`
pub(in crate::http) async fn serve(
    State(api): State<Arc<Api>>,
    Path(link): Path<String>,
    Query(look): Query<Look>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    // Whoever has no key looks up no more of them, and writes no more to the log, than others without one.
    Caller::check_address(&parts, &api)?;
    let Some(claims) = read(&api, &link).await? else { return Err(Caller::unknown(&parts, &api)) };
    if claims.expires_at <= api.now() {
        return Err(Problem::new(StatusCode::GONE, "link_expired").detail("the link to the chart has ended"));
    }
    let caller = Caller::by_key(&parts, &api, claims.organization_id, claims.api_key_id).await?;
    let Claims { link_id, view, dimension, values, from, until, .. } = claims;
    let of_link = CellFilter { dimension, values, from, until };
    let (filter, format) = (look.within(view, &of_link)?, look.format()?);
    let mut tx = queries::begin(&api.system.databases.analytics_app, caller.organization_id).await?;
    let figures = queries::figures(&mut tx, view, filter.clone()).await.map_err(refused)?;
    tx.commit().await?;
    let mut answer = look.answer(&figures, &of_link)?;
    let account = figures.account(filter, format);
    let account = AccessAnalyticsQueried { link_id: Some(link_id), ..account };
    access::record_analytics_query(&caller, account).await?;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, api.chart_policy.clone());
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    // As an image it would show in every page: `frame-ancestors` holds for frames alone.
    headers.insert(RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
    Ok(answer)
}

/// What a link says, if its organization signed it; compared in constant time.
async fn read(api: &Api, link: &str) -> Result<Option<Claims>, Problem> {
    let parts = link.split_once('.').filter(|_| link.len() <= MAX_LINK_BYTES);
    let Some((said, signature)) = parts.and_then(|(said, signature)| {
        URL_SAFE_NO_PAD.decode(said).ok().zip(URL_SAFE_NO_PAD.decode(signature).ok())
    }) else {
        return Ok(None);
    };
    let Ok(claims) = serde_json::from_slice::<Claims>(&said) else { return Ok(None) };
    // Nobody may have a key made for an organization that there is not.
    if api
        .look_up_key(claims.api_key_id)
        .await?
        .is_none_or(|key| key.organization_id != claims.organization_id)
    {
        return Ok(None);
    }
    let is_signed = mac(api, claims.organization_id, &said).await?.verify_slice(&signature).is_ok();
    Ok(is_signed.then_some(claims))
}

async fn mac(api: &Api, organization_id: OrganizationId, said: &[u8]) -> Result<Hmac<Sha256>, Problem> {
    let secret = api.log().vault().derived_secret(organization_id, PURPOSE).await?;
    let mut mac = Hmac::<Sha256>::new_from_slice(&*secret).expect("HMAC takes keys of any length");
    mac.update(said);
    Ok(mac)
}
