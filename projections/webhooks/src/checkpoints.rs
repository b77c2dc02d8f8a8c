//! The newest signed checkpoint of each organization's log, which travels with every request: a partner that keeps
//! it becomes a witness of what came before.
//!
//! Who signs and where checkpoints are kept is no business of this crate: whoever runs the product puts them here. A
//! request waits for none, and one before the first signature goes without.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use carelog_domain::OrganizationId;
use http::header::{HeaderName, HeaderValue};

/// The header: a signed note (C2SP tlog-checkpoint), in base64 because it has several lines.
pub const CHECKPOINT_HEADER: HeaderName = HeaderName::from_static("carelog-checkpoint");

/// A signed note as that header's value.
pub fn checkpoint_header(note: &str) -> HeaderValue {
    HeaderValue::try_from(STANDARD.encode(note)).expect("base64 is ASCII")
}

/// The newest checkpoints, as headers. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Checkpoints(Arc<RwLock<HashMap<OrganizationId, HeaderValue>>>);

impl Checkpoints {
    /// A newer checkpoint of an organization.
    pub fn put(&self, organization_id: OrganizationId, note: &str) {
        let value = checkpoint_header(note);
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(organization_id, value);
    }

    pub(crate) fn newest(&self, organization_id: OrganizationId) -> Option<HeaderValue> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&organization_id).cloned()
    }
}
