//! `carelog serve`.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use carelog_event_log::SystemClock;
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;

use super::place::Place;
use crate::config::Config;
use crate::serve::{Roles, Server};
use crate::system::System;

/// Runs until SIGTERM or SIGINT.
pub(super) async fn run(config: &Config, roles: Roles) -> anyhow::Result<ExitCode> {
    // Before anything is started, so that an impatient stop finds somebody listening.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut place = Place::find(config).await?;
    let result = tokio::select! {
        result = serve(config, roles, &place) => result,
        _ = terminate.recv() => Ok(None),
        _ = interrupt.recv() => Ok(None),
    };
    let server = match result {
        Ok(server) => server,
        Err(error) => {
            place.leave().await;
            return Err(error);
        }
    };
    let mut ended = Ok(ExitCode::SUCCESS);
    if let Some(server) = server {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            Err(error) = place.hold() => ended = Err(error),
        }
        info!("stopping");
        server.stop().await;
    }
    place.leave().await;
    ended
}

async fn serve(config: &Config, roles: Roles, place: &Place) -> anyhow::Result<Option<Server>> {
    let system = System::open(&place.databases, &config.root_key(), Arc::new(SystemClock))
        .await
        .context("Carelog cannot be opened")?;
    let server = Server::start(config, system, roles).await?;
    if let Some(address) = server.address {
        println!("API        http://{address}/v1");
        println!("reference  http://{address}/docs");
        println!("operator   {}", config.operator_key().display());
    }
    if place.postgres().is_some() {
        println!("databases  carelog psql");
    }
    Ok(Some(server))
}
