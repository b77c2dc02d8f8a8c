//! Who was in rooms, as Daily's list of meetings says: <https://docs.daily.co/reference/rest-api/meetings>.

use carelog_domain::{AppointmentId, ParticipantId, Timestamp};
use http::Method;
use serde::Deserialize;
use uuid::Uuid;

use super::client::DailyApi;
use super::hook::{HookStay, moment};
use super::limiter::Tier;
use super::{DailyAccount, DailyError, RoomName};

/// Meetings of a page, and pages of one question: more than a clinic holds in a day.
const LISTED: usize = 100;
const MOST_PAGES: usize = 20;

#[derive(Deserialize)]
struct MeetingPage {
    data: Vec<Meeting>,
}

#[derive(Deserialize)]
struct Meeting {
    id: String,
    room: String,
    ongoing: bool,
    #[serde(default)]
    participants: Vec<Participant>,
}

#[derive(Deserialize)]
struct Participant {
    #[serde(rename = "participant_id")]
    session_id: Uuid,
    #[serde(default)]
    user_id: Option<String>,
    join_time: i64,
    #[serde(default)]
    duration: u32,
}

/// What the list of meetings says.
#[derive(Debug, Default)]
pub(crate) struct Meetings {
    /// Who was in rooms of ours.
    pub(crate) stays: Vec<(AppointmentId, HookStay)>,
    /// Meetings in rooms of ours that are over, by Daily's ids.
    pub(crate) ended: Vec<(AppointmentId, String)>,
}

impl DailyApi {
    /// Meetings in rooms of ours since a moment, with the appointments. Of a meeting that goes on, it is not told who
    /// has left already.
    ///
    /// # Errors
    /// See [`DailyError`].
    pub(crate) async fn meetings(
        &self,
        account: &DailyAccount,
        since: Timestamp,
    ) -> Result<Meetings, DailyError> {
        let (since, limit) = (since.unix_seconds().to_string(), LISTED.to_string());
        let (mut found, mut after) = (Meetings::default(), None::<String>);
        for _ in 0..MOST_PAGES {
            let mut query = vec![("timeframe_start", since.as_str()), ("limit", limit.as_str())];
            query.extend(after.as_deref().map(|id| ("starting_after", id)));
            let page: MeetingPage =
                self.ask(account, Tier::Slow, Method::GET, &["meetings"], &query, None).await?;
            for meeting in &page.data {
                let Some((appointment_id, _)) = RoomName::parse(&meeting.room) else { continue };
                let of_meeting = meeting.participants.iter();
                found
                    .stays
                    .extend(of_meeting.filter_map(|one| Some((appointment_id, one.stay(meeting.ongoing)?))));
                if !meeting.ongoing {
                    found.ended.push((appointment_id, meeting.id.clone()));
                }
            }
            after = page.data.last().map(|meeting| meeting.id.clone());
            if page.data.len() < LISTED {
                break;
            }
        }
        Ok(found)
    }
}

impl Participant {
    fn stay(&self, is_ongoing: bool) -> Option<HookStay> {
        #[expect(clippy::cast_precision_loss, reason = "moments of calendars are exact")]
        let joined_at = moment(self.join_time as f64)?;
        Some(HookStay {
            session_id: self.session_id,
            participant_id: self.user_id.as_ref().and_then(|id| id.parse().ok()).map(ParticipantId::new),
            joined_at,
            duration_seconds: (!is_ongoing).then_some(self.duration),
        })
    }
}
