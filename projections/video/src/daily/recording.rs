//! Recordings at Daily: <https://docs.daily.co/reference/rest-api/recordings>.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use carelog_domain::{RecordingId, Timestamp};
use futures::stream::{self, BoxStream};
use http::{Method, StatusCode};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;
use url::Url;
use uuid::Uuid;

use super::client::{DailyApi, is_reached_safely};
use super::limiter::Tier;
use super::{DailyAccount, DailyError, RoomName};

/// Recordings of a page; of one room there are few.
const LISTED: usize = 100;
/// Pages of one question: an account may have many recordings that are not of our rooms.
const MOST_PAGES: usize = 20;
/// How long a link to a recording holds; fetching 15 GiB takes a while.
const LINK_SECONDS: &str = "3600";
/// Between two pieces of a recording.
const SILENCE: Duration = Duration::from_secs(30);

/// Where a recording stands at Daily.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DailyRecordingStatus {
    /// It goes on, or is being made ready.
    InProgress,
    /// It can be fetched.
    Finished,
    /// Nothing came of it.
    Canceled,
    /// Something that Daily says since this was written.
    #[serde(other)]
    Other,
}

/// A recording that Daily has.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct DailyRecording {
    /// Its id.
    pub id: Uuid,
    /// The room that was recorded.
    pub room_name: String,
    /// When it began, in Unix seconds.
    pub start_ts: i64,
    /// Where it stands.
    pub status: DailyRecordingStatus,
    /// How many seconds it has, about; of a finished one.
    #[serde(default)]
    pub duration: u32,
}

#[derive(Deserialize)]
struct RecordingPage {
    data: Vec<DailyRecording>,
}

#[derive(Deserialize)]
struct AccessLink {
    download_link: String,
}

impl DailyRecording {
    /// Its id, as events name it.
    pub const fn recording_id(&self) -> RecordingId {
        RecordingId::new(self.id)
    }

    /// When it began.
    pub fn started_at(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH.saturating_add_micros(self.start_ts.saturating_mul(1_000_000))
    }

    /// When it ended, if it has.
    pub fn ended_at(&self) -> Timestamp {
        self.started_at().saturating_add_micros(i64::from(self.duration) * 1_000_000)
    }
}

impl DailyApi {
    /// Lets a room be recorded, or not any more. Nobody in it can, as long as nobody is to.
    ///
    /// # Errors
    /// See [`DailyError`].
    pub async fn allow_recording(
        &self,
        account: &DailyAccount,
        name: &RoomName,
        allowed: Option<RecordingKind>,
    ) -> Result<(), DailyError> {
        // A property that is given as null is as by default again.
        let kind = allowed.map(|RecordingKind::Cloud| "cloud");
        let body = json!({ "properties": { "enable_recording": kind } });
        let path = ["rooms", name.as_str()];
        let done: Result<IgnoredAny, _> =
            self.ask(account, Tier::Ordinary, Method::POST, &path, &[], Some(body)).await;
        done.map(drop)
    }

    /// Begins a recording. One under the same `instance` is begun once.
    ///
    /// # Errors
    /// See [`DailyError`]; a room in which nobody is cannot be recorded.
    pub async fn start_recording(
        &self,
        account: &DailyAccount,
        name: &RoomName,
        instance: Uuid,
    ) -> Result<(), DailyError> {
        let body = json!({ "type": "cloud", "instanceId": instance });
        let path = ["rooms", name.as_str(), "recordings", "start"];
        let done: Result<IgnoredAny, _> =
            self.ask(account, Tier::Recording, Method::POST, &path, &[], Some(body)).await;
        done.map(drop)
    }

    /// Ends the recording of a room; where there is none, nothing is left to be done.
    ///
    /// # Errors
    /// See [`DailyError`].
    pub async fn stop_recording(&self, account: &DailyAccount, name: &RoomName) -> Result<(), DailyError> {
        let path = ["rooms", name.as_str(), "recordings", "stop"];
        let body = Some(json!({ "type": "cloud" }));
        match self.ask::<IgnoredAny>(account, Tier::Ordinary, Method::POST, &path, &[], body).await {
            Ok(_) | Err(DailyError::NotFound | DailyError::Refused { status: StatusCode::BAD_REQUEST }) => {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// The recordings of all rooms that began since a moment, and some that began before. Those that were stored are not
    /// among them any more.
    ///
    /// # Errors
    /// See [`DailyError`].
    pub async fn all_recordings(
        &self,
        account: &DailyAccount,
        since: Timestamp,
    ) -> Result<Vec<DailyRecording>, DailyError> {
        let limit = LISTED.to_string();
        let mut found: Vec<DailyRecording> = Vec::new();
        for _ in 0..MOST_PAGES {
            let after = found.last().map(|last| last.id.to_string());
            let mut query = vec![("limit", limit.as_str())];
            query.extend(after.as_deref().map(|id| ("starting_after", id)));
            let page: RecordingPage =
                self.ask(account, Tier::Slow, Method::GET, &["recordings"], &query, None).await?;
            let is_last = page.data.len() < LISTED;
            // The newest come first.
            let goes_further = page.data.last().is_some_and(|oldest| oldest.started_at() < since);
            found.extend(page.data);
            if is_last || goes_further {
                break;
            }
        }
        Ok(found)
    }

    /// The newest recordings of a room.
    ///
    /// # Errors
    /// See [`DailyError`].
    pub async fn recordings(
        &self,
        account: &DailyAccount,
        name: &RoomName,
    ) -> Result<Vec<DailyRecording>, DailyError> {
        let limit = LISTED.to_string();
        let query = [("room_name", name.as_str()), ("limit", limit.as_str())];
        let page: RecordingPage =
            self.ask(account, Tier::Slow, Method::GET, &["recordings"], &query, None).await?;
        // Whatever a list says, only this room is meant.
        Ok(page.data.into_iter().filter(|recording| recording.room_name == name.as_str()).collect())
    }

    /// Takes a recording away; one that is gone already is no failure.
    ///
    /// # Errors
    /// See [`DailyError`].
    pub async fn delete_recording(
        &self,
        account: &DailyAccount,
        recording_id: RecordingId,
    ) -> Result<(), DailyError> {
        let id = recording_id.to_string();
        let path = ["recordings", id.as_str()];
        match self.ask::<IgnoredAny>(account, Tier::Slow, Method::DELETE, &path, &[], None).await {
            Ok(_) | Err(DailyError::NotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// What a recording consists of, piece by piece.
    ///
    /// # Errors
    /// See [`DailyError`].
    pub async fn download(
        &self,
        account: &DailyAccount,
        recording_id: RecordingId,
    ) -> Result<BoxStream<'static, io::Result<Bytes>>, DailyError> {
        let id = recording_id.to_string();
        let path = ["recordings", id.as_str(), "access-link"];
        let query = [("valid_for_secs", LINK_SECONDS)];
        let link: AccessLink = self.ask(account, Tier::Ordinary, Method::GET, &path, &query, None).await?;
        let refused = DailyError::Refused { status: StatusCode::OK };
        let Ok(url) = link.download_link.parse::<Url>() else { return Err(refused) };
        if !is_reached_safely(&url) {
            return Err(refused);
        }
        // The link opens by itself: the account's key stays here.
        let answer = tokio::time::timeout(SILENCE, self.client.get(url).send());
        let response = match answer.await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) if error.is_connect() => return Err(DailyError::Unreachable(error.without_url())),
            Ok(Err(error)) => return Err(DailyError::NoAnswer(Some(error.without_url()))),
            Err(_) => return Err(DailyError::NoAnswer(None)),
        };
        if !response.status().is_success() {
            return Err(DailyError::of(response.status(), response.headers(), b""));
        }
        Ok(Box::pin(stream::try_unfold(response, async |mut response| {
            match tokio::time::timeout(SILENCE, response.chunk()).await {
                Ok(Ok(chunk)) => Ok(chunk.map(|chunk| (chunk, response))),
                Ok(Err(error)) => Err(io::Error::other(error.without_url())),
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            }
        })))
    }
}

/// In which form a room is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordingKind {
    /// As one file at Daily.
    Cloud,
}
