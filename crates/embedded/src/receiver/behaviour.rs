//! What a partner's endpoint can do to its sender.

use std::time::Duration;

use bytes::Bytes;

/// How a hook answers a request whose signature verified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Behaviour {
    /// 204.
    #[default]
    Ok,
    /// This status.
    Status(u16),
    /// This status and these headers, for redirects and `webhook-delivery`.
    Answer {
        /// The status.
        status: u16,
        /// Names and values.
        headers: Vec<(String, String)>,
    },
    /// This status, these headers and this body.
    Say {
        /// The status.
        status: u16,
        /// Names and values.
        headers: Vec<(String, String)>,
        /// Any bytes.
        body: Bytes,
    },
    /// A `Retry-After` header with this value, right or wrong.
    RetryAfter {
        /// The status, such as 429 or 503.
        status: u16,
        /// Seconds, an HTTP date, or nonsense.
        value: String,
    },
    /// The first requests after this behaviour was set get the status, later ones
    /// 204.
    FailFirst {
        /// How many fail.
        count: u64,
        /// The status.
        status: u16,
    },
    /// Each n-th request gets the status, the others 204.
    FailEvery {
        /// 1 fails all; 0 none.
        every: u64,
        /// The status.
        status: u16,
    },
    /// 204 after this time.
    Delay(Duration),
    /// The connection is reset (TCP RST) after the request was read.
    Reset,
    /// These bytes instead of an HTTP response, then the end of the connection.
    Raw(Vec<u8>),
    /// 200 and a body of one byte per second.
    Trickle,
    /// 200 and a body of 10 GiB.
    HugeBody,
}

/// What is to be done about one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Answer { status: u16, headers: Vec<(String, String)>, body: Bytes },
    AnswerLater(Duration),
    Reset,
    Raw(Vec<u8>),
    Trickle,
    HugeBody,
}

const DONE: u16 = 204;

impl Behaviour {
    /// The step for the request of this number, counted from 1 since the
    /// behaviour was set.
    pub(super) fn step(&self, number: u64) -> Step {
        match self {
            Self::Ok => status(DONE),
            Self::Status(code) => status(*code),
            Self::Answer { status, headers } => {
                Step::Answer { status: *status, headers: headers.clone(), body: Bytes::new() }
            }
            Self::Say { status, headers, body } => {
                Step::Answer { status: *status, headers: headers.clone(), body: body.clone() }
            }
            Self::RetryAfter { status, value } => {
                let headers = vec![("retry-after".to_owned(), value.clone())];
                Step::Answer { status: *status, headers, body: Bytes::new() }
            }
            Self::FailFirst { count, status: code } => status(if number <= *count { *code } else { DONE }),
            Self::FailEvery { every, status: code } => {
                status(if *every > 0 && number.is_multiple_of(*every) { *code } else { DONE })
            }
            Self::Delay(time) => Step::AnswerLater(*time),
            Self::Reset => Step::Reset,
            Self::Raw(bytes) => Step::Raw(bytes.clone()),
            Self::Trickle => Step::Trickle,
            Self::HugeBody => Step::HugeBody,
        }
    }
}

impl Step {
    /// The status that the sender will see; `None` when there is none.
    pub(super) fn status(&self) -> Option<u16> {
        match self {
            Self::Answer { status, .. } => Some(*status),
            Self::AnswerLater(_) => Some(DONE),
            Self::Reset | Self::Raw(_) => None,
            Self::Trickle | Self::HugeBody => Some(200),
        }
    }
}

fn status(status: u16) -> Step {
    Step::Answer { status, headers: Vec::new(), body: Bytes::new() }
}
