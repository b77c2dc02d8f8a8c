//! What can be asked of the published figures: views, dimensions, and the values that a dimension can have.

use std::fmt;
use std::str::FromStr;

use serde_json::{Value, json};

use crate::closed::{ClosedValue, UnknownName};
use crate::closed_enum;
use crate::ids::FormTemplateId;
use crate::text::FromText;

const MONTHS_PER_YEAR: u8 = 12;
const MAX_YEAR: u16 = 9999;

closed_enum! {
    /// A published view of analytics.
    pub enum AnalyticsView {
        /// Appointments by weekday, lead time and reminder.
        AppointmentPatterns = "appointment_patterns",
        /// Time set aside, and time spent in consultations.
        ClinicUtilisation = "clinic_utilisation",
        /// Exercises by week of their plan.
        ExerciseCompletion = "exercise_completion",
        /// Patients by the most days in a row with an exercise.
        ExerciseStreaks = "exercise_streaks",
        /// How long forms take.
        FormTurnaround = "form_turnaround",
        /// How well the networks of video consultations do.
        VideoQuality = "video_quality",
        /// Stays in video rooms.
        VideoSessions = "video_sessions",
    }
}

closed_enum! {
    /// In which form figures were handed out.
    pub enum AnalyticsFormat {
        /// As JSON.
        Json = "json",
        /// As comma-separated values.
        Csv = "csv",
        /// As a file of Apache Parquet.
        Parquet = "parquet",
        /// As a stream of Apache Arrow.
        Arrow = "arrow",
        /// As a picture (SVG).
        Svg = "svg",
    }
}

closed_enum! {
    /// By what figures are told apart.
    pub enum AnalyticsDimension {
        /// Not at all.
        Clinic = "clinic",
        /// The weekday of the planned beginning.
        Weekday = "weekday",
        /// Days from booking to beginning.
        LeadTime = "lead_time",
        /// Whether a reminder went out.
        Reminder = "reminder",
        /// The month of the planned beginning, of the sample, or of the coming into a room.
        Month = "month",
        /// The week of a treatment plan.
        ProgrammeWeek = "programme_week",
        /// The most days in a row with an exercise.
        LongestStreak = "longest_streak",
        /// The template of a form.
        Template = "template",
        /// In what part somebody takes part in a consultation.
        Participant = "participant",
    }
}

closed_enum! {
    /// A value of a dimension that has a name.
    pub enum CellName {
        /// Everything of the clinic.
        All = "all",
        /// One or two days.
        Days1To2 = "1-2",
        /// Three to six days.
        Days3To6 = "3-6",
        /// Seven to thirteen days.
        Days7To13 = "7-13",
        /// Fourteen to twenty-nine days.
        Days14To29 = "14-29",
        /// Thirty days or more.
        Days30 = "30+",
        /// Two or three days.
        Days2To3 = "2-3",
        /// Four to six days.
        Days4To6 = "4-6",
        /// Seven days or more.
        Days7 = "7+",
        /// A reminder went out.
        Reminded = "reminded",
        /// No reminder went out.
        NotReminded = "not_reminded",
        /// The patient.
        Patient = "patient",
        /// The specialist.
        Specialist = "specialist",
        /// Anybody else.
        Guest = "guest",
        /// Nobody knows who.
        Unknown = "unknown",
    }
}

impl AnalyticsView {
    /// By what its figures are told apart.
    pub const fn dimensions(self) -> &'static [AnalyticsDimension] {
        use AnalyticsDimension as D;
        match self {
            Self::AppointmentPatterns => &[D::Clinic, D::Weekday, D::LeadTime, D::Reminder],
            Self::ClinicUtilisation => &[D::Clinic, D::Month],
            Self::ExerciseCompletion => &[D::ProgrammeWeek],
            Self::ExerciseStreaks => &[D::LongestStreak],
            Self::FormTurnaround => &[D::Clinic, D::Template],
            Self::VideoQuality | Self::VideoSessions => &[D::Clinic, D::Month, D::Participant],
        }
    }
}

impl AnalyticsDimension {
    /// Whether it can have a value.
    pub fn has(self, value: CellValue) -> bool {
        use CellName as N;
        match (self, value) {
            (Self::Clinic, CellValue::Name(name)) => name == N::All,
            (Self::Weekday, CellValue::Number(day)) => (1..=7).contains(&day),
            (Self::LeadTime, CellValue::Number(days)) => days == 0,
            (Self::LeadTime, CellValue::Name(name)) => {
                matches!(name, N::Days1To2 | N::Days3To6 | N::Days7To13 | N::Days14To29 | N::Days30)
            }
            (Self::Reminder, CellValue::Name(name)) => matches!(name, N::Reminded | N::NotReminded),
            (Self::Participant, CellValue::Name(name)) => {
                matches!(name, N::Patient | N::Specialist | N::Guest | N::Unknown)
            }
            (Self::ProgrammeWeek, CellValue::Number(week)) => week > 0,
            (Self::LongestStreak, CellValue::Number(days)) => days == 1,
            (Self::LongestStreak, CellValue::Name(name)) => {
                matches!(name, N::Days2To3 | N::Days4To6 | N::Days7)
            }
            (Self::Month, CellValue::Month(_)) | (Self::Template, CellValue::Template(_)) => true,
            _ => false,
        }
    }
}

/// A month of the calendar; text form: `2026-03`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct YearMonth {
    year: u16,
    month: u8,
}

impl YearMonth {
    /// A year up to 9999 and a month from 1 to 12; nothing otherwise.
    pub fn new(year: u16, month: u8) -> Option<Self> {
        (year <= MAX_YEAR && (1..=MONTHS_PER_YEAR).contains(&month)).then_some(Self { year, month })
    }
}

/// A value of a dimension. Which dimension that is stands beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CellValue {
    /// One with a name.
    Name(CellName),
    /// A weekday, a week, or so many days.
    Number(u16),
    /// A month.
    Month(YearMonth),
    /// A template of forms.
    Template(FormTemplateId),
}

impl fmt::Display for YearMonth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year, self.month)
    }
}

impl fmt::Debug for YearMonth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for YearMonth {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        let unknown = UnknownName { expected: "YearMonth" };
        let Some((year, month)) = text.split_once('-') else { return Err(unknown) };
        let parsed = digits::<u16>(year, 4).zip(digits::<u8>(month, 2));
        parsed.and_then(|(year, month)| Self::new(year, month)).ok_or(unknown)
    }
}

/// A number of so many digits, and nothing else: `parse` alone takes a sign.
fn digits<T: FromStr>(text: &str, count: usize) -> Option<T> {
    (text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

impl fmt::Display for CellValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Number(number) => number.fmt(f),
            Self::Month(month) => month.fmt(f),
            Self::Template(id) => id.fmt(f),
        }
    }
}

impl FromStr for CellValue {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        let named = text.parse().map(Self::Name).ok();
        let month = || text.parse().map(Self::Month).ok();
        let number = || digits(text, text.len().clamp(1, 3)).map(Self::Number);
        let template = || text.parse().map(Self::Template).ok();
        let value = named.or_else(month).or_else(number).or_else(template);
        // One way of writing each: what is kept of a query is what was asked.
        value.filter(|value| value.to_string() == text).ok_or(UnknownName { expected: "CellValue" })
    }
}

macro_rules! as_text {
    ($($type:ty, $pattern:literal, $expected:literal;)+) => {$(
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(FromText::new($expected))
            }
        }

        impl ClosedValue for $type {
            fn schema() -> Value {
                json!({ "type": "string", "pattern": $pattern })
            }
        }
    )+};
}

as_text! {
    YearMonth, "^[0-9]{4}-(0[1-9]|1[0-2])$", "a month as in 2026-03";
    CellValue,
        "^(all|reminded|not_reminded|patient|specialist|guest|unknown|[0-9]{1,3}|[0-9]{1,2}-[0-9]{1,2}|[0-9]{1,2}[+]|[0-9]{4}-[0-9]{2}|[0-9a-f-]{36})$",
        "a value of a dimension";
}
