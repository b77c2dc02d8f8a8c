//! Mutations by somebody with every right to the databases of a product that stands still.

use carelog_audit::proof::bundle::DamageKind;
use carelog_event_log::{RecordedEvent, new_id};

use super::super::damage::UNGUARD;
use super::Suite;

const CHANGED: &str = "leaf hashes are those of the stored events";
const NUMBERED: &str = "organization sequences run from 1 to the head without a gap";
const LEAVES: &str = "the trees have the leaf of every event up to the sealer's checkpoint once";
const TREES: &str = "the trees have the tiles and roots of their leaves";
const MICROS_OF_A_DAY: i64 = 24 * 3_600 * 1_000_000;
/// The sequence of the event that is changed.
const PLACE: usize = 60;

/// What is done where, and who calls it what. Where the live check has no name for it, it has to be content.
pub(super) struct Mutation {
    pub(super) case: &'static str,
    pub(super) database: &'static str,
    pub(super) statement: String,
    pub(super) live: Option<DamageKind>,
    /// A check of the doctor that is not met, or a part of what it notes.
    pub(super) doctor: Option<&'static str>,
}

/// What a forger knows.
#[derive(Default)]
pub(super) struct Forgery {
    organization: String,
    last: usize,
    /// Sequences of two events with ciphertexts.
    sealed: [i64; 2],
    /// Statements that put a back-dated event in the middle, and at the end.
    middle: String,
    end: String,
}

impl Forgery {
    pub(super) fn of(suite: &Suite) -> Self {
        let sealed = suite.events.iter().filter(|event| event.personal.is_some());
        let mut sealed = sealed.map(|event| event.organization_sequence);
        let last = suite.events.len();
        let model = &suite.events[PLACE - 1];
        let put_in = |at| put_in(model, at, &suite.log_name);
        Self {
            organization: suite.organization_id.to_string(),
            last,
            sealed: [sealed.next().unwrap(), sealed.next().unwrap()],
            middle: put_in(PLACE),
            end: put_in(last + 1),
        }
    }

    fn at(&self, sequence: impl std::fmt::Display) -> String {
        format!("organization_id = '{}' and organization_sequence = {sequence}", self.organization)
    }

    fn own(&self) -> String {
        format!("organization_id = '{}'", self.organization)
    }
}

/// Puts an event like another one into a stream of its own, a day earlier and with a leaf that is true; every number and
/// every head fits.
fn put_in(model: &RecordedEvent, at: usize, log_name: &str) -> String {
    let mut event = model.clone();
    event.event_id = carelog_domain::EventId::new(new_id());
    event.stream.id = new_id();
    event.version = 1;
    event.recorded_at = model.recorded_at.saturating_add_micros(-MICROS_OF_A_DAY);
    let leaf = hex::encode(carelog_audit::proof::leaf_hash(&event.leaf_data(log_name)).0);
    let (organization, lane) = (event.stream.organization_id, event.lane);
    let (id, stream, recorded_at) = (event.event_id, event.stream.id, event.recorded_at);
    format!(
        "update log.events set organization_sequence = organization_sequence + 1000000
         where organization_id = '{organization}' and organization_sequence >= {at};
         update log.events set organization_sequence = organization_sequence - 999999
         where organization_id = '{organization}' and organization_sequence >= 1000000;
         update log.lane_heads set position = position + 1 where lane = {lane};
         update log.organizations set sequence = sequence + 1 where organization_id = '{organization}';
         insert into log.events
         select (jsonb_populate_record(e, jsonb_build_object('event_id', '{id}', 'stream_id', '{stream}', 'version', 1,
             'organization_sequence', {at}, 'position', h.position, 'recorded_at', '{recorded_at}',
             'leaf_hash', '\\x{leaf}'))).*
         from log.events e join log.lane_heads h on h.lane = e.lane
         where e.event_id = '{}';
         insert into log.stream_heads
             (organization_id, stream_id, stream_kind, version, first_position, last_position)
         select organization_id, stream_id, stream_kind, 1, position, position from log.events where event_id = '{id}'",
        model.event_id
    )
}

fn in_log(
    case: &'static str,
    statement: impl std::fmt::Display,
    live: DamageKind,
    doctor: &'static str,
) -> Mutation {
    let statement = format!("{UNGUARD}; {statement}");
    Mutation { case, database: "core", statement, live: Some(live), doctor: Some(doctor) }
}

/// Every mutation of a database.
pub(super) fn in_databases(forgery: &Forgery) -> Vec<Mutation> {
    [of_events(forgery), of_order(forgery), of_trees_and_keys(forgery)].into_iter().flatten().collect()
}

fn of_events(forgery: &Forgery) -> Vec<Mutation> {
    let place = forgery.at(PLACE);
    let [one, other] = forgery.sealed;
    let change = |what: &str| format!("update log.events set {what} where {place}");
    vec![
        in_log(
            "a byte of a payload",
            change("facts = set_byte(facts, 1, 65)"),
            DamageKind::LeafMismatch,
            CHANGED,
        ),
        in_log(
            "the time of recording",
            change("recorded_at = recorded_at - interval '1 day'"),
            DamageKind::LeafMismatch,
            CHANGED,
        ),
        in_log("the actor", change("actor_id = gen_random_uuid()"), DamageKind::LeafMismatch, CHANGED),
        in_log(
            "a ciphertext of another event",
            format!(
                "update log.events e
                 set personal = o.personal, personal_key_id = o.personal_key_id,
                     personal_key_commit = o.personal_key_commit
                 from log.events o
                 where e.organization_id = '{id}' and e.organization_sequence = {one}
                     and o.organization_id = '{id}' and o.organization_sequence = {other}",
                id = forgery.organization
            ),
            DamageKind::LeafMismatch,
            CHANGED,
        ),
    ]
}

fn of_order(forgery: &Forgery) -> Vec<Mutation> {
    let own = forgery.own();
    let at = |sequence: usize| forgery.at(sequence);
    vec![
        in_log(
            "two events swapped",
            format!(
                "update log.events set organization_sequence = -1 where {};
                 update log.events set organization_sequence = {} where {};
                 update log.events set organization_sequence = {PLACE} where {}",
                at(PLACE + 1),
                PLACE + 1,
                at(PLACE),
                forgery.at(-1)
            ),
            DamageKind::LeafMismatch,
            LEAVES,
        ),
        in_log(
            "an event in the middle gone",
            format!("delete from log.events where {}", at(PLACE)),
            DamageKind::Incomplete,
            LEAVES,
        ),
        in_log(
            "the last sealed event gone",
            format!("delete from log.events where {}", at(forgery.last)),
            DamageKind::Incomplete,
            LEAVES,
        ),
        in_log(
            "the number of an event",
            format!(
                "update log.events set organization_sequence = organization_sequence + 1000
                 where {own} and organization_sequence = {PLACE}"
            ),
            DamageKind::Incomplete,
            NUMBERED,
        ),
        in_log("a back-dated event put in", &forgery.middle, DamageKind::LeafMismatch, LEAVES),
        // After what is sealed it is an event like others, but for its time.
        Mutation {
            live: None,
            ..in_log("a back-dated event put in", &forgery.end, DamageKind::Stale, "put in later")
        },
    ]
}

fn of_trees_and_keys(forgery: &Forgery) -> Vec<Mutation> {
    let own = forgery.own();
    let in_tree = |case, statement| Mutation {
        case,
        database: "audit",
        statement,
        live: Some(DamageKind::TileMismatch),
        doctor: Some(TREES),
    };
    vec![
        in_tree(
            "a hash of a tile",
            format!(
                "update proof.tree_tiles set hashes = set_byte(hashes, 40, 255 - get_byte(hashes, 40)) where {own}"
            ),
        ),
        in_tree(
            "a tile cut short",
            format!(
                "alter table proof.tree_tiles drop constraint tree_tiles_hashes;
                 update proof.tree_tiles set hashes = substr(hashes, 1, 8000) where {own}"
            ),
        ),
        Mutation {
            case: "a key that took the place of another",
            database: "vault",
            statement: format!(
                "alter table vault.data_keys disable trigger all;
                 update vault.data_keys set key_commit = set_byte(key_commit, 0, 255 - get_byte(key_commit, 0))
                 where {own} and destroyed_at is null and subject_id is not null"
            ),
            live: Some(DamageKind::KeyMismatch),
            doctor: None,
        },
    ]
}
