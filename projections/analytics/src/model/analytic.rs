//! The only values that a fact may be made of.

use carelog_domain::appointment::{AppointmentMode, AppointmentStatus, CancelledBy, TimePrecision};
use carelog_domain::form::FormStatus;
use carelog_domain::treatment_plan::SkipReason;
use carelog_domain::video_room::{NetworkState, ParticipantKind};
use carelog_domain::{ExerciseId, FormTemplateId, OrganizationId, Origin, Timestamp};
use carelog_event_log::Position;
use carelog_vault::Pseudonym;
use serde_json::Value;
use time::{Date, OffsetDateTime};

use super::{AgeBand, SessionOutcome};

const MICROS_PER_MINUTE: i64 = 60_000_000;
/// To what moments and durations are cut: the grid on which appointments are made.
const COARSE_MINUTES: i64 = 5;

/// A value that names no person and has no room for words. A place in the log is none: answers to commands name it too.
///
/// ```
/// fn stands_in_a_fact<T: carelog_analytics::model::Analytic>() {}
/// stands_in_a_fact::<carelog_vault::Pseudonym>();
/// stands_in_a_fact::<Option<carelog_domain::form::FormStatus>>();
/// ```
/// Neither a person's id does, nor a text, nor an exact moment:
/// ```compile_fail,E0277
/// fn stands_in_a_fact<T: carelog_analytics::model::Analytic>() {}
/// stands_in_a_fact::<carelog_domain::PatientId>();
/// ```
/// ```compile_fail,E0277
/// fn stands_in_a_fact<T: carelog_analytics::model::Analytic>() {}
/// stands_in_a_fact::<String>();
/// ```
/// ```compile_fail,E0277
/// fn stands_in_a_fact<T: carelog_analytics::model::Analytic>() {}
/// stands_in_a_fact::<carelog_domain::Timestamp>();
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot stand in a fact of analytics: it could name a person or has room for words",
    note = "take its pseudonym, a code, a number, or a moment that is cut"
)]
pub trait Analytic {
    /// As JSON writes it: ids and names as texts, moments as in RFC 3339.
    fn cell(&self) -> Value;
}

macro_rules! analytic {
    ($($type:ty),+ $(,)?; by $cell:expr) => {
        $(impl Analytic for $type {
            fn cell(&self) -> Value {
                let cell: fn(&$type) -> Value = $cell;
                cell(self)
            }
        })+
    };
}

analytic!(
    // The clinic, and what stands in its catalogues.
    OrganizationId,
    ExerciseId,
    FormTemplateId,
    // People and records about them.
    Pseudonym,
    ; by |id| Value::String(id.uuid().to_string())
);
analytic!(
    // Codes.
    AgeBand,
    AppointmentMode,
    AppointmentStatus,
    CancelledBy,
    FormStatus,
    NetworkState,
    Origin,
    ParticipantKind,
    SessionOutcome,
    SkipReason,
    TimePrecision,
    ; by |code| Value::from(code.as_str())
);
analytic!(
    // Times.
    Coarse; by |moment| Value::String(moment.0.to_string())
);
analytic!(
    Date; by |date| Value::String(date.to_string())
);
analytic!(
    // Numbers.
    bool,
    u8,
    u16,
    i16,
    i32,
    ; by |number| Value::from(*number)
);

impl<T: Analytic> Analytic for Option<T> {
    fn cell(&self) -> Value {
        self.as_ref().map_or(Value::Null, Analytic::cell)
    }
}

impl<T: Analytic> Analytic for Vec<T> {
    fn cell(&self) -> Value {
        self.iter().map(Analytic::cell).collect()
    }
}

/// A row of facts, by columns: named as in the tables, and in their order.
pub trait Fact {
    /// The table.
    const TABLE: &'static str;
    /// Its columns, without those of places.
    const COLUMNS: &'static [&'static str];

    /// The clinic.
    fn organization_id(&self) -> OrganizationId;

    /// Place of the event that made the row.
    fn position(&self) -> Position;

    /// What stands in each of the columns.
    fn cells(&self) -> Vec<Value>;
}

/// Declares facts: at which places of the log they were made and changed, and what they say. There, a field of any type
/// that is not [`Analytic`] does not compile.
macro_rules! analytic_facts {
    ($(
        $(#[$doc:meta])*
        pub struct $name:ident in $table:literal
        at { $($(#[$pdoc:meta])* pub $place:ident,)+ }
        says { $($(#[$fdoc:meta])* pub $field:ident: $type:ty,)+ }
    )+) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name {
            $($(#[$pdoc])* pub $place: carelog_event_log::Position,)+
            $($(#[$fdoc])* pub $field: $type,)+
        }

        const _: () = {
            const fn must_be_analytic<T: $crate::model::Analytic>() {}
            $(must_be_analytic::<$type>();)+
        };

        impl $crate::model::Fact for $name {
            const TABLE: &'static str = $table;
            const COLUMNS: &'static [&'static str] = &[$(stringify!($field)),+];

            fn organization_id(&self) -> carelog_domain::OrganizationId {
                self.organization_id
            }

            fn position(&self) -> carelog_event_log::Position {
                self.position
            }

            fn cells(&self) -> Vec<serde_json::Value> {
                vec![$($crate::model::Analytic::cell(&self.$field)),+]
            }
        }
    )+};
}
pub(super) use analytic_facts;

/// A moment cut to five minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Coarse(Timestamp);

impl Coarse {
    /// Cuts a moment.
    pub fn cut(moment: Timestamp) -> Self {
        let step = COARSE_MINUTES * MICROS_PER_MINUTE;
        let micros = moment.unix_micros();
        Self(moment.saturating_add_micros(-micros.rem_euclid(step)))
    }

    /// The moment.
    pub const fn moment(self) -> Timestamp {
        self.0
    }

    /// Whole minutes since an earlier moment; less than 0 since a later one.
    pub fn minutes_since(self, earlier: Self) -> i32 {
        narrow(self.0.micros_since(earlier.0).div_euclid(MICROS_PER_MINUTE))
    }
}

/// The day of a moment, in UTC.
pub(super) fn day(moment: Timestamp) -> Date {
    OffsetDateTime::from(moment).date()
}

/// A length in minutes, cut.
pub(super) fn cut_minutes(minutes: i32) -> i32 {
    let step = narrow(COARSE_MINUTES);
    minutes.saturating_sub(minutes.rem_euclid(step))
}

/// A number that fits, or the nearest that does.
pub(super) fn narrow(number: i64) -> i32 {
    i32::try_from(number).unwrap_or(if number < 0 { i32::MIN } else { i32::MAX })
}
