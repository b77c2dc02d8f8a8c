//! Loads, folds and writes the rows of a page.

mod appointments;
mod arrays;
mod erasure;
mod files;
mod forms;
mod organizations;
mod patients;
mod plans;
mod specialists;

use std::sync::Arc;
use std::time::Duration;

use carelog_event_log::RecordedEvent;
use carelog_event_log::runtime::{ApplyError, OnPoison, ProjectionSchema, Projector};
use futures::future::BoxFuture;
use sqlx::PgConnection;

use crate::model::{DecodedEvent, Needed, State};
use crate::queries::{self, QueryError};

/// The projector of current state. It wants nothing done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Records;

impl Projector for Records {
    type Intent = ();
    type Memory = ();

    const NAME: &'static str = "records";

    const SCHEMA: ProjectionSchema = ProjectionSchema {
        name: "records",
        sql: &[
            include_str!("../../../migrations/core/0004_records.sql"),
            include_str!("../../../migrations/core/0012_legal_holds.sql"),
        ],
        tables: &[
            "organizations",
            "organization_members",
            "organization_integrations",
            "api_keys",
            "patients",
            "patient_consents",
            "specialists",
            "appointments",
            "forms",
            "files",
            "treatment_plans",
            "treatment_plan_exercises",
        ],
    };

    const ON_POISON: OnPoison = OnPoison::Quarantine;

    const PATIENCE: Duration = Duration::from_millis(100);

    fn is_pressing(&self, _: &RecordedEvent) -> bool {
        false
    }

    fn apply<'a>(
        &'a self,
        tables: &'a mut PgConnection,
        (): &'a mut (),
        page: &'a [Arc<RecordedEvent>],
    ) -> BoxFuture<'a, Result<Vec<()>, ApplyError>> {
        Box::pin(async move {
            let events = decode(page)?;
            if events.is_empty() {
                return Ok(Vec::new());
            }
            let mut state = load(tables, &Needed::by(&events)).await?;
            for event in &events {
                state.apply(event).map_err(ApplyError::poison)?;
            }
            write(tables, &state).await?;
            erasure::erase_sealed(tables, state.patients_to_check().into_iter()).await?;
            Ok(Vec::new())
        })
    }
}

fn decode(page: &[Arc<RecordedEvent>]) -> Result<Vec<DecodedEvent<'_>>, ApplyError> {
    let mut events = Vec::with_capacity(page.len());
    for recorded in page {
        events.extend(DecodedEvent::of(recorded)?);
    }
    Ok(events)
}

async fn load(tables: &mut PgConnection, needed: &Needed) -> Result<State, QueryError> {
    Ok(State {
        organizations: queries::load_organizations(tables, &needed.organizations).await?,
        members: queries::load_members(tables, &needed.members).await?,
        integrations: queries::load_integrations(tables, &needed.integrations).await?,
        api_keys: queries::load_api_keys(tables, &needed.api_keys).await?,
        patients: queries::load_patients(tables, &needed.patients).await?,
        consents: queries::load_consents(tables, &needed.consents).await?,
        specialists: queries::load_specialists(tables, &needed.specialists).await?,
        appointments: queries::load_appointments(tables, &needed.appointments).await?,
        forms: queries::load_forms(tables, &needed.forms).await?,
        files: queries::load_files(tables, &needed.files).await?,
        plans: queries::load_plans(tables, &needed.plans).await?,
        exercises: queries::load_exercises(tables, &needed.exercises).await?,
    })
}

async fn write(tables: &mut PgConnection, state: &State) -> Result<(), ApplyError> {
    organizations::write_organizations(tables, &state.organizations.changed()).await?;
    organizations::write_members(tables, &state.members.changed()).await?;
    organizations::write_integrations(tables, &state.integrations.changed()).await?;
    organizations::write_api_keys(tables, &state.api_keys.changed()).await?;
    patients::write_patients(tables, &state.patients.changed()).await?;
    patients::write_consents(tables, &state.consents.changed()).await?;
    specialists::write_specialists(tables, &state.specialists.changed()).await?;
    appointments::write_appointments(tables, &state.appointments.changed()).await?;
    forms::write_forms(tables, &state.forms.changed()).await?;
    files::write_files(tables, &state.files.changed()).await?;
    plans::write_plans(tables, &state.plans.changed()).await?;
    plans::write_exercises(tables, &state.exercises.changed()).await
}
