//! An organization's account with Daily, as its administrator configured it.

use std::collections::BTreeMap;
use std::fmt;

use carelog_domain::OrganizationId;
use zeroize::Zeroizing;

/// The name of the setting that holds the key.
const API_KEY: &str = "api_key";
/// Daily's keys have 64 characters; a wrong paste is longer.
const MAX_KEY_BYTES: usize = 256;

/// An organization's account. Shows its key to nobody.
#[derive(Clone)]
pub struct DailyAccount {
    pub(super) organization_id: OrganizationId,
    pub(super) api_key: Zeroizing<String>,
}

impl DailyAccount {
    /// Reads the settings of the integration `daily`: `api_key`, and nothing besides.
    ///
    /// # Errors
    /// The name of the setting that is missing, unknown or not usable, and what is expected.
    pub fn from_settings(
        organization_id: OrganizationId,
        settings: &BTreeMap<String, String>,
    ) -> Result<Self, (String, &'static str)> {
        if let Some(unknown) = settings.keys().find(|name| name.as_str() != API_KEY) {
            return Err((unknown.clone(), "Daily has no such setting: expected api_key"));
        }
        let key = settings.get(API_KEY).map_or("", |key| key.as_str());
        let fits =
            (1..=MAX_KEY_BYTES).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
        if !fits {
            return Err((API_KEY.to_owned(), "expected the key of a Daily domain"));
        }
        Ok(Self { organization_id, api_key: Zeroizing::new(key.to_owned()) })
    }
}

impl fmt::Debug for DailyAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DailyAccount({}, key redacted)", self.organization_id)
    }
}
