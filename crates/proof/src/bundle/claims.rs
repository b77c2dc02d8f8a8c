//! What a leaf commits to.

use serde::Deserialize;

/// The type of the event that says that a patient's keys were destroyed.
pub(super) const KEYS_DESTROYED: &str = "patient.keys_destroyed";
/// What stands before a patient's id in the name of the patient's stream.
const PATIENT_STREAM: &str = "patient/";

/// The parts of leaf data that are compared with something else. The others are covered by the hash.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Claims {
    pub(super) tenant: String,
    pub(super) event_id: String,
    pub(super) stream: String,
    #[serde(rename = "type")]
    pub(super) event_type: String,
    pub(super) facts_sha256: String,
    #[serde(default)]
    pub(super) private_sha256: Option<String>,
    #[serde(default)]
    pub(super) network_sha256: Option<String>,
}

/// What facts say about whom they are.
#[derive(Deserialize)]
struct Subject {
    #[serde(default)]
    patient_id: Option<String>,
}

impl Claims {
    /// Nothing where it is no leaf data.
    pub(super) fn read(leaf: &str) -> Option<Self> {
        serde_json::from_str(leaf).ok()
    }

    /// The patient of whose stream the event is.
    pub(super) fn patient_stream(&self) -> Option<&str> {
        self.stream.strip_prefix(PATIENT_STREAM)
    }

    /// The patient whom the event is about: the one of its stream, or the one whom its facts name.
    pub(super) fn subject(&self, facts: &[u8]) -> Option<String> {
        let named = || serde_json::from_slice::<Subject>(facts).ok()?.patient_id;
        self.patient_stream().map(str::to_owned).or_else(named)
    }
}
