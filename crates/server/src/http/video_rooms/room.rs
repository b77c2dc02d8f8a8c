//! A room as the log has it, and the ways into it.

use carelog_domain::video_room::{
    ParticipantKind, RoomAddress, RoomProvider, RoomWindow, VideoRoom, VideoRoomEvent, VideoRoomRejection,
};
use carelog_domain::{AppointmentId, ParticipantId, PatientId, StreamKind, Timestamp};
use carelog_event_log::{RecordedEvent, SealedPlace, StreamKey, derived_id, new_id};
use carelog_video::daily::{DailyAccount, MeetingToken, RoomName, TokenClaims};
use carelog_video::embedded::{LinkClaims, LinkSecret, RoomLink};
use carelog_video::room_id;
use cqrs_es::Aggregate as _;
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::super::caller::Caller;
use super::super::problem::Problem;
use super::super::schemas;

/// A way into a room, for one person and one device at a time. In rooms of Carelog's own a further request shows the
/// same one, until it is issued again or revoked; elsewhere it makes a further one.
#[derive(Serialize, ToSchema)]
pub(super) struct AccessView {
    /// Where the room is.
    url: String,
    /// What opens it, for a page that hands it over by script.
    token: String,
    /// Both in one, for a browser.
    join_url: String,
    /// The id under which events tell of this person; the same for each link to the same person.
    participant_id: Uuid,
    /// In what part.
    #[schema(schema_with = schemas::participant_kind)]
    participant: ParticipantKind,
    /// From when it works.
    #[schema(schema_with = schemas::moment)]
    valid_from: Timestamp,
    /// Until when.
    #[schema(schema_with = schemas::moment)]
    valid_until: Timestamp,
}

/// One id for the patient and one for each specialist, so that a second connection ends the first; a guest is another
/// with each link. Nobody can tell from it who it is.
pub(super) fn participant_id(caller: &Caller, room: &Room, participant: ParticipantKind) -> ParticipantId {
    let person = match participant {
        ParticipantKind::Patient => room.patient_id.map(PatientId::uuid),
        ParticipantKind::Specialist => caller
            .principal
            .as_ref()
            .map(|principal| principal.specialist_id.map_or(principal.api_key_id.uuid(), Uuid::from)),
        ParticipantKind::Guest => None,
    };
    ParticipantId::new(match person {
        Some(person) => derived_id(room.id, person.as_bytes()),
        None => new_id(),
    })
}

/// A room as the log has it.
pub(super) struct Room {
    pub(super) id: Uuid,
    pub(super) patient_id: Option<PatientId>,
    pub(super) state: VideoRoom,
    /// Told when it was made last.
    created: Option<RecordedEvent>,
}

impl Room {
    pub(super) async fn load(caller: &Caller, appointment_id: AppointmentId) -> Result<Self, Problem> {
        let id = room_id(appointment_id);
        let stream = StreamKey { organization_id: caller.organization_id, kind: StreamKind::VideoRoom, id };
        let mut room = Self { id, patient_id: None, state: VideoRoom::default(), created: None };
        for event in caller.api.log().stream(&stream, 0).await? {
            let change: VideoRoomEvent = event.decode_as().map_err(|error| Problem::internal(&error))?;
            room.patient_id = event.subject;
            if matches!(change, VideoRoomEvent::Created(_)) {
                room.created = Some(event);
            }
            room.state.apply(change);
        }
        Ok(room)
    }

    /// The room, where the caller may do something about a participant's link: staff about everybody's, a patient
    /// about their own.
    pub(super) async fn load_own(
        caller: &Caller,
        appointment_id: AppointmentId,
        asked: ParticipantId,
    ) -> Result<Self, Problem> {
        caller.may_touch_appointment(appointment_id).await?;
        let room = Self::load(caller, appointment_id).await?;
        let is_others =
            caller.bound_to().is_some() && participant_id(caller, &room, ParticipantKind::Patient) != asked;
        if is_others { Err(Problem::not_found()) } else { Ok(room) }
    }

    /// The account of the organization, where a provider runs the room; nothing where Carelog does or there is none.
    pub(super) async fn account(&self, caller: &Caller) -> Result<Option<DailyAccount>, Problem> {
        match self.state.provider() {
            None | Some(RoomProvider::Embedded) => return Ok(None),
            Some(RoomProvider::Daily) => {}
        }
        let mut tx = caller.read().await?;
        let account = caller.api.video.daily(&mut tx, caller.organization_id).await?;
        tx.commit().await?;
        account.map(Some).ok_or_else(|| {
            Problem::new(StatusCode::CONFLICT, "video_provider_not_configured")
                .detail("the organization no longer has the provider of this video room")
        })
    }

    /// The link to a room of Carelog's own. What it holds of secrets stands after `#`, which browsers send to nobody.
    pub(super) async fn embedded(
        &self,
        caller: &Caller,
        headers: &HeaderMap,
        appointment_id: AppointmentId,
        participant_id: ParticipantId,
    ) -> Result<AccessView, Problem> {
        let window = self.state.window().ok_or_else(|| Problem::rejected(&VideoRoomRejection::NotOpen))?;
        let (participant, link) = self.state.link(participant_id).ok_or_else(|| {
            // Revoked in this very moment.
            Problem::rejected(&VideoRoomRejection::ParticipantUnknown { participant_id })
        })?;
        let organization_id = caller.organization_id;
        let secret = LinkSecret::of(caller.api.log().vault(), organization_id).await?;
        let claims = LinkClaims { organization_id, appointment_id, participant_id, link };
        let link = RoomLink::sign(&secret, claims);
        let url = format!("{}/rooms", caller.public_url(headers)?);
        Ok(AccessView {
            join_url: format!("{url}#{}", link.reveal()),
            url,
            token: link.reveal().to_owned(),
            participant_id: participant_id.uuid(),
            participant,
            valid_from: window.opens_at,
            valid_until: window.expires_at,
        })
    }

    pub(super) async fn open_to(
        &self,
        caller: &Caller,
        account: &DailyAccount,
        appointment_id: AppointmentId,
        participant_id: ParticipantId,
        participant: ParticipantKind,
        now: Timestamp,
    ) -> Result<AccessView, Problem> {
        let window: RoomWindow =
            self.state.window().ok_or_else(|| Problem::rejected(&VideoRoomRejection::NotOpen))?;
        let address = self.address(caller).await?;
        let claims = TokenClaims {
            domain_id: &address.account,
            room: &RoomName::of(appointment_id, self.state.opening_count()),
            participant_id,
            is_owner: participant == ParticipantKind::Specialist,
            window,
            issued_at: now,
        };
        let token = MeetingToken::sign(account, &claims).map_err(|error| Problem::internal(&error))?;
        Ok(AccessView {
            join_url: format!("{}?t={}", address.url, token.reveal()),
            url: address.url,
            token: token.reveal().to_owned(),
            participant_id: participant_id.uuid(),
            participant,
            valid_from: window.opens_at,
            valid_until: window.expires_at,
        })
    }

    /// The domain at Daily whose room it is; nothing where that cannot be told any more.
    pub(super) async fn domain_id(&self, caller: &Caller) -> Result<Option<String>, Problem> {
        Ok(self.known_address(caller).await?.map(|address| address.account))
    }

    async fn address(&self, caller: &Caller) -> Result<RoomAddress, Problem> {
        let address = self.known_address(caller).await?;
        address.ok_or_else(|| Problem::fault("a video room is open and its address cannot be opened"))
    }

    /// Nothing where there was none, or its key is destroyed.
    async fn known_address(&self, caller: &Caller) -> Result<Option<RoomAddress>, Problem> {
        let part = self.created.as_ref().and_then(|event| Some((event, event.personal.as_ref()?)));
        let Some((event, part)) = part else { return Ok(None) };
        let json = SealedPlace::of(event).open(caller.api.log().vault(), &part.sealed).await?;
        let address = json.map(|json| serde_json::from_slice(&json)).transpose();
        address.map_err(|error| Problem::internal(&error))
    }
}
