//! `carelog analytics export`: figures as files of Parquet.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Context;
use carelog_domain::access::AnalyticsView;
use clap::Args;
use serde_json::json;

use super::Clinic;
use crate::audit::command::scope;
use crate::config::Config;
use crate::exporting::{Export, ExportFile, Turn};
use crate::serve::Roles;
use crate::storages::Storages;
use crate::system::System;

/// Options of `carelog analytics export`.
#[derive(Debug, Args)]
pub(in crate::cli) struct ExportArguments {
    #[command(flatten)]
    clinic: Clinic,
    /// Only this view; all of them otherwise
    #[arg(long, value_name = "VIEW")]
    view: Option<AnalyticsView>,
    #[command(flatten)]
    destination: Destination,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// Where the files are to lie.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Destination {
    /// A directory, in which there must be no folder of the view yet
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// The clinic's own storage, below `analytics/`; an earlier export is replaced
    #[arg(long)]
    to_storage: bool,
}

/// Exports, and says which files there are now.
pub(super) async fn run(config: &Config, system: &System, arguments: &ExportArguments) -> anyhow::Result<()> {
    let organization_id = arguments.clinic.id();
    let views = arguments.view.as_ref().map_or(AnalyticsView::ALL, std::slice::from_ref);
    let pool = &system.databases.analytics_app;
    // A server that runs beside this process hears of the event at once.
    system.follow_other_processes();
    let scope = scope(organization_id);
    let files = if let Some(directory) = &arguments.destination.to {
        let export = Export::read(pool, organization_id, views).await?;
        export.to_directory(&system.log, &scope, directory).await?
    } else {
        let storages = Storages::open(config, system, Roles::NONE).await?;
        let storage = storages.of(organization_id).await.context("the storage cannot be used")?;
        let turn = Turn::take(pool, organization_id).await?;
        let export = Export::read(pool, organization_id, views).await?;
        export.to_storage(turn, &system.log, &scope, &storage).await?
    };
    tell(&files, arguments.json)?;
    Ok(())
}

fn tell(files: &[ExportFile], as_json: bool) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    if as_json {
        let files: Vec<_> =
            files.iter().map(|file| json!({ "path": file.path, "cell_count": file.cell_count })).collect();
        return writeln!(stdout, "{}", json!({ "files": files }));
    }
    for file in files {
        writeln!(stdout, "{}: {} cells", file.path, file.cell_count)?;
    }
    Ok(())
}
