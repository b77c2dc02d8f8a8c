//! Why the storage did not do what it was asked for.

use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};

/// Why the storage did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// It cannot be reached, or does not answer in time; another try may help.
    #[error("the storage does not answer at {step}")]
    Unreachable {
        /// What was asked for.
        step: &'static str,
        /// What the client said.
        #[source]
        source: Described,
    },
    /// It answered with a refusal.
    #[error("the storage refused {step} with {status} {code}")]
    Refused {
        /// What was asked for.
        step: &'static str,
        /// The HTTP status.
        status: u16,
        /// Its own name for the reason.
        code: String,
    },
    /// The request could not be made.
    #[error("{step} cannot be asked of the storage")]
    Request {
        /// What was asked for.
        step: &'static str,
        /// Why.
        #[source]
        source: Described,
    },
    /// It left out of its answer what the protocol demands.
    #[error("the storage answered {step} without {missing}")]
    Incomplete {
        /// What was asked for.
        step: &'static str,
        /// What is missing.
        missing: &'static str,
    },
    /// A link was to hold longer than any may.
    #[error("a link holds for at most 15 minutes")]
    LinkTooLong,
}

/// The text of an error of the client, with its causes. The client's own type names the request and would drag its
/// generic parameters through every signature.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Described(String);

impl StorageError {
    /// Whether another try may help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { status, .. } => *status >= 500,
            Self::Request { .. } | Self::Incomplete { .. } | Self::LinkTooLong => false,
        }
    }

    /// Whether the storage says that there is no such thing.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }

    /// Whether the storage says that a condition of the request does not hold.
    pub(crate) const fn is_precondition_failed(&self) -> bool {
        matches!(self, Self::Refused { status: 412, .. })
    }

    pub(crate) fn of<E>(step: &'static str) -> impl FnOnce(SdkError<E>) -> Self
    where
        E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        move |error| match error.raw_response().map(|response| response.status().as_u16()) {
            Some(status) => {
                Self::Refused { step, status, code: error.code().unwrap_or("without a code").to_owned() }
            }
            None if matches!(error, SdkError::ConstructionFailure(_)) => {
                Self::Request { step, source: described(&error) }
            }
            None => Self::Unreachable { step, source: described(&error) },
        }
    }

    pub(crate) fn request(step: &'static str, error: &(dyn std::error::Error + 'static)) -> Self {
        Self::Request { step, source: Described(error.to_string()) }
    }

    pub(crate) fn unreachable(step: &'static str, error: &(dyn std::error::Error + 'static)) -> Self {
        Self::Unreachable { step, source: Described(error.to_string()) }
    }
}

fn described<E: std::error::Error + Send + Sync + 'static>(error: &E) -> Described {
    Described(DisplayErrorContext(error).to_string())
}
