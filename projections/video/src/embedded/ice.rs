//! Relays for browsers that cannot reach each other, with credentials for one participant and a while.
//!
//! The credentials have the form that coturn checks with `use-auth-secret`: the user name is the Unix time of their end
//! and who they are for, the password HMAC-SHA1 of the user name under the shared secret, in base64
//! (<https://github.com/coturn/coturn/blob/master/README.turnserver>, "TURN REST API").

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use carelog_domain::{ParticipantId, Timestamp};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha1::Sha1;
use zeroize::Zeroizing;

/// What is shared with the relay; shows itself to nobody.
#[derive(Clone, Default, Deserialize)]
#[serde(from = "String")]
pub struct RelaySecret(Zeroizing<String>);

/// Where browsers find out their addresses, and relays.
#[derive(Clone, Debug, Default)]
pub struct Relays {
    /// `stun:` and `turn:` addresses.
    pub urls: Vec<String>,
    /// Shared with the relays among them.
    pub secret: Option<RelaySecret>,
    /// Whether everything goes by a relay, so that neither participant learns the other's address.
    pub is_relay_only: bool,
}

/// An entry of `iceServers` (<https://www.w3.org/TR/webrtc/#rtciceserver-dictionary>).
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct IceServer {
    /// Where.
    pub urls: Vec<String>,
    /// For relays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// For relays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

impl Relays {
    /// What a participant's browser is told; credentials work until `valid_until`.
    pub fn servers_for(&self, participant_id: ParticipantId, valid_until: Timestamp) -> Vec<IceServer> {
        let is_relay = |url: &&String| url.starts_with("turn:") || url.starts_with("turns:");
        let (relays, others): (Vec<_>, Vec<_>) = self.urls.iter().partition(is_relay);
        let mut servers = Vec::new();
        if !others.is_empty() {
            let urls = others.into_iter().cloned().collect();
            servers.push(IceServer { urls, username: None, credential: None });
        }
        if let Some(secret) = self.secret.as_ref().filter(|_| !relays.is_empty()) {
            let username = format!("{}:{participant_id}", valid_until.unix_seconds());
            let credential = secret.password(&username);
            let urls = relays.into_iter().cloned().collect();
            servers.push(IceServer { urls, username: Some(username), credential: Some(credential) });
        }
        servers
    }
}

impl RelaySecret {
    fn password(&self, username: &str) -> String {
        let mut mac = Hmac::<Sha1>::new_from_slice(self.0.as_bytes()).expect("HMAC takes keys of any length");
        mac.update(username.as_bytes());
        STANDARD.encode(mac.finalize().into_bytes())
    }
}

impl From<String> for RelaySecret {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl fmt::Debug for RelaySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RelaySecret(redacted)")
    }
}

impl fmt::Debug for IceServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IceServer({:?}, credentials redacted)", self.urls)
    }
}
