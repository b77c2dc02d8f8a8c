//! What a page asks for, and what it tells.

use std::time::Duration;

use carelog_domain::video_room::{VideoRoomCommand, VideoRoomRejection};
use carelog_event_log::ExecuteError;
use carelog_video::embedded::presence::{self, Gesture};
use carelog_video::embedded::signal::{self, Route, SignalError};
use carelog_video::quality::{self, Measured};
use tokio::time::Instant;
use tracing::warn;
use uuid::Uuid;

use super::super::messages::{NotDone, Signal, ToPage};
use super::super::recording;
use super::super::telling::{begin, tell};
use super::{Connection, Flow, finish_if_possible, not_now};

/// A page measures every 15 seconds; what comes much sooner is left out.
const BETWEEN_SAMPLES: Duration = Duration::from_secs(10);

impl Connection {
    pub(super) async fn pass_on(&mut self, to_session: Uuid, signal: &Signal) -> Flow {
        let place = self.visitor.place;
        let route = Route {
            organization_id: place.organization_id,
            appointment_id: place.appointment_id,
            from_session: self.visitor.session_id,
            to_session,
        };
        let sent = async {
            let json = serde_json::to_vec(signal).map_err(anyhow::Error::from)?;
            let mut tx = begin(&self.rooms.system.databases.core_system, place).await?;
            match signal::send(&mut tx, self.rooms.system.log.vault(), route, &json).await {
                // The other has just gone, or is about to be let in; the browsers begin again then.
                Ok(_) => Ok(tx.commit().await?),
                // The other takes none: its page is about to be lost.
                Err(SignalError::TooMany) => Ok(()),
                Err(error) => Err(error.into()),
            }
        };
        match sent.await {
            Ok(()) => Flow::Continue(()),
            Err(error) => {
                let _ = not_now(&error);
                self.say(&ToPage::NotDone { reason: NotDone::Unavailable }).await
            }
        }
    }

    pub(super) async fn gesture(&mut self, session_id: Uuid, gesture: Gesture) -> Flow {
        if !self.guest.is_specialist() {
            return self.say(&ToPage::NotDone { reason: NotDone::NotAllowed }).await;
        }
        let (place, now) = (self.visitor.place, self.rooms.now());
        let done = async {
            let mut tx = begin(&self.rooms.system.databases.core_system, place).await?;
            let is_done = presence::gesture(&mut tx, place, session_id, gesture, now).await?;
            tx.commit().await?;
            if gesture != Gesture::Admit {
                finish_if_possible(&self.rooms, place).await;
            }
            anyhow::Ok(is_done)
        };
        let reason = match done.await {
            Ok(true) => return Flow::Continue(()),
            Ok(false) => NotDone::SeatTaken,
            Err(error) => {
                let _ = not_now(&error);
                NotDone::Unavailable
            }
        };
        self.say(&ToPage::NotDone { reason }).await
    }

    pub(super) async fn extend(&mut self, minutes: u16) -> Flow {
        if !self.guest.is_specialist() {
            return self.say(&ToPage::NotDone { reason: NotDone::NotAllowed }).await;
        }
        let place = self.visitor.place;
        let participant_id = self.visitor.participant_id;
        let command = VideoRoomCommand::Extend { participant_id, minutes, now: self.rooms.now() };
        let reason = match tell(&self.rooms.system.log, place, command).await {
            Ok(()) => {
                self.rooms.wake(place.appointment_id).await;
                return self.look().await;
            }
            Err(ExecuteError::Rejected(VideoRoomRejection::ExtensionTooLong { .. })) => NotDone::TooLong,
            Err(ExecuteError::Rejected(_)) => NotDone::NotAllowed,
            Err(error) => {
                let _ = not_now(&error.into());
                NotDone::Unavailable
            }
        };
        self.say(&ToPage::NotDone { reason }).await
    }

    pub(super) async fn record(&mut self, is_on: bool) -> Flow {
        let is_talking = self.shown.as_ref().is_some_and(|shown| shown.admitted);
        if !self.guest.is_specialist() || !is_talking {
            return self.say(&ToPage::NotDone { reason: NotDone::NotAllowed }).await;
        }
        let done = if is_on {
            recording::begin(&self.rooms, &mut self.guest).await
        } else {
            recording::end(&self.rooms, &self.guest).await.map(Ok)
        };
        let reason = match done {
            Ok(Ok(())) => return self.look().await,
            Ok(Err(reason)) => reason,
            Err(error) => {
                let _ = not_now(&error);
                NotDone::NotRecorded
            }
        };
        self.say(&ToPage::NotDone { reason }).await
    }

    pub(super) async fn measure(&mut self, measured: Measured) -> Flow {
        let is_early = self.sampled_at.is_some_and(|last| last.elapsed() < BETWEEN_SAMPLES);
        let is_alone = self.shown.as_ref().is_none_or(|shown| shown.peer.is_none());
        let now = self.rooms.now();
        let sample = quality::sample(self.visitor.session_id, &measured, now);
        let (Some(sample), true) = (sample, self.has_joined && !is_early && !is_alone) else {
            return Flow::Continue(());
        };
        self.sampled_at = Some(Instant::now());
        let told = tell(&self.rooms.system.log, self.visitor.place, VideoRoomCommand::SampleQuality(sample));
        if let Err(error) = told.await {
            // The next one says as much.
            warn!(error = %error, "a sample of a video room's quality is lost");
        }
        Flow::Continue(())
    }
}
