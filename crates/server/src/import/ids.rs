//! Ids that follow from the source, so that an import that is repeated finds what it made before.
//!
//! A clinic's id follows from its name. The ids of patients and appointments follow from the practice's own numbers
//! under a secret key of the organization: ids travel to partners, and whoever could compute them from a number
//! could find the number by trying.

use carelog_domain::{AppointmentId, OrganizationId, PatientId, Timestamp};
use carelog_vault::{Vault, VaultError};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Begins everything that a clinic's id is made of. Final.
const NAMESPACE: &[u8] = b"carelog.import.organization.v1\0";
/// Name the columns in the vault's keyed hashes. Final.
const PATIENT: &str = "import.patient.v1";
const APPOINTMENT: &str = "import.appointment.v1";

/// The clinic of that name.
pub(super) fn organization_id(clinic: &str) -> OrganizationId {
    let digest = Sha256::new().chain_update(NAMESPACE).chain_update(clinic).finalize();
    OrganizationId::new(from_digest(&digest.into()))
}

/// The patient of that number; the row that names them does not matter.
pub(super) async fn patient_id(
    vault: &Vault,
    organization_id: OrganizationId,
    number: &str,
) -> Result<PatientId, VaultError> {
    let digest = vault.blind_index(organization_id, PATIENT, number).await?;
    Ok(PatientId::new(from_digest(&digest)))
}

/// The appointment of that number. Its first 48 bits are the milliseconds of its booking, as in UUID version 7, so
/// that indexes grow at their right end.
pub(super) async fn appointment_id(
    vault: &Vault,
    organization_id: OrganizationId,
    number: &str,
    booked_at: Timestamp,
) -> Result<AppointmentId, VaultError> {
    let digest = vault.blind_index(organization_id, APPOINTMENT, number).await?;
    Ok(AppointmentId::new(at_time(&digest, booked_at)))
}

/// UUID version 8 (RFC 9562) of a digest.
pub(super) fn from_digest(digest: &[u8; 32]) -> Uuid {
    uuid::Builder::from_custom_bytes(half(digest)).into_uuid()
}

/// UUID version 8 of a moment and a digest.
pub(super) fn at_time(digest: &[u8; 32], at: Timestamp) -> Uuid {
    let mut bytes = half(digest);
    let millis = at.unix_micros().div_euclid(1_000).to_be_bytes();
    for (byte, of_time) in bytes.iter_mut().zip(millis.iter().skip(2)).take(6) {
        *byte = *of_time;
    }
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

fn half(digest: &[u8; 32]) -> [u8; 16] {
    *digest.first_chunk().expect("32 bytes are more than 16")
}
