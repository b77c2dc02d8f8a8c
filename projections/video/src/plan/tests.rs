//! Every step, from every wish and state.

use carelog_domain::PatientId;
use uuid::Uuid;

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn row() -> RoomRow {
    RoomRow {
        patient_id: PatientId::new(Uuid::from_u128(1)),
        starts_at: at("2026-03-02T09:30:00Z"),
        ends_at: Some(at("2026-03-02T10:00:00Z")),
        precision: TimePrecision::Minute,
        wish: RoomWish::Wanted,
        status: RoomStatus::None,
        provider: None,
        opening: 0,
        window: None,
        planned_expires_at: None,
        attempt_count: 0,
        failure: None,
        next_attempt_at: None,
        end: None,
        version: 0,
        created_position: 1,
        updated_at: at("2026-03-01T00:00:00Z"),
    }
}

fn asked() -> RoomWindow {
    window(&row(), 15, 10)
}

fn open(wish: RoomWish) -> RoomRow {
    RoomRow { wish, status: RoomStatus::Open, window: Some(asked()), opening: 1, ..row() }
}

fn before() -> Timestamp {
    at("2026-03-02T09:20:00Z")
}

#[test]
fn a_window_opens_before_the_appointment_and_closes_after_it() {
    let expected = |opens: &str, expires: &str| RoomWindow { opens_at: at(opens), expires_at: at(expires) };

    assert_eq!(asked(), expected("2026-03-02T09:15:00Z", "2026-03-02T10:10:00Z"));
    let endless = RoomRow { ends_at: None, ..row() };
    assert_eq!(window(&endless, 0, 0), expected("2026-03-02T09:30:00Z", "2026-03-02T10:30:00Z"));
    let day = RoomRow { starts_at: at("2026-03-02T00:00:00Z"), precision: TimePrecision::Day, ..row() };
    assert_eq!(window(&day, 15, 10), expected("2026-03-01T23:45:00Z", "2026-03-03T00:10:00Z"));
}

#[test]
fn a_room_is_made_once_it_is_wanted_and_while_it_is_of_use() {
    assert_eq!(next_step(&row(), asked(), before()), Step::Create(asked()));
    let closed = RoomRow { status: RoomStatus::Closed, window: Some(asked()), opening: 1, ..row() };
    assert_eq!(next_step(&closed, asked(), before()), Step::Create(asked()), "it moved after its end");
    assert_eq!(next_step(&row(), asked(), asked().expires_at), Step::Rest);
    for wish in [RoomWish::NotYet, RoomWish::Cancelled, RoomWish::NoShow] {
        assert_eq!(next_step(&RoomRow { wish, ..row() }, asked(), before()), Step::Rest);
    }
}

#[test]
fn a_room_moves_with_its_appointment_and_rests_where_it_is_right() {
    let row = open(RoomWish::Wanted);
    let later = RoomWindow { opens_at: asked().expires_at, expires_at: at("2026-03-02T11:00:00Z") };

    assert_eq!(next_step(&row, asked(), before()), Step::RestUntil(asked().expires_at));
    assert_eq!(next_step(&row, later, before()), Step::Move(later));
    let past = RoomWindow { opens_at: before(), expires_at: before() };
    assert_eq!(next_step(&row, past, before()), Step::RestUntil(asked().expires_at));
}

#[test]
fn a_room_is_closed_for_what_happened_and_expires_by_itself() {
    let end = asked().expires_at;

    let cancelled = open(RoomWish::Cancelled);
    assert_eq!(next_step(&cancelled, asked(), before()), Step::Close(RoomEnd::AppointmentCancelled));
    assert_eq!(next_step(&open(RoomWish::NoShow), asked(), before()), Step::Close(RoomEnd::NoShow));
    for wish in [RoomWish::Wanted, RoomWish::Cancelled, RoomWish::NoShow, RoomWish::NotYet] {
        assert_eq!(next_step(&open(wish), asked(), end), Step::Expire);
    }
}

#[test]
fn tries_come_ever_more_rarely_and_end_with_the_need() {
    let (now, end) = (before(), at("2026-03-03T00:00:00Z"));
    let after =
        |attempt, asked| next_attempt(attempt, asked, now, end).map(|at| at.micros_since(now) / 1_000_000);

    let pauses: Vec<_> =
        [1, 2, 3, 8, 9, 1_000].into_iter().filter_map(|attempt| after(attempt, None)).collect();
    assert_eq!(pauses, [5, 10, 20, 640, 900, 900]);
    assert_eq!(after(1, Some(Duration::from_mins(1))), Some(60), "the provider asked for it");
    assert_eq!(next_attempt(1, None, now, now.saturating_add_micros(5_000_000)), None);
}

#[test]
fn what_was_added_to_a_room_lasts_until_its_appointment_moves() {
    let later = at("2026-03-02T10:25:00Z");
    let extended = RoomRow {
        window: Some(RoomWindow { expires_at: later, ..asked() }),
        planned_expires_at: Some(asked().expires_at),
        ..open(RoomWish::Wanted)
    };

    assert_eq!(window(&extended, 15, 10).expires_at, later);
    assert_eq!(next_step(&extended, window(&extended, 15, 10), before()), Step::RestUntil(later));
    let moved = RoomRow { ends_at: Some(at("2026-03-02T10:05:00Z")), ..extended.clone() };
    assert_eq!(window(&moved, 15, 10).expires_at, at("2026-03-02T10:15:00Z"));
    let closed = RoomRow { status: RoomStatus::Closed, ..extended };
    assert_eq!(window(&closed, 15, 10), asked());
}
