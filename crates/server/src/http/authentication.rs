//! Who calls: the operator, or the holder of an API key of one organization.
//!
//! `Authorization: Bearer clk_<id>_<secret>` names a key by its UUID and proves it with 32 random bytes in base64url;
//! only their SHA-256 is stored. Keys are looked up in the records and kept for two seconds, so that a revocation
//! elsewhere is felt within that time and one here at once.

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fmt;
use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use carelog_domain::organization::Scope;
use carelog_domain::{ApiKeyId, MemberId, OrganizationId, PatientId, Role, SpecialistId, Timestamp};
use carelog_vault::publish;
use moka::sync::Cache;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// How long a key is trusted without asking again.
const TRUST: Duration = Duration::from_secs(2);
/// From this age on, one request asks again while the others still trust it.
const REFRESH: Duration = Duration::from_secs(1);
const MAX_CACHED_KEYS: u64 = 100_000;
const KEY_PREFIX: &str = "clk_";
const OPERATOR_PREFIX: &str = "clo_";
const SECRET_BYTES: usize = 32;

/// The holder of an API key.
#[derive(Clone, Debug)]
pub(super) struct Principal {
    /// The only organization that the key opens.
    pub organization_id: OrganizationId,
    /// The key.
    pub api_key_id: ApiKeyId,
    /// In which role its holder acts.
    pub role: Role,
    /// What it opens.
    pub scopes: Vec<Scope>,
    /// The patient who holds it.
    pub patient_id: Option<PatientId>,
    /// The specialist who holds it.
    pub specialist_id: Option<SpecialistId>,
    /// The member of the staff who holds it.
    pub member_id: Option<MemberId>,
    pub(super) secret_sha256: [u8; 32],
    pub(super) expires_at: Option<Timestamp>,
    pub(super) is_revoked: bool,
}

impl Principal {
    /// The person or system that the key stands for.
    pub(super) fn on_behalf_of(&self) -> Option<Uuid> {
        let patient = self.patient_id.map(PatientId::uuid);
        patient.or(self.specialist_id.map(SpecialistId::uuid)).or(self.member_id.map(MemberId::uuid))
    }
}

/// What stands in the header `Authorization`.
#[derive(Debug)]
pub(super) enum Credential {
    Key(PresentedKey),
    Operator(Secret),
}

/// A key as a caller presents it.
#[derive(Debug)]
pub(super) struct PresentedKey {
    pub(super) id: Uuid,
    secret: Secret,
}

/// The secret part of a key, already hashed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Secret([u8; 32]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

impl Secret {
    /// Compares without telling by its duration how far the two agree.
    pub(super) fn is(self, stored: &[u8; 32]) -> bool {
        let difference = self.0.iter().zip(stored).fold(0, |difference, (a, b)| difference | (a ^ b));
        std::hint::black_box(difference) == 0
    }

    fn of(secret: &str) -> Option<Self> {
        let mut bytes = [0; SECRET_BYTES];
        let length = URL_SAFE_NO_PAD.decode_slice(secret, &mut bytes).ok()?;
        (length == SECRET_BYTES).then(|| Self(sha256(&bytes)))
    }
}

impl Credential {
    /// Reads the value of the header; nothing where it is not one of ours.
    pub(super) fn parse(header: &str) -> Option<Self> {
        let (scheme, token) = header.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        if let Some(secret) = token.strip_prefix(OPERATOR_PREFIX) {
            return Secret::of(secret).map(Self::Operator);
        }
        let (id, secret) = token.strip_prefix(KEY_PREFIX)?.split_once('_')?;
        if id.len() != 32 {
            return None;
        }
        Some(Self::Key(PresentedKey { id: id.parse().ok()?, secret: Secret::of(secret)? }))
    }
}

impl PresentedKey {
    pub(super) fn proves(&self, principal: &Principal) -> bool {
        self.secret.is(&principal.secret_sha256)
    }
}

/// A new secret and its hash.
pub(super) struct NewSecret {
    bytes: [u8; SECRET_BYTES],
}

impl NewSecret {
    /// Draws one.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub(super) fn draw() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; SECRET_BYTES];
        getrandom::fill(&mut bytes)?;
        Ok(Self { bytes })
    }

    pub(super) fn sha256(&self) -> [u8; 32] {
        sha256(&self.bytes)
    }

    pub(super) const fn bytes(&self) -> [u8; SECRET_BYTES] {
        self.bytes
    }

    /// The whole key, to be shown once.
    pub(super) fn api_key(&self, id: ApiKeyId) -> String {
        format!("{KEY_PREFIX}{}_{}", id.uuid().simple(), URL_SAFE_NO_PAD.encode(self.bytes))
    }

    fn operator_key(&self) -> String {
        format!("{OPERATOR_PREFIX}{}", URL_SAFE_NO_PAD.encode(self.bytes))
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Reads the operator's key from its file, which is created with a fresh one when it is missing, whole or not at
/// all, so that a crash leaves no file without a key.
///
/// # Errors
/// When the file cannot be read or written, or holds no key.
pub fn load_or_create_operator_key(path: &Path) -> std::io::Result<OperatorKey> {
    if let Some(directory) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o711).create(directory)?;
    }
    if !path.try_exists()? {
        let secret = NewSecret::draw().map_err(std::io::Error::other)?;
        publish(path, format!("{}\n", secret.operator_key()).as_bytes())?;
    }
    let text = std::fs::read_to_string(path)?;
    let secret = text.trim().strip_prefix(OPERATOR_PREFIX).and_then(Secret::of);
    let Some(secret) = secret else {
        return Err(std::io::Error::new(ErrorKind::InvalidData, "the file holds no operator key"));
    };
    Ok(OperatorKey(secret))
}

/// The key that registers organizations, hashed.
#[derive(Clone, Copy, Debug)]
pub struct OperatorKey(Secret);

impl OperatorKey {
    pub(super) fn is(&self, presented: Secret) -> bool {
        presented.is(&self.0.0)
    }
}

/// The keys that were seen a moment ago.
#[derive(Clone, Debug)]
pub(super) struct KeyCache {
    entries: Cache<Uuid, Arc<CachedKey>>,
    /// Ids of real keys only, so there are never more than keys were issued.
    known: Arc<RwLock<HashSet<Uuid>>>,
}

#[derive(Debug)]
struct CachedKey {
    principal: Arc<Principal>,
    read_at: Instant,
    is_refreshing: AtomicBool,
}

impl KeyCache {
    pub(super) fn new() -> Self {
        let entries = Cache::builder().max_capacity(MAX_CACHED_KEYS).time_to_live(TRUST).build();
        Self { entries, known: Arc::default() }
    }

    /// A key that may be trusted still. Nothing where it should be looked up, which after a while is one caller's
    /// turn while the others go on.
    pub(super) fn get(&self, id: Uuid) -> Option<Arc<Principal>> {
        let entry = self.entries.get(&id)?;
        let is_due = entry.read_at.elapsed() >= REFRESH;
        if is_due && !entry.is_refreshing.swap(true, Ordering::Relaxed) {
            return None;
        }
        Some(Arc::clone(&entry.principal))
    }

    pub(super) fn put(&self, principal: Arc<Principal>) {
        let id = principal.api_key_id.uuid();
        self.known.write().unwrap_or_else(PoisonError::into_inner).insert(id);
        let entry = CachedKey { principal, read_at: Instant::now(), is_refreshing: AtomicBool::new(false) };
        self.entries.insert(id, Arc::new(entry));
    }

    /// Whether a key with this id has been seen since the start: looking it up anew is nobody's guess.
    pub(super) fn has_known(&self, id: Uuid) -> bool {
        self.known.read().unwrap_or_else(PoisonError::into_inner).contains(&id)
    }

    pub(super) fn forget(&self, id: Uuid) {
        self.entries.invalidate(&id);
    }

    /// After somebody left the staff, several keys may have died.
    pub(super) fn forget_all(&self) {
        self.entries.invalidate_all();
    }
}
