//! What the processes of a storm hold while it goes on: memory, descriptors, and connections to the database.

use std::collections::BTreeMap;
use std::fmt;

use sqlx::PgPool;

use crate::usage::Usage;

/// More than any process needs for the work of a storm, however long it lives: what it holds does not grow with its work.
const MOST_BYTES: u64 = 1 << 30;
const MOST_DESCRIPTORS: usize = 1_000;
const MEBIBYTE: u64 = 1 << 20;

/// What was seen of each process at the start and the end of each round that it lived.
#[derive(Default)]
pub(super) struct Watch {
    seen: BTreeMap<u32, Vec<Seen>>,
    most_connections: i64,
}

struct Seen {
    round: u64,
    usage: Usage,
}

/// When in a round.
#[derive(Clone, Copy)]
pub(super) enum Moment {
    Start,
    End,
}

impl Watch {
    /// Looks at processes and at the connections that they have, and writes it down.
    pub(super) async fn look(&mut self, round: u64, moment: Moment, pids: &[u32], pool: &PgPool) {
        let connections = connections(pool).await;
        self.most_connections = self.most_connections.max(connections.unwrap_or_default());
        let usages: Vec<_> = pids.iter().filter_map(|pid| Some((*pid, Usage::of(*pid)?))).collect();
        let told: Vec<_> = usages.iter().map(|(pid, usage)| format!("{pid}: {}", Told(usage))).collect();
        let connections = connections.map_or_else(|| "no answer".to_owned(), |count| count.to_string());
        println!("round {round} {moment}: {}, connections {connections}", told.join(", "));
        for (pid, usage) in usages {
            self.seen.entry(pid).or_default().push(Seen { round, usage });
        }
    }

    /// Says how it went with those that lived longest, and what was the most of all.
    pub(super) fn report(&self) {
        let mut lives: Vec<_> = self.seen.iter().collect();
        lives.sort_by_key(|(_, seen)| std::cmp::Reverse(seen.len()));
        for (pid, seen) in lives.iter().take(3) {
            let (first, last) = (&seen[0], &seen[seen.len() - 1]);
            println!(
                "process {pid}, rounds {} to {}: {} at first, {} at last",
                first.round,
                last.round,
                Told(&first.usage),
                Told(&last.usage)
            );
        }
        let all = || self.seen.values().flatten().map(|seen| seen.usage);
        let peak = all().map(|usage| usage.peak_bytes).max().unwrap_or_default();
        let descriptors = all().map(|usage| usage.descriptors).max().unwrap_or_default();
        println!(
            "at most {} MiB and {descriptors} descriptors in a process, {} connections of all",
            peak / MEBIBYTE,
            self.most_connections
        );
        assert!(peak <= MOST_BYTES, "{peak} bytes in a process");
        assert!(descriptors <= MOST_DESCRIPTORS, "{descriptors} descriptors in a process");
    }
}

/// Those that the processes of the storm have; nothing where the database does not answer.
async fn connections(pool: &PgPool) -> Option<i64> {
    let count = "select count(*) from pg_stat_activity where application_name = 'carelog'";
    sqlx::query_scalar(count).fetch_one(pool).await.ok()
}

struct Told<'a>(&'a Usage);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} MiB, {} descriptors", self.0.resident_bytes / MEBIBYTE, self.0.descriptors)
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Start => "begins",
            Self::End => "ends",
        })
    }
}
