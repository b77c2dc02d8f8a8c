//! Published figures as files of Parquet, for a data lake: in a directory, or in the clinic's own storage.
//!
//! A view is a folder; one that tells months apart has a folder `month=2026-03` for each of them, and
//! `month=__HIVE_DEFAULT_PARTITION__` for what is of no month, as readers of Hive's partitions expect. All views are
//! those of one moment. Each is written to the log as a query before anything of it leaves.
//!
//! An export to the storage replaces the one before, file by file: whoever reads meanwhile may see months of both. Only
//! one export of a clinic is under way at a time, so that what stays is of one.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use carelog_analytics::columnar::{self, ColumnarError, PARQUET};
use carelog_analytics::queries::{self, CellFilter, Figures, FiguresError};
use carelog_domain::OrganizationId;
use carelog_domain::access::{Access, AccessCommand, AnalyticsDimension, AnalyticsFormat, AnalyticsView};
use carelog_event_log::{EventLog, Scope, new_id};
use carelog_files::{Storage, StorageError};
use futures::future::BoxFuture;
use serde_json::Value;
use sqlx::{Connection as _, PgConnection, PgPool};

/// Stands for null in the name of a partition.
const NO_MONTH: &str = "__HIVE_DEFAULT_PARTITION__";
const FILE: &str = "figures.parquet";

/// Why figures were not exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// There are no figures.
    #[error("nothing is published of organization {0}")]
    Unpublished(OrganizationId),
    /// The figures cannot be read.
    #[error(transparent)]
    Figures(#[from] FiguresError),
    /// The figures cannot be written as Parquet.
    #[error(transparent)]
    Columnar(#[from] ColumnarError),
    /// The export could not be written to the log, and so nothing left.
    #[error("the export cannot be recorded in the log, so nothing is handed out")]
    Record(#[source] Box<dyn Error + Send + Sync>),
    /// An earlier export would be mixed with this one.
    #[error("{} is there already", .0.display())]
    Taken(PathBuf),
    /// The directory cannot be written.
    #[error("{} cannot be written", path.display())]
    Write {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Two exports would be mixed.
    #[error("another export of organization {0} to its storage is under way")]
    UnderWay(OrganizationId),
    /// The lock that keeps two exports apart cannot be asked for.
    #[error("the database of analytics failed")]
    Database(#[source] sqlx::Error),
    /// The storage did not take the files.
    #[error("the storage does not take the figures")]
    Storage(#[from] StorageError),
}

/// A file of an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportFile {
    /// Below the directory, or the key in the storage; with `/` between its parts.
    pub path: String,
    /// Cells in it.
    pub cell_count: usize,
    bytes: Vec<u8>,
}

/// The right to export an organization's figures to its storage: as long as it is there, no other export has it.
#[derive(Debug)]
pub struct Turn {
    /// Its lock ends with the connection, however that ends.
    _lock: PgConnection,
}

impl Turn {
    /// Is taken before figures are read: otherwise an older export could follow a newer one.
    ///
    /// # Errors
    /// When another export is under way, or the database fails.
    pub async fn take(pool: &PgPool, organization_id: OrganizationId) -> Result<Self, ExportError> {
        let mut lock =
            PgConnection::connect_with(&pool.connect_options()).await.map_err(ExportError::Database)?;
        let is_taken = sqlx::query_scalar!(
            r#"select pg_try_advisory_lock(hashtext('carelog.export'), hashtext($1)) as "is_taken!""#,
            organization_id.to_string()
        )
        .fetch_one(&mut lock)
        .await
        .map_err(ExportError::Database)?;
        if is_taken { Ok(Self { _lock: lock }) } else { Err(ExportError::UnderWay(organization_id)) }
    }
}

/// Figures that were read and have not left yet.
#[derive(Debug)]
pub struct Export {
    organization_id: OrganizationId,
    views: Vec<Figures>,
}

impl Export {
    /// Reads views of an organization as its own application may.
    ///
    /// # Errors
    /// When nothing is published, or the database fails.
    pub fn read<'a>(
        pool: &'a PgPool,
        organization_id: OrganizationId,
        views: &'a [AnalyticsView],
    ) -> BoxFuture<'a, Result<Self, ExportError>> {
        Box::pin(async move {
            let mut tx = queries::begin(pool, organization_id).await.map_err(FiguresError::from)?;
            let mut read = Vec::new();
            for &view in views {
                read.push(queries::figures(&mut tx, view, CellFilter::default()).await?);
            }
            if read.iter().all(|figures| figures.freshness.is_none()) {
                return Err(ExportError::Unpublished(organization_id));
            }
            tx.commit().await.map_err(FiguresError::from)?;
            Ok(Self { organization_id, views: read })
        })
    }

    /// Writes the export to the log, and then to folders of a directory, which is made where it is missing.
    ///
    /// # Errors
    /// See [`ExportError`]; then nothing of it is there.
    pub async fn to_directory(
        &self,
        log: &EventLog,
        scope: &Scope,
        directory: &Path,
    ) -> Result<Vec<ExportFile>, ExportError> {
        for figures in &self.views {
            let folder = directory.join(figures.view.as_str());
            if folder.exists() {
                return Err(ExportError::Taken(folder));
            }
        }
        let files = self.files()?;
        self.record(log, scope).await?;
        self.write(&files, directory)
            .map_err(|source| ExportError::Write { path: directory.to_path_buf(), source })?;
        Ok(files)
    }

    fn write(&self, files: &[ExportFile], directory: &Path) -> io::Result<()> {
        make_folder(directory)?;
        let unfinished = tempfile::Builder::new()
            .prefix(".unfinished-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(directory)?;
        for file in files {
            let path = unfinished.path().join(&file.path);
            let folder = path.parent().unwrap_or(unfinished.path());
            make_folder(folder)?;
            let mut written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
            written.write_all(&file.bytes)?;
            written.sync_all()?;
            sync_folder(folder)?;
        }
        let mut moved = Vec::new();
        for figures in &self.views {
            let view = figures.view.as_str();
            sync_folder(&unfinished.path().join(view))?;
            let place = directory.join(view);
            if let Err(error) = fs::rename(unfinished.path().join(view), &place) {
                // All views are those of one moment, or none is there.
                for place in moved {
                    let _ = fs::remove_dir_all(place);
                }
                return Err(error);
            }
            moved.push(place);
        }
        sync_folder(directory)
    }

    /// Writes the export to the log, and then to the organization's storage, in the place of an earlier one. The turn
    /// was taken before the figures were read.
    ///
    /// # Errors
    /// See [`ExportError`]; some of the files may be there. Another export mends that.
    pub async fn to_storage(
        &self,
        turn: Turn,
        log: &EventLog,
        scope: &Scope,
        storage: &Storage,
    ) -> Result<Vec<ExportFile>, ExportError> {
        let mut files = self.files()?;
        self.record(log, scope).await?;
        for file in &mut files {
            file.path = format!("analytics/{}/{}", self.organization_id, file.path);
            storage.put(&file.path, PARQUET, Bytes::from(std::mem::take(&mut file.bytes))).await?;
        }
        for figures in &self.views {
            let folder = format!("analytics/{}/{}/", self.organization_id, figures.view);
            remove_others(storage, &folder, &files).await?;
        }
        drop(turn);
        Ok(files)
    }

    fn files(&self) -> Result<Vec<ExportFile>, ColumnarError> {
        let mut files = Vec::new();
        for figures in &self.views {
            for (folder, part) in parts(figures) {
                let (path, cell_count) = (format!("{folder}/{FILE}"), part.rows.len());
                files.push(ExportFile { path, cell_count, bytes: columnar::parquet(&part)? });
            }
        }
        Ok(files)
    }

    async fn record(&self, log: &EventLog, scope: &Scope) -> Result<(), ExportError> {
        for figures in &self.views {
            let account = figures.account(CellFilter::default(), AnalyticsFormat::Parquet);
            let command = AccessCommand::RecordAnalyticsQuery(account);
            let recorded = log.execute::<Access>(scope, new_id(), command).await;
            recorded.map_err(|error| ExportError::Record(Box::new(error)))?;
        }
        Ok(())
    }
}

/// The figures of each folder. A view has at least one file, from which its columns can be read.
fn parts(figures: &Figures) -> Vec<(String, Figures)> {
    if !figures.view.dimensions().contains(&AnalyticsDimension::Month) {
        return vec![(figures.view.to_string(), figures.clone())];
    }
    let mut months: BTreeMap<&str, Vec<Value>> = BTreeMap::from([(NO_MONTH, Vec::new())]);
    for row in &figures.rows {
        let text = |name: &str| row.get(name).and_then(Value::as_str);
        let is_month = text("dimension") == Some(AnalyticsDimension::Month.as_str());
        let month = text("value").filter(|_| is_month).unwrap_or(NO_MONTH);
        months.entry(month).or_default().push(row.clone());
    }
    let folder = |month: &str| format!("{}/month={month}", figures.view);
    let Figures { view, freshness, columns, .. } = figures;
    let of_month = |rows| Figures { view: *view, freshness: *freshness, columns: columns.clone(), rows };
    months.into_iter().map(|(month, rows)| (folder(month), of_month(rows))).collect()
}

/// For its owner alone, as the API shows figures to few.
fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Makes the names in a folder last.
fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Whether an export can have put an object below a folder; whatever else lies there is not ours.
fn is_ours(folder: &str, key: &str) -> bool {
    let Some(name) = key.strip_prefix(folder).and_then(|rest| rest.strip_suffix(FILE)) else { return false };
    let month = name.strip_prefix("month=").and_then(|rest| rest.strip_suffix('/'));
    name.is_empty() || month.is_some_and(|month| !month.contains('/'))
}

/// Removes what an earlier export put into a folder and this one did not.
async fn remove_others(storage: &Storage, folder: &str, files: &[ExportFile]) -> Result<(), StorageError> {
    let mut after = None;
    loop {
        let objects = storage.list(folder, after.as_deref()).await?;
        let Some(last) = objects.last() else { return Ok(()) };
        after = Some(last.key.clone());
        for object in objects {
            if is_ours(folder, &object.key) && files.iter().all(|file| file.path != object.key) {
                storage.remove(&object.key).await?;
            }
        }
    }
}
