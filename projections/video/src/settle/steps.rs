//! The steps that bring a room where it should be. What comes of each is in the log.

use carelog_domain::Timestamp;
use carelog_domain::video_room::{
    CreateRoom, RoomAddress, RoomAppointment, RoomChange, RoomEnd, RoomFailure, RoomProvider, RoomWindow,
    VideoRoomCommand,
};
use carelog_event_log::effects::Sign;
use carelog_event_log::{Expected, Premise, RecordedEvent};
use tracing::warn;

use super::{SettleError, Settled, Settler};
use crate::daily::{DailyAccount, DailyDomain, DailyError, Room, RoomName, RoomSpec};
use crate::model::{RoomKey, RoomRow, RoomWish};
use crate::plan::next_attempt;

/// A look under way.
pub(super) struct Look<'a> {
    pub(super) key: RoomKey,
    pub(super) cause: &'a RecordedEvent,
    pub(super) row: RoomRow,
    pub(super) account: Option<DailyAccount>,
    /// The version of the credentials, which names the account in memory.
    pub(super) account_version: i64,
    /// Whether the provider may have something that the log does not tell.
    pub(super) is_unsure: bool,
}

/// What came of a step.
pub(super) enum Outcome {
    /// It is in the log; look again.
    Recorded,
    /// Somebody else was faster, after the provider was called: look again, and ask the provider.
    Overtaken,
    /// It failed, and that is in the log.
    Failed(Settled),
}

impl Settler {
    pub(super) async fn create(
        &self,
        look: &Look<'_>,
        account: &DailyAccount,
        window: RoomWindow,
        premise: Premise,
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
                // Where the account has changed meanwhile nobody gets to this room, and it ends by itself over there.
                let expected = Expected::Version(look.row.version);
                self.append(look.key, look.cause, expected, Some(premise), command).await
            }
            Err(error) => {
                let attempt = look.row.attempt_count.saturating_add(1);
                let next_at = next_attempt(attempt, error.retry_after(), self.now(), window.expires_at);
                let command = VideoRoomCommand::FailCreation {
                    appointment: look.appointment(),
                    reason: error.failure(),
                    next_attempt_at: next_at,
                };
                // A room that another look makes meanwhile has its end looked at.
                self.fail(look, command, &error, next_at.or(Some(window.expires_at))).await
            }
        }
    }

    /// A room of Carelog's own: that it is told is all there is to it.
    pub(super) async fn create_embedded(
        &self,
        look: &Look<'_>,
        window: RoomWindow,
    ) -> Result<Outcome, SettleError> {
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

    pub(super) async fn shift(&self, look: &Look<'_>, window: RoomWindow) -> Result<Outcome, SettleError> {
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

    pub(super) async fn close(&self, look: &Look<'_>, reason: RoomEnd) -> Result<Outcome, SettleError> {
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
    pub(super) async fn make_sure(&self, look: &Look<'_>) -> Result<Option<Outcome>, SettleError> {
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
    pub(super) async fn clear(&self, look: &Look<'_>) -> Result<(), SettleError> {
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
    pub(super) async fn record(
        &self,
        look: &Look<'_>,
        command: VideoRoomCommand,
    ) -> Result<Outcome, SettleError> {
        let expected = Expected::Version(look.row.version);
        self.append(look.key, look.cause, expected, None, command).await
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
