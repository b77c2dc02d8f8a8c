//! Links into embedded rooms: opaque, unguessable, and kept nowhere.
//!
//! A link names its room, its participant and its number, and is signed by HMAC-SHA256 under a secret of the
//! organization that follows from the vault. Whether the number is still the newest is told by the room's stream. The
//! format is `base64url(organization ‖ appointment ‖ participant ‖ number as u16 big-endian ‖ signature)`.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use carelog_domain::{AppointmentId, OrganizationId, ParticipantId};
use carelog_vault::{Vault, VaultError};
use futures::future::BoxFuture;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use uuid::Uuid;
use zeroize::Zeroizing;

const PURPOSE: &str = "video_room_link";
const CLAIMS_BYTES: usize = 3 * 16 + 2;
const SIGNATURE_BYTES: usize = 32;

/// Whom a link lets into which room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkClaims {
    /// Whose room.
    pub organization_id: OrganizationId,
    /// Of which appointment.
    pub appointment_id: AppointmentId,
    /// For whom.
    pub participant_id: ParticipantId,
    /// Which of their links.
    pub link: u16,
}

/// What signs the links of one organization.
pub struct LinkSecret(Zeroizing<[u8; 32]>);

/// A link as it came in or goes out; whoever has its text may enter, so it shows itself to nobody by accident.
pub struct RoomLink {
    claims: LinkClaims,
    text: Zeroizing<String>,
    signature: Vec<u8>,
}

impl LinkSecret {
    /// The secret of an organization. Its key is made where it has none, so it has to be known before.
    ///
    /// # Errors
    /// When the vault fails, or the organization's key was destroyed.
    pub fn of(vault: &Vault, organization_id: OrganizationId) -> BoxFuture<'_, Result<Self, VaultError>> {
        Box::pin(async move { Ok(Self(vault.derived_secret(organization_id, PURPOSE).await?)) })
    }

    #[cfg(test)]
    pub(super) fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    fn mac(&self, claims: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&*self.0).expect("HMAC takes keys of any length");
        mac.update(claims);
        mac
    }
}

impl LinkClaims {
    fn bytes(&self) -> [u8; CLAIMS_BYTES] {
        let ids = [self.organization_id.uuid(), self.appointment_id.uuid(), self.participant_id.uuid()];
        let mut bytes = [0; CLAIMS_BYTES];
        let (places, number) = bytes.split_at_mut(CLAIMS_BYTES - 2);
        for (place, id) in places.chunks_exact_mut(16).zip(ids) {
            place.copy_from_slice(id.as_bytes());
        }
        number.copy_from_slice(&self.link.to_be_bytes());
        bytes
    }
}

impl RoomLink {
    /// Signs the claims.
    pub fn sign(secret: &LinkSecret, claims: LinkClaims) -> Self {
        let bytes = claims.bytes();
        let signature = secret.mac(&bytes).finalize().into_bytes().to_vec();
        let text = Zeroizing::new(URL_SAFE_NO_PAD.encode([&bytes[..], &signature].concat()));
        Self { claims, text, signature }
    }

    /// Reads a link, whoever signed it; nothing where it is none.
    pub fn read(text: &str) -> Option<Self> {
        // Longer ones are none, and are not decoded.
        let bytes = URL_SAFE_NO_PAD.decode(text.get(..200).map_or(text, |_| "")).ok()?;
        let (claims, signature) = bytes.split_at_checked(CLAIMS_BYTES)?;
        if signature.len() != SIGNATURE_BYTES {
            return None;
        }
        let (ids, number) = claims.split_at_checked(CLAIMS_BYTES - 2)?;
        let mut ids = ids.chunks_exact(16).filter_map(|id| Uuid::from_slice(id).ok());
        let claims = LinkClaims {
            organization_id: OrganizationId::new(ids.next()?),
            appointment_id: AppointmentId::new(ids.next()?),
            participant_id: ParticipantId::new(ids.next()?),
            link: u16::from_be_bytes(number.try_into().ok()?),
        };
        Some(Self { claims, text: Zeroizing::new(text.to_owned()), signature: signature.to_vec() })
    }

    /// What it says, to be believed only once [`RoomLink::is_signed_by`] holds.
    pub const fn claims(&self) -> LinkClaims {
        self.claims
    }

    /// Whether the organization signed it; compared in constant time.
    pub fn is_signed_by(&self, secret: &LinkSecret) -> bool {
        secret.mac(&self.claims.bytes()).verify_slice(&self.signature).is_ok()
    }

    /// The text, for whom it was made.
    pub fn reveal(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for LinkSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkSecret(redacted)")
    }
}

impl fmt::Debug for RoomLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RoomLink({:?}, redacted)", self.claims.appointment_id)
    }
}
