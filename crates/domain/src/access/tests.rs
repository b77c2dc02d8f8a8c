//! Every command and every rejection of an access.

use cqrs_es::test::{AggregateTestExecutor, TestFramework};
use uuid::Uuid;

use super::*;
use crate::PurposeOfUse;
use crate::examples::disclosure;
use crate::ids::PatientId;

const PATIENT: PatientId = PatientId::new(Uuid::from_u128(1));
const DENIAL: AccessCommand = AccessCommand::RecordDenial { reason: DenialReason::WrongRole, status: 403 };

fn given(events: impl Into<Vec<AccessEvent>>) -> AggregateTestExecutor<Access> {
    TestFramework::with(()).given(events.into())
}

fn denied() -> AccessEvent {
    AccessEvent::Denied(AccessDenied { reason: DenialReason::WrongRole, status: 403 })
}

#[test]
fn given_nothing_when_view_recorded_then_record_viewed() {
    let (target_kind, target_id) = (StreamKind::Form, Uuid::from_u128(2));
    let (patient_id, record_count, interaction) = (Some(PATIENT), 1, Interaction::Search);
    let view = RecordView { target_kind, target_id, patient_id, record_count, interaction };
    let viewed = AccessRecordViewed { target_kind, target_id, patient_id, record_count, interaction };

    given([])
        .when(AccessCommand::RecordView(view))
        .then_expect_events(vec![AccessEvent::RecordViewed(viewed)]);
}

#[test]
fn given_nothing_when_export_recorded_then_record_exported() {
    let (target_kind, patient_id, record_count) = (StreamKind::Patient, Some(PATIENT), 12);
    let exported = AccessRecordExported { target_kind, patient_id, record_count };

    given([])
        .when(AccessCommand::RecordExport { target_kind, patient_id, record_count })
        .then_expect_events(vec![AccessEvent::RecordExported(exported)]);
}

#[test]
fn given_nothing_when_disclosure_recorded_then_disclosure_made() {
    for exclusion in [None, Some(DisclosureExclusion::Authorization)] {
        let (patient_id, purpose) = (PATIENT, PurposeOfUse::Payment);
        let personal = Some(Personal::Open(disclosure()));
        let made = AccessDisclosureMade { patient_id, purpose, exclusion, personal };

        given([])
            .when(AccessCommand::RecordDisclosure {
                patient_id,
                purpose,
                exclusion,
                disclosure: disclosure(),
            })
            .then_expect_events(vec![AccessEvent::DisclosureMade(made)]);
    }
}

#[test]
fn only_purposes_that_say_so_keep_a_disclosure_out_of_an_accounting() {
    let excluded = PurposeOfUse::ALL.iter().filter(|purpose| purpose.exclusion().is_some());

    assert_eq!(
        excluded.copied().collect::<Vec<_>>(),
        [PurposeOfUse::Treatment, PurposeOfUse::Payment, PurposeOfUse::Operations]
    );
}

#[test]
fn given_nothing_when_trail_query_recorded_then_trail_queried() {
    let (patient_id, entry_count) = (None, 40);
    let queried = AccessTrailQueried { patient_id, entry_count };

    given([])
        .when(AccessCommand::RecordTrailQuery { patient_id, entry_count })
        .then_expect_events(vec![AccessEvent::TrailQueried(queried)]);
}

#[test]
fn given_nothing_when_analytics_query_recorded_then_analytics_queried() {
    let queried = AccessAnalyticsQueried {
        view: AnalyticsView::ClinicUtilisation,
        format: AnalyticsFormat::Json,
        dimension: Some(AnalyticsDimension::Month),
        values: vec![],
        from: YearMonth::new(2026, 1),
        until: YearMonth::new(2026, 6),
        cell_count: 6,
        withheld_count: 2,
        link_id: None,
    };

    given([])
        .when(AccessCommand::RecordAnalyticsQuery(queried.clone()))
        .then_expect_events(vec![AccessEvent::AnalyticsQueried(queried)]);
}

#[test]
fn given_nothing_when_analytics_link_recorded_then_analytics_link_issued() {
    let issued = AccessAnalyticsLinkIssued {
        view: AnalyticsView::ClinicUtilisation,
        dimension: Some(AnalyticsDimension::Month),
        values: vec![],
        from: YearMonth::new(2026, 1),
        until: None,
        expires_at: "2026-04-01T00:00:00Z".parse().unwrap(),
    };

    given([])
        .when(AccessCommand::RecordAnalyticsLink(issued.clone()))
        .then_expect_events(vec![AccessEvent::AnalyticsLinkIssued(issued)]);
}

#[test]
fn values_of_dimensions_are_closed() {
    for (dimension, text) in [
        (AnalyticsDimension::Clinic, "all"),
        (AnalyticsDimension::Weekday, "7"),
        (AnalyticsDimension::LeadTime, "0"),
        (AnalyticsDimension::LeadTime, "30+"),
        (AnalyticsDimension::Reminder, "not_reminded"),
        (AnalyticsDimension::Month, "2026-12"),
        (AnalyticsDimension::ProgrammeWeek, "12"),
        (AnalyticsDimension::LongestStreak, "7+"),
        (AnalyticsDimension::Template, "0197a000-0000-7000-8000-000000000001"),
    ] {
        let value: CellValue = text.parse().unwrap();

        assert_eq!(value.to_string(), text);
        for other in AnalyticsDimension::ALL.iter().filter(|other| other.has(value)) {
            let share_numbers = matches!(value, CellValue::Number(_));
            assert!(*other == dimension || share_numbers, "{text} is a value of {dimension}, not of {other}");
        }
        assert!(dimension.has(value), "{text} is a value of {dimension}");
    }
    for text in
        ["", "ALL", "+1", "2026-13", "2026-3", "1000", "07", "Anna", "0197A000-0000-7000-8000-000000000001"]
    {
        assert!(text.parse::<CellValue>().is_err(), "{text}");
    }
    let days: Vec<CellValue> = ["0", "8"].map(|text| text.parse().unwrap()).into();
    assert!(days.iter().all(|day| !AnalyticsDimension::Weekday.has(*day)));
}

#[test]
fn given_nothing_when_denial_recorded_then_denied() {
    given([]).when(DENIAL).then_expect_events(vec![denied()]);
}

#[test]
fn given_recorded_when_recorded_again_then_already_recorded() {
    given([denied()]).when(DENIAL).then_expect_error(AccessRejection::AlreadyRecorded);
}
