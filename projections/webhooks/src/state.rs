//! Where subscriptions and deliveries stand, as the tables and the API name it.

use carelog_domain::webhook_delivery::FinalReason;
use carelog_domain::webhook_subscription::DisableReason;

/// Whether a subscription is sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscriptionStatus {
    /// It is.
    Active,
    /// Not now.
    Disabled(DisableReason),
    /// Never again.
    Deleted,
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryState {
    /// To be sent.
    Pending,
    /// The receiver has it.
    Delivered,
    /// It never arrived, for this reason.
    Failed(FinalReason),
}

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
