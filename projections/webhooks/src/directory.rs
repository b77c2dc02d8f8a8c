//! What a worker needs to know of a subscription, opened and ready, for a moment.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use carelog_domain::webhook_subscription::{
    RotatedSecret, SubscriptionChange, SubscriptionSecrets, WebhookFormat,
};
use carelog_domain::{DeliveryId, EventId, EventType, KeyId, Sealed, StreamKind, SubscriptionId, Timestamp};
use carelog_event_log::{EventLog, RecordedEvent, SealedPlace, StreamKey};
use futures::future::BoxFuture;
use serde::de::DeserializeOwned;
use sqlx::{PgConnection, PgPool};

use crate::body::body;
use crate::checkpoints::Checkpoints;
use crate::model::SubscriptionKey;
use crate::sending::{AddressPolicy, BodyFormat, ExtraHeaders, PreparedRequest, WebhookSecret, WebhookUrl};

/// How long an opened subscription is used before it is read again, where nothing tells that it changed: for deliveries
/// that a worker had in its hands before another process folded the change.
const TIME_TO_LIVE: Duration = Duration::from_secs(1);
/// Secrets that sign at a time: each adds to a header, and receivers bound theirs. The oldest are left out.
const MAX_SIGNING_SECRETS: usize = 10;
/// Opened subscriptions kept at a time.
const CAPACITY: u64 = 10_000;

/// A subscription, opened.
#[derive(Debug)]
pub struct OpenSubscription {
    /// Whether it may be sent to.
    pub is_active: bool,
    /// The version of its stream that it was opened at.
    pub version: i64,
    /// How bodies are laid out.
    pub format: WebhookFormat,
    /// Where to, or the code of why its URL is refused.
    pub url: Result<WebhookUrl, &'static str>,
    /// The partner's own words about it.
    pub description: Option<String>,
    /// Its secrets, the current one first.
    pub secrets: Vec<SigningSecret>,
    /// Further request headers.
    pub headers: ExtraHeaders,
}

/// A secret and how long it signs.
#[derive(Clone, Debug)]
pub struct SigningSecret {
    secret: WebhookSecret,
    /// Nothing while no other has taken its place.
    until: Option<Timestamp>,
}

impl OpenSubscription {
    /// The request of an attempt. The same subscription version, event and moment give the same bytes, whenever it is
    /// asked; nothing where the URL is refused.
    pub fn request(
        &self,
        delivery_id: DeliveryId,
        event: &RecordedEvent,
        started_at: Timestamp,
    ) -> Option<PreparedRequest> {
        let url = self.url.as_ref().ok()?;
        let request = PreparedRequest::signed(
            url.clone(),
            delivery_id.uuid(),
            started_at.unix_seconds(),
            body(self.format, delivery_id, event),
            self.valid_secrets(started_at),
        );
        Some(request.with_format(BodyFormat::from(self.format)).with_headers(&self.headers))
    }

    /// The secrets that sign at a moment, the current one first.
    pub(crate) fn valid_secrets(&self, at: Timestamp) -> impl Iterator<Item = &WebhookSecret> {
        let valid = self.secrets.iter().filter(move |secret| secret.until.is_none_or(|until| at < until));
        valid.map(|secret| &secret.secret).take(MAX_SIGNING_SECRETS)
    }
}

/// Why a subscription cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The database failed.
    #[error("the subscription cannot be read")]
    Database(#[from] sqlx::Error),
    /// The keys cannot be reached.
    #[error("the subscription's secrets cannot be opened")]
    Vault(#[from] carelog_vault::VaultError),
    /// A stored value does not parse.
    #[error("webhooks.webhook_subscription_parts of subscription {0} holds a value that does not parse")]
    Stored(SubscriptionId),
}

/// Opens subscriptions and remembers them for a moment.
///
/// What is remembered is used only where it is as new as the ledger says that it has to be: each taken delivery comes
/// with the version that its subscription had when it was taken. The projector of the same process tells of a change
/// even before it is committed ([`Self::outdate`]), which reaches the deliveries that were taken before.
#[derive(Clone, Debug)]
pub struct Directory {
    log: EventLog,
    pool: PgPool,
    policy: Arc<AddressPolicy>,
    open: moka::sync::Cache<SubscriptionKey, Arc<OpenSubscription>>,
    /// Versions that were told of: nothing older is used.
    least: moka::sync::Cache<SubscriptionKey, i64>,
    checkpoints: Checkpoints,
}

impl Directory {
    /// A directory that checks URLs against `policy`.
    pub fn new(log: EventLog, pool: PgPool, policy: AddressPolicy) -> Self {
        let open = moka::sync::Cache::builder().time_to_live(TIME_TO_LIVE).max_capacity(CAPACITY).build();
        let least = moka::sync::Cache::new(CAPACITY);
        Self { log, pool, policy: Arc::new(policy), open, least, checkpoints: Checkpoints::default() }
    }

    /// Lets every attempt carry the newest of these.
    pub fn with_checkpoints(self, checkpoints: Checkpoints) -> Self {
        Self { checkpoints, ..self }
    }

    pub(crate) const fn checkpoints(&self) -> &Checkpoints {
        &self.checkpoints
    }

    /// Lets nothing older than this version of a subscription be used any more. Told before the change is committed, it
    /// leaves nobody a moment in which the change is there and what was before it is used; until then it is read each
    /// time.
    pub(crate) fn outdate(&self, key: SubscriptionKey, version: i64) {
        if self.least_of(key) < version {
            self.least.insert(key, version);
        }
    }

    fn least_of(&self, key: SubscriptionKey) -> i64 {
        self.least.get(&key).unwrap_or_default()
    }

    /// A subscription, or nothing when there is none. What is remembered of a version before `at_least` is not used.
    ///
    /// # Errors
    /// When the database or the vault fails.
    pub fn get(
        &self,
        key: SubscriptionKey,
        at_least: i64,
    ) -> BoxFuture<'_, Result<Option<Arc<OpenSubscription>>, DirectoryError>> {
        Box::pin(async move {
            loop {
                let least = self.least_of(key);
                let is_new = |known: &Arc<OpenSubscription>| known.version >= least.max(at_least);
                if let Some(known) = self.open.get(&key).filter(is_new) {
                    return Ok(Some(known));
                }
                let mut connection = self.pool.acquire().await?;
                let opened = self.open(&mut connection, key).await?.map(Arc::new);
                drop(connection);
                // What is paused may be resumed at any moment, and then nothing more may be refused for it.
                if let Some(active) = opened.as_ref().filter(|subscription| subscription.is_active) {
                    self.open.insert(key, Arc::clone(active));
                }
                // What became known while it was read may not be in it.
                if self.least_of(key) == least {
                    return Ok(opened);
                }
            }
        })
    }

    /// Reads and opens a subscription as it is.
    ///
    /// # Errors
    /// When the database or the vault fails.
    pub fn open<'a>(
        &'a self,
        connection: &'a mut PgConnection,
        key: SubscriptionKey,
    ) -> BoxFuture<'a, Result<Option<OpenSubscription>, DirectoryError>> {
        self.open_version(connection, key, None)
    }

    /// Reads and opens a subscription as it was at a version of its stream, as far as what is sent depends on it.
    ///
    /// # Errors
    /// When the database or the vault fails.
    pub fn open_at<'a>(
        &'a self,
        connection: &'a mut PgConnection,
        key: SubscriptionKey,
        version: i64,
    ) -> BoxFuture<'a, Result<Option<OpenSubscription>, DirectoryError>> {
        self.open_version(connection, key, Some(version))
    }

    fn open_version<'a>(
        &'a self,
        connection: &'a mut PgConnection,
        key: SubscriptionKey,
        at: Option<i64>,
    ) -> BoxFuture<'a, Result<Option<OpenSubscription>, DirectoryError>> {
        Box::pin(async move {
            let row = sqlx::query!(
                "
                select status, format, version
                from webhooks.webhook_subscriptions
                where organization_id = $1 and subscription_id = $2
                ",
                key.0.uuid(),
                key.1.uuid()
            )
            .fetch_optional(&mut *connection)
            .await?;
            let Some(row) = row else { return Ok(None) };
            let version = at.unwrap_or(row.version);
            let Some(folded) = self.fold_parts(connection, key, version).await? else { return Ok(None) };
            Ok(Some(OpenSubscription {
                version,
                is_active: row.status == "active",
                format: row.format.parse().map_err(|_| DirectoryError::Stored(key.1))?,
                url: WebhookUrl::parse(&folded.url, &self.policy).map_err(crate::sending::UrlError::code),
                description: folded.description,
                secrets: folded.secrets,
                headers: ExtraHeaders::parse(
                    folded.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())),
                )
                .map_err(|_| DirectoryError::Stored(key.1))?,
            }))
        })
    }

    /// Folds the sealed parts up to a version in order; nothing when their key was destroyed or they were removed.
    async fn fold_parts(
        &self,
        connection: &mut PgConnection,
        key: SubscriptionKey,
        version: i64,
    ) -> Result<Option<Folded>, DirectoryError> {
        let rows = sqlx::query!(
            "
            select version, event_id, event_type, schema_version, recorded_at, overlap_seconds, key_id, sealed
            from webhooks.webhook_subscription_parts
            where organization_id = $1 and subscription_id = $2 and version <= $3
            order by version
            ",
            key.0.uuid(),
            key.1.uuid(),
            version
        )
        .fetch_all(connection)
        .await?;
        let stored = || DirectoryError::Stored(key.1);
        let mut folded: Option<Folded> = None;
        for row in rows {
            let event_type: EventType = row.event_type.parse().map_err(|_| stored())?;
            let place = SealedPlace {
                stream: StreamKey {
                    organization_id: key.0,
                    kind: StreamKind::WebhookSubscription,
                    id: key.1.uuid(),
                },
                version: row.version,
                event_id: EventId::new(row.event_id),
                event_type,
                schema_version: u16::try_from(row.schema_version).map_err(|_| stored())?,
                subject: None,
            };
            let sealed = Sealed { key_id: KeyId::new(row.key_id), bytes: Arc::from(row.sealed) };
            let Some(json) = place.open(self.log.vault(), &sealed).await? else { return Ok(None) };
            let recorded_at = Timestamp::try_from(row.recorded_at).map_err(|_| stored())?;
            let fits = match event_type {
                EventType::WebhookSubscriptionCreated => {
                    folded = Folded::created(&json);
                    folded.is_some()
                }
                EventType::WebhookSubscriptionChanged => {
                    folded.as_mut().is_some_and(|folded| folded.change(&json))
                }
                EventType::WebhookSubscriptionSecretRotated => {
                    let overlap_seconds = row.overlap_seconds.unwrap_or_default();
                    folded.as_mut().is_some_and(|folded| folded.rotate(&json, recorded_at, overlap_seconds))
                }
                _ => false,
            };
            if !fits {
                return Err(stored());
            }
        }
        Ok(folded)
    }
}

struct Folded {
    url: String,
    description: Option<String>,
    headers: BTreeMap<String, String>,
    /// The newest first, each with its end where a rotation set one.
    secrets: Vec<SigningSecret>,
}

impl Folded {
    fn created(json: &[u8]) -> Option<Self> {
        let created: SubscriptionSecrets = parse(json)?;
        Some(Self {
            url: created.url,
            description: created.description,
            headers: created.headers,
            secrets: vec![SigningSecret { secret: WebhookSecret::parse(&created.secret).ok()?, until: None }],
        })
    }

    fn change(&mut self, json: &[u8]) -> bool {
        let Some(change) = parse::<SubscriptionChange>(json) else { return false };
        if let Some(url) = change.url {
            self.url = url;
        }
        if let Some(headers) = change.headers {
            self.headers = headers;
        }
        if let Some(description) = change.description {
            self.description = Some(description).filter(|description| !description.is_empty());
        }
        true
    }

    /// Puts a new secret first. The one before it stays valid for the overlap; those before that one keep the end that
    /// their own rotation set. Without an overlap none stays: that is how a secret is replaced that got out.
    fn rotate(&mut self, json: &[u8], rotated_at: Timestamp, overlap_seconds: i32) -> bool {
        let Some(secret) = parse::<RotatedSecret>(json).and_then(|r| WebhookSecret::parse(&r.secret).ok())
        else {
            return false;
        };
        if overlap_seconds == 0 {
            self.secrets.clear();
        }
        if let Some(older) = self.secrets.first_mut() {
            older.until = Some(rotated_at.saturating_add_micros(i64::from(overlap_seconds) * 1_000_000));
        }
        self.secrets.insert(0, SigningSecret { secret, until: None });
        true
    }
}

fn parse<T: DeserializeOwned>(json: &[u8]) -> Option<T> {
    serde_json::from_slice(json).ok()
}
