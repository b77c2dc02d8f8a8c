//! Everything that one webhook attempt needs, with no table, no queue and no clock of its own.
//!
//! The worker gives a [`PreparedRequest`] to the one shared [`Sender`] and gets an [`AttemptOutcome`] back;
//! [`AttemptOutcome::verdict`] says what follows. Around it stand the pure rules: the secret and the signature
//! (Standard Webhooks 1.0.0), the schedule of attempts, the budget of a tick, and which addresses a partner
//! may name at all.
//!
//! Guarantees:
//! - One call of [`Sender::post`] puts at most one request on the wire: nothing is resent, no redirect is
//!   followed, no proxy from the environment is used.
//! - No connection is opened to an address that [`AddressPolicy`] refuses, however the address was spelled and
//!   whenever the name changed its mind. The same rule answers when a subscription is created.
//! - One deadline covers name lookup, connection, TLS, head and body. At most 16 KiB of a response are read and
//!   1 KiB is kept.
//! - The status line decides: a 2xx whose body breaks afterwards is a delivery.
//! - Secrets, queries and header values do not appear in `Debug` output.
//!
//! Not here: who is due, leases, recording outcomes. Start reading at `client.rs`.

mod address;
mod classify;
mod client;
mod headers;
mod outcome;
mod phases;
mod request;
mod resolver;
mod schedule;
mod secret;
mod signature;
mod tls;
mod url;
mod verdict;

pub use self::address::{AddressPolicy, AddressRefused, PolicyError};
pub use self::client::{Sender, SenderError, SenderOptions};
pub use self::headers::{ExtraHeaders, HeaderRefused};
pub use self::outcome::{
    AttemptOutcome, BodyEnd, DeliveryControl, OutcomeKind, ResponseBody, kind_of_status,
};
pub(crate) use self::phases::milliseconds;
pub use self::request::{BodyFormat, PreparedRequest, ShownHeader, signed_headers};
pub use self::resolver::{Lookup, LookupError, SystemLookup, Vetting};
pub use self::schedule::{Jitter, MAX_ATTEMPTS, next_delay, parse_retry_after, retry_delay};
pub use self::secret::{SecretError, WebhookSecret};
pub use self::signature::sign;
pub use self::url::{UrlError, WebhookUrl};
pub use self::verdict::Verdict;
