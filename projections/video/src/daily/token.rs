//! Tokens that open a room, signed here: <https://docs.daily.co/reference/rest-api/meeting-tokens/self-signing-tokens>.
//!
//! A JSON Web Token by HS256 whose secret is the organization's API key. It is made when somebody clicks, handed out
//! once, and neither stored nor logged. It names its room and its end: Daily takes one without a room for every room
//! of the domain, and one without an end for ever.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use carelog_domain::video_room::RoomWindow;
use carelog_domain::{ParticipantId, Timestamp};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Serialize;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{DailyAccount, RoomName};

/// `{"alg":"HS256","typ":"JWT"}`
const HEADER: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";

/// What a token allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenClaims<'a> {
    /// The id of the domain, as Daily told it.
    pub domain_id: &'a str,
    /// The one room that it opens.
    pub room: &'a RoomName,
    /// As whom Daily reports the holder. On domains under HIPAA it keeps only UUIDs.
    pub participant_id: ParticipantId,
    /// Whether the holder may admit and remove others.
    pub is_owner: bool,
    /// From when until when.
    pub window: RoomWindow,
    /// When it is made.
    pub issued_at: Timestamp,
}

/// The claims by the short names that Daily gives them.
#[derive(Serialize)]
struct Claims<'a> {
    /// Room.
    r: &'a str,
    /// Domain.
    d: &'a str,
    iat: i64,
    nbf: i64,
    exp: i64,
    /// User id.
    ud: ParticipantId,
    /// Is owner.
    o: bool,
    /// Eject at the token's end: a token's setting wins over the room's.
    ejt: bool,
}

/// A signed token. Shows itself to nobody by accident.
pub struct MeetingToken(Zeroizing<String>);

impl MeetingToken {
    /// Signs the claims with the account's key.
    ///
    /// # Errors
    /// Never for claims of this shape.
    pub fn sign(account: &DailyAccount, claims: &TokenClaims<'_>) -> Result<Self, serde_json::Error> {
        let json = serde_json::to_vec(&Claims {
            r: claims.room.as_str(),
            d: claims.domain_id,
            iat: claims.issued_at.unix_seconds(),
            nbf: claims.window.opens_at.unix_seconds(),
            exp: claims.window.expires_at.unix_seconds(),
            ud: claims.participant_id,
            o: claims.is_owner,
            ejt: true,
        })?;
        let mut token = format!("{HEADER}.{}", URL_SAFE_NO_PAD.encode(json));
        let mut mac = Hmac::<Sha256>::new_from_slice(account.api_key.as_bytes())
            .expect("HMAC takes keys of any length");
        mac.update(token.as_bytes());
        let signature = URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
        token.push('.');
        token.push_str(&signature);
        Ok(Self(Zeroizing::new(token)))
    }

    /// The text, for the one who clicked.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for MeetingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MeetingToken(redacted)")
    }
}
