//! The part of an event that could identify somebody, and the states it passes through.

use std::fmt;
use std::sync::Arc;

use crate::closed_enum;
use crate::ids::{KeyId, OrganizationId, PatientId};

closed_enum! {
    /// What a data key protects. Rights and retention act on classes, so each has keys of its own.
    pub enum DataClass {
        /// A patient's names, numbers, dates and ways to be reached.
        Identity = "identity",
        /// Free text and answers about a patient's health.
        Clinical = "clinical",
        /// Network addresses and user agents; one key per organization.
        Network = "network",
        /// URLs, secrets and tokens of integrations; one key per organization.
        Credential = "credential",
        /// The organization's own names and texts, its staff included; one key per organization.
        Profile = "profile",
    }
}

/// Whose data key seals a personal part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyScope {
    /// The organization that the key belongs to.
    pub organization_id: OrganizationId,
    /// The patient, or nobody for a key of the organization itself.
    pub subject: Option<PatientId>,
    /// What the key protects.
    pub class: DataClass,
}

/// Ciphertext with the name of the key that opens it.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The data key.
    pub key_id: KeyId,
    /// Format version, nonce, ciphertext and tag, as the vault wrote them.
    pub bytes: Arc<[u8]>,
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({}, {} bytes)", self.key_id, self.bytes.len())
    }
}

/// A personal part: readable, encrypted, or gone for ever.
///
/// Deciding never needs it, so aggregates are loaded without opening anything. `Debug` shows the state only.
#[derive(Clone, PartialEq, Eq)]
pub enum Personal<T> {
    /// Readable: on its way into the log, or opened for somebody who may see it.
    Open(T),
    /// As it lies in the log and in the read models.
    Sealed(Sealed),
    /// Its key was destroyed.
    Erased,
}

impl<T> Personal<T> {
    /// The value, when it is readable.
    pub const fn open(&self) -> Option<&T> {
        match self {
            Self::Open(value) => Some(value),
            Self::Sealed(_) | Self::Erased => None,
        }
    }
}

impl<T> fmt::Debug for Personal<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(_) => f.write_str("Personal(open)"),
            Self::Sealed(sealed) => write!(f, "Personal({sealed:?})"),
            Self::Erased => f.write_str("Personal(erased)"),
        }
    }
}

/// Declares structs that become personal parts. Their `Debug` shows the name only, so that a command that
/// carries one can be logged by mistake without harm.
macro_rules! personal_structs {
    ($($(#[$doc:meta])* pub struct $name:ident { $($(#[$fdoc:meta])* pub $field:ident: $type:ty),+ $(,)? })+) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        pub struct $name { $($(#[$fdoc])* pub $field: $type),+ }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(concat!(stringify!($name), "(redacted)"))
            }
        }
    )+};
}
pub(crate) use personal_structs;

/// A personal part without its type, on its way between an event and the log.
#[derive(Clone, PartialEq, Eq)]
pub enum PersonalPart {
    /// JSON of the personal struct, to be sealed.
    Open(Vec<u8>),
    /// As stored.
    Sealed(Sealed),
    /// Its key was destroyed.
    Erased,
}

impl fmt::Debug for PersonalPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(_) => f.write_str("PersonalPart(open)"),
            Self::Sealed(sealed) => write!(f, "PersonalPart({sealed:?})"),
            Self::Erased => f.write_str("PersonalPart(erased)"),
        }
    }
}

impl<T: serde::Serialize> Personal<T> {
    /// Takes the type away.
    ///
    /// # Errors
    /// When the value cannot be written as JSON.
    pub fn to_part(&self) -> Result<PersonalPart, serde_json::Error> {
        Ok(match self {
            Self::Open(value) => PersonalPart::Open(serde_json::to_vec(value)?),
            Self::Sealed(sealed) => PersonalPart::Sealed(sealed.clone()),
            Self::Erased => PersonalPart::Erased,
        })
    }
}

impl<T: serde::de::DeserializeOwned> Personal<T> {
    /// Gives the type back.
    ///
    /// # Errors
    /// When opened bytes are not the JSON of `T`.
    pub fn from_part(part: PersonalPart) -> Result<Self, serde_json::Error> {
        Ok(match part {
            PersonalPart::Open(json) => {
                Self::Open(serde_json::from_slice(&json).map_err(|error| redacted(&error))?)
            }
            PersonalPart::Sealed(sealed) => Self::Sealed(sealed),
            PersonalPart::Erased => Self::Erased,
        })
    }
}

/// A parser's message quotes the value that it did not expect; here that could be a name.
fn redacted(error: &serde_json::Error) -> serde_json::Error {
    let (line, column) = (error.line(), error.column());
    serde::de::Error::custom(format_args!("not of the expected shape at line {line} column {column}"))
}
