//! How participants' networks did, as Daily's call metrics say: <https://docs.daily.co/reference/rest-api/logs/list-logs>.
//! There is a sample for each participant every 15 seconds, once there are two.

use std::collections::BTreeMap;

use carelog_domain::Timestamp;
use carelog_domain::video_room::QualitySample;
use http::Method;
use serde::Deserialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::client::DailyApi;
use super::limiter::Tier;
use super::{DailyAccount, DailyError};
use crate::quality::{Measured, sample};

/// Samples of a page, and pages of one meeting: two people for eight hours.
const LISTED: usize = 200;
const MOST_PAGES: usize = 20;

#[derive(Deserialize)]
struct LogPage {
    #[serde(default)]
    metrics: Vec<Metric>,
}

/// What is not used is left out; what is not documented, too.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metric {
    time: Timestamp,
    user_session_id: Uuid,
    /// A share.
    video_recv_packet_loss: Option<f64>,
    user_recv_bits_per_sec_avg: Option<f64>,
    user_sent_bits_per_sec_avg: Option<f64>,
    /// By connection and track.
    #[serde(default)]
    metrics: BTreeMap<String, Map<String, Value>>,
}

impl DailyApi {
    /// What was measured in a meeting, in the order of time. What cannot be is left out.
    ///
    /// # Errors
    /// See [`DailyError`].
    pub(crate) async fn samples(
        &self,
        account: &DailyAccount,
        meeting_id: &str,
    ) -> Result<Vec<QualitySample>, DailyError> {
        let limit = LISTED.to_string();
        let mut samples = Vec::new();
        for page in 0..MOST_PAGES {
            let offset = page.saturating_mul(LISTED).to_string();
            let query = [
                ("mtgSessionId", meeting_id),
                ("includeLogs", "false"),
                ("includeMetrics", "true"),
                ("order", "ASC"),
                ("limit", limit.as_str()),
                ("offset", offset.as_str()),
            ];
            let page: LogPage = self.ask(account, Tier::Slow, Method::GET, &["logs"], &query, None).await?;
            samples.extend(page.metrics.iter().filter_map(Metric::sample));
            if page.metrics.len() < LISTED {
                break;
            }
        }
        Ok(samples)
    }
}

impl Metric {
    fn sample(&self) -> Option<QualitySample> {
        let kbps = |bits: Option<f64>| bits.map(|bits| bits / 1_000.0);
        let measured = Measured {
            jitter_ms: self.jitter_seconds().map(|seconds| seconds * 1_000.0),
            receive_loss: self.video_recv_packet_loss,
            sent_kbps: kbps(self.user_sent_bits_per_sec_avg),
            received_kbps: kbps(self.user_recv_bits_per_sec_avg),
            ..Measured::default()
        };
        sample(self.user_session_id, &measured, self.time)
    }

    /// The worst of the tracks that came in.
    fn jitter_seconds(&self) -> Option<f64> {
        let tracks = self.metrics.values().flatten().filter(|(name, _)| name.starts_with("inbound-"));
        tracks.filter_map(|(_, track)| track.get("jitterAvg")?.as_f64()).reduce(f64::max)
    }
}
