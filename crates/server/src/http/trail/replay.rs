//! The trail as it happened: its entries one after the other, at the pace at which they were written or a faster one.
//!
//! The whole replay is an entry of the trail before the first entry leaves. It is what there was when it began, and ends
//! by itself; whoever was cut off goes on with `Last-Event-ID` or `after`, which is another access. A browser connects again
//! after the end as well, and is told with 204 to leave it at that (WHATWG HTML, server-sent events).

use std::collections::VecDeque;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use carelog_audit::{Order, Topic, TrailFilter, TrailPage, queries};
use carelog_domain::{PatientId, Timestamp};
use futures::future::BoxFuture;
use futures::{FutureExt, stream};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;
use tokio::time::Instant;
use utoipa::IntoParams;
use uuid::Uuid;

use super::EntryView;
use super::address::AskedAddress;
use crate::http::accept::{Offer, preferred, varies};
use crate::http::body::Query;
use crate::http::caller::Caller;
use crate::http::events::place_to_wait;
use crate::http::freshness::View;
use crate::http::limits::Waiting;
use crate::http::past::ends_before_it_begins;
use crate::http::problem::Problem;
use crate::http::{access, schemas};

/// Entries that are read at a time.
const AT_A_TIME: u16 = 500;
/// Speeds, in times the pace at which the trail was written.
const SPEEDS: std::ops::RangeInclusive<f64> = 0.01..=1_000_000_000.0;
/// In which a browser says what it has seen.
const LAST_SEEN: &str = "last-event-id";
/// The id of the end, which a browser that connects again gives as the last that it has seen.
const END: &str = "end";
/// Where nothing is said: an hour in a second.
const SPEED: f64 = 3_600.0;
/// The longest pause between two entries, so that nights pass, in seconds.
const LONGEST_PAUSE_SECONDS: u16 = 15;
/// Pauses below this are saved up: no clock waits so short.
const SHORTEST_PAUSE: Duration = Duration::from_millis(5);
/// A replay ends after this long, and the client goes on with another one: a key that was revoked shows nothing for longer.
const LONGEST: Duration = Duration::from_mins(10);

const FORMS: [Offer<Form>; 2] = [
    Offer { form: Form::Lines, essence: "application/x-ndjson", parameter: None },
    Offer { form: Form::Events, essence: "text/event-stream", parameter: None },
];

/// In which form entries come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// NDJSON.
    Lines,
    /// Server-sent events.
    Events,
}

/// What is replayed, and how fast.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ReplayQuery {
    /// How many times faster than it happened; 3600, an hour in a second, where it is absent.
    #[param(minimum = 0.01, maximum = 1_000_000_000.0)]
    speed: Option<f64>,
    /// The longest pause between two entries, in seconds, 15 at most; a quiet night takes no longer.
    #[param(minimum = 0, maximum = 15)]
    longest_pause_seconds: Option<u16>,
    /// Happened at this moment or later.
    #[param(schema_with = schemas::moment, required = false)]
    from: Option<Timestamp>,
    /// Happened before this moment.
    #[param(schema_with = schemas::moment, required = false)]
    before: Option<Timestamp>,
    /// About one patient.
    patient_id: Option<Uuid>,
    /// What it is about.
    #[param(schema_with = schemas::topic, required = false)]
    topic: Option<Topic>,
    /// Asked for in one session of the console: the first entry of each request.
    session_id: Option<Uuid>,
    /// The `sequence` of the entry after which it goes on.
    after: Option<i64>,
    /// The `position` of a command that the replay has to show.
    wait_for: Option<String>,
}

/// Replay the trail.
///
/// Its entries follow each other in their order, with the pauses between the moments at which they were written, divided by
/// `speed`. `Accept` chooses between NDJSON and server-sent events (`text/event-stream`), whose id is the entry's
/// `sequence`; a browser that was cut off goes on by itself. A replay shows what there is when it begins, says how many
/// entries in `carelog-entries`, and breaks after ten minutes: go on with `after`. A key replays and waits for events eight
/// times at once. The end is the event `end`, in NDJSON the
/// end of the body with `{"end": true}` on the last line. Whoever connects again with `Last-Event-ID: end`, as browsers do
/// by themselves, is answered 204, with which they stop.
#[utoipa::path(get, path = "/v1/trail/replay", tag = "trail", params(ReplayQuery, AskedAddress),
    responses((status = 200, description = "The entries.", content(
        (String = "application/x-ndjson"), (String = "text/event-stream"))),
        (status = 204, description = "The browser has seen the end.")))]
pub(super) async fn replay(
    caller: Caller,
    headers: HeaderMap,
    address: AskedAddress,
    Query(query): Query<ReplayQuery>,
) -> Result<Response, Problem> {
    let form = preferred(&headers, &FORMS).ok_or_else(|| {
        Problem::new(StatusCode::NOT_ACCEPTABLE, "not_acceptable")
            .detail("a replay is handed out as application/x-ndjson or text/event-stream")
    })?;
    let is_over = headers.get(LAST_SEEN).is_some_and(|seen| seen == END);
    if form == Form::Events && is_over {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let pace = query.pace()?;
    let filter = TrailFilter { address: address.index(&caller).await?, ..query.filter()? };
    let after = query.after(&headers)?;
    // Before anything is written down: a replay that is refused is none.
    let seat = place_to_wait(&caller, LONGEST.as_secs())?;
    caller.wait_for(query.wait_for.as_deref(), View::Trail).await?;
    let mut tx = caller.read_trail().await?;
    let until = queries::newest_sequence(&mut tx, caller.organization_id).await?;
    let all = queries::count_entries(&mut tx, caller.organization_id, &filter, until, i64::MAX).await?;
    let before = queries::count_entries(&mut tx, caller.organization_id, &filter, after, i64::MAX).await?;
    tx.commit().await?;
    let count = (all - before).max(0);
    access::record_trail_export(&caller, filter.subject_id, count).await?;
    let replaying = Replaying {
        caller,
        filter,
        form,
        pacing: Pacing { pace, last: None, owed: Duration::ZERO },
        after,
        until,
        waiting: VecDeque::new(),
        ends_at: Instant::now() + LONGEST,
        is_done: false,
        _place: seat,
    };
    let pieces = stream::try_unfold(replaying, |replaying| replaying.next().boxed());
    let mut response = Body::from_stream(pieces).into_response();
    let content_type = match form {
        Form::Lines => "application/x-ndjson",
        Form::Events => "text/event-stream",
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert("carelog-entries", HeaderValue::from(count));
    // A proxy that collects an answer before it hands it on would take the pauses away.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    varies(headers);
    Ok(response)
}

impl ReplayQuery {
    fn pace(&self) -> Result<Pace, Problem> {
        let speed = self.speed.unwrap_or(SPEED);
        let seconds = self.longest_pause_seconds.unwrap_or(LONGEST_PAUSE_SECONDS);
        if !SPEEDS.contains(&speed) {
            return Err(Problem::invalid_query("speed: expected a number from 0.01 to 1000000000"));
        }
        if seconds > LONGEST_PAUSE_SECONDS {
            return Err(Problem::invalid_query("longest_pause_seconds: expected 0 to 15"));
        }
        Ok(Pace { speed, longest: Duration::from_secs(seconds.into()) })
    }

    fn filter(&self) -> Result<TrailFilter, Problem> {
        if self.from.zip(self.before).is_some_and(|(from, before)| before < from) {
            return Err(ends_before_it_begins());
        }
        Ok(TrailFilter {
            subject_id: self.patient_id.map(PatientId::new),
            occurred_from: self.from,
            occurred_before: self.before,
            topic: self.topic,
            session_id: self.session_id,
            ..TrailFilter::default()
        })
    }

    /// Where to go on: what the browser says that it has seen counts more than the address, which stays as it was.
    fn after(&self, headers: &HeaderMap) -> Result<i64, Problem> {
        let Some(seen) = headers.get(LAST_SEEN) else { return Ok(self.after.unwrap_or(0).max(0)) };
        let seen = seen.to_str().ok().and_then(|text| text.parse::<i64>().ok()).filter(|seen| *seen >= 0);
        seen.ok_or_else(|| Problem::invalid_header("Last-Event-ID", "the id of an event of a replay"))
    }
}

/// How fast.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Pace {
    speed: f64,
    longest: Duration,
}

impl Pace {
    /// The pause between two entries.
    fn pause(self, last: Timestamp, next: Timestamp) -> Duration {
        // An imported entry may be written after a later one.
        let micros = u64::try_from(next.micros_since(last)).unwrap_or(0);
        let pause = Duration::from_micros(micros).as_secs_f64() / self.speed;
        Duration::try_from_secs_f64(pause).unwrap_or(self.longest).min(self.longest)
    }
}

/// Where a replay stands in time.
struct Pacing {
    pace: Pace,
    /// When the entry before was written.
    last: Option<Timestamp>,
    /// Pauses that were too short to be made.
    owed: Duration,
}

impl Pacing {
    /// The pause that has to be made before an entry that was written at this moment; nothing where it can be saved up.
    fn due(&self, written: Timestamp) -> Option<Duration> {
        Some(self.owed_before(written)).filter(|owed| *owed >= SHORTEST_PAUSE)
    }

    /// Goes on to that entry, after the pause where one was due.
    fn pass(&mut self, written: Timestamp) {
        let owed = self.owed_before(written);
        self.owed = if owed >= SHORTEST_PAUSE { Duration::ZERO } else { owed };
        self.last = Some(written);
    }

    fn owed_before(&self, written: Timestamp) -> Duration {
        self.owed + self.last.map_or(Duration::ZERO, |last| self.pace.pause(last, written))
    }
}

/// A failure in the middle breaks the transfer off, which the client sees.
#[derive(Debug, thiserror::Error)]
#[error("the replay broke off")]
struct BrokeOff;

/// How far a replay has come.
struct Replaying {
    caller: Caller,
    filter: TrailFilter,
    form: Form,
    pacing: Pacing,
    after: i64,
    until: i64,
    waiting: VecDeque<EntryView>,
    ends_at: Instant,
    is_done: bool,
    /// Held until the last piece was taken, or the client hung up.
    _place: Option<Waiting>,
}

impl Replaying {
    fn next(mut self) -> BoxFuture<'static, Result<Option<(Bytes, Self)>, BrokeOff>> {
        Box::pin(async move {
            if self.is_done {
                return Ok(None);
            }
            let mut piece = Vec::new();
            loop {
                if self.waiting.is_empty() && !piece.is_empty() {
                    break;
                }
                if Instant::now() >= self.ends_at {
                    // Without an end: there is more.
                    self.is_done = true;
                    break;
                }
                if self.waiting.is_empty() {
                    self.waiting = self.read().await?;
                }
                let Some(entry) = self.waiting.front() else {
                    self.is_done = true;
                    piece.extend_from_slice(self.form.end());
                    break;
                };
                if let Some(pause) = self.pacing.due(entry.recorded_at) {
                    if !piece.is_empty() {
                        break;
                    }
                    tokio::time::sleep(pause).await;
                }
                self.pacing.pass(entry.recorded_at);
                self.after = entry.sequence;
                self.form.write(&mut piece, entry)?;
                self.waiting.pop_front();
            }
            Ok(Some((Bytes::from(piece), self)))
        })
    }

    async fn read(&self) -> Result<VecDeque<EntryView>, BrokeOff> {
        let page = TrailPage { order: Order::OldestFirst, after: Some(self.after), limit: AT_A_TIME };
        let read = async {
            let mut tx = self.caller.read_trail().await?;
            let organization_id = self.caller.organization_id;
            let entries = queries::list_entries(&mut tx, organization_id, &self.filter, page).await?;
            tx.commit().await?;
            Ok::<_, Problem>(entries)
        };
        let entries = read.await.map_err(|problem| {
            tracing::error!(error = problem.cause(), "a replay of the trail broke off");
            BrokeOff
        })?;
        let entries = entries.into_iter().take_while(|entry| entry.sequence <= self.until);
        Ok(entries.map(EntryView::from).collect())
    }
}

impl Form {
    const fn end(self) -> &'static [u8] {
        match self {
            Self::Lines => b"{\"end\":true}\n",
            Self::Events => b"id: end\nevent: end\ndata: {}\n\n",
        }
    }

    fn write(self, piece: &mut Vec<u8>, entry: &EntryView) -> Result<(), BrokeOff> {
        if self == Self::Events {
            piece.extend_from_slice(format!("id: {}\nevent: entry\ndata: ", entry.sequence).as_bytes());
        }
        serde_json::to_writer(&mut *piece, entry).map_err(|_| BrokeOff)?;
        piece.extend_from_slice(if self == Self::Events { b"\n\n" } else { b"\n" });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_divided_by_the_speed_and_no_longer_than_is_allowed() {
        let at = |seconds: i64| Timestamp::from_unix_micros(seconds * 1_000_000).unwrap();
        let pace = |speed| Pace { speed, longest: Duration::from_secs(15) };

        for (speed, seconds, pause) in [
            (1.0, 3, Duration::from_secs(3)),
            (1.0, 20, Duration::from_secs(15)),
            (3_600.0, 3_600, Duration::from_secs(1)),
            (0.01, 1, Duration::from_secs(15)),
            (1e9, 1, Duration::from_nanos(1)),
            (1.0, -5, Duration::ZERO),
        ] {
            assert_eq!(pace(speed).pause(at(100), at(100 + seconds)), pause, "{speed} {seconds}");
        }
    }

    /// The pauses that a replay of entries of these moments makes, in microseconds.
    fn pauses(speed: f64, moments: &[i64]) -> Vec<u128> {
        let pace = Pace { speed, longest: Duration::from_secs(15) };
        let mut pacing = Pacing { pace, last: None, owed: Duration::ZERO };
        let pass = |micros: &i64| {
            let written = Timestamp::from_unix_micros(*micros).unwrap();
            let due = pacing.due(written);
            pacing.pass(written);
            due.map(|pause| pause.as_micros())
        };
        moments.iter().filter_map(pass).collect()
    }

    #[test]
    fn a_replay_keeps_its_pace_and_saves_up_what_is_too_short_to_wait_for() {
        // An hour apart, an hour in a second.
        let hours = [0, 3_600_000_000, 7_200_000_000];
        assert_eq!(pauses(3_600.0, &hours), [1_000_000, 1_000_000]);
        assert_eq!(pauses(7_200.0, &hours), [500_000, 500_000]);
        // A millisecond apart: five make one pause, and none of them is lost.
        let close: Vec<i64> = (0..=12).map(|n| n * 1_000).collect();
        assert_eq!(pauses(1.0, &close), [5_000, 5_000]);
        let further: Vec<i64> = (0..=1_000).map(|n| n * 3_000).collect();
        assert_eq!(pauses(1.0, &further).iter().sum::<u128>(), 3_000_000);
        // What was saved up comes on top of the next pause.
        assert_eq!(pauses(1.0, &[0, 4_000, 1_004_000]), [1_004_000]);
        assert_eq!(pauses(1e9, &hours), [0; 0]);
    }
}
