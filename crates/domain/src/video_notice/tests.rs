//! Every command and every rejection of a notice.

use cqrs_es::test::TestFramework;
use uuid::Uuid;

use super::*;
use crate::examples::{at, notice_body};
use crate::ids::{AppointmentId, PatientId};
use crate::video_room::RoomProvider;

fn receive() -> VideoNoticeCommand {
    VideoNoticeCommand::Receive(ReceiveNotice {
        patient_id: PatientId::new(Uuid::from_u128(1)),
        appointment_id: AppointmentId::new(Uuid::from_u128(2)),
        provider: RoomProvider::Daily,
        kind: NoticeKind::ParticipantJoined,
        sent_at: at("2026-03-02T09:15:00Z"),
        body: notice_body(),
    })
}

fn received() -> VideoNoticeEvent {
    VideoNoticeEvent::Received(VideoNoticeReceived {
        patient_id: PatientId::new(Uuid::from_u128(1)),
        appointment_id: AppointmentId::new(Uuid::from_u128(2)),
        provider: RoomProvider::Daily,
        kind: NoticeKind::ParticipantJoined,
        sent_at: at("2026-03-02T09:15:00Z"),
        personal: Some(Personal::Open(notice_body())),
    })
}

#[test]
fn given_nothing_when_received_then_received() {
    TestFramework::<VideoNotice>::with(())
        .given_no_previous_events()
        .when(receive())
        .then_expect_events(vec![received()]);
}

#[test]
fn given_received_when_it_comes_again_then_already_received() {
    TestFramework::<VideoNotice>::with(())
        .given(vec![received()])
        .when(receive())
        .then_expect_error(VideoNoticeRejection::AlreadyReceived);
}
