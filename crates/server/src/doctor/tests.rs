use super::Finding;
use super::leaves::Leaves;
use super::projectors::{Checkpoint, Projectors, Quarantined, checkpoints};

const HEADS: [(i16, i64); 2] = [(1, 10), (2, 0)];

fn checkpoint(lane: i16, position: i64) -> Checkpoint {
    Checkpoint {
        projector: "records".to_owned(),
        version: 1,
        is_live: true,
        lane,
        position,
        is_held: true,
        has_end: true,
        is_too_long: false,
    }
}

fn quarantined(position: i64) -> Quarantined {
    Quarantined {
        projector: "records".to_owned(),
        lane: 1,
        position,
        event_type: "form.signed".to_owned(),
        failure: None,
        is_discarded: false,
    }
}

fn judge(checkpoints_of: Vec<Checkpoint>, quarantined: Vec<Quarantined>, reactor: i64) -> Finding {
    let reactors = vec![("webhooks".to_owned(), 1, reactor)];
    let projectors = Projectors { checkpoints: checkpoints_of, reactors, quarantined };
    checkpoints("sane", &projectors, &HEADS)
}

#[test]
fn checkpoints_up_to_the_heads_are_sane() {
    let finding = judge(vec![checkpoint(1, 10), checkpoint(2, 0)], Vec::new(), 10);

    assert!(finding.is_ok(), "{:?}", finding.damage);
    assert_eq!(finding.checked, 3);
}

#[test]
fn a_checkpoint_or_reactor_beyond_the_log_is_damage() {
    let finding = judge(vec![checkpoint(1, 11), checkpoint(2, 0), checkpoint(3, 0)], Vec::new(), 12);

    assert_eq!(finding.damage.len(), 3, "{:?}", finding.damage);
}

#[test]
fn a_lane_without_checkpoint_is_damage() {
    let finding = judge(vec![checkpoint(1, 10)], Vec::new(), 0);

    assert_eq!(finding.damage, ["records has no checkpoint in lane 2"]);
}

#[test]
fn a_lease_without_end_or_with_one_too_far_is_damage() {
    let endless = Checkpoint { has_end: false, ..checkpoint(1, 1) };
    let too_long = Checkpoint { is_too_long: true, ..checkpoint(2, 0) };

    assert_eq!(judge(vec![endless, too_long], Vec::new(), 0).damage.len(), 2);
}

#[test]
fn a_quarantined_event_is_listed_and_no_damage_unless_it_never_was() {
    let all = || vec![checkpoint(1, 10), checkpoint(2, 0)];
    let finding = judge(all(), vec![quarantined(4)], 0);

    assert!(finding.is_ok());
    assert_eq!(
        finding.notes,
        [
            "records in lane 1 position 4: form.signed quarantined: it waits behind an earlier event of its stream"
        ]
    );
    assert!(!judge(all(), vec![quarantined(11)], 0).is_ok());
}

#[test]
fn leaves_are_a_number_or_all() {
    assert_eq!("all".parse(), Ok(Leaves::All));
    assert_eq!("250".parse(), Ok(Leaves::Sample(250)));
    assert!("some".parse::<Leaves>().is_err() && "-1".parse::<Leaves>().is_err());
}
