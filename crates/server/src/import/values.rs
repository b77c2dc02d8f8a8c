//! How the cells of an export are read: numbers, times, yes and no.

use carelog_domain::Timestamp;
use carelog_domain::appointment::TimePrecision;
use jiff::civil;
use jiff::tz::TimeZone;

/// Digits that a number may have; a longer one is kept as it is spelled.
const MAX_DIGITS: usize = 40;

/// A moment, and how it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) at: Timestamp,
    pub(super) precision: TimePrecision,
    /// Whether the clocks were turned then, so that the local time names two moments or none. The earlier
    /// offset is taken, as RFC 5545 does: of two moments the first, and for one that never was, the one as
    /// much later as the clocks were turned.
    pub(super) was_ambiguous: bool,
    /// Midnight of the day before, local time.
    pub(super) day_before: Timestamp,
}

/// A number of a patient or an appointment as text. Spreadsheets turn long numbers into floats, so a float's
/// spelling (`2.98725E+13`, `29872499824296.0`) becomes that of the integer; anything else stays.
pub(super) fn number(text: &str) -> String {
    let text = text.trim();
    integer_of_float(text).unwrap_or_else(|| text.to_owned())
}

fn integer_of_float(text: &str) -> Option<String> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some(parts) => parts,
        None if mantissa.len() < text.len() => (mantissa, ""),
        None => return None,
    };
    let is_number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let digits = format!("{whole}{fraction}");
    let integer_digits = i32::try_from(whole.len()).ok()?.checked_add(exponent)?;
    let integer_digits = usize::try_from(integer_digits).ok().filter(|count| *count <= MAX_DIGITS)?;
    let rest = digits.get(integer_digits..).unwrap_or_default();
    if rest.bytes().any(|digit| digit != b'0') {
        return None;
    }
    let integer = digits.get(..integer_digits).unwrap_or(&digits);
    let integer = format!("{integer:0<integer_digits$}");
    let integer = integer.trim_start_matches('0');
    Some(if integer.is_empty() { "0".to_owned() } else { integer.to_owned() })
}

/// A moment: a date, a local date and time, or one with an offset (RFC 3339), which then stands for itself.
pub(super) fn moment(text: &str, zone: &TimeZone) -> Option<Moment> {
    let text = text.trim();
    if let Ok(date) = text.parse::<civil::Date>()
        && is_date(text)
    {
        return day(date, zone);
    }
    if let Ok(exact) = text.parse::<jiff::Timestamp>() {
        return at(exact, exact.to_zoned(zone.clone()).date(), zone, false);
    }
    let local: civil::DateTime = text.parse().ok()?;
    let ambiguous = zone.to_ambiguous_zoned(local);
    let was_ambiguous = ambiguous.is_ambiguous();
    let zoned = ambiguous.compatible().ok()?;
    at(zoned.timestamp(), zoned.date(), zone, was_ambiguous)
}

/// The parser of dates takes date-times too and forgets their time.
fn is_date(text: &str) -> bool {
    text.len() <= 10 && !text.contains(['T', 't', ' ', ':'])
}

fn day(date: civil::Date, zone: &TimeZone) -> Option<Moment> {
    let midnight = date.to_zoned(zone.clone()).ok()?.start_of_day().ok()?;
    let moment = at(midnight.timestamp(), date, zone, false)?;
    Some(Moment { precision: TimePrecision::Day, ..moment })
}

fn at(exact: jiff::Timestamp, date: civil::Date, zone: &TimeZone, was_ambiguous: bool) -> Option<Moment> {
    let day_before = date.yesterday().ok()?.to_zoned(zone.clone()).ok()?.start_of_day().ok()?;
    Some(Moment {
        at: timestamp(exact)?,
        precision: TimePrecision::Minute,
        was_ambiguous,
        day_before: timestamp(day_before.timestamp())?,
    })
}

fn timestamp(moment: jiff::Timestamp) -> Option<Timestamp> {
    Timestamp::from_unix_micros(moment.as_microsecond()).ok()
}

/// Yes or no, as exports spell it.
pub(super) fn yes_or_no(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "yes" | "y" | "true" | "t" | "1" | "1.0" => Some(true),
        "no" | "n" | "false" | "f" | "0" | "0.0" => Some(false),
        _ => None,
    }
}

/// A year of birth that somebody alive, or in an old record, can have.
pub(super) fn birth_year(text: &str) -> Option<u16> {
    number(text).parse().ok().filter(|year| (1850..=2100).contains(year))
}
