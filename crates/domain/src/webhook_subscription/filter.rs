//! Which events a subscription gets.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};

use crate::catalogue::{EventType, StreamKind};
use crate::closed::ClosedValue;

/// A set of patterns over public event types; one match is enough.
///
/// Written as a JSON array of texts: `"*"` for all, `"appointment.*"` for one kind of stream, or an exact
/// type. Never empty, sorted, without doubles. Internal types cannot be named and never match, so that a
/// wildcard grants nothing that a partner may not see.
#[derive(Clone, PartialEq, Eq)]
pub struct EventFilter(BTreeSet<Pattern>);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Pattern {
    All,
    Kind(StreamKind),
    Exact(EventType),
}

/// Why texts are no filter. The texts are not repeated: they came from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventFilterError {
    /// A filter without patterns would never match.
    #[error("expected at least one public event type or pattern")]
    Empty,
    /// Neither a public event type nor a pattern over them.
    #[error(
        "expected entry {index} to be a public event type or pattern: {}",
        EventFilter::known().join(", ")
    )]
    Unknown {
        /// Which entry, counted from 0.
        index: usize,
    },
}

impl EventFilter {
    /// Every public event.
    pub fn all() -> Self {
        Self(BTreeSet::from([Pattern::All]))
    }

    /// Reads patterns.
    ///
    /// # Errors
    /// When there is none, or at the first one that is unknown or could only match internal types.
    pub fn parse<T: AsRef<str>>(texts: &[T]) -> Result<Self, EventFilterError> {
        if texts.is_empty() {
            return Err(EventFilterError::Empty);
        }
        texts
            .iter()
            .enumerate()
            .map(|(index, text)| Pattern::parse(text.as_ref()).ok_or(EventFilterError::Unknown { index }))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Every text that [`parse`](Self::parse) accepts, for error messages and documentation.
    pub fn known() -> Vec<String> {
        let kinds = EventType::public().map(|event_type| Pattern::Kind(event_type.stream_kind()));
        let exact = EventType::public().map(Pattern::Exact);
        let patterns: BTreeSet<Pattern> = std::iter::once(Pattern::All).chain(kinds).chain(exact).collect();
        patterns.iter().map(Pattern::to_string).collect()
    }

    /// Whether an event of this type is sent. Only public ones ever are.
    pub fn matches(&self, event_type: EventType) -> bool {
        event_type.is_public()
            && self.0.iter().any(|pattern| match *pattern {
                Pattern::All => true,
                Pattern::Kind(kind) => event_type.stream_kind() == kind,
                Pattern::Exact(exact) => event_type == exact,
            })
    }

    /// The patterns as texts, sorted.
    pub fn to_texts(&self) -> Vec<String> {
        self.0.iter().map(Pattern::to_string).collect()
    }
}

impl Pattern {
    fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::All);
        }
        if let Some(kind) = text.strip_suffix(".*") {
            let kind = kind.parse().ok()?;
            let has_public = EventType::public().any(|event_type| event_type.stream_kind() == kind);
            return has_public.then_some(Self::Kind(kind));
        }
        EventType::parse_public(text).map(Self::Exact)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Kind(kind) => write!(f, "{kind}.*"),
            Self::Exact(event_type) => f.write_str(event_type.as_str()),
        }
    }
}

impl fmt::Debug for EventFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.to_texts()).finish()
    }
}

impl ClosedValue for EventFilter {
    fn schema() -> Value {
        json!({
            "type": "array",
            "items": { "type": "string", "enum": Self::known() },
            "minItems": 1,
            "uniqueItems": true,
        })
    }
}

impl Serialize for EventFilter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.to_texts())
    }
}

impl<'de> Deserialize<'de> for EventFilter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&Vec::<String>::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}
