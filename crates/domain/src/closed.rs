//! The closed types: the only ones that the clear part of an event may hold.
//!
//! Whatever stands in the clear in the log can reach webhooks, analytics and logs. A fact is therefore an id,
//! an enum, a time, a number or a yes/no. Text is not among them: a field of type `String` in a
//! [`facts!`](crate::facts) block does not compile, and neither does any other type that was not listed here
//! or declared with [`closed_enum!`](crate::closed_enum).

#[cfg(test)]
mod tests;

use serde_json::{Value, json};

use crate::{Timestamp, schema};

/// A value that cannot carry personal data, because its type has no room for it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not closed: it has room for personal data, so it cannot be a fact",
    note = "put it into the personal part of the event"
)]
pub trait ClosedValue {
    /// JSON Schema (2020-12) of its form in JSON.
    fn schema() -> Value;
}

macro_rules! numbers {
    ($($type:ty),+) => {$(
        impl ClosedValue for $type {
            fn schema() -> Value {
                json!({ "type": "integer", "minimum": <$type>::MIN, "maximum": <$type>::MAX })
            }
        }
    )+};
}

numbers!(u8, u16, u32, i16, i32, i64);

impl ClosedValue for bool {
    fn schema() -> Value {
        json!({ "type": "boolean" })
    }
}

impl ClosedValue for Timestamp {
    fn schema() -> Value {
        json!({ "type": "string", "format": "date-time", "pattern": Self::PATTERN })
    }
}

impl ClosedValue for uuid::Uuid {
    fn schema() -> Value {
        json!({ "type": "string", "format": "uuid" })
    }
}

impl<T: ClosedValue> ClosedValue for Option<T> {
    fn schema() -> Value {
        schema::nullable(T::schema())
    }
}

impl<T: ClosedValue> ClosedValue for Vec<T> {
    fn schema() -> Value {
        json!({ "type": "array", "items": T::schema() })
    }
}

/// SHA-256 of something that is not personal; text form: 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sha256Digest([u8; 32]);

impl Sha256Digest {
    /// Takes the 32 bytes of a digest.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl ClosedValue for Sha256Digest {
    fn schema() -> Value {
        json!({ "type": "string", "pattern": "^[0-9a-f]{64}$" })
    }
}

impl std::fmt::Debug for Sha256Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl std::fmt::Display for Sha256Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::str::FromStr for Sha256Digest {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        parse_hex(text).map(Self).ok_or(UnknownName { expected: "Sha256Digest" })
    }
}

impl serde::Serialize for Sha256Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Sha256Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(crate::text::FromText::new("64 hexadecimal digits"))
    }
}

fn parse_hex(text: &str) -> Option<[u8; 32]> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if text.len() != 64 || !text.bytes().all(is_digit) {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}

/// Declares an enum whose variants have fixed names in JSON, in SQL and in the API.
#[macro_export]
macro_rules! closed_enum {
    (
        $(#[doc = $doc:literal])*
        pub enum $name:ident { $($(#[doc = $vdoc:literal])* $variant:ident = $text:literal),+ $(,)? }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name { $($(#[doc = $vdoc])* #[serde(rename = $text)] $variant),+ }

        impl $name {
            /// Every variant, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name in JSON, SQL and the API.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            /// What it means, as its declaration says.
            pub const fn description(self) -> &'static str {
                match self { $(Self::$variant => concat!($($vdoc),*).trim_ascii()),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::closed::UnknownName;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err($crate::closed::UnknownName { expected: stringify!($name) }),
                }
            }
        }

        impl $crate::closed::ClosedValue for $name {
            fn schema() -> $crate::schema::Value {
                $crate::schema::one_of(Self::ALL.iter().map(|value| (value.as_str(), value.description())))
            }
        }
    };
}

/// A text that is not one of the names of a closed enum. The text itself is not repeated: it came from outside.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a known {expected}")]
pub struct UnknownName {
    /// The Rust name of the enum.
    pub expected: &'static str,
}
