//! The audit trail: asking, sealing and verifying.
//!
//! *Asking.* The trail of one clinic is filled with entries that the server makes up, [`ENTRIES_PER_PATIENT`] for each
//! patient, spread evenly, so that every page of a patient's answer lies in as many places of the table as it has
//! entries. One client asks `GET /v1/trail?patient_id=…` over HTTP, which finds a page and the total and writes the
//! question to the log before it answers. The limit asks the same of PostgreSQL over one connection: two plain
//! statements with nothing optional in them, and one row committed.
//!
//! *Sealing.* Clients append in a closed loop, as in `bench append`: first alone, which is the limit and leaves a
//! backlog; the sealer takes the backlog. Then they leave another one and go on while the sealer begins with it: it keeps
//! up where it seals more than they append in the same time, and the backlog shrinks. At last they append while it is in
//! step, which tells how far behind it is then. The seal of an event is its leaf in the tree of its organization,
//! committed.
//!
//! *Verifying.* Events of one clinic are appended, sealed, signed and exported as the product does it; then the bundle
//! is verified with the policy alone. The limit reads the same file and computes its SHA-256.

mod asking;
mod sealing;
mod verifying;

use super::Common;
use super::report::Report;
use super::stage::Stage;

/// Entries about each patient.
const ENTRIES_PER_PATIENT: u64 = 200;

/// Options of `bench audit`.
#[derive(Clone, Debug, clap::Args)]
pub struct AuditOptions {
    #[command(flatten)]
    pub(super) common: Common,
    /// Seconds of each measurement of appending [default: 5, quick: 0.5].
    #[arg(long)]
    seconds: Option<f64>,
    /// Clients that append.
    #[arg(long, default_value_t = 256)]
    clients: usize,
    /// Entries of the trail that is asked [default: 1000000,10000000, quick: 2000,20000].
    #[arg(long, value_delimiter = ',')]
    entries: Vec<u64>,
    /// Questions of each measurement [default: 1000, quick: 50].
    #[arg(long)]
    questions: Option<u64>,
    /// Events of the bundle that is verified [default: 1000000, quick: 2000].
    #[arg(long)]
    events: Option<u64>,
}

impl AuditOptions {
    fn seconds(&self) -> f64 {
        self.seconds.unwrap_or(if self.common.quick { 0.5 } else { 5.0 })
    }

    fn entries(&self) -> Vec<u64> {
        match (self.entries.as_slice(), self.common.quick) {
            ([], true) => vec![2_000, 20_000],
            ([], false) => vec![1_000_000, 10_000_000],
            (chosen, _) => chosen.to_vec(),
        }
    }

    fn questions(&self) -> u64 {
        self.questions.unwrap_or(if self.common.quick { 50 } else { 1_000 })
    }

    fn events(&self) -> u64 {
        self.events.unwrap_or(if self.common.quick { 2_000 } else { 1_000_000 }).max(1)
    }
}

pub(super) async fn run(options: &AuditOptions, stage: &Stage, report: &mut Report) -> anyhow::Result<()> {
    Box::pin(asking::run(options, stage, report)).await?;
    Box::pin(sealing::run(options, stage, report)).await?;
    Box::pin(verifying::run(options, stage, report)).await
}
