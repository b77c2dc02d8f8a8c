//! What all aggregates share: how they refuse, and how their decisions reach cqrs-es.

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;

use crate::closed_enum;

closed_enum! {
    /// What a caller can do about a rejection.
    pub enum RejectionKind {
        /// The stream, or a part of it that the command names, does not exist.
        NotFound = "not_found",
        /// The command is sound, but the present state does not allow it.
        Conflict = "conflict",
        /// The command could not be accepted in any state.
        Invalid = "invalid",
    }
}

/// Why an aggregate refused a command. Rejections hold closed values only and may be shown to the caller.
pub trait Rejection: std::error::Error + Send + Sync + 'static {
    /// A stable name in `snake_case`, part of the API.
    fn code(&self) -> &'static str;

    /// What the caller can do about it.
    fn kind(&self) -> RejectionKind;
}

/// Declares the rejections of an aggregate: each with its code, its kind and its text.
macro_rules! rejections {
    (
        $(#[$doc:meta])*
        pub enum $name:ident {
            $($variant:ident $({ $($field:ident: $type:ty),+ })? = $kind:ident $code:literal, $text:literal;)+
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
        pub enum $name {
            $(
                #[doc = concat!("Code `", $code, "`: ", $text, ".")]
                #[error($text)]
                $variant $({
                    $(#[doc = concat!("The `", stringify!($field), "` of the text.")] $field: $type),+
                })?
            ),+
        }

        #[cfg(test)]
        impl $name {
            /// Every code with its kind, to be pinned by a snapshot.
            pub(crate) const CODES: &[(&str, $crate::RejectionKind)] =
                &[$(($code, $crate::RejectionKind::$kind)),+];
        }

        impl $crate::Rejection for $name {
            fn code(&self) -> &'static str {
                match self { $(Self::$variant { .. } => $code),+ }
            }

            fn kind(&self) -> $crate::RejectionKind {
                match self { $(Self::$variant { .. } => $crate::RejectionKind::$kind),+ }
            }
        }
    };
}
pub(crate) use rejections;

/// Writes decided events into the sink, which applies each of them to the aggregate.
pub(crate) async fn write_all<A: Aggregate>(events: Vec<A::Event>, aggregate: &mut A, sink: &EventSink<A>) {
    for event in events {
        sink.write(event, aggregate).await;
    }
}
