//! One look at the room of an appointment: brings what the provider has to what the appointment asks for, step by step,
//! and appends each outcome.
//!
//! Whatever decides comes from the log, not from the projection's rows, which may lie behind.

use std::time::Duration;

use carelog_domain::video_room::{
    CreateRoom, RecordingLeave, RoomAddress, RoomAppointment, RoomChange, RoomEnd, RoomFailure, RoomProvider,
    RoomWindow, VideoRoom, VideoRoomCommand, VideoRoomRejection,
};
use carelog_domain::{
    Actor, AppointmentId, Circumstances, CodecError, OrganizationId, PatientId, StreamKind, Timestamp,
};
use carelog_event_log::effects::Sign;
use carelog_event_log::{EventLog, ExecuteError, Expected, ReadError, RecordedEvent, Scope, StreamKey};
use carelog_vault::{Vault, VaultError};
use sqlx::{PgConnection, PgPool, Postgres, Transaction};
use tracing::warn;

use crate::daily::{DailyAccount, DailyApi, DailyDomain, DailyError, Room, RoomName, RoomSpec};
use crate::directory::{Directory, DirectoryError};
use crate::embedded::wake;
use crate::model::{OrganizationRow, Page, RoomKey, RoomRow, RoomWish, room_id};
use crate::plan::{Step, next_attempt, next_step, window};
use crate::queries::QueryError;
use crate::worker::VideoSettings;

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

/// A look under way.
struct Look<'a> {
    key: RoomKey,
    cause: &'a RecordedEvent,
    row: RoomRow,
    account: Option<DailyAccount>,
    /// The version of the credentials, which names the account in memory.
    account_version: i64,
    /// Whether the provider may have something that the log does not tell.
    is_unsure: bool,
}

/// What came of a step.
enum Outcome {
    /// It is in the log; look again.
    Recorded,
    /// Somebody else was faster, after the provider was called: look again, and ask the provider.
    Overtaken,
    /// It failed, and that is in the log.
    Failed(Settled),
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
                    Some(account) => self.create(&look, account, window).await?,
                    // Asked again once there is one that can be read.
                    None if organization.daily.is_some() => return Ok(Settled { next_at: None, sign }),
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

    async fn create(
        &self,
        look: &Look<'_>,
        account: &DailyAccount,
        window: RoomWindow,
    ) -> Result<Outcome, SettleError> {
        let name = RoomName::of(look.key.1, look.row.opening.saturating_add(1));
        let spec = RoomSpec { name, window };
        let may_be_there = look.is_unsure || look.row.attempt_count > 0;
        let made = async {
            let domain = self.domain(look, account).await?;
            let (room, adopted) = self.make(account, &spec, may_be_there).await?;
            Ok::<_, DailyError>((domain, room, adopted))
        };
        match made.await {
            Ok((domain, room, adopted)) => {
                let command = VideoRoomCommand::Create(CreateRoom {
                    appointment: look.appointment(),
                    provider: RoomProvider::Daily,
                    window,
                    adopted,
                    address: Some(RoomAddress { url: room.url, account: domain.domain_id }),
                });
                self.record(look, command).await
            }
            Err(error) => {
                let attempt = look.row.attempt_count.saturating_add(1);
                let next_at = next_attempt(attempt, error.retry_after(), self.now(), window.expires_at);
                let command = VideoRoomCommand::FailCreation {
                    appointment: look.appointment(),
                    reason: error.failure(),
                    next_attempt_at: next_at,
                };
                self.fail(look, command, &error, next_at).await
            }
        }
    }

    /// A room of Carelog's own: that it is told is all there is to it.
    async fn create_embedded(&self, look: &Look<'_>, window: RoomWindow) -> Result<Outcome, SettleError> {
        let command = VideoRoomCommand::Create(CreateRoom {
            appointment: look.appointment(),
            provider: RoomProvider::Embedded,
            window,
            adopted: false,
            address: None,
        });
        self.record(look, command).await
    }

    /// Makes a room, or takes the one that is there. One that may be there is asked for first, and a refusal may mean
    /// that the name is taken by an earlier try of ours.
    async fn make(
        &self,
        account: &DailyAccount,
        spec: &RoomSpec,
        may_be_there: bool,
    ) -> Result<(Room, bool), DailyError> {
        if may_be_there && let Some(found) = self.adopt(account, spec).await? {
            return Ok((found, true));
        }
        match self.daily.create(account, spec).await {
            Ok(room) => Ok((room, false)),
            Err(refused @ DailyError::Refused { .. }) => match self.adopt(account, spec).await? {
                Some(found) => Ok((found, true)),
                None => Err(refused),
            },
            Err(error) => Err(error),
        }
    }

    /// The room of this name as it should be, where there is one.
    async fn adopt(&self, account: &DailyAccount, spec: &RoomSpec) -> Result<Option<Room>, DailyError> {
        match self.daily.room(account, &spec.name).await {
            Ok(room) if spec.is_kept_by(&room) => Ok(Some(room)),
            Ok(_) => self.daily.update(account, spec).await.map(Some),
            Err(DailyError::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn domain(&self, look: &Look<'_>, account: &DailyAccount) -> Result<DailyDomain, DailyError> {
        let key = (look.key.0, look.account_version);
        if let Some(known) = self.domains.get(&key) {
            return Ok(known);
        }
        let domain = self.daily.domain(account).await?;
        self.domains.insert(key, domain.clone());
        Ok(domain)
    }

    async fn shift(&self, look: &Look<'_>, window: RoomWindow) -> Result<Outcome, SettleError> {
        if look.is_embedded() {
            return self.record(look, VideoRoomCommand::Move { window }).await;
        }
        let Some(account) = &look.account else {
            return self.without_account(look, RoomChange::Move).await;
        };
        match self.bring(look, account, window).await {
            Ok(()) => self.record(look, VideoRoomCommand::Move { window }).await,
            Err(error) => self.fail_change(look, RoomChange::Move, &error, window.expires_at).await,
        }
    }

    /// Lets the open room have this window. One that somebody took away at the provider is made anew.
    async fn bring(
        &self,
        look: &Look<'_>,
        account: &DailyAccount,
        window: RoomWindow,
    ) -> Result<(), DailyError> {
        let spec = RoomSpec { name: RoomName::of(look.key.1, look.row.opening), window };
        match self.daily.update(account, &spec).await {
            Err(DailyError::NotFound) => self.daily.create(account, &spec).await.map(drop),
            other => other.map(drop),
        }
    }

    async fn close(&self, look: &Look<'_>, reason: RoomEnd) -> Result<Outcome, SettleError> {
        if look.is_embedded() {
            return self.record(look, VideoRoomCommand::Expire { reason }).await;
        }
        let Some(account) = &look.account else {
            return self.without_account(look, RoomChange::Close).await;
        };
        let needed_until = look.row.window.map_or(Timestamp::MAX, |window| window.expires_at);
        match self.daily.delete(account, &RoomName::of(look.key.1, look.row.opening)).await {
            Ok(()) => self.record(look, VideoRoomCommand::Expire { reason }).await,
            Err(error) => self.fail_change(look, RoomChange::Close, &error, needed_until).await,
        }
    }

    /// Where the provider may have something else than the log says: gives the open room its window once more. Where
    /// that had failed before, its success is told.
    async fn make_sure(&self, look: &Look<'_>) -> Result<Option<Outcome>, SettleError> {
        let is_failing = look.row.attempt_count > 0;
        let (Some(account), Some(window)) = (&look.account, look.row.window) else { return Ok(None) };
        if look.is_embedded() || !look.is_unsure && !is_failing {
            return Ok(None);
        }
        match self.bring(look, account, window).await {
            Ok(()) if is_failing => self.record(look, VideoRoomCommand::Move { window }).await.map(Some),
            Ok(()) => Ok(None),
            Err(error) => self.fail_change(look, RoomChange::Move, &error, window.expires_at).await.map(Some),
        }
    }

    /// Where the provider may have made a room that nobody wants any more: takes it away.
    async fn clear(&self, look: &Look<'_>) -> Result<(), SettleError> {
        let is_called_off = matches!(look.row.wish, RoomWish::Cancelled | RoomWish::NoShow);
        let may_be_there = look.is_unsure || look.row.attempt_count > 0;
        let (true, true, Some(account)) = (is_called_off, may_be_there, &look.account) else { return Ok(()) };
        let name = RoomName::of(look.key.1, look.row.opening.saturating_add(1));
        // The end of the lease alone tells the next look of it.
        self.daily.delete(account, &name).await.map_err(SettleError::Leftover)
    }

    async fn fail_change(
        &self,
        look: &Look<'_>,
        change: RoomChange,
        error: &DailyError,
        needed_until: Timestamp,
    ) -> Result<Outcome, SettleError> {
        let attempt = look.row.attempt_count.saturating_add(1);
        let next_at = next_attempt(attempt, error.retry_after(), self.now(), needed_until);
        let reason = error.failure();
        let command = VideoRoomCommand::FailChange { change, reason, next_attempt_at: next_at };
        self.fail(look, command, error, next_at.or(look.row.window.map(|window| window.expires_at))).await
    }

    /// An open room whose organization has no account any more: it closes by itself.
    async fn without_account(&self, look: &Look<'_>, change: RoomChange) -> Result<Outcome, SettleError> {
        let reason = RoomFailure::NotConfigured;
        if look.row.failure != Some(reason) {
            let command = VideoRoomCommand::FailChange { change, reason, next_attempt_at: None };
            if let Outcome::Overtaken = self.record(look, command).await? {
                return Ok(Outcome::Overtaken);
            }
        }
        let next_at = look.row.window.map(|window| window.expires_at);
        Ok(Outcome::Failed(Settled { next_at, sign: Sign::None }))
    }

    async fn fail(
        &self,
        look: &Look<'_>,
        command: VideoRoomCommand,
        error: &DailyError,
        next_at: Option<Timestamp>,
    ) -> Result<Outcome, SettleError> {
        let reason = error.failure();
        metrics::counter!("carelog_video_failures_total", "reason" => reason.as_str()).increment(1);
        let cause = std::error::Error::source(error).map(ToString::to_string);
        warn!(appointment.id = %look.key.1, error = %error, cause, "a video room is not as it should be");
        if let Outcome::Overtaken = self.record(look, command).await? {
            return Ok(Outcome::Overtaken);
        }
        Ok(Outcome::Failed(Settled { next_at, sign: sign(error) }))
    }

    /// Appends an outcome under the version at which the room was looked at.
    async fn record(&self, look: &Look<'_>, command: VideoRoomCommand) -> Result<Outcome, SettleError> {
        let expected = Expected::Version(look.row.version);
        self.append(look.key, look.cause, expected, command).await
    }

    /// Appends what the provider told, where it is news; whatever the room refuses is none.
    pub(crate) async fn tell(
        &self,
        key: RoomKey,
        cause: &RecordedEvent,
        command: VideoRoomCommand,
    ) -> Result<(), SettleError> {
        self.append(key, cause, Expected::Any, command).await.map(drop)
    }

    async fn append(
        &self,
        key: RoomKey,
        cause: &RecordedEvent,
        expected: Expected,
        command: VideoRoomCommand,
    ) -> Result<Outcome, SettleError> {
        let scope = Scope {
            expected,
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
            Err(ExecuteError::StaleVersion { .. } | ExecuteError::Rejected(_)) => Ok(Outcome::Overtaken),
            Err(failure) => Err(SettleError::Record(Box::new(failure))),
        }
    }
}

impl Look<'_> {
    const fn appointment(&self) -> RoomAppointment {
        RoomAppointment { patient_id: self.row.patient_id, appointment_id: self.key.1 }
    }

    /// Whether the newest room is Carelog's own, whoever makes the next one.
    const fn is_embedded(&self) -> bool {
        matches!(self.row.provider, Some(RoomProvider::Embedded))
    }
}

/// What a failure says of the organization's other rooms.
pub(crate) fn sign(error: &DailyError) -> Sign {
    match error {
        // It works, and does not want this one.
        DailyError::Refused { .. } | DailyError::NotFound => Sign::None,
        DailyError::Credentials { .. } => Sign::Failure { slow_down: false, hold: None },
        DailyError::RateLimited { .. }
        | DailyError::Server { .. }
        | DailyError::Unreachable(_)
        | DailyError::NoAnswer(_)
        | DailyError::Unreadable(_) => Sign::Failure { slow_down: true, hold: error.retry_after() },
    }
}
