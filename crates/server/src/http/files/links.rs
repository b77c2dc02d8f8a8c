//! Links to the storage.

use std::time::{Duration, SystemTime};

use carelog_domain::file::{File, FileEvent, FileStatus, FileUploadRequested, LinkDisposition};
use carelog_domain::{FileId, OrganizationId, StreamKind, Timestamp};
use carelog_files::{Download, MAX_LINK_LIFE, Storage, Upload};
use cqrs_es::Aggregate as _;
use futures::future::BoxFuture;
use http::StatusCode;

use super::super::caller::Caller;
use super::super::problem::Problem;
use super::bodies::{DownloadView, PartView, UploadView};
use crate::storages::{StoragesError, object_key};

/// Links of one answer.
const MAX_LINKS: usize = 100;

/// What was said of a file before its upload, and how far it has come.
#[derive(Clone, Debug)]
pub(in crate::http) struct Announcement {
    organization_id: OrganizationId,
    pub(super) file_id: FileId,
    pub(super) facts: FileUploadRequested,
    pub(super) status: FileStatus,
}

impl Announcement {
    /// Reads it from the log itself: the records may lag behind.
    pub(super) fn of(caller: &Caller, file_id: FileId) -> BoxFuture<'_, Result<Self, Problem>> {
        Box::pin(async move {
            let mut file = File::default();
            let mut facts = None;
            for event in caller.stream(StreamKind::File, file_id.uuid()).await? {
                let event: FileEvent = event.decode_as().map_err(|error| Problem::internal(&error))?;
                if let FileEvent::UploadRequested(requested) = &event {
                    facts = Some(requested.clone());
                }
                file.apply(event);
            }
            match (facts, file.status()) {
                (Some(facts), Some(status)) => {
                    Ok(Self { organization_id: caller.organization_id, file_id, facts, status })
                }
                _ => Err(Problem::not_found()),
            }
        })
    }

    pub(super) fn key(&self) -> String {
        object_key(self.organization_id, self.file_id)
    }

    /// How many parts there are; nothing where it is sent at once.
    pub(super) fn part_count(&self) -> Option<u16> {
        let part_bytes = self.facts.part_bytes?;
        u16::try_from((self.facts.size_bytes + part_bytes - 1) / part_bytes).ok()
    }

    /// Bytes of a part.
    pub(super) fn part_size(&self, number: u16) -> Option<i64> {
        let part_bytes = self.facts.part_bytes?;
        let begin = part_bytes * i64::from(number.checked_sub(1)?);
        Some((self.facts.size_bytes - begin).min(part_bytes)).filter(|size| *size > 0)
    }
}

/// The caller's storage.
pub(in crate::http) fn storage(caller: &Caller) -> BoxFuture<'_, Result<Storage, Problem>> {
    Box::pin(async move {
        let storages = caller.api.system.storages.get();
        let storages = storages.ok_or_else(|| Problem::fault("the server runs without storages"))?;
        Ok(storages.of(caller.organization_id).await?)
    })
}

/// How a file is uploaded from here on.
pub(super) fn upload<'a>(
    caller: &'a Caller,
    storage: &'a Storage,
    announcement: &'a Announcement,
    wanted: &'a [u16],
) -> BoxFuture<'a, Result<UploadView, Problem>> {
    Box::pin(async move {
        let now = caller.api.now();
        let mut view = UploadView {
            expires_at: announcement.facts.expires_at,
            links_expire_at: now.saturating_add_micros(micros(MAX_LINK_LIFE)),
            whole: None,
            part_bytes: announcement.facts.part_bytes,
            part_count: announcement.part_count(),
            arrived: None,
            parts: Vec::new(),
        };
        let key = announcement.key();
        let Some(part_count) = view.part_count else {
            let upload = Upload {
                size_bytes: announcement.facts.size_bytes,
                content_sha256: announcement.facts.content_sha256,
                content_type: announcement.facts.content_type,
            };
            let signed = storage.sign_upload(&key, upload, system_time(now), MAX_LINK_LIFE).await?;
            view.whole = Some(signed.into());
            return Ok(view);
        };
        if wanted.len() > MAX_LINKS || wanted.iter().any(|number| !(1..=part_count).contains(number)) {
            return Err(Problem::invalid("/parts", "expected at most 100 numbers of parts of this file"));
        }
        // An earlier try to complete it came as far as joining the parts.
        if storage.has(&key).await? {
            view.arrived = Some((1..=part_count).collect());
            return Ok(view);
        }
        let upload_id = storage.begin(&key, announcement.facts.content_type).await?;
        let arrived: Vec<u16> =
            storage.parts(&key, &upload_id).await?.into_iter().map(|part| part.number).collect();
        let missing = || (1..=part_count).filter(|number| !arrived.contains(number)).take(MAX_LINKS);
        let numbers: Vec<u16> = if wanted.is_empty() { missing().collect() } else { wanted.to_vec() };
        for number in numbers {
            let size_bytes =
                announcement.part_size(number).ok_or_else(|| Problem::fault("a part without bytes"))?;
            let at = system_time(now);
            let signed = storage.sign_part(&key, &upload_id, number, size_bytes, at, MAX_LINK_LIFE).await?;
            view.parts.push(PartView { number, size_bytes, link: signed.into() });
        }
        view.arrived = Some(arrived);
        Ok(view)
    })
}

/// A link to fetch a file by. Its name says what it is, and nothing of what people call it.
pub(super) async fn download(
    storage: &Storage,
    announcement: &Announcement,
    disposition: LinkDisposition,
    valid_seconds: u16,
    now: Timestamp,
) -> Result<DownloadView, Problem> {
    let life = Duration::from_secs(u64::from(valid_seconds));
    let content_type = announcement.facts.content_type;
    let download = Download {
        content_type: content_type.as_str(),
        disposition,
        name: format!("{}-{}.{}", announcement.facts.kind, announcement.file_id, content_type.extension()),
    };
    let link = storage.sign_download(&announcement.key(), &download, system_time(now), life).await?;
    let expires_at = now.saturating_add_micros(micros(life));
    Ok(DownloadView { link: link.into(), expires_at })
}

pub(in crate::http) fn micros(life: Duration) -> i64 {
    i64::try_from(life.as_micros()).unwrap_or(i64::MAX)
}

pub(in crate::http) fn system_time(now: Timestamp) -> SystemTime {
    SystemTime::from(time::OffsetDateTime::from(now))
}

impl From<StoragesError> for Problem {
    fn from(error: StoragesError) -> Self {
        match error {
            StoragesError::NotConfigured => Self::new(StatusCode::CONFLICT, "storage_not_configured")
                .detail("the organization has no storage; configure the integration storage"),
            StoragesError::Settings(_) => Self::new(StatusCode::CONFLICT, "storage_not_usable")
                .detail("the settings of the integration storage do not fit any more"),
            StoragesError::Records(error) => error.into(),
            StoragesError::Vault(error) => error.into(),
            StoragesError::Storage(error) => error.into(),
            StoragesError::Stored => Self::internal(&error),
        }
    }
}

impl From<carelog_files::StorageError> for Problem {
    fn from(error: carelog_files::StorageError) -> Self {
        // What a clinic's own storage refuses is a matter of its settings, but nothing that the caller can mend.
        Self::unavailable(&error)
    }
}
