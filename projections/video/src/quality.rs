//! From what a browser measured to a sample that can be a fact.

use carelog_domain::Timestamp;
use carelog_domain::video_room::{NetworkState, QualitySample};
use serde::Deserialize;
use uuid::Uuid;

/// Longest round trip and jitter that is noted: what takes longer is no conversation.
const MAX_MS: f64 = 60_000.0;
/// Highest rate that is noted, 1 Gbit/s.
const MAX_KBPS: f64 = 1_000_000.0;
/// Most freezes between two samples that are noted.
const MAX_FREEZES: f64 = 1_000.0;

/// What was measured since the last time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// Milliseconds to the other end and back.
    pub round_trip_ms: Option<f64>,
    /// Milliseconds by which packets come unevenly.
    pub jitter_ms: Option<f64>,
    /// Share of lost packets, from 0 to 1.
    pub send_loss: Option<f64>,
    /// Share of lost packets, from 0 to 1.
    pub receive_loss: Option<f64>,
    /// Kilobits in a second.
    pub sent_kbps: Option<f64>,
    /// Kilobits in a second.
    pub received_kbps: Option<f64>,
    /// How often the picture stood still.
    pub freezes: Option<f64>,
}

/// A sample of a stay; nothing where what was measured cannot be.
pub fn sample(session_id: Uuid, measured: &Measured, sampled_at: Timestamp) -> Option<QualitySample> {
    let round_trip_ms = whole(measured.round_trip_ms, MAX_MS)?;
    let jitter_ms = whole(measured.jitter_ms, MAX_MS)?;
    let send_loss_permille = permille(measured.send_loss)?;
    let receive_loss_permille = permille(measured.receive_loss)?;
    let sent_kbps = whole(measured.sent_kbps, MAX_KBPS)?;
    let received_kbps = whole(measured.received_kbps, MAX_KBPS)?;
    let freeze_count = whole(measured.freezes, MAX_FREEZES)?.and_then(|count| u16::try_from(count).ok());
    let loss = send_loss_permille.max(receive_loss_permille);
    let state = state(round_trip_ms, loss);
    Some(QualitySample {
        session_id,
        sampled_at,
        state,
        round_trip_ms,
        jitter_ms,
        send_loss_permille,
        receive_loss_permille,
        sent_kbps,
        received_kbps,
        freeze_count,
    })
}

/// ITU-T G.114 wants less than 150 ms one way and calls 400 ms the end of what can be planned with; speech is noticed to
/// suffer from some 3 % of loss, and video breaks at 10 %.
fn state(round_trip_ms: Option<u32>, loss_permille: Option<u16>) -> NetworkState {
    match (round_trip_ms, loss_permille) {
        (None, None) => NetworkState::Unknown,
        (round_trip, loss) if round_trip > Some(800) || loss > Some(100) => NetworkState::Bad,
        (round_trip, loss) if round_trip > Some(300) || loss > Some(30) => NetworkState::Warning,
        _ => NetworkState::Good,
    }
}

/// Rounded, `None` inside where it was not measured, nothing where it is no such number.
#[expect(clippy::option_option, reason = "what was not measured differs from what cannot be")]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "its range was checked")]
fn whole(number: Option<f64>, most: f64) -> Option<Option<u32>> {
    match number {
        None => Some(None),
        Some(number) if (0.0..=most).contains(&number) => Some(Some(number.round() as u32)),
        Some(_) => None,
    }
}

#[expect(clippy::option_option, reason = "as above")]
fn permille(share: Option<f64>) -> Option<Option<u16>> {
    let permille = whole(share.map(|share| share * 1_000.0), 1_000.0)?;
    Some(permille.and_then(|permille| u16::try_from(permille).ok()))
}

#[cfg(test)]
mod tests {
    use NetworkState::{Bad, Good, Unknown, Warning};

    use super::*;

    const FINE: Measured = Measured {
        round_trip_ms: Some(20.4),
        jitter_ms: Some(3.0),
        send_loss: Some(0.0),
        receive_loss: Some(0.0014),
        sent_kbps: Some(900.5),
        received_kbps: None,
        freezes: Some(2.0),
    };

    #[test]
    fn what_was_measured_is_rounded() {
        let sample = sample(Uuid::nil(), &FINE, Timestamp::MAX).unwrap();

        assert_eq!((sample.round_trip_ms, sample.jitter_ms), (Some(20), Some(3)));
        assert_eq!((sample.send_loss_permille, sample.receive_loss_permille), (Some(0), Some(1)));
        assert_eq!((sample.sent_kbps, sample.received_kbps), (Some(901), None));
        assert_eq!(sample.freeze_count, Some(2));
        assert_eq!(sample.state, NetworkState::Good);
    }

    #[test]
    fn what_cannot_be_is_no_sample() {
        for wrong in [
            Measured { round_trip_ms: Some(-1.0), ..FINE },
            Measured { jitter_ms: Some(f64::NAN), ..FINE },
            Measured { sent_kbps: Some(f64::INFINITY), ..FINE },
            Measured { send_loss: Some(1.01), ..FINE },
            Measured { freezes: Some(-1.0), ..FINE },
        ] {
            assert!(sample(Uuid::nil(), &wrong, Timestamp::MAX).is_none(), "{wrong:?}");
        }
    }

    #[test]
    fn the_worst_of_what_was_measured_decides() {
        let states =
            [(None, None), (Some(300), Some(30)), (Some(301), None), (None, Some(31)), (Some(801), None)]
                .map(|(round_trip, loss)| state(round_trip, loss));

        assert_eq!(states, [Unknown, Good, Warning, Warning, Bad]);
        assert_eq!(state(Some(1), Some(101)), Bad);
    }
}
