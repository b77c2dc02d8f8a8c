//! Loads, folds and writes the facts of a page.

mod appointments;
mod arrays;
mod erasure;
mod exercises;
mod forms;
mod organizations;
mod patients;
mod video;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use carelog_domain::OrganizationId;
use carelog_event_log::runtime::{ApplyError, OnPoison, ProjectionSchema, Projector};
use carelog_event_log::{Position, RecordedEvent};
use carelog_vault::{PseudonymKey, Pseudonyms, VaultError};
use futures::future::BoxFuture;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::model::{Asked, Known, Needed, OrganizationRow, Reach, State};
use crate::sink::{FactSink, Facts};
use crate::worker::outdate;

/// The projector of analytics. It wants nothing done, and holds no key that opens anything.
#[derive(Clone, Debug)]
pub struct Analytics {
    pseudonyms: Arc<Pseudonyms>,
}

impl Analytics {
    /// With the keys of pseudonyms.
    pub const fn new(pseudonyms: Arc<Pseudonyms>) -> Self {
        Self { pseudonyms }
    }

    /// The rows of the page's organizations, begun where there are none, as they are after it, and the keys of their
    /// pseudonyms.
    async fn organizations(
        &self,
        tables: &mut PgConnection,
        state: &mut State,
        page: &[Arc<RecordedEvent>],
    ) -> Result<HashMap<OrganizationId, PseudonymKey>, ApplyError> {
        let reached = Reach::of_each(page.iter().map(AsRef::as_ref));
        state.organizations = organizations::load(tables, reached.keys()).await?;
        let mut keys = HashMap::new();
        for (id, reach) in reached {
            let epoch = match state.organizations.entry(id) {
                Entry::Occupied(mut row) => {
                    row.get_mut().extend(reach);
                    row.get().pseudonym_epoch
                }
                Entry::Vacant(row) => {
                    let epoch = self.pseudonyms.newest_epoch(id).await.map_err(refused)?;
                    row.insert(OrganizationRow::new(id, epoch, reach)).pseudonym_epoch
                }
            };
            keys.insert(id, self.pseudonyms.key(id, epoch).await.map_err(refused)?);
        }
        Ok(keys)
    }
}

/// A vault that does not answer is no event's fault. A key that is gone is no event's fault either: it was destroyed
/// while these tables still used it, and only a rebuild helps; until then the projector stands still.
fn refused(error: VaultError) -> ApplyError {
    match error {
        VaultError::Database(error) => ApplyError::Transient(error),
        other => ApplyError::Transient(sqlx::Error::Configuration(Box::new(other))),
    }
}

impl Projector for Analytics {
    type Intent = ();
    type Memory = ();

    const NAME: &'static str = "analytics";

    const SCHEMA: ProjectionSchema = ProjectionSchema {
        name: "analytics",
        sql: &[
            include_str!("../../../migrations/analytics/0002_analytics.sql"),
            include_str!("../../../migrations/analytics/0009_appointments.sql"),
        ],
        tables: &[
            "analytics_organizations",
            "erased_patients",
            "patient_facts",
            "appointment_facts",
            "exercise_assignment_facts",
            "exercise_session_facts",
            "form_facts",
            "video_session_facts",
            "video_quality_facts",
        ],
    };

    const ON_POISON: OnPoison = OnPoison::Quarantine;

    const PATIENCE: Duration = Duration::from_millis(500);

    fn is_pressing(&self, _: &RecordedEvent) -> bool {
        false
    }

    fn replaced<'a>(
        &'a self,
        tables: &'a mut PgConnection,
        organization_id: OrganizationId,
    ) -> BoxFuture<'a, Result<(), ApplyError>> {
        Box::pin(async move { Ok(outdate(tables, organization_id).await?) })
    }

    fn apply<'a>(
        &'a self,
        tables: &'a mut PgConnection,
        (): &'a mut (),
        page: &'a [Arc<RecordedEvent>],
    ) -> BoxFuture<'a, Result<Vec<()>, ApplyError>> {
        Box::pin(async move {
            let mut state = State::default();
            let keys = self.organizations(tables, &mut state, page).await?;
            let (mut events, mut asked) = (Vec::with_capacity(page.len()), Asked::default());
            for recorded in page {
                if let Some(key) = keys.get(&recorded.stream.organization_id) {
                    events.push(Known::of(recorded, key, &mut asked)?);
                }
            }
            load(tables, &mut state, &Needed::by(&events)).await?;
            for event in &events {
                state.apply(event).map_err(ApplyError::poison)?;
            }
            write(tables, &state).await?;
            Ok(Vec::new())
        })
    }
}

/// The rows that events build upon, as they stand.
pub(crate) async fn load(
    tables: &mut PgConnection,
    state: &mut State,
    needed: &Needed,
) -> Result<(), ApplyError> {
    state.tombstones = erasure::load_tombstones(tables, &needed.tombstones).await?;
    state.patients = patients::load(tables, &needed.patients).await?;
    state.appointments = appointments::load(tables, &needed.appointments).await?;
    state.exercises = exercises::load(tables, &needed.exercises).await?;
    state.forms = forms::load(tables, &needed.forms).await?;
    state.video_sessions = video::load(tables, &needed.video_sessions).await?;
    Ok(())
}

/// The rows of events at these places that are never changed.
pub(crate) async fn load_parts(
    tables: &mut PgConnection,
    state: &mut State,
    places: &[(OrganizationId, Position)],
) -> Result<(), ApplyError> {
    let (organizations, positions): (Vec<Uuid>, Vec<Position>) =
        places.iter().map(|(id, position)| (id.uuid(), *position)).unzip();
    state.sessions = exercises::load_sessions(tables, &organizations, &positions).await?;
    state.samples = video::load_samples(tables, &organizations, &positions).await?;
    Ok(())
}

async fn write(tables: &mut PgConnection, state: &State) -> Result<(), ApplyError> {
    organizations::write(tables, &state.organizations).await?;
    erasure::write_tombstones(tables, &state.new_tombstones).await?;
    Tables(tables).write(&state.facts()).await
}

/// The tables of a transaction of the projector, which takes each page once.
struct Tables<'t>(&'t mut PgConnection);

impl FactSink for Tables<'_> {
    type Error = ApplyError;

    fn write<'a>(&'a mut self, facts: &'a Facts<'a>) -> BoxFuture<'a, Result<(), ApplyError>> {
        let tables = &mut *self.0;
        Box::pin(async move {
            patients::write(tables, &facts.patients.made).await?;
            appointments::write(tables, &facts.appointments).await?;
            exercises::write_assignments(tables, &facts.exercises).await?;
            exercises::write_sessions(tables, &facts.sessions).await?;
            forms::write(tables, &facts.forms).await?;
            video::write_sessions(tables, &facts.video_sessions).await?;
            video::write_samples(tables, &facts.samples).await?;
            erasure::remove(tables, facts.erased).await
        })
    }
}
