//! What is said about a message.

use std::fmt;

use serde_json::{Value, json};
use standardwebhooks::Webhook;

use super::forward::Forwarded;
use super::pull::Message;

/// Whether the message comes from whoever knows the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signature {
    Verified,
    Refused,
    /// Nobody named a secret.
    NotChecked,
}

/// One message and what became of it.
pub(super) struct Report<'a> {
    pub(super) message: &'a Message,
    pub(super) signature: Signature,
    pub(super) forwarded: Option<Forwarded>,
}

/// All messages of one run.
#[derive(Debug, Default)]
pub(super) struct Summary {
    received: u64,
    verified: u64,
    pub(super) refused: u64,
    forwarded: u64,
    accepted: u64,
}

impl Signature {
    /// Asks the official library; any of the secrets may fit.
    pub(super) fn of(message: &Message, secrets: &[Webhook]) -> Self {
        if secrets.is_empty() {
            return Self::NotChecked;
        }
        let fits = |secret: &Webhook| secret.verify(message.body.as_bytes(), &message.headers).is_ok();
        if secrets.iter().any(fits) { Self::Verified } else { Self::Refused }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Refused => "refused",
            Self::NotChecked => "not_checked",
        }
    }
}

impl Report<'_> {
    /// For a person.
    pub(super) fn line(&self) -> String {
        let message = self.message;
        let signature = match self.signature {
            Signature::Verified => "verified",
            Signature::Refused => "SIGNATURE REFUSED",
            Signature::NotChecked => "not verified",
        };
        let begin = format!(
            "{}  {:<28} {}  #{:<6} {signature}",
            message.recorded_at, message.event, message.id, message.sequence
        );
        match &self.forwarded {
            None => begin,
            Some(Forwarded { outcome: Ok(status), milliseconds }) => {
                format!("{begin}  -> {} in {milliseconds} ms", status.as_u16())
            }
            Some(Forwarded { outcome: Err(error), milliseconds }) => {
                format!("{begin}  -> {error} after {milliseconds} ms")
            }
        }
    }

    /// For a program.
    pub(super) fn json(&self) -> String {
        let message = self.message;
        let body: Value = serde_json::from_str(&message.body).unwrap_or_default();
        let forward = self.forwarded.as_ref().map(|forwarded| match &forwarded.outcome {
            Ok(status) => json!({ "status": status.as_u16(), "ms": forwarded.milliseconds }),
            Err(error) => json!({ "error": error, "ms": forwarded.milliseconds }),
        });
        json!({
            "recorded_at": message.recorded_at,
            "event": message.event,
            "id": message.id,
            "sequence": message.sequence,
            "signature": self.signature.as_str(),
            "forward": forward,
            "message": body,
        })
        .to_string()
    }
}

impl Summary {
    pub(super) fn add(&mut self, report: &Report<'_>) {
        self.received += 1;
        self.verified += u64::from(report.signature == Signature::Verified);
        self.refused += u64::from(report.signature == Signature::Refused);
        self.forwarded += u64::from(report.forwarded.is_some());
        self.accepted += u64::from(report.forwarded.as_ref().is_some_and(Forwarded::is_accepted));
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} messages, {} verified, {} refused", self.received, self.verified, self.refused)?;
        if self.forwarded > 0 {
            write!(f, "; {} handed on, {} of them accepted", self.forwarded, self.accepted)?;
        }
        Ok(())
    }
}
