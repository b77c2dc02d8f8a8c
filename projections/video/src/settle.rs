//! One look at the room of an appointment: brings what the provider has to what the appointment asks for, step by step,
//! and appends each outcome.
//!
//! Whatever decides comes from the log, not from the projection's rows, which may lie behind.

mod steps;

use std::time::Duration;

use carelog_domain::video_room::{RecordingLeave, RoomEnd, VideoRoom, VideoRoomCommand, VideoRoomRejection};
use carelog_domain::{
    Actor, AppointmentId, Circumstances, CodecError, OrganizationId, PatientId, StreamKind, Timestamp,
};
use carelog_event_log::effects::Sign;
use carelog_event_log::{
    EventLog, ExecuteError, Expected, Premise, ReadError, RecordedEvent, Scope, StreamKey,
};
use carelog_vault::{Vault, VaultError};
use sqlx::{PgConnection, PgPool, Postgres, Transaction};

use self::steps::{Look, Outcome};
use crate::daily::{DailyAccount, DailyApi, DailyDomain, DailyError};
use crate::directory::{Directory, DirectoryError};
use crate::embedded::wake;
use crate::model::{OrganizationRow, Page, RoomKey, RoomRow, room_id};
use crate::plan::{Step, next_step, window};
use crate::queries::QueryError;
use crate::worker::VideoSettings;

pub(crate) use self::steps::sign;

/// Steps of one look: to make, to move and to close is three.
const MAX_STEPS: usize = 6;
/// Before another look where the steps did not come to rest.
const PAUSE_MICROS: i64 = 1_000_000;
/// How long a domain's name and id are remembered, for each account.
const DOMAIN_TTL: Duration = Duration::from_hours(1);
/// The lists are not asked for more often, whatever happens.
pub(crate) const COMPARED_MICROS: i64 = 5_000_000;
const DOMAINS: u64 = 10_000;
/// Longer than the lists go back.
const MEASURED_TTL: Duration = Duration::from_hours(48);
const MEETINGS: u64 = 100_000;

/// What the ledger is to be told of a look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settled {
    pub(crate) next_at: Option<Timestamp>,
    pub(crate) sign: Sign,
}

impl Settled {
    /// Both: the earlier of two further looks, and the newest sign where there is one.
    pub(crate) fn and(self, other: Self) -> Self {
        let next_at = [self.next_at, other.next_at].into_iter().flatten().min();
        let sign = if matches!(other.sign, Sign::None) { self.sign } else { other.sign };
        Self { next_at, sign }
    }
}

/// Why a look came to no end. Its lease runs out, and whoever takes it up knows that something may have been done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettleError {
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error("the log cannot be read")]
    Read(#[from] ReadError),
    #[error("a stored event does not decode")]
    Codec(#[from] CodecError),
    #[error("the outcome cannot be recorded")]
    Record(#[source] Box<ExecuteError<VideoRoomRejection>>),
    #[error("the provider does not say whether a room is left that nobody wants")]
    Leftover(#[source] DailyError),
}

impl From<sqlx::Error> for SettleError {
    fn from(error: sqlx::Error) -> Self {
        Self::Directory(error.into())
    }
}

impl From<VaultError> for SettleError {
    fn from(error: VaultError) -> Self {
        Self::Directory(error.into())
    }
}

impl From<QueryError> for SettleError {
    fn from(error: QueryError) -> Self {
        Self::Directory(error.into())
    }
}

/// Looks at rooms.
#[derive(Debug)]
pub(crate) struct Settler {
    pub(crate) log: EventLog,
    pool: PgPool,
    directory: Directory,
    pub(crate) daily: DailyApi,
    domains: moka::sync::Cache<(OrganizationId, i64), DailyDomain>,
    /// When the rooms of organizations were last compared with the provider's lists.
    pub(crate) compared: moka::sync::Cache<OrganizationId, Timestamp>,
    /// Meetings whose measurements were told, as long as the lists show them.
    pub(crate) measured: moka::sync::Cache<(OrganizationId, String), ()>,
    settings: VideoSettings,
}

impl Settler {
    pub(crate) fn new(log: EventLog, pool: PgPool, daily: DailyApi, settings: VideoSettings) -> Self {
        let compared = moka::sync::Cache::new(DOMAINS);
        let domains = moka::sync::Cache::builder().time_to_live(DOMAIN_TTL).max_capacity(DOMAINS).build();
        let measured = moka::sync::Cache::builder().time_to_live(MEASURED_TTL).max_capacity(MEETINGS).build();
        let directory = Directory::new(log.clone());
        Self { log, pool, directory, daily, domains, compared, measured, settings }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.log.clock().now()
    }

    pub(crate) fn vault(&self) -> &Vault {
        self.log.vault()
    }

    /// A transaction in which the names of the projection's tables are found.
    pub(crate) async fn read(&self) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
        self.pool.begin_with("begin read only; set local search_path to video, public").await
    }

    pub(crate) async fn organization(
        &self,
        connection: &mut PgConnection,
        organization_id: OrganizationId,
    ) -> Result<OrganizationRow, SettleError> {
        Ok(self.directory.organization(connection, organization_id).await?)
    }

    /// The organization's account, as it is now.
    pub(crate) async fn account(
        &self,
        organization_id: OrganizationId,
    ) -> Result<Option<DailyAccount>, SettleError> {
        let mut tx = self.read().await?;
        Ok(self.directory.daily(&mut tx, organization_id).await?)
    }

    /// Where Daily is to tell what happens in an organization's rooms.
    pub(crate) fn webhook_url(&self, organization_id: OrganizationId) -> Option<String> {
        let base = self.settings.hooks_url.as_deref()?;
        Some(format!("{base}/v1/hooks/daily/{organization_id}"))
    }

    /// Lets the pages in an embedded room look at it.
    pub(crate) async fn wake(&self, appointment_id: AppointmentId) -> Result<(), SettleError> {
        Ok(wake(&mut *self.pool.acquire().await?, appointment_id).await?)
    }

    /// What the log says now of the clinic's setting and the patient's consent.
    pub(crate) async fn leave(
        &self,
        organization_id: OrganizationId,
        patient_id: PatientId,
    ) -> Result<RecordingLeave, SettleError> {
        Ok(self.directory.leave(organization_id, patient_id).await?)
    }

    /// Whether the time of an appointment's room is not over.
    pub(crate) fn is_to_come(&self, row: &RoomRow, organization: &OrganizationRow, now: Timestamp) -> bool {
        now < window(row, organization.waiting_room_minutes, self.settings.grace_minutes).expires_at
    }

    /// Rooms of appointments that ended until then are over.
    pub(crate) fn over_since(&self, now: Timestamp) -> Timestamp {
        let grace = Duration::from_mins(self.settings.grace_minutes.into());
        now.saturating_add_micros(-i64::try_from(grace.as_micros()).unwrap_or(i64::MAX))
    }

    /// Looks at the room of the appointment that an event is about.
    pub(crate) async fn settle_cause(
        &self,
        cause: &RecordedEvent,
        is_unsure: bool,
    ) -> Result<Settled, SettleError> {
        let key = (cause.stream.organization_id, AppointmentId::new(cause.stream.id));
        self.settle(key, cause, is_unsure).await
    }

    /// Looks at the room of an appointment until nothing is left to be done now.
    #[tracing::instrument(level = "debug", skip_all, fields(appointment.id = %key.1))]
    pub(crate) async fn settle(
        &self,
        key: RoomKey,
        cause: &RecordedEvent,
        mut is_unsure: bool,
    ) -> Result<Settled, SettleError> {
        let mut sign = Sign::None;
        for _ in 0..MAX_STEPS {
            let Some(row) = self.row(key).await? else { return Ok(Settled { next_at: None, sign }) };
            let organization = {
                let mut tx = self.read().await?;
                self.organization(&mut tx, key.0).await?
            };
            let asked = window(&row, organization.waiting_room_minutes, self.settings.grace_minutes);
            let step = next_step(&row, asked, self.now());
            let (account, account_version) = match &organization.daily {
                Some(credentials) => (self.directory.open(key.0, credentials).await?, credentials.version),
                None => (None, 0),
            };
            let look = Look { key, cause, row, account, account_version, is_unsure };
            let outcome = match step {
                Step::Create(window) => match &look.account {
                    Some(account) => match self.directory.premise(key.0, account_version).await? {
                        Some(premise) => self.create(&look, account, window, premise).await?,
                        // The projection is about to learn of another account.
                        None => break,
                    },
                    // Asked again once there is one that can be read, and at the end of a room that is made by then.
                    None if organization.daily.is_some() => {
                        return Ok(Settled { next_at: Some(window.expires_at), sign });
                    }
                    None => self.create_embedded(&look, window).await?,
                },
                Step::Move(window) => self.shift(&look, window).await?,
                Step::Close(reason) => self.close(&look, reason).await?,
                Step::Expire => {
                    self.record(&look, VideoRoomCommand::Expire { reason: RoomEnd::WindowOver }).await?
                }
                Step::RestUntil(at) => match self.make_sure(&look).await? {
                    Some(outcome) => outcome,
                    None => return Ok(Settled { next_at: Some(at), sign }),
                },
                Step::Rest => {
                    if self.now() < asked.expires_at {
                        self.clear(&look).await?;
                    }
                    return Ok(Settled { next_at: None, sign });
                }
            };
            match outcome {
                Outcome::Recorded => is_unsure = false,
                Outcome::Overtaken => is_unsure = true,
                Outcome::Failed(settled) => return Ok(settled),
            }
            if !matches!(step, Step::Expire) {
                sign = Sign::Success;
            }
        }
        Ok(Settled { next_at: Some(self.now().saturating_add_micros(PAUSE_MICROS)), sign })
    }

    /// The appointment and its room as the log has them; nothing where it is not by video.
    pub(crate) async fn row(&self, key: RoomKey) -> Result<Option<RoomRow>, SettleError> {
        let stream = |kind, id| StreamKey { organization_id: key.0, kind, id };
        let mut page = Page::default();
        let streams =
            [stream(StreamKind::Appointment, key.1.uuid()), stream(StreamKind::VideoRoom, room_id(key.1))];
        for stream in streams {
            for event in self.log.stream(&stream, 0).await? {
                page.fold(&event)?;
            }
        }
        Ok(page.rooms.remove(&key))
    }

    /// Appends what the provider told, where it is news; whatever the room refuses is none.
    pub(crate) async fn tell(
        &self,
        key: RoomKey,
        cause: &RecordedEvent,
        command: VideoRoomCommand,
    ) -> Result<(), SettleError> {
        self.append(key, cause, Expected::Any, None, command).await.map(drop)
    }

    async fn append(
        &self,
        key: RoomKey,
        cause: &RecordedEvent,
        expected: Expected,
        premise: Option<Premise>,
        command: VideoRoomCommand,
    ) -> Result<Outcome, SettleError> {
        let scope = Scope {
            expected,
            premise,
            can_wait: true,
            ..Scope::new(
                key.0,
                Circumstances {
                    causation_id: Some(cause.event_id),
                    ..Circumstances::of(Actor::SYSTEM, cause.circumstances.correlation_id)
                },
            )
        };
        match self.log.execute::<VideoRoom>(&scope, room_id(key.1), command).await {
            Ok(_) => Ok(Outcome::Recorded),
            Err(
                ExecuteError::StaleVersion { .. } | ExecuteError::PremiseMoved | ExecuteError::Rejected(_),
            ) => Ok(Outcome::Overtaken),
            Err(failure) => Err(SettleError::Record(Box::new(failure))),
        }
    }
}
