//! The leaf that each event contributes to its organization's RFC 6962 tree.
//!
//! Leaf data is canonical JSON (RFC 8785) of everything that the log attests about an event: the envelope, and
//! SHA-256 of facts and of *ciphertexts*. It holds nothing personal, so a destroyed key leaves it verifiable.
//! The place among the organization's events is not repeated in it: that is the leaf's index in the tree.
//! The format is final.

use std::fmt::Write;

use carelog_domain::{Circumstances, EventId, EventType, Timestamp};
use sha2::{Digest, Sha256};

use crate::recorded::{RecordedEvent, SealedPart, StreamKey};

/// What a leaf is made of.
#[derive(Debug)]
pub(crate) struct LeafParts<'a> {
    pub(crate) stream: &'a StreamKey,
    pub(crate) version: i64,
    pub(crate) event_id: EventId,
    pub(crate) event_type: EventType,
    pub(crate) schema_version: u16,
    pub(crate) occurred_at: Timestamp,
    pub(crate) recorded_at: Timestamp,
    pub(crate) circumstances: &'a Circumstances,
    pub(crate) facts: &'a [u8],
    pub(crate) personal: Option<&'a SealedPart>,
    pub(crate) network: Option<&'a carelog_domain::Sealed>,
}

impl RecordedEvent {
    /// The leaf data of this event, made anew from what is stored.
    pub fn leaf_data(&self, log_name: &str) -> Vec<u8> {
        self.leaf_parts().data(log_name).into_bytes()
    }

    /// Whether the stored leaf hash is that of what is stored.
    pub fn leaf_is_true(&self, log_name: &str) -> bool {
        self.leaf_parts().hash(log_name) == self.leaf_hash
    }

    fn leaf_parts(&self) -> LeafParts<'_> {
        LeafParts {
            stream: &self.stream,
            version: self.version,
            event_id: self.event_id,
            event_type: self.event_type,
            schema_version: self.schema_version,
            occurred_at: self.occurred_at,
            recorded_at: self.recorded_at,
            circumstances: &self.circumstances,
            facts: &self.facts,
            personal: self.personal.as_ref(),
            network: self.network.as_ref(),
        }
    }
}

impl LeafParts<'_> {
    /// SHA-256 over 0x00 and the leaf data, as RFC 6962 §2.1 hashes a leaf.
    pub(crate) fn hash(&self, log_name: &str) -> [u8; 32] {
        Sha256::new().chain_update([0]).chain_update(self.data(log_name)).finalize().into()
    }

    /// Keys in the order that RFC 8785 demands; every value is ASCII without anything to escape, but for the
    /// log's name, which was checked when the log was created.
    fn data(&self, log_name: &str) -> String {
        let mut leaf = Leaf { json: String::with_capacity(1024) };
        let actor = &self.circumstances.actor;
        leaf.json.push('{');
        leaf.object("actor", |actor_leaf| {
            actor_leaf.optional("behalf", actor.on_behalf_of);
            actor_leaf.optional("id", actor.id);
            actor_leaf.text("kind", actor.kind);
            actor_leaf.text("role", actor.role);
        });
        leaf.optional("cause", self.circumstances.causation_id);
        leaf.text("corr", self.circumstances.correlation_id);
        leaf.text("event_id", self.event_id);
        leaf.text("facts_sha256", Hex(&Sha256::digest(self.facts)));
        if let Some(part) = self.personal {
            leaf.text("key_commit", Hex(&part.key_commit));
            leaf.text("key_id", part.sealed.key_id);
        }
        leaf.text("log", format_args!("{log_name}/{}", self.stream.organization_id));
        if let Some(network) = self.network {
            leaf.text("network_key_id", network.key_id);
            leaf.text("network_sha256", Hex(&Sha256::digest(&network.bytes)));
        }
        leaf.text("occurred_at", self.occurred_at);
        leaf.text("origin", self.circumstances.origin);
        if let Some(part) = self.personal {
            leaf.text("private_sha256", Hex(&Sha256::digest(&part.sealed.bytes)));
        }
        leaf.optional("purpose", self.circumstances.purpose);
        leaf.text("recorded_at", self.recorded_at);
        leaf.optional("request_id", self.circumstances.request_id);
        leaf.number("seq", self.version);
        leaf.text("stream", format_args!("{}/{}", self.stream.kind, self.stream.id));
        leaf.text("tenant", self.stream.organization_id);
        leaf.text("type", self.event_type);
        leaf.number("type_version", i64::from(self.schema_version));
        leaf.number("v", 1);
        leaf.json.push('}');
        leaf.json
    }
}

struct Leaf {
    json: String,
}

impl Leaf {
    fn text(&mut self, key: &str, value: impl std::fmt::Display) {
        self.separate();
        write!(self.json, "\"{key}\":\"{value}\"").expect("writing into a String cannot fail");
    }

    fn optional(&mut self, key: &str, value: Option<impl std::fmt::Display>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    fn number(&mut self, key: &str, value: i64) {
        self.separate();
        write!(self.json, "\"{key}\":{value}").expect("writing into a String cannot fail");
    }

    fn object(&mut self, key: &str, fill: impl FnOnce(&mut Self)) {
        self.separate();
        write!(self.json, "\"{key}\":{{").expect("writing into a String cannot fail");
        fill(self);
        self.json.push('}');
    }

    fn separate(&mut self) {
        if !self.json.ends_with('{') {
            self.json.push(',');
        }
    }
}

struct Hex<'a>(&'a [u8]);

impl std::fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut digits = [0; 64];
        hex::encode_to_slice(self.0, &mut digits).expect("a SHA-256 digest has 32 bytes");
        f.write_str(std::str::from_utf8(&digits).expect("hexadecimal digits are ASCII"))
    }
}
