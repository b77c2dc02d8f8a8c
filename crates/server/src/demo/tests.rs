use super::acts::{Act, Open, Stage as AppointmentStage, choose, step};
use super::clinics::{Cast, Person};
use super::dice::Dice;
use super::opening::{desks_per_clinic, interval};
use super::*;

#[test]
fn durations_have_a_unit() {
    assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
    assert_eq!(parse_duration("30s"), Ok(Duration::from_secs(30)));
    assert_eq!(parse_duration("2m"), Ok(Duration::from_mins(2)));
    for wrong in ["", "30", "s", "-1s", "1.5s", "1h", "1 s", "99999999999999999999s", "99999999999999999m"] {
        assert!(parse_duration(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_run_is_whole_when_everything_that_was_delivered_was_verified_and_something_was() {
    assert_eq!(figures::fault(7, 7, 0), None);
    for (deliveries, verified, refused) in [(7, 6, 0), (6, 7, 0), (7, 7, 1), (0, 0, 0), (0, 0, 1)] {
        assert!(figures::fault(deliveries, verified, refused).is_some(), "{deliveries} {verified} {refused}");
    }
}

#[test]
fn desks_together_keep_the_rate() {
    for rate in [1, 3, 20, 61, 500, 2_000] {
        let desks = 3 * desks_per_clinic(rate, 3);
        let per_second = f64::from(u32::try_from(desks).unwrap()) / interval(rate, desks).as_secs_f64();
        assert!((per_second - f64::from(rate)).abs() < 0.01 * f64::from(rate), "{rate}: {per_second}");
    }
}

#[test]
fn each_act_is_possible_when_it_is_chosen() {
    for lot in 0..100 {
        for open in [(0, 0, 0), (12, 12, 1), (1, 1, 0)] {
            let (appointments, forms, paperwork) = open;
            match choose(lot, Open { appointments, forms, paperwork }) {
                Act::Paperwork => assert!(paperwork > 0, "{lot} {open:?}"),
                Act::Advance => assert!(appointments > 0, "{lot} {open:?}"),
                Act::FillIn => assert!(forms > 0, "{lot} {open:?}"),
                Act::Register
                | Act::Book
                | Act::Assign
                | Act::ReadPatient
                | Act::ReadOwn
                | Act::ReadTrail => {}
            }
        }
    }
}

#[test]
fn an_appointment_comes_to_an_end() {
    let mut dice = Dice::seeded(7);
    for _ in 0..1_000 {
        let mut stage = Some(AppointmentStage::Booked);
        let mut steps = 0;
        while let Some(now) = stage {
            stage = step(now, dice.below(100)).1;
            steps += 1;
        }
        assert!(steps < 20);
    }
}

#[test]
fn dice_stay_within_their_limits() {
    let mut dice = Dice::seeded(0);
    let mean = Duration::from_millis(100);
    for _ in 0..1_000 {
        assert!(dice.below(6) < 6);
        let around = dice.around(mean);
        assert!(mean / 2 <= around && around <= mean * 3 / 2);
    }
    assert_eq!(dice.below(0), 0);
    assert_eq!(dice.pick::<u8>(&[]), None);
}

#[test]
fn people_are_the_same_everywhere() {
    assert_eq!(Person::number(3), Person::number(3));
    assert_eq!(Person::number(0).email, "ada.brook.0@example.org");
    assert!((0..1_000).all(|number| (1940..2005).contains(&Person::number(number).birth_year)));
}

#[test]
fn what_was_drawn_is_found_again_and_is_private() {
    use std::os::unix::fs::PermissionsExt;

    let home = std::env::temp_dir().join(format!("carelog-demo-{}", carelog_event_log::new_id()));
    std::fs::create_dir(&home).unwrap();
    let drawn = Cast::load_or_draw(&home).unwrap();
    drawn.save(&home).unwrap();
    let found = Cast::load_or_draw(&home).unwrap();
    let mode = std::fs::metadata(home.join("demo.json")).unwrap().permissions().mode();
    std::fs::remove_dir_all(&home).unwrap();

    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(found.clinics.len(), 3);
    assert_eq!(format!("{found:?}"), format!("{drawn:?}"));
}

#[test]
fn times_are_written_as_on_a_clock() {
    assert_eq!(view::clock(Duration::from_secs(3_723)), "1:02:03");
    assert!(view::per_second(10, Duration::ZERO).abs() < 1e-9);
    assert!((view::per_second(10, Duration::from_secs(2)) - 5.0).abs() < 1e-9);
}
