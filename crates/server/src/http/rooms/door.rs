//! Who may come into a room: what the link says, and what the room's stream says of the link.

use carelog_domain::video_room::{
    ParticipantKind, Recordings, RoomProvider, RoomWindow, VideoRoom, VideoRoomEvent,
};
use carelog_domain::{OrganizationId, PatientId, StreamKind, Timestamp};
use carelog_event_log::{EventLog, StreamKey};
use carelog_video::embedded::presence::Place;
use carelog_video::embedded::{LinkClaims, LinkSecret, RoomLink};
use carelog_video::queries::get_room;
use carelog_video::room_id;
use cqrs_es::Aggregate as _;
use sqlx::{AssertSqlSafe, PgPool, Postgres, Transaction};

use super::messages::Refusal;
use crate::system::System;

/// Why a link cannot be judged, or does not lead in.
#[derive(Debug)]
pub(super) enum Shut {
    /// It does not lead in.
    Refused(Refusal, Option<RoomWindow>),
    /// It failed here.
    Failed(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Shut {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Somebody whose link leads in, and the room as the log has it.
#[derive(Clone, Debug)]
pub(super) struct Guest {
    pub(super) claims: LinkClaims,
    pub(super) participant: ParticipantKind,
    pub(super) window: RoomWindow,
    pub(super) patient_id: PatientId,
    room: VideoRoom,
    version: i64,
}

impl Guest {
    /// Judges a link. Keys of an organization are asked for only where it has such a room, because asking makes them.
    pub(super) async fn of(system: &System, token: &str) -> Result<Self, Shut> {
        let log = &system.log;
        let unknown = || Shut::Refused(Refusal::Unknown, None);
        let link = RoomLink::read(token).ok_or_else(unknown)?;
        let claims = link.claims();
        // Nothing is asked of the log for an organization or an appointment that are not there.
        let mut tx = read(&system.databases.core_app, claims.organization_id).await?;
        let row = get_room(&mut tx, claims.organization_id, claims.appointment_id).await?;
        tx.commit().await?;
        let patient_id = row.ok_or_else(unknown)?.patient_id;
        let mut room = VideoRoom::default();
        let version = follow(log, claims, &mut room, 0).await?;
        if room.provider() != Some(RoomProvider::Embedded) {
            return Err(unknown());
        }
        let secret = LinkSecret::of(log.vault(), claims.organization_id).await?;
        if !link.is_signed_by(&secret) {
            return Err(unknown());
        }
        let (participant, window) = judge(&room, claims, log.clock().now())?;
        Ok(Self { claims, participant, window, patient_id, room, version })
    }

    /// Judges the link once more, by what was told of the room since.
    pub(super) async fn refresh(&mut self, log: &EventLog) -> Result<(), Shut> {
        self.version = follow(log, self.claims, &mut self.room, self.version).await?;
        (self.participant, self.window) = judge(&self.room, self.claims, log.clock().now())?;
        Ok(())
    }

    /// The recordings of the appointment's rooms.
    pub(super) fn recordings(&self) -> Recordings {
        self.room.recordings().cloned().unwrap_or_default()
    }

    pub(super) const fn place(&self) -> Place {
        let LinkClaims { organization_id, appointment_id, .. } = self.claims;
        Place { organization_id, appointment_id }
    }

    pub(super) const fn is_specialist(&self) -> bool {
        matches!(self.participant, ParticipantKind::Specialist)
    }
}

async fn read(
    pool: &PgPool,
    organization_id: OrganizationId,
) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    // A UUID's text needs no quoting.
    let statement = format!(
        "begin read only; set local carelog.organization_id = '{organization_id}'; \
         set local search_path to video, public"
    );
    pool.begin_with(AssertSqlSafe(statement)).await
}

async fn follow(log: &EventLog, claims: LinkClaims, room: &mut VideoRoom, version: i64) -> Result<i64, Shut> {
    let organization_id = claims.organization_id;
    let stream =
        StreamKey { organization_id, kind: StreamKind::VideoRoom, id: room_id(claims.appointment_id) };
    let mut newest = version;
    for event in log.stream(&stream, version).await? {
        newest = event.version;
        room.apply(event.decode_as::<VideoRoomEvent>()?);
    }
    Ok(newest)
}

fn judge(
    room: &VideoRoom,
    claims: LinkClaims,
    now: Timestamp,
) -> Result<(ParticipantKind, RoomWindow), Shut> {
    let participant = match room.link(claims.participant_id) {
        Some((participant, link)) if link == claims.link => participant,
        _ => return Err(Shut::Refused(Refusal::Revoked, None)),
    };
    let window = room.window().ok_or(Shut::Refused(Refusal::Closed, None))?;
    if now < window.opens_at {
        return Err(Shut::Refused(Refusal::BeforeWindow, Some(window)));
    }
    if window.expires_at <= now {
        return Err(Shut::Refused(Refusal::AfterWindow, Some(window)));
    }
    Ok((participant, window))
}
