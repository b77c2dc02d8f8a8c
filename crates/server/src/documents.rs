//! Makes the documents that people keep: of each form that was signed, and of each erasure that is complete.
//!
//! What is lacking is looked for in the records and made from the log, under an id that follows from the form or the
//! patient. So a process that dies in between, or two that do the same, leave one document; its SHA-256 is in the
//! event that tells of its storing.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use carelog_domain::closed::Sha256Digest;
use carelog_domain::file::{ContentType, FileKind, FileName, FileStatus};
use carelog_domain::form::{FormAnswers, FormEvent};
use carelog_domain::organization::OrganizationProfile;
use carelog_domain::patient::PatientEvent;
use carelog_domain::{EventType, FileId, FormId, OrganizationId, PatientId, StreamKind, Timestamp};
use carelog_event_log::{RecordedEvent, StreamKey, derived_id};
use carelog_files::document::{
    ErasureCertificate, RenderError, SignedForm, erasure_certificate, shown_moment, signed_form,
};
use carelog_files::{Brought, Storage, StorageError};
use carelog_records::queries;
use carelog_records::{FormRecord, PatientRecord, SealedColumns};
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest, Sha256};
use sqlx::{AssertSqlSafe, Postgres, Transaction};
use time::OffsetDateTime;
use tracing::{error, info, warn};
use uuid::Uuid;

use crate::own_files::OwnFile;
use crate::storages::StoragesError;
use crate::system::System;

/// How often missing documents are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How far back the first look goes, and each later one once nothing is missing.
const FIRST_BACK_MICROS: i64 = 30 * 24 * 3_600 * 1_000_000;
const BACK_MICROS: i64 = 24 * 3_600 * 1_000_000;
/// Documents of one look and kind.
const AT_A_TIME: u16 = 100;

/// The document of a signed form, once it is stored.
pub fn document_of_form(organization_id: OrganizationId, form_id: FormId) -> FileId {
    FileId::new(derived_id(form_id.uuid(), format!("document {organization_id}").as_bytes()))
}

/// The certificate of a patient's erasure, once it is stored.
pub fn certificate_of_erasure(organization_id: OrganizationId, patient_id: PatientId) -> FileId {
    FileId::new(derived_id(patient_id.uuid(), format!("certificate of erasure {organization_id}").as_bytes()))
}

/// Works until the system stops.
pub async fn run(system: System) {
    let stop = system.runtime.stop.clone();
    let mut unmakeable = HashSet::new();
    let mut since = system.log.clock().now().saturating_add_micros(-FIRST_BACK_MICROS);
    while tokio::time::timeout(LOOK_EVERY, stop.cancelled()).await.is_err() {
        let back = system.log.clock().now().saturating_add_micros(-BACK_MICROS).max(since);
        let mut look =
            Look { system: &system, unmakeable: &mut unmakeable, failed: HashSet::new(), missing: None };
        match look.make_missing(since).await {
            // What could not be made is looked for again.
            Ok(()) if !stop.is_cancelled() => since = look.missing.unwrap_or(back).min(back),
            Ok(()) => {}
            Err(error) => {
                warn!(error = format!("{error:#}"), "documents could not be made; it is tried again");
            }
        }
    }
}

/// One look at everything that is missing, from the oldest to the newest.
struct Look<'a> {
    system: &'a System,
    /// Of what no second try makes a document.
    unmakeable: &'a mut HashSet<FileId>,
    /// Clinics whose storage does not answer: that costs each look one wait, and no other clinic its documents.
    failed: HashSet<OrganizationId>,
    /// Since when the oldest is missing that could not be made.
    missing: Option<Timestamp>,
}

impl Look<'_> {
    async fn make_missing(&mut self, since: Timestamp) -> anyhow::Result<()> {
        let mut after = (since, FormId::new(Uuid::nil()));
        loop {
            let mut tx = read(self.system).await?;
            let forms = queries::list_undocumented_forms(&mut tx, after, AT_A_TIME).await?;
            tx.commit().await?;
            let Some(last) = forms.last() else { break };
            after = (last.stamp.updated_at, last.form_id);
            self.make(forms.into_iter().map(Missing::Form)).await;
        }
        let mut after = (since, PatientId::new(Uuid::nil()));
        loop {
            let mut tx = read(self.system).await?;
            let erased = queries::list_erased_patients(&mut tx, after, AT_A_TIME).await?;
            let Some(last) = erased.last() else { break };
            after = (last.stamp.updated_at, last.patient_id);
            let erased: Vec<_> = erased.into_iter().map(Missing::Certificate).collect();
            let certificates: Vec<_> =
                erased.iter().map(|erased| (erased.place().0, erased.file_id())).collect();
            let settled = queries::files_settled(&mut tx, &certificates).await?;
            tx.commit().await?;
            self.make(erased.into_iter().filter(|erased| !settled.contains(&erased.file_id()))).await;
        }
        Ok(())
    }

    async fn make(&mut self, missing: impl Iterator<Item = Missing>) {
        for missing in missing {
            let ((organization_id, at), file_id) = (missing.place(), missing.file_id());
            if self.system.runtime.stop.is_cancelled() {
                return;
            }
            if self.unmakeable.contains(&file_id) {
                continue;
            }
            if !self.failed.contains(&organization_id) {
                match missing.make(self.system).await {
                    Ok(true) => continue,
                    // Where files cannot lie, documents cannot either; they wait until they can.
                    Ok(false) => {
                        self.failed.insert(organization_id);
                    }
                    Err(error) if error.is::<RenderError>() => {
                        error!(file.id = %file_id, error = format!("{error:#}"), "a document cannot be made");
                        self.unmakeable.insert(file_id);
                        continue;
                    }
                    Err(error) => {
                        let is_of_storage = error
                            .chain()
                            .any(|cause| cause.is::<StorageError>() || cause.is::<StoragesError>());
                        let error = format!("{error:#}");
                        warn!(organization.id = %organization_id, file.id = %file_id, error, "a document is not made");
                        if is_of_storage {
                            self.failed.insert(organization_id);
                        }
                    }
                }
            }
            self.missing = Some(self.missing.map_or(at, |oldest| oldest.min(at)));
        }
    }
}

/// Something without its document.
enum Missing {
    Form(FormRecord),
    Certificate(PatientRecord),
}

impl Missing {
    const fn place(&self) -> (OrganizationId, Timestamp) {
        match self {
            Self::Form(form) => (form.organization_id, form.stamp.updated_at),
            Self::Certificate(patient) => (patient.organization_id, patient.stamp.updated_at),
        }
    }

    fn file_id(&self) -> FileId {
        match self {
            Self::Form(form) => document_of_form(form.organization_id, form.form_id),
            Self::Certificate(patient) => certificate_of_erasure(patient.organization_id, patient.patient_id),
        }
    }

    /// Makes it, unless the clinic has no storage.
    async fn make(self, system: &System) -> anyhow::Result<bool> {
        let storages = system.storages.get().context("no server was started")?;
        let storage = match storages.of(self.place().0).await {
            Ok(storage) => storage,
            Err(StoragesError::NotConfigured) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        match self {
            Self::Form(form) => document_form(system, &storage, &form).await,
            Self::Certificate(patient) => certify_erasure(system, &storage, &patient).await,
        }
        .map(|()| true)
    }
}

async fn document_form(system: &System, storage: &Storage, record: &FormRecord) -> anyhow::Result<()> {
    let FormRecord { organization_id, form_id, patient_id, .. } = *record;
    let key = StreamKey { organization_id, kind: StreamKind::Form, id: form_id.uuid() };
    let events = system.log.stream(&key, 0).await?;
    let signature = events.iter().find(|event| event.event_type == EventType::FormSigned);
    let signature = signature.context("a signed form has no signature in the log")?;
    let FormEvent::Signed(signed) = signature.decode_as()? else {
        anyhow::bail!("the signature of a form is none");
    };
    // Once the patient's keys are gone, there is nothing to show.
    let Some(answers) = open::<FormAnswers>(system, record.personal.as_ref()).await? else { return Ok(()) };
    let form = SignedForm {
        organization: name_of(system, organization_id).await?,
        form_id: form_id.to_string(),
        patient_id: patient_id.to_string(),
        template: format!("{}, version {}", record.template_id, record.template_version),
        signed_by: signed.signed_by.to_string(),
        signed_at: OffsetDateTime::from(signature.occurred_at),
        content_sha256: signed.content_sha256.to_string(),
        event: signature.event_id.to_string(),
        answers: shown_answers(&answers.answers),
    };
    let own = OwnFile {
        organization_id,
        file_id: document_of_form(organization_id, form_id),
        patient_id: Some(patient_id),
        form_id: Some(form_id),
        kind: FileKind::GeneratedDocument,
        content_type: ContentType::Pdf,
        name: Some(FileName { name: format!("form-{form_id}.pdf") }),
        causation_id: signature.event_id,
        correlation_id: signature.circumstances.correlation_id,
    };
    keep(system, storage, &own, move || signed_form(&form)).await
}

async fn certify_erasure(system: &System, storage: &Storage, record: &PatientRecord) -> anyhow::Result<()> {
    let PatientRecord { organization_id, patient_id, .. } = *record;
    let key = StreamKey { organization_id, kind: StreamKind::Patient, id: patient_id.uuid() };
    let events = system.log.stream(&key, 0).await?;
    let newest = |wanted: EventType| events.iter().rev().find(|event| event.event_type == wanted);
    let steps = [
        newest(EventType::PatientErasureRequested),
        newest(EventType::PatientKeysDestroyed),
        newest(EventType::PatientErased),
    ];
    let [Some(requested), Some(destroyed), Some(erased)] = steps else {
        anyhow::bail!("an erasure that is complete lacks a step in the log");
    };
    let PatientEvent::KeysDestroyed(keys) = destroyed.decode_as()? else {
        anyhow::bail!("the destruction of keys is none");
    };
    let at = |event: &RecordedEvent| OffsetDateTime::from(event.recorded_at);
    let step = |event: &RecordedEvent| {
        (event.event_type.to_string(), shown_moment(at(event)), event.event_id.to_string())
    };
    let certificate = ErasureCertificate {
        organization: name_of(system, organization_id).await?,
        patient_id: patient_id.to_string(),
        requested_at: at(requested),
        keys_destroyed_at: at(destroyed),
        key_count: keys.key_count,
        completed_at: at(erased),
        steps: vec![step(requested), step(destroyed), step(erased)],
    };
    let own = OwnFile {
        organization_id,
        file_id: certificate_of_erasure(organization_id, patient_id),
        // It belongs to the clinic: what is about the patient is gone.
        patient_id: None,
        form_id: None,
        kind: FileKind::GeneratedDocument,
        content_type: ContentType::Pdf,
        name: None,
        causation_id: erased.event_id,
        correlation_id: erased.circumstances.correlation_id,
    };
    keep(system, storage, &own, move || erasure_certificate(&certificate)).await
}

/// Renders a document and keeps it as a file, unless that was done, or the file was ended.
async fn keep(
    system: &System,
    storage: &Storage,
    own: &OwnFile,
    render: impl FnOnce() -> Result<Vec<u8>, RenderError> + Send + 'static,
) -> anyhow::Result<()> {
    match own.known(&system.log).await? {
        Some((FileStatus::Stored | FileStatus::Failed | FileStatus::Deleted, _)) => return Ok(()),
        Some((FileStatus::Requested, _)) | None => {}
    }
    let rendered = system.runtime.tasks.spawn_blocking(render).await;
    let bytes = Bytes::from(rendered.unwrap_or_else(|panic| Err(RenderError::Typeset(panic.to_string())))?);
    let brought = Brought {
        size_bytes: i64::try_from(bytes.len())?,
        content_sha256: Sha256Digest::new(Sha256::digest(&bytes).into()),
    };
    // Whoever comes second has rendered it in vain, and must not put other bytes under the hash that is in the log.
    if let Some((status, _)) =
        own.known(&system.log).await?.filter(|(status, _)| *status != FileStatus::Requested)
    {
        info!(file.id = %own.file_id, %status, "a document was made by another");
        return Ok(());
    }
    storage.put(&own.object_key(), own.content_type.as_str(), bytes).await?;
    let Err(error) = own.keep(&system.log, storage, brought).await else {
        info!(file.id = %own.file_id, "a document was made");
        return Ok(());
    };
    match own.known(&system.log).await? {
        // Another process stored the same one.
        Some((FileStatus::Stored, _)) => Ok(()),
        Some((FileStatus::Requested, _)) => Err(error.into()),
        // The patient was erased meanwhile, or somebody deleted it: nothing is to be left.
        Some((FileStatus::Failed | FileStatus::Deleted, _)) | None => {
            storage.remove(&own.object_key()).await?;
            if error.is_of_erased() { Ok(()) } else { Err(error.into()) }
        }
    }
}

/// How people call the clinic; its id where it has no name.
async fn name_of(system: &System, organization_id: OrganizationId) -> anyhow::Result<String> {
    let mut tx = read(system).await?;
    let organization = queries::get_organization(&mut tx, organization_id).await?;
    tx.commit().await?;
    let sealed = organization.and_then(|organization| organization.personal);
    let profile = open::<OrganizationProfile>(system, sealed.as_ref()).await?;
    Ok(profile.map_or_else(|| organization_id.to_string(), |profile| profile.name))
}

async fn open<T: DeserializeOwned>(
    system: &System,
    sealed: Option<&SealedColumns>,
) -> anyhow::Result<Option<T>> {
    let Some(columns) = sealed else { return Ok(None) };
    let opened = columns.place.open(system.log.vault(), &columns.sealed).await?;
    // The parser's message could quote the value.
    opened
        .map(|json| serde_json::from_slice(&json).ok().context("a personal part does not parse"))
        .transpose()
}

fn shown_answers(answers: &BTreeMap<String, Value>) -> Vec<(String, String)> {
    answers.iter().map(|(question, answer)| (question.clone(), shown(answer))).collect()
}

/// An answer as people read it: lists line by line, what has names with them.
fn shown(answer: &Value) -> String {
    match answer {
        Value::Null => "–".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join("\n"),
        Value::Object(fields) => {
            let lines = fields.iter().map(|(name, value)| format!("{name}: {}", shown(value)));
            lines.collect::<Vec<_>>().join("\n")
        }
    }
}

async fn read(system: &System) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    let begin = AssertSqlSafe("begin read only; set local search_path to records, public");
    system.databases.core_system.begin_with(begin).await
}
