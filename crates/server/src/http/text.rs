//! Texts of a bounded length, checked while a body is read, so that the refusal points at them.

use serde::de::{Error, IntoDeserializer};
use serde::{Deserialize, Deserializer};

/// One line of 1 to `MAX` characters.
#[derive(Clone, PartialEq, Eq)]
pub struct Line<const MAX: usize>(String);

/// One line of up to `MAX` characters, of which an empty one takes away what was there.
#[derive(Clone, PartialEq, Eq)]
pub struct LineOrNothing<const MAX: usize>(String);

/// Lines of 1 to `MAX` characters together.
#[derive(Clone, PartialEq, Eq)]
pub struct Lines<const MAX: usize>(String);

/// A date, `2026-01-31`.
#[derive(Clone, PartialEq, Eq)]
pub struct Date(String);

impl<const MAX: usize> From<Line<MAX>> for String {
    fn from(line: Line<MAX>) -> Self {
        line.0
    }
}

impl<const MAX: usize> From<LineOrNothing<MAX>> for String {
    fn from(line: LineOrNothing<MAX>) -> Self {
        line.0
    }
}

impl<const MAX: usize> From<Lines<MAX>> for String {
    fn from(lines: Lines<MAX>) -> Self {
        lines.0
    }
}

impl From<Date> for String {
    fn from(date: Date) -> Self {
        date.0
    }
}

// The values are personal: they show themselves to nobody.
impl<const MAX: usize> std::fmt::Debug for Line<MAX> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Line")
    }
}

impl<const MAX: usize> std::fmt::Debug for LineOrNothing<MAX> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LineOrNothing")
    }
}

impl<const MAX: usize> std::fmt::Debug for Lines<MAX> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lines")
    }
}

impl std::fmt::Debug for Date {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Date")
    }
}

impl<'de, const MAX: usize> Deserialize<'de> for Line<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let fits = fits::<MAX>(&text) && !text.chars().any(char::is_control) && !text.trim().is_empty();
        if fits {
            Ok(Self(text))
        } else {
            Err(Error::custom(format_args!("expected a line of 1 to {MAX} characters")))
        }
    }
}

impl<'de, const MAX: usize> Deserialize<'de> for LineOrNothing<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() {
            return Ok(Self(text));
        }
        Line::<MAX>::deserialize(text.into_deserializer()).map(|Line(text)| Self(text))
    }
}

impl<'de, const MAX: usize> Deserialize<'de> for Lines<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let is_text = |character: char| !character.is_control() || matches!(character, '\n' | '\r' | '\t');
        let fits = fits::<MAX>(&text) && text.chars().all(is_text) && !text.trim().is_empty();
        if fits {
            Ok(Self(text))
        } else {
            Err(Error::custom(format_args!("expected text of 1 to {MAX} characters")))
        }
    }
}

impl<'de> Deserialize<'de> for Date {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let is_written_in_full = text.len() == "2026-01-31".len();
        match text.parse::<jiff::civil::Date>() {
            Ok(_) if is_written_in_full => Ok(Self(text)),
            Ok(_) | Err(_) => Err(Error::custom("expected a date such as 2026-01-31")),
        }
    }
}

/// A bound in bytes first, so that nobody makes us count the characters of a megabyte.
fn fits<const MAX: usize>(text: &str) -> bool {
    text.len() <= 4 * MAX && text.chars().count() <= MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_a_length_and_no_breaks() {
        let read = |text: &str| serde_json::from_value::<Line<5>>(text.into()).is_ok();

        assert!(read("ümläü"));
        assert!(!read("") && !read("   ") && !read("sixsix") && !read("a\nb") && !read("a\0b"));
    }

    #[test]
    fn a_line_may_be_taken_away_by_an_empty_one_and_nothing_like_it() {
        let read = |text: &str| serde_json::from_value::<LineOrNothing<5>>(text.into()).is_ok();

        assert!(read("") && read("ümläü"));
        assert!(!read("   ") && !read("sixsix") && !read("a\nb"));
    }

    #[test]
    fn text_may_have_breaks() {
        let read = |text: &str| serde_json::from_value::<Lines<9>>(text.into()).is_ok();

        assert!(read("one\ntwo\t"));
        assert!(!read("a\u{7}b") && !read(&"x".repeat(10)));
    }

    #[test]
    fn a_date_is_a_day_of_the_calendar() {
        let read = |text: &str| serde_json::from_value::<Date>(text.into()).is_ok();

        assert!(read("2024-02-29"));
        assert!(!read("2023-02-29") && !read("20240229") && !read("yesterday") && !read("2024-02-29T00:00"));
    }
}
