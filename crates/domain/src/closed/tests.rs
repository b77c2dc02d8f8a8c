//! Names and digests are read and written in one way only.

use super::*;
use crate::{EventType, StreamKind};

#[test]
fn every_name_reads_back_as_its_variant() {
    for &event_type in EventType::ALL {
        assert_eq!(event_type.as_str().parse(), Ok(event_type));
        assert_eq!(serde_json::to_value(event_type).unwrap(), event_type.as_str());
    }
}

#[test]
fn event_names_begin_with_their_stream() {
    for &event_type in EventType::ALL {
        let (kind, _) = event_type.as_str().split_once('.').unwrap();
        assert_eq!(kind.parse::<StreamKind>(), Ok(event_type.stream_kind()));
    }
}

#[test]
fn unknown_name_is_refused_without_repeating_it() {
    let error = "Erika".parse::<StreamKind>().unwrap_err();

    assert_eq!(error.to_string(), "not a known StreamKind");
}

#[test]
fn digest_reads_back_from_its_text() {
    let digest = Sha256Digest::new(std::array::from_fn(|byte| u8::try_from(byte).unwrap()));
    let json = serde_json::to_string(&digest).unwrap();

    assert_eq!(json.len(), 66);
    assert_eq!(serde_json::from_str::<Sha256Digest>(&json).unwrap(), digest);
}

#[test]
fn digest_of_another_shape_is_refused() {
    for text in
        ["", "ab", &"g".repeat(64), &"ä".repeat(32), &"a".repeat(65), &"+1".repeat(32), &"A".repeat(64)]
    {
        assert!(text.parse::<Sha256Digest>().is_err(), "{text}");
    }
}
