//! Epochs of pseudonyms: the vault makes and destroys their keys, and the log is told.
//!
//! Whoever dies between the two leaves a key of which nobody told: the next command that begins an epoch, or destroys one,
//! tells of it too.

use anyhow::Context;
use carelog_analytics::epochs;
use carelog_domain::organization::{Organization, OrganizationCommand, OrganizationRejection};
use carelog_domain::{Actor, Circumstances, CorrelationId, OrganizationId};
use carelog_event_log::{ExecuteError, Scope, new_id};

use super::EpochCommand;
use crate::system::System;

pub(super) async fn run(system: &System, command: EpochCommand) -> anyhow::Result<()> {
    let pool = &system.databases.analytics_system;
    match command {
        EpochCommand::Show(clinic) => {
            let in_use = epochs::in_use(&mut *pool.acquire().await?, clinic.id()).await?;
            let in_use = in_use.with_context(|| format!("analytics know no organization {}", clinic.id()))?;
            let newest = system.pseudonyms.newest_epoch(clinic.id()).await?;
            println!("facts stand under epoch {in_use}; the newest is {newest}");
        }
        EpochCommand::Rotate(clinic) => {
            let in_use = epochs::in_use(&mut *pool.acquire().await?, clinic.id()).await?;
            anyhow::ensure!(in_use.is_some(), "analytics know no organization {}", clinic.id());
            let newest = system.pseudonyms.rotate(clinic.id()).await?;
            tell_begun(system, clinic.id(), newest).await?;
            println!(
                "epoch {newest} has begun; `carelog rebuild analytics --organization {}` takes it",
                clinic.id()
            );
        }
        EpochCommand::Destroy { clinic, epoch } => {
            let newest = system.pseudonyms.newest_epoch(clinic.id()).await?;
            tell_begun(system, clinic.id(), newest).await?;
            // Destroying again what is destroyed is no error, so that whoever died before the log was told can do it again.
            epochs::destroy(pool, &system.pseudonyms, clinic.id(), epoch).await?;
            let command = OrganizationCommand::RecordPseudonymKeyDestroyed { epoch: number(epoch)? };
            tell(system, clinic.id(), command).await?;
            println!("the key of epoch {epoch} is destroyed; other processes forget it within a minute");
        }
    }
    Ok(())
}

fn number(epoch: i32) -> anyhow::Result<u32> {
    u32::try_from(epoch).context("epochs are numbered from 1")
}

async fn tell_begun(system: &System, organization_id: OrganizationId, epoch: i32) -> anyhow::Result<()> {
    tell(system, organization_id, OrganizationCommand::RecordPseudonymEpoch { epoch: number(epoch)? }).await
}

/// Tells the log, unless it knows already.
async fn tell(
    system: &System,
    organization_id: OrganizationId,
    command: OrganizationCommand,
) -> anyhow::Result<()> {
    let circumstances = Circumstances::of(Actor::OPERATOR, CorrelationId::new(new_id()));
    let scope = Scope::new(organization_id, circumstances);
    let told = Box::pin(system.log.execute::<Organization>(&scope, organization_id.uuid(), command)).await;
    match told {
        Ok(_)
        | Err(ExecuteError::Rejected(
            OrganizationRejection::EpochAlreadyRecorded { .. }
            | OrganizationRejection::PseudonymKeyAlreadyDestroyed { .. },
        )) => Ok(()),
        Err(error) => Err(anyhow::Error::new(error).context("the log was not told")),
    }
}
