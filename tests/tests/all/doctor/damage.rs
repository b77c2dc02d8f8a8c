//! What somebody with every right can do to the databases, and which checks are for it.

const LANES: &str = "lane positions run from 1 to the head without a gap";
const ORGANIZATIONS: &str = "organization sequences run from 1 to the head without a gap";
const STREAMS: &str = "stream versions run from 1 to the head without a gap";
const ANSWERS: &str = "answers under idempotency keys have their events";
const LEAVES: &str = "leaf hashes are those of the stored events";
const TRIGGERS: &str = "every table of the log refuses changes";
const PARTITIONS: &str = "partitions for the next events are there, with their unique indexes";
const RIGHTS: &str = "run-time roles cannot write to the log's tables";
const CORE: &str = "core checkpoints and leases are sane";
const AUDIT: &str = "audit checkpoints and leases are sane";
const ANALYTICS: &str = "analytics checkpoints and leases are sane";
pub(super) const RECORDS: &str = "records are as new as their streams";
const TRAIL: &str = "the audit trail has every event up to its checkpoint once";
const SEALED: &str = "the trees have the leaf of every event up to the sealer's checkpoint once";
const MATCHING: &str = "each announced event has one delivery per matching subscription";
const PROGRESS: &str = "subscriptions, deliveries and replays are as new as their streams";
const DUE: &str = "every waiting delivery is due at some time";
const QUEUES: &str = "every queue is looked at when its first effect is due";
const CLOSED: &str = "nothing finished is to be sent";
const ATTEMPTS: &str = "attempts are numbered without a gap and at most five a round";
const REPLAYS: &str = "every replay goes on and counts what it asked for";

/// What is done, in which database, and which checks name it.
pub(super) type Damage = (&'static str, &'static str, String, &'static [&'static str]);

fn core(what: &'static str, statement: &str, found: &'static [&'static str]) -> Damage {
    (what, "core", statement.to_owned(), found)
}

fn event(what: &'static str, statement: &str, found: &'static [&'static str]) -> Damage {
    core(what, &past_guards(statement), found)
}

fn trail(what: &'static str, statement: &str) -> Damage {
    (what, "audit", statement.to_owned(), &[TRAIL])
}

/// A statement on the log, past its guards.
fn past_guards(statement: &str) -> String {
    let guards = |mode: &str| {
        format!(
            "do $$
             declare
                 guard record;
             begin
                 for guard in select tgrelid::regclass as name, tgname from pg_trigger
                              where tgfoid = 'log.refuse_change'::regproc loop
                     execute format('alter table %s {mode} trigger %I', guard.name, guard.tgname);
                 end loop;
             end $$;"
        )
    };
    format!("{} {statement}; {}", guards("disable"), guards("enable always"))
}

pub(super) fn to_the_log() -> Vec<Damage> {
    let key = "event_type = 'organization.api_key_issued'";
    let booked = "position = (select first_position from log.idempotency_keys)";
    vec![
        event(
            "an event is gone",
            &format!("delete from log.events where {key}"),
            &[LANES, ORGANIZATIONS, STREAMS, TRAIL, SEALED],
        ),
        event(
            "the event of an answer is gone",
            &format!("delete from log.events where {booked}"),
            &[LANES, ORGANIZATIONS, STREAMS, ANSWERS, TRAIL, SEALED, MATCHING],
        ),
        event(
            "the number of an event in its organization",
            &format!(
                "update log.events set organization_sequence = organization_sequence + 1000 where {key}"
            ),
            &[ORGANIZATIONS, TRAIL, SEALED],
        ),
        event(
            "the version of an event",
            &format!("update log.events set version = version + 1000 where {key}"),
            &[STREAMS, LEAVES],
        ),
        core("a lane ahead of its events", "update log.lane_heads set position = position + 1", &[LANES]),
        core(
            "a lane behind its events",
            "update log.lane_heads set position = position - 1 where position > 0",
            &[LANES, CORE, AUDIT, ANALYTICS],
        ),
        core(
            "no head of a lane",
            "alter table log.organizations drop constraint organizations_lane;
             delete from log.lane_heads where position > 0",
            &[LANES, CORE, AUDIT, ANALYTICS],
        ),
        core(
            "an organization ahead of its events",
            "update log.organizations set sequence = sequence + 1",
            &[ORGANIZATIONS],
        ),
        core(
            "a stream ahead of its events",
            "update log.stream_heads set version = version + 1 where stream_kind = 'appointment'",
            &[STREAMS, RECORDS],
        ),
        core(
            "a stream that begins elsewhere",
            "update log.stream_heads set first_position = first_position - 1 where stream_kind = 'appointment'",
            &[STREAMS],
        ),
        core(
            "no head of a stream",
            "delete from log.stream_heads where stream_kind = 'organization'",
            &[STREAMS, RECORDS],
        ),
        core("another number of events", "update log.idempotency_keys set event_count = 2", &[ANSWERS]),
        core("another version", "update log.idempotency_keys set version = version + 1", &[ANSWERS]),
        core(
            "no events, and no stream either",
            "update log.idempotency_keys set event_count = 0, stream_id = gen_random_uuid()",
            &[ANSWERS],
        ),
        core("another stream", "update log.idempotency_keys set stream_id = gen_random_uuid()", &[ANSWERS]),
        core(
            "another place",
            "update log.idempotency_keys set first_position = first_position + 1000",
            &[ANSWERS],
        ),
    ]
}

pub(super) fn to_its_guards() -> Vec<Damage> {
    vec![
        core(
            "a leaf without its guard",
            "drop trigger leaf_immutable on log.events_lane_2_from_1",
            &[TRIGGERS],
        ),
        core(
            "a lane's guard is off",
            "alter table log.events_lane_1 disable trigger lane_immutable",
            &[TRIGGERS],
        ),
        core(
            "a guard that replicas pass",
            "alter table log.events enable trigger events_immutable",
            &[TRIGGERS],
        ),
        core(
            "a guard that lets everything pass",
            "create or replace function log.refuse_change() returns trigger language plpgsql as
             $$ begin return null; end $$",
            &[TRIGGERS],
        ),
        core(
            "no place for the next events",
            "alter table log.events_lane_4 detach partition log.events_lane_4_from_1",
            &[PARTITIONS],
        ),
        core("no tripwire", "drop index log.events_lane_1_from_1_stream", &[PARTITIONS]),
        core("a right to insert", "grant insert on log.events to carelog_app", &[RIGHTS]),
        core(
            "a right to a column",
            "grant update (purpose) on log.events_lane_1 to carelog_system",
            &[RIGHTS],
        ),
        core("a right to heads", "grant update on log.stream_heads to carelog_system", &[RIGHTS]),
    ]
}

pub(super) fn to_projections() -> Vec<Damage> {
    let ahead = "update runtime.checkpoints set position = position + 1000 where projector =";
    let mut damage: Vec<Damage> = vec![
        ("records ahead of the log", "core", format!("{ahead} 'records'"), &[CORE]),
        ("a trail ahead of the log", "audit", format!("{ahead} 'audit'"), &[AUDIT]),
        ("facts ahead of the log", "analytics", format!("{ahead} 'analytics'"), &[ANALYTICS]),
        core(
            "no checkpoint",
            "delete from runtime.checkpoints where projector = 'records' and lane = 4",
            &[CORE],
        ),
        core("a lease without end", "update runtime.checkpoints set owner = gen_random_uuid()", &[CORE]),
        core("a row is behind", "update records.appointments set version = version - 1", &[RECORDS]),
        core("a row is ahead", "update records.appointments set version = version + 1", &[RECORDS]),
        core(
            "a row of later events",
            "update records.appointments set position = position + 1000",
            &[RECORDS],
        ),
        core(
            "a row of nothing",
            "update records.appointments set appointment_id = gen_random_uuid()
             where appointment_id = (select min(appointment_id::text)::uuid from records.appointments)",
            &[RECORDS],
        ),
        trail("an entry is gone", "delete from audit.trail where sequence = 2"),
        trail(
            "an entry of another event",
            "update audit.trail set event_id = gen_random_uuid() where sequence = 2",
        ),
        trail(
            "an entry of nobody",
            "update audit.trail set organization_id = gen_random_uuid() where sequence = 2",
        ),
        trail(
            "two entries swapped",
            "update audit.trail set sequence = -sequence where sequence in (2, 3);
             update audit.trail set sequence = 5 + sequence where sequence < 0",
        ),
    ];
    for table in
        ["organizations", "patients", "specialists", "appointments", "forms", "files", "treatment_plans"]
    {
        damage.push(("a row is gone", "core", format!("delete from records.{table}"), &[RECORDS]));
    }
    damage
}

pub(super) fn to_deliveries() -> Vec<Damage> {
    // The row as it is, but for what is named.
    let again = |changes: &str| {
        format!(
            "insert into webhooks.webhook_events
             select (jsonb_populate_record(w, jsonb_build_object({changes}))).*
             from webhooks.webhook_events w
             where reason = 'skipped_inactive'"
        )
    };
    vec![
        core(
            "a delivery that waits is gone",
            "delete from webhooks.webhook_attempts a using webhooks.webhook_events w
             where a.delivery_id = w.delivery_id and w.state = 'pending';
             delete from webhooks.webhook_events where state = 'pending'",
            &[MATCHING, PROGRESS],
        ),
        core(
            "a delivered one is gone",
            "delete from webhooks.webhook_attempts a using webhooks.webhook_events w
             where a.delivery_id = w.delivery_id and w.state = 'delivered';
             delete from webhooks.webhook_events where state = 'delivered'",
            &[MATCHING, PROGRESS],
        ),
        core(
            "a skipped one is gone",
            "delete from webhooks.webhook_events where reason = 'skipped_inactive'",
            &[MATCHING],
        ),
        (
            "two deliveries of one event",
            "core",
            again("'delivery_id', public.carelog_id_at(now())"),
            &[MATCHING],
        ),
        (
            "a delivery of an event that nobody asked for",
            "core",
            again("'delivery_id', public.carelog_id_at(now()), 'source_event_id', gen_random_uuid()"),
            &[MATCHING],
        ),
        (
            "a delivery for a stranger",
            "core",
            again("'delivery_id', public.carelog_id_at(now()), 'subscription_id', gen_random_uuid()"),
            &[MATCHING],
        ),
        core(
            "it was skipped for another reason",
            "update webhooks.webhook_events set reason = 'exhausted' where reason = 'skipped_inactive'",
            &[MATCHING],
        ),
        core(
            "a delivery is behind",
            "update webhooks.webhook_events set version = version - 1 where version > 1",
            &[PROGRESS],
        ),
        core(
            "a subscription is ahead",
            "update webhooks.webhook_subscriptions set version = version + 1",
            &[PROGRESS],
        ),
        core("a subscription is gone", "delete from webhooks.webhook_subscriptions", &[PROGRESS]),
        core("a replay is behind", "update webhooks.webhook_replays set version = version - 1", &[PROGRESS]),
    ]
}

pub(super) fn to_what_is_sent() -> Vec<Damage> {
    vec![
        core(
            "an effect is forgotten",
            "update runtime.effects set next_at = null where reactor = 'webhooks' and next_at is not null",
            &[DUE],
        ),
        core(
            "an effect is gone",
            "delete from runtime.effects where reactor = 'webhooks' and next_at is not null",
            &[DUE],
        ),
        core(
            "a delivered one waits again",
            "update webhooks.webhook_events set state = 'pending', finished_at = null where state = 'delivered'",
            &[DUE],
        ),
        core("a queue is forgotten", "update runtime.effect_queues set next_at = null", &[QUEUES]),
        core(
            "what waits is delivered already",
            "update webhooks.webhook_events set state = 'delivered', finished_at = now() where state = 'pending'",
            &[CLOSED],
        ),
        core(
            "an attempt is gone",
            "delete from webhooks.webhook_attempts where outcome = 'success'",
            &[ATTEMPTS],
        ),
        core(
            "an attempt with another number",
            "update webhooks.webhook_attempts set number = number + 1",
            &[ATTEMPTS],
        ),
        core(
            "an attempt too many",
            "insert into webhooks.webhook_attempts
             select (jsonb_populate_record(a, '{\"number\": 2}')).* from webhooks.webhook_attempts a",
            &[ATTEMPTS],
        ),
        core(
            "a replay that nobody carries on",
            "update webhooks.webhook_replays set status = 'running', finished_at = null",
            &[REPLAYS],
        ),
        core(
            "a replay counts wrongly",
            "update webhooks.webhook_replay_counts set delivered_count = delivered_count + 1",
            &[REPLAYS],
        ),
        core("a replay counts nothing", "delete from webhooks.webhook_replay_counts", &[REPLAYS]),
    ]
}
