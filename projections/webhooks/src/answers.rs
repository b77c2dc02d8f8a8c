//! What is kept of receivers' answers: a few headers and at most 1 KiB of the body.
//!
//! A receiver may echo personal data, so answers never enter the log. They lie sealed in a table of their own, which a
//! rebuild does not touch, since no log could restore it. The worker writes them in batches after the outcome is in the
//! log: a crash in between loses them, and one that stands there belongs to the attempt of its number.
//!
//! An answer is sealed under the patient's own key where the event that was delivered is about a patient, and under
//! the organization's otherwise. So erasing the patient reaches every copy of the answers too, in backups as well, and
//! what would come later is not kept: there is no key for it any more. The place it is sealed for is its delivery and
//! the number of its attempt.
//!
//! Expunging is an event first and a removal second, in one request: whoever is told that it failed repeats it. Once
//! answers of a delivery were expunged, its row stays as a mark, and refuses whatever attempts under way would
//! still write: both sides change the same row, so one of them comes second.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use carelog_domain::{
    DataClass, DeliveryId, EventId, EventType, KeyId, KeyScope, OrganizationId, PatientId, Sealed, StreamKind,
};
use carelog_event_log::{RecordedEvent, SealedPlace, StreamKey};
use carelog_vault::{KeyState, SealContext, Vault, VaultError};
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, PgPool};

use crate::sending::{AttemptOutcome, BodyEnd};
use crate::task::Task;

/// Of the sealed form below.
const FORMAT: u16 = 1;

/// An answer on its way into the table.
#[derive(Debug)]
pub(crate) struct KeptAnswer {
    organization_id: OrganizationId,
    delivery_id: DeliveryId,
    number: u16,
    /// Whom the event is about that was delivered.
    subject: Option<PatientId>,
    answer: Answer,
}

/// What is kept of an answer.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// Names and values of headers that help to understand a failure.
    pub headers: Vec<(String, String)>,
    /// The first bytes of the body, as they came.
    pub body: Bytes,
    /// How many bytes of the body were read.
    pub read_bytes: usize,
    /// How the body ended.
    pub end: BodyEnd,
}

/// What can be said of a kept answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// It.
    Answer(Answer),
    /// The key that sealed it was destroyed.
    Erased,
}

/// Why answers cannot be kept or shown.
#[derive(Debug, thiserror::Error)]
pub enum AnswersError {
    /// The database failed.
    #[error("the answers of receivers cannot be reached")]
    Database(#[from] sqlx::Error),
    /// The keys cannot be reached, or do not fit.
    #[error("an answer cannot be sealed or opened")]
    Vault(#[from] VaultError),
    /// A stored value does not parse.
    #[error("kept.webhook_answers of delivery {0} holds a value that does not parse")]
    Stored(DeliveryId),
}

/// The sealed form.
#[derive(Serialize, Deserialize)]
struct Form {
    headers: Vec<(String, String)>,
    /// Standard base64.
    body: String,
    read_bytes: usize,
    end: BodyEnd,
}

impl KeptAnswer {
    /// What is worth keeping of an outcome, most often nothing.
    pub(crate) fn of(
        task: &Task,
        event: &RecordedEvent,
        number: u16,
        outcome: AttemptOutcome,
    ) -> Option<Self> {
        if outcome.headers.is_empty() && outcome.body.prefix.is_empty() {
            return None;
        }
        let headers = outcome.headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Some(Self {
            organization_id: task.effect.organization_id,
            delivery_id: task.delivery_id,
            number,
            subject: event.subject,
            answer: Answer {
                headers,
                body: outcome.body.prefix,
                read_bytes: outcome.body.read_bytes,
                end: outcome.body.end,
            },
        })
    }

    fn scope(&self) -> KeyScope {
        let class = if self.subject.is_some() { DataClass::Identity } else { DataClass::Network };
        KeyScope { organization_id: self.organization_id, subject: self.subject, class }
    }

    fn context(&self, scope: KeyScope) -> SealContext {
        SealContext {
            scope,
            stream_kind: StreamKind::WebhookDelivery,
            stream_id: self.delivery_id.uuid(),
            version: u64::from(self.number),
            event_id: EventId::new(self.delivery_id.uuid()),
            event_type: EventType::WebhookDeliveryAttempted,
            schema_version: FORMAT,
        }
    }
}

/// Seals and writes answers in one statement.
pub(crate) async fn keep(pool: &PgPool, vault: &Vault, answers: Vec<KeptAnswer>) -> Result<(), AnswersError> {
    let scopes: Vec<KeyScope> = answers.iter().map(KeptAnswer::scope).collect();
    let keys = vault.data_keys(&scopes).await?;
    // A statement changes a row once; two attempts of a delivery are never so near to each other in earnest.
    let mut sealed = HashMap::with_capacity(answers.len());
    for (kept, key) in answers.iter().zip(keys) {
        let KeyState::Live(key) = key else { continue };
        let value = key.seal(&kept.context(*key.scope()), &kept.answer.to_form())?;
        sealed.insert((kept.organization_id, kept.delivery_id), (kept.number, value));
    }
    if sealed.is_empty() {
        return Ok(());
    }
    let mut connection = pool.acquire().await?;
    sqlx::query!(
        "
        insert into kept.webhook_answers as k (organization_id, delivery_id, numbers, key_ids, sealed)
        select organization_id, delivery_id, array[number], array[key_id], array[sealed]
        from unnest($1::uuid[], $2::uuid[], $3::smallint[], $4::uuid[], $5::bytea[])
             as answers (organization_id, delivery_id, number, key_id, sealed)
        order by organization_id, delivery_id
        on conflict (organization_id, delivery_id) do update
        set numbers = k.numbers || excluded.numbers, key_ids = k.key_ids || excluded.key_ids,
            sealed = k.sealed || excluded.sealed
        where not k.is_expunged
        ",
        &sealed.keys().map(|key| key.0.uuid()).collect::<Vec<_>>(),
        &sealed.keys().map(|key| key.1.uuid()).collect::<Vec<_>>(),
        &sealed.values().map(|(number, _)| i16::try_from(*number).unwrap_or(i16::MAX)).collect::<Vec<_>>(),
        &sealed.values().map(|(_, value)| value.key_id.uuid()).collect::<Vec<_>>(),
        &sealed.values().map(|(_, value)| value.bytes.to_vec()).collect::<Vec<_>>()
    )
    .execute(&mut *connection)
    .await?;
    Ok(())
}

/// The kept answers of a delivery by the number of their attempt.
///
/// # Errors
/// When the database or the vault fails.
pub fn answers<'a>(
    connection: &'a mut PgConnection,
    vault: &'a Vault,
    organization_id: OrganizationId,
    delivery_id: DeliveryId,
) -> BoxFuture<'a, Result<HashMap<i16, Opened>, AnswersError>> {
    Box::pin(async move {
        let rows = sqlx::query!(
            r#"
            select a.number as "number!", a.key_id as "key_id!", a.sealed as "sealed!"
            from kept.webhook_answers k, unnest(k.numbers, k.key_ids, k.sealed) as a (number, key_id, sealed)
            where k.organization_id = $1 and k.delivery_id = $2
            "#,
            organization_id.uuid(),
            delivery_id.uuid()
        )
        .fetch_all(connection)
        .await?;
        let mut opened = HashMap::with_capacity(rows.len());
        for row in rows {
            let place = SealedPlace {
                stream: StreamKey {
                    organization_id,
                    kind: StreamKind::WebhookDelivery,
                    id: delivery_id.uuid(),
                },
                version: i64::from(row.number),
                event_id: EventId::new(delivery_id.uuid()),
                event_type: EventType::WebhookDeliveryAttempted,
                schema_version: FORMAT,
                subject: None,
            };
            let sealed = Sealed { key_id: KeyId::new(row.key_id), bytes: row.sealed.into() };
            let answer = match place.open(vault, &sealed).await? {
                Some(form) => {
                    Opened::Answer(Answer::from_form(&form).ok_or(AnswersError::Stored(delivery_id))?)
                }
                None => Opened::Erased,
            };
            opened.insert(row.number, answer);
        }
        Ok(opened)
    })
}

/// Removes the kept answers of a delivery, and whatever would still be written.
///
/// # Errors
/// When the database fails.
pub fn expunge(
    connection: &mut PgConnection,
    organization_id: OrganizationId,
    delivery_id: DeliveryId,
) -> BoxFuture<'_, Result<(), sqlx::Error>> {
    Box::pin(async move {
        sqlx::query!(
            "
            insert into kept.webhook_answers (organization_id, delivery_id, is_expunged)
            values ($1, $2, true)
            on conflict (organization_id, delivery_id) do update
            set numbers = '{}', key_ids = '{}', sealed = '{}', is_expunged = true
            ",
            organization_id.uuid(),
            delivery_id.uuid()
        )
        .execute(connection)
        .await?;
        Ok(())
    })
}

impl Answer {
    fn to_form(&self) -> Vec<u8> {
        let form = Form {
            headers: self.headers.clone(),
            body: STANDARD.encode(&self.body),
            read_bytes: self.read_bytes,
            end: self.end,
        };
        serde_json::to_vec(&form).expect("texts and numbers can be written as JSON")
    }

    fn from_form(json: &[u8]) -> Option<Self> {
        let form: Form = serde_json::from_slice(json).ok()?;
        let body = Bytes::from(STANDARD.decode(form.body).ok()?);
        Some(Self { headers: form.headers, body, read_bytes: form.read_bytes, end: form.end })
    }
}

/// Receivers echo personal data.
impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Answer({} bytes, {:?})", self.body.len(), self.end)
    }
}
