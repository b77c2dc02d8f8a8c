//! States as the tables and the API name them.

use super::{DeliveryState, SubscriptionStatus};

impl SubscriptionStatus {
    /// The name in the table and the API, with the reason beside it.
    pub const fn to_columns(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Active => ("active", None),
            Self::Disabled(reason) => ("disabled", Some(reason.as_str())),
            Self::Deleted => ("deleted", None),
        }
    }

    /// Reads what [`Self::to_columns`] wrote.
    pub fn from_columns(status: &str, reason: Option<&str>) -> Option<Self> {
        match (status, reason) {
            ("active", None) => Some(Self::Active),
            ("disabled", Some(reason)) => reason.parse().ok().map(Self::Disabled),
            ("deleted", None) => Some(Self::Deleted),
            _ => None,
        }
    }
}

impl DeliveryState {
    /// The name in the table and the API, with the reason beside it.
    pub const fn to_columns(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Pending => ("pending", None),
            Self::Delivered => ("delivered", None),
            Self::Failed(reason) => ("failed", Some(reason.as_str())),
        }
    }
}
