//! What a partner's endpoint can do to its sender.

use std::time::Duration;

use super::fault::Fault;
use super::script::Script;
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
    /// Anything that is wrong with an answer, which would be a 200.
    Fault(Fault),
    /// One reply after the other.
    Script(Script),
}

/// What is done about one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// The pause before anything is sent.
    pub delay: Duration,
    /// What is sent.
    pub act: Act,
}

/// What a reply consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// A head, and no body.
    Answer,
    /// A head and this body.
    Say(Bytes),
    /// Something that is wrong.
    Fault(Fault),
    /// These bytes, then the end of the connection.
    Raw(Vec<u8>),
}

const DONE: u16 = 204;

impl Default for Reply {
    fn default() -> Self {
        Self::of(DONE)
    }
}

impl Behaviour {
    /// The reply to the request of this number, counted from 1 since the
    /// behaviour was set.
    pub(super) fn reply(&self, number: u64) -> Reply {
        match self {
            Self::Ok => Reply::default(),
            Self::Status(status) => Reply::of(*status),
            Self::Answer { status, headers } => Reply { headers: headers.clone(), ..Reply::of(*status) },
            Self::Say { status, headers, body } => {
                Reply { headers: headers.clone(), act: Act::Say(body.clone()), ..Reply::of(*status) }
            }
            Self::RetryAfter { status, value } => {
                Reply { headers: vec![("retry-after".to_owned(), value.clone())], ..Reply::of(*status) }
            }
            Self::FailFirst { count, status } => Reply::of(if number <= *count { *status } else { DONE }),
            Self::FailEvery { every, status } => {
                Reply::of(if *every > 0 && number.is_multiple_of(*every) { *status } else { DONE })
            }
            Self::Delay(delay) => Reply { delay: *delay, ..Reply::default() },
            Self::Reset => Reply::wrong(Fault::Reset),
            Self::Raw(bytes) => Reply { act: Act::Raw(bytes.clone()), ..Reply::default() },
            Self::Trickle => Reply::wrong(Fault::Trickle),
            Self::HugeBody => Reply::wrong(Fault::HugeBody),
            Self::Fault(fault) => Reply::wrong(*fault),
            Self::Script(script) => script.reply(number),
        }
    }
}

impl Reply {
    /// This status and nothing else.
    pub const fn of(status: u16) -> Self {
        Self { status, headers: Vec::new(), delay: Duration::ZERO, act: Act::Answer }
    }

    /// A 200 with something wrong.
    pub fn wrong(fault: Fault) -> Self {
        Self { act: Act::Fault(fault), ..Self::of(200) }
    }

    /// The status that the sender will see; `None` when there is none.
    pub(super) fn seen_status(&self) -> Option<u16> {
        match self.act {
            Act::Answer | Act::Say(_) => Some(self.status),
            Act::Fault(fault) => fault.has_head().then_some(self.status),
            Act::Raw(_) => None,
        }
    }

    /// What is wrong with it.
    pub(super) fn fault(&self) -> Option<Fault> {
        match self.act {
            Act::Fault(fault) => Some(fault),
            Act::Answer | Act::Say(_) | Act::Raw(_) => None,
        }
    }
}
