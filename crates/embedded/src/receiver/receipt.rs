//! What the receiver remembers about a request, and where it writes that down.

use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use http::HeaderMap;
use serde::{Deserialize, Serialize};

use super::ReceiverError;
use super::fault::Fault;

/// The wall clock, in microseconds since 1970.
pub type UnixMicros = Arc<dyn Fn() -> i64 + Send + Sync>;
/// Called for each receipt before the answer leaves; must not block.
pub type OnReceipt = Arc<dyn Fn(&Receipt) + Send + Sync>;

/// One request as it was received.
#[derive(Clone, Debug, Serialize)]
pub struct Receipt {
    /// The name of the hook.
    pub hook: Arc<str>,
    /// The `webhook-id` header; empty when it is missing.
    pub webhook_id: String,
    /// When, on the monotonic clock.
    #[serde(skip)]
    pub received_at: Instant,
    /// When, in microseconds since 1970.
    pub received_at_micros: i64,
    /// The event type (`event`, or `type` of a CloudEvent).
    pub event: Option<String>,
    /// The organization sequence.
    pub sequence: Option<u64>,
    /// Whether one of the hook's secrets made the signature.
    pub verified: bool,
    /// Whether this id was received with a valid signature before.
    pub duplicate: bool,
    /// The status answered; `None` when the connection is broken instead.
    pub status: Option<u16>,
    /// What was wrong with the answer.
    pub fault: Option<Fault>,
    /// The headers; empty where no receipts are kept.
    #[serde(skip)]
    pub headers: HeaderMap,
    /// The body; empty where no receipts are kept.
    #[serde(skip)]
    pub body: Arc<[u8]>,
}

/// The part of a body that a receipt names.
#[derive(Default, Deserialize)]
pub(super) struct Envelope<'a> {
    #[serde(borrow, default, alias = "type")]
    pub(super) event: Option<Cow<'a, str>>,
    #[serde(default)]
    pub(super) sequence: Option<Sequence<'a>>,
}

/// A number, or a string as CloudEvents has it.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Sequence<'a> {
    Number(u64),
    Text(#[serde(borrow)] Cow<'a, str>),
}

impl Sequence<'_> {
    pub(super) fn number(&self) -> Option<u64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.parse().ok(),
        }
    }
}

/// Where receipts go besides the hook's own memory.
pub(super) struct Ledger {
    clock: UnixMicros,
    on_receipt: Option<OnReceipt>,
    file: Option<Mutex<File>>,
}

impl Ledger {
    pub(super) fn open(
        clock: UnixMicros,
        on_receipt: Option<OnReceipt>,
        record_to: Option<PathBuf>,
    ) -> Result<Self, ReceiverError> {
        let file = match record_to {
            Some(path) => {
                let open = OpenOptions::new().create(true).append(true).open(&path);
                Some(Mutex::new(open.map_err(|source| ReceiverError::Record { path, source })?))
            }
            None => None,
        };
        Ok(Self { clock, on_receipt, file })
    }

    /// Whether anybody wants receipts at all.
    pub(super) fn is_used(&self) -> bool {
        self.on_receipt.is_some() || self.file.is_some()
    }

    pub(super) fn now(&self) -> i64 {
        (self.clock)()
    }

    /// Writes a line in one unbuffered call, so that a killed receiver leaves no
    /// half of one and has noted all that it answered.
    pub(super) fn enter(&self, receipt: &Receipt) {
        if let Some(file) = &self.file {
            let mut line = serde_json::to_vec(receipt).expect("strings and numbers only");
            line.push(b'\n');
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(error) = file.write_all(&line) {
                tracing::error!(%error, "a receipt could not be written");
            }
        }
        if let Some(on_receipt) = &self.on_receipt {
            on_receipt(receipt);
        }
    }
}
