//! The product's side: clients in a closed loop on `EventLog::append`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use carelog_domain::OrganizationId;
use carelog_event_log::{EventLog, StreamKey, Verdict};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::requests::Requests;
use crate::bench::timings::Timings;

/// The first part of a measurement does not count: plans are made, batches find their size.
const WARM_UP: f64 = 0.1;
/// Streams that each client goes on with.
const OPEN_STREAMS: usize = 16;

/// What the clients saw.
#[derive(Debug)]
pub(in crate::bench) struct Measured {
    /// Of the events inside the clock.
    pub(in crate::bench) timings: Timings,
    /// All events, those of the warm-up too.
    pub(in crate::bench) total_count: u64,
    seconds: f64,
}

impl Measured {
    pub(in crate::bench) fn per_second(&self) -> f64 {
        self.timings.count() as f64 / self.seconds
    }
}

/// Appends with so many clients for so long.
pub(in crate::bench) async fn measure(
    log: &EventLog,
    requests: &Arc<Requests>,
    organizations: &Arc<[OrganizationId]>,
    clients: usize,
    duration: Duration,
) -> anyhow::Result<Measured> {
    let from = Instant::now() + duration.mul_f64(WARM_UP);
    let until = from + duration;
    let mut all = JoinSet::new();
    for number in 0..clients {
        let client = Client {
            log: log.clone(),
            requests: Arc::clone(requests),
            organizations: Arc::clone(organizations),
            number,
            open: VecDeque::new(),
        };
        all.spawn(client.run(from, until));
    }
    let mut measured =
        Measured { timings: Timings::default(), total_count: 0, seconds: duration.as_secs_f64() };
    while let Some(client) = all.join_next().await {
        let (timings, count) = client??;
        measured.timings.merge(&timings);
        measured.total_count += count;
    }
    Ok(measured)
}

struct Client {
    log: EventLog,
    requests: Arc<Requests>,
    organizations: Arc<[OrganizationId]>,
    number: usize,
    /// Streams with the version that they are at.
    open: VecDeque<(StreamKey, i64)>,
}

impl Client {
    async fn run(mut self, from: Instant, until: Instant) -> anyhow::Result<(Timings, u64)> {
        let mut timings = Timings::default();
        let mut count = 0;
        // Far apart from the other clients' numbers, and in no step with the lanes.
        for n in self.number * 9_973.. {
            let began = Instant::now();
            if began >= until {
                break;
            }
            let (stream, version) = self.next_stream(n);
            let verdict = self.log.append(self.requests.request(n, stream, version)).await?;
            let Verdict::Accepted(appended) = verdict else {
                bail!("an append to a stream of its own was answered {verdict:?}");
            };
            let ended = Instant::now();
            count += 1;
            if ended >= from && ended < until {
                timings.record(ended - began);
            }
            self.open.push_back((stream, appended.version));
            self.open.truncate(OPEN_STREAMS);
        }
        Ok((timings, count))
    }

    fn next_stream(&mut self, n: usize) -> (StreamKey, i64) {
        let goes_on = (n * 37 % 100) < self.requests.existing_percent as usize;
        if let Some(open) = self.open.pop_front().filter(|_| goes_on) {
            return open;
        }
        // A multiplicative hash: neighbours in number meet in no lane more often than elsewhere.
        let index = (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) % self.organizations.len();
        let organization_id = *self.organizations.get(index).expect("the index is below the length");
        (Requests::new_stream(organization_id), 0)
    }
}
