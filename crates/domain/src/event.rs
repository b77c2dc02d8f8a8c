//! How an event is split into facts and a personal part, and put together again.

use serde_json::Value;

use crate::catalogue::{EventType, StreamKind};
use crate::ids::PatientId;
use crate::personal::{DataClass, PersonalPart};

/// The events of one aggregate; made by [`events!`](crate::events).
pub trait StreamEvent: cqrs_es::DomainEvent {
    /// The aggregate's kind.
    const KIND: StreamKind;

    /// The type in the catalogue.
    fn catalogue_type(&self) -> EventType;

    /// The patient whom the event names in its facts.
    fn patient_id(&self) -> Option<PatientId>;

    /// Splits the event; the facts come out as canonical JSON (RFC 8785).
    ///
    /// # Errors
    /// When a part cannot be written as JSON.
    fn encode(&self) -> Result<EncodedEvent, CodecError>;

    /// Puts an event together from its parts, which are in the newest schema version.
    ///
    /// # Errors
    /// When the type belongs to another aggregate or a part does not parse.
    fn decode(
        event_type: EventType,
        facts: &[u8],
        personal: Option<PersonalPart>,
    ) -> Result<Self, CodecError>;
}

/// An event in two parts, ready for sealing.
#[derive(Clone, Debug, PartialEq)]
pub struct EncodedEvent {
    /// The type in the catalogue.
    pub event_type: EventType,
    /// Canonical JSON (RFC 8785) of the facts.
    pub facts: Vec<u8>,
    /// The personal part and the class of the key that is to seal it.
    pub personal: Option<(DataClass, PersonalPart)>,
    /// The patient named in the facts.
    pub patient_id: Option<PatientId>,
}

/// Why an event cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// An event of this type cannot stand in a stream of that kind.
    #[error("{event_type} is no event of a {kind} stream")]
    WrongStream {
        /// The type that was met.
        event_type: EventType,
        /// The kind of the stream.
        kind: StreamKind,
    },
    /// The facts are not the JSON of their type.
    #[error("facts of {event_type} do not parse")]
    Facts {
        /// The type of the event.
        event_type: EventType,
        /// What the JSON parser said.
        #[source]
        source: serde_json::Error,
    },
    /// The personal part is not the JSON of its type.
    #[error("personal part of {event_type} does not parse")]
    Personal {
        /// The type of the event.
        event_type: EventType,
        /// What the JSON parser said.
        #[source]
        source: serde_json::Error,
    },
    /// No upcaster leads from this schema version to the newest.
    #[error("no upcaster for {event_type} version {version}")]
    Version {
        /// The type of the event.
        event_type: EventType,
        /// The version it was stored in.
        version: u16,
    },
}

/// The facts of one event type; made by [`facts!`](crate::facts).
pub trait Facts: serde::Serialize + serde::de::DeserializeOwned {
    /// The class of the key that seals the personal part, where the type has one.
    const CLASS: Option<DataClass>;

    /// JSON Schema (2020-12) of the facts, without their personal part.
    fn schema() -> Value;

    /// The patient whom the facts name.
    fn patient_id(&self) -> Option<PatientId>;

    /// The personal part without its type.
    ///
    /// # Errors
    /// When the part cannot be written as JSON.
    fn personal_part(&self) -> Result<Option<PersonalPart>, serde_json::Error>;

    /// Puts the personal part back.
    ///
    /// # Errors
    /// When the part is not the JSON of its type.
    fn set_personal(&mut self, part: PersonalPart) -> Result<(), serde_json::Error>;
}

/// Declares the facts of an event: a struct of closed values, and optionally a personal part beside them.
///
/// `subject field;` names the field, a [`PatientId`](crate::PatientId) or an option of one, that says whom the
/// event is about. An optional field that was added later, or is most often nothing, may be left out of the JSON by
/// `#[serde(skip_serializing_if = "Option::is_none")]`. `personal Class: Type;` adds the field `personal`, sealed under a key of that class.
#[macro_export]
macro_rules! facts {
    (
        $(#[doc = $doc:literal])*
        pub struct $name:ident {
            $($(#[doc = $fdoc:literal])* $(#[serde($($absent:tt)*)])? pub $field:ident: $type:ty),* $(,)?
        }
        $(subject $subject:ident;)?
        $(personal $class:ident: $personal:ty;)?
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $($(#[doc = $fdoc])* $(#[serde($($absent)*)])? pub $field: $type,)*
            $(
                /// What could identify somebody, kept encrypted.
                #[serde(skip)]
                pub personal: Option<$crate::Personal<$personal>>,
            )?
        }

        impl $crate::event::Facts for $name {
            const CLASS: Option<$crate::DataClass> = $crate::facts!(@class $($class)?);

            fn schema() -> $crate::schema::Value {
                $crate::schema::object(
                    &[$($doc),*],
                    vec![$($crate::schema::fact::<$type>(
                        stringify!($field), &[$($fdoc),*], false $(|| !stringify!($($absent)*).is_empty())?
                    )),*],
                )
            }

            fn patient_id(&self) -> Option<$crate::PatientId> {
                $crate::facts!(@subject self $($subject)?)
            }

            fn personal_part(&self) -> Result<Option<$crate::PersonalPart>, serde_json::Error> {
                $crate::facts!(@part self $($personal)?)
            }

            fn set_personal(&mut self, part: $crate::PersonalPart) -> Result<(), serde_json::Error> {
                $crate::facts!(@set self part $($personal)?)
            }
        }
    };
    (@part $this:ident) => { Ok(None) };
    (@part $this:ident $personal:ty) => {
        $this.personal.as_ref().map($crate::Personal::<$personal>::to_part).transpose()
    };
    (@set $this:ident $part:ident) => {{
        let _ = $part;
        Ok(())
    }};
    (@set $this:ident $part:ident $personal:ty) => {{
        $this.personal = Some($crate::Personal::<$personal>::from_part($part)?);
        Ok(())
    }};
    (@class) => { None };
    (@class $class:ident) => { Some($crate::DataClass::$class) };
    (@subject $this:ident) => { None };
    // `From` serves a patient and an optional patient alike.
    (@subject $this:ident $subject:ident) => { <Option<$crate::PatientId>>::from($this.$subject) };
}

/// Declares the event enum of an aggregate over its facts, with the codec of [`StreamEvent`].
#[macro_export]
macro_rules! events {
    (
        $(#[$doc:meta])*
        pub enum $name:ident in $kind:ident { $($(#[$vdoc:meta])* $variant:ident($facts:ty) = $event_type:ident),+ $(,)? }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        pub enum $name { $($(#[$vdoc])* $variant($facts)),+ }

        impl cqrs_es::DomainEvent for $name {
            fn event_type(&self) -> String {
                $crate::StreamEvent::catalogue_type(self).as_str().to_owned()
            }

            fn event_version(&self) -> String {
                $crate::StreamEvent::catalogue_type(self).schema_version().to_string()
            }
        }

        impl $crate::StreamEvent for $name {
            const KIND: $crate::StreamKind = $crate::StreamKind::$kind;

            fn catalogue_type(&self) -> $crate::EventType {
                match self { $(Self::$variant(_) => $crate::EventType::$event_type),+ }
            }

            fn patient_id(&self) -> Option<$crate::PatientId> {
                match self { $(Self::$variant(facts) => $crate::event::Facts::patient_id(facts)),+ }
            }

            fn encode(&self) -> Result<$crate::event::EncodedEvent, $crate::event::CodecError> {
                let event_type = self.catalogue_type();
                match self { $(Self::$variant(facts) => $crate::event::encode_facts(event_type, facts)),+ }
            }

            fn decode(
                event_type: $crate::EventType,
                facts: &[u8],
                personal: Option<$crate::PersonalPart>,
            ) -> Result<Self, $crate::event::CodecError> {
                match event_type {
                    $($crate::EventType::$event_type => {
                        $crate::event::decode_facts(event_type, facts, personal).map(Self::$variant)
                    })+
                    _ => Err($crate::event::CodecError::WrongStream { event_type, kind: Self::KIND }),
                }
            }
        }
    };
}

#[doc(hidden)]
pub fn encode_facts<F: Facts>(event_type: EventType, facts: &F) -> Result<EncodedEvent, CodecError> {
    let json =
        serde_json_canonicalizer::to_vec(facts).map_err(|source| CodecError::Facts { event_type, source })?;
    let part = facts.personal_part().map_err(|source| CodecError::Personal { event_type, source })?;
    let personal = F::CLASS.zip(part);
    Ok(EncodedEvent { event_type, facts: json, personal, patient_id: facts.patient_id() })
}

#[doc(hidden)]
pub fn decode_facts<F: Facts>(
    event_type: EventType,
    facts: &[u8],
    personal: Option<PersonalPart>,
) -> Result<F, CodecError> {
    let mut facts: F =
        serde_json::from_slice(facts).map_err(|source| CodecError::Facts { event_type, source })?;
    if let Some(part) = personal {
        facts.set_personal(part).map_err(|source| CodecError::Personal { event_type, source })?;
    }
    Ok(facts)
}
