//! The trail of some organizations, for a database of theirs.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use carelog_domain::OrganizationId;
use carelog_event_log::RecordedEvent;
use carelog_event_log::runtime::{ApplyError, OnPoison, ProjectionSchema, Projector};
use futures::future::BoxFuture;
use sqlx::PgConnection;

use crate::projector::{self, Audit};

/// The projector of the audit trail for a second database. The same tables, so that whatever reads the one reads the other,
/// and checkpoints under a name of its own; each event is entered in the transaction that moves the checkpoint there.
/// Where requests came from stays at home: nobody there could ask by an address.
#[derive(Clone, Debug, Default)]
pub struct Forwarded {
    /// Whose events; everybody's where nobody is named.
    pub organizations: BTreeSet<OrganizationId>,
}

impl Forwarded {
    fn wants(&self, event: &RecordedEvent) -> bool {
        self.organizations.is_empty() || self.organizations.contains(&event.stream.organization_id)
    }
}

impl Projector for Forwarded {
    type Intent = ();
    type Memory = ();

    const NAME: &'static str = "forwarded_trail";
    const SCHEMA: ProjectionSchema = Audit::SCHEMA;
    const ON_POISON: OnPoison = Audit::ON_POISON;
    const PATIENCE: Duration = Audit::PATIENCE;

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
            let wanted: Vec<_> = page.iter().filter(|event| self.wants(event)).cloned().collect();
            projector::enter(tables, &wanted, &vec![None; wanted.len()]).await?;
            Ok(Vec::new())
        })
    }
}
