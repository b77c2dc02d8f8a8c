//! The `webhook-signature` header of Standard Webhooks 1.0.0, symmetric scheme `v1`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::secret::WebhookSecret;

/// `v1,` and the base64 of 32 bytes.
const SIGNATURE_LENGTH: usize = 3 + 44;

/// Signs `{id}.{timestamp}.{body}` with every secret, separated by blanks.
///
/// `secrets` are the ones valid at this attempt, the current one first; several stand side by side while a
/// rotation overlaps. `timestamp_secs` is the time of this attempt in unix seconds, fresh on each retry.
pub fn sign<'a>(
    secrets: impl IntoIterator<Item = &'a WebhookSecret>,
    id: &str,
    timestamp_secs: i64,
    body: &[u8],
) -> String {
    let keys = secrets.into_iter().map(WebhookSecret::reveal_bytes);
    sign_with_keys(keys, id, timestamp_secs, body)
}

fn sign_with_keys<'a>(
    keys: impl Iterator<Item = &'a [u8]>,
    id: &str,
    timestamp_secs: i64,
    body: &[u8],
) -> String {
    let prefix = format!("{id}.{timestamp_secs}.");
    let mut header = String::with_capacity(keys.size_hint().0 * (SIGNATURE_LENGTH + 1));
    for key in keys {
        if !header.is_empty() {
            header.push(' ');
        }
        header.push_str("v1,");
        STANDARD.encode_string(mac(key, prefix.as_bytes(), body), &mut header);
    }
    header
}

fn mac(key: &[u8], prefix: &[u8], body: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(prefix);
    mac.update(body);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests;
