//! A moment in time with the precision that PostgreSQL keeps.

#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Microseconds since 1970-01-01T00:00:00Z.
///
/// `timestamptz` keeps microseconds while most clocks give nanoseconds; whatever is hashed or compared must
/// survive a trip through the database unchanged, so the finer digits are cut off on the way in.
/// Text form: RFC 3339 in UTC with exactly six fractional digits, `2026-01-31T09:30:00.000000Z`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// Why a text is not a timestamp.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not an RFC 3339 timestamp between the years 0000 and 9999")]
pub struct TimestampError;

impl Timestamp {
    /// The epoch itself.
    pub const UNIX_EPOCH: Self = Self(0);

    /// Its text form as a regular expression.
    pub const PATTERN: &str = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z$";

    /// The first microsecond of the year 0000.
    pub const MIN: Self = Self(-62_167_219_200_000_000);

    /// The last microsecond of the year 9999.
    pub const MAX: Self = Self(253_402_300_799_999_999);

    /// From microseconds since the epoch.
    ///
    /// # Errors
    /// When the moment lies outside the years 0000 to 9999, which RFC 3339 cannot write.
    pub fn from_unix_micros(micros: i64) -> Result<Self, TimestampError> {
        let moment = OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000)
            .map_err(|_| TimestampError)?;
        Self::try_from(moment)
    }

    /// Microseconds since the epoch.
    pub const fn unix_micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn unix_seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// This moment moved by a number of microseconds, stopping at the ends of the representable range.
    pub fn saturating_add_micros(self, micros: i64) -> Self {
        Self(self.0.saturating_add(micros).clamp(Self::MIN.0, Self::MAX.0))
    }

    /// Microseconds from `earlier` to this moment; negative when this one comes first.
    pub const fn micros_since(self, earlier: Self) -> i64 {
        self.0 - earlier.0
    }
}

impl TryFrom<OffsetDateTime> for Timestamp {
    type Error = TimestampError;

    fn try_from(moment: OffsetDateTime) -> Result<Self, TimestampError> {
        let in_utc = moment.to_offset(time::UtcOffset::UTC);
        if !(0..=9999).contains(&in_utc.year()) {
            return Err(TimestampError);
        }
        i64::try_from(in_utc.unix_timestamp_nanos().div_euclid(1_000)).map(Self).map_err(|_| TimestampError)
    }
}

impl From<Timestamp> for OffsetDateTime {
    fn from(moment: Timestamp) -> Self {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(moment.0) * 1_000)
            .expect("every timestamp was checked when it was made")
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = OffsetDateTime::from(*self);
        let (date, clock) = (moment.date(), moment.time());
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z",
            date.year(),
            u8::from(date.month()),
            date.day(),
            clock.hour(),
            clock.minute(),
            clock.second(),
            clock.microsecond()
        )
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Timestamp {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Self, TimestampError> {
        OffsetDateTime::parse(text, &Rfc3339).map_err(|_| TimestampError).and_then(Self::try_from)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(crate::text::FromText::new("an RFC 3339 timestamp"))
    }
}
