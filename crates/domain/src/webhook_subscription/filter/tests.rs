//! Filters name public events only.

use super::*;

fn parse(texts: &[&str]) -> Result<EventFilter, EventFilterError> {
    EventFilter::parse(texts)
}

#[test]
fn patterns_are_sorted_without_doubles() {
    let filter = parse(&["form.signed", "appointment.*", "*", "form.signed"]).unwrap();

    assert_eq!(filter.to_texts(), ["*", "appointment.*", "form.signed"]);
    assert_eq!(serde_json::to_string(&filter).unwrap(), r#"["*","appointment.*","form.signed"]"#);
}

#[test]
fn filter_reads_back_from_json() {
    let filter: EventFilter = serde_json::from_str(r#"["patient.erased","appointment.*"]"#).unwrap();

    assert_eq!(filter, parse(&["appointment.*", "patient.erased"]).unwrap());
    assert!(serde_json::from_str::<EventFilter>("[]").is_err());
    assert!(serde_json::from_str::<EventFilter>(r#""*""#).is_err());
}

#[test]
fn empty_filter_is_refused() {
    assert_eq!(parse(&[]), Err(EventFilterError::Empty));
}

#[test]
fn first_unknown_entry_is_named() {
    for text in ["", "appointment", "appointment.", ".*", "**", "appointment.book*", "Appointment.booked"] {
        assert_eq!(parse(&["*", text, "?"]), Err(EventFilterError::Unknown { index: 1 }), "{text}");
    }
}

#[test]
fn internal_types_and_kinds_are_refused() {
    for text in ["form.saved", "patient.keys_destroyed", "access.*", "organization.*", "webhook_delivery.*"] {
        assert_eq!(parse(&[text]), Err(EventFilterError::Unknown { index: 0 }), "{text}");
    }
}

#[test]
fn everything_matches_public_events_only() {
    for &event_type in EventType::ALL {
        assert_eq!(EventFilter::all().matches(event_type), event_type.is_public(), "{event_type}");
    }
}

#[test]
fn kind_matches_the_public_events_of_its_streams() {
    let filter = parse(&["patient.*"]).unwrap();

    assert!(filter.matches(EventType::PatientErased));
    assert!(!filter.matches(EventType::PatientDetailsChanged));
    assert!(!filter.matches(EventType::AppointmentBooked));
}

#[test]
fn exact_type_matches_itself_only() {
    let filter = parse(&["form.signed"]).unwrap();

    assert!(filter.matches(EventType::FormSigned));
    assert!(!filter.matches(EventType::FormVoided));
}

#[test]
fn known_texts_are_accepted_and_name_all_public_types() {
    let known = EventFilter::known();

    for text in &known {
        assert_eq!(EventFilter::parse(&[text]).unwrap().to_texts(), [text.as_str()]);
    }
    for event_type in EventType::ALL.iter().filter(|event_type| event_type.is_public()) {
        assert!(known.iter().any(|text| text == event_type.as_str()), "{event_type}");
    }
    assert_eq!(known.first().unwrap(), "*");
}
