//! The trail as it happened, one entry after the other.

use carelog_tests::{Answer, Api, ApiClinic, send, until};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

/// So fast that no pause is left.
const AT_ONCE: &str = "speed=1000000000";

async fn replay(clinic: &ApiClinic<'_>, query: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = clinic.request(Method::GET, &format!("/v1/trail/replay?{query}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    send(request).await
}

/// The entries of server-sent events, with their ids; the last is the end.
fn events(text: &str) -> Vec<(i64, Value)> {
    let mut blocks: Vec<&str> = text.split_terminator("\n\n").collect();
    assert_eq!(blocks.pop(), Some("id: end\nevent: end\ndata: {}"), "{text}");
    let event = |block: &str| {
        let mut lines = block.lines();
        let id = lines.next().unwrap().strip_prefix("id: ").unwrap().parse().unwrap();
        assert_eq!(lines.next(), Some("event: entry"));
        (id, serde_json::from_str(lines.next().unwrap().strip_prefix("data: ").unwrap()).unwrap())
    };
    blocks.into_iter().map(event).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_has_every_entry_in_its_order_and_can_be_gone_on_with() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    let ada = clinic.patient("Ada").await.id().to_owned();
    for _ in 0..3 {
        clinic.book(&ada).await.id();
    }
    let last = clinic.patient("Zoe").await;
    let wait = format!("wait_for={}", last.position());
    let export = clinic.get(&format!("/v1/trail?format=ndjson&{wait}")).await;
    let exported: Vec<Value> = export.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();

    let lines = replay(&clinic, AT_ONCE, &[]).await;
    assert_eq!((lines.status, lines.header("content-type")), (200, "application/x-ndjson"));
    assert_eq!(lines.header("vary"), "accept");
    let mut entries: Vec<Value> =
        lines.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(entries.pop(), Some(json!({ "end": true })));
    assert_eq!(lines.header("carelog-entries"), entries.len().to_string());
    assert_eq!(entries[..exported.len()], exported);

    let accept = ("accept", "text/event-stream");
    let about = format!("{AT_ONCE}&patient_id={ada}");
    let all = events(&replay(&clinic, &about, &[accept]).await.text);
    assert!(all.len() >= 4 && all.iter().all(|(_, entry)| entry["patient_id"] == json!(ada)), "{all:?}");
    assert!(all.iter().all(|(id, entry)| entry["sequence"] == json!(id)));
    let (seen, rest) = all.split_at(2);
    let id = seen[1].0.to_string();
    let on = replay(&clinic, &format!("{about}&after=1"), &[accept, ("last-event-id", &id)]).await;
    assert_eq!(events(&on.text)[..rest.len()], *rest, "what the browser has seen counts");
    let on = replay(&clinic, &format!("{about}&after={id}"), &[accept]).await;
    assert_eq!(events(&on.text)[..rest.len()], *rest);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_that_has_seen_the_end_and_connects_again_is_told_to_stop() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    let seen = clinic.patient("Ada").await;
    let accept = ("accept", "text/event-stream");
    let query = format!("{AT_ONCE}&wait_for={}", seen.position());
    let text = replay(&clinic, &query, &[accept]).await.text;
    // The id that a browser keeps is the last of the stream.
    let last = text.lines().filter_map(|line| line.strip_prefix("id: ")).next_back().unwrap();
    let before = api.event_count().await;

    let again = replay(&clinic, &query, &[accept, ("last-event-id", last)]).await;

    assert_eq!((again.status, again.text.as_str()), (204, ""));
    assert_eq!(api.event_count().await, before, "nothing is replayed, so nothing is written down");
    let lines = replay(&clinic, &query, &[("last-event-id", last)]).await;
    assert_eq!(lines.problem(), (400, "invalid_header"), "only browsers connect by themselves");
    let stranger = api.request(Method::GET, "/v1/trail/replay").header("accept", "text/event-stream");
    assert_eq!(send(stranger.header("last-event-id", last)).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_is_written_down_before_anything_leaves_and_refused_where_it_cannot_be() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    let patient = clinic.patient("Ada").await;
    let specialist = clinic.key_of("specialist").await;
    let query = format!("{AT_ONCE}&patient_id={}&wait_for={}", patient.id(), patient.position());

    assert_eq!(replay(&clinic, &query, &[]).await.status, 200);
    let written =
        "select convert_from(facts, 'utf8') from log.events where event_type = 'access.record_exported'";
    let written: Vec<String> = sqlx::query_scalar(written).fetch_all(&api.core).await.unwrap();
    let expected = json!({ "target_kind": "access", "patient_id": patient.id(), "record_count": 1 });
    assert_eq!(written.len(), 1);
    assert_eq!(serde_json::from_str::<Value>(&written[0]).unwrap(), expected);

    let before = api.event_count().await;
    for (query, headers, expected) in [
        ("speed=0", vec![], (422, "invalid_query")),
        ("speed=-1", vec![], (422, "invalid_query")),
        ("speed=NaN", vec![], (422, "invalid_query")),
        ("speed=fast", vec![], (422, "invalid_query")),
        ("longest_pause_seconds=16", vec![], (422, "invalid_query")),
        (
            "from=2026-02-01T00:00:00Z&before=2026-01-01T00:00:00Z",
            vec![],
            (422, "range_ends_before_it_begins"),
        ),
        ("", vec![("accept", "text/csv")], (406, "not_acceptable")),
        ("", vec![("last-event-id", "x")], (400, "invalid_header")),
    ] {
        let answer = replay(&clinic, query, &headers).await;
        assert_eq!(answer.problem(), expected, "{query} {headers:?}");
    }
    assert_eq!(api.event_count().await, before);
    assert_eq!(clinic.get_as(&specialist, "/v1/trail/replay").await.problem(), (403, "wrong_role"));
    let refuse = "alter table log.events add constraint no_exports
                  check (event_type <> 'access.record_exported') not valid";
    sqlx::query(refuse).execute(&api.core).await.unwrap();
    let refused = replay(&clinic, AT_ONCE, &[]).await;
    assert!(refused.status >= 500 && !refused.text.contains("patient.registered"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_replays_so_often_at_once_and_a_client_that_hangs_up_makes_room() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    let seen = clinic.patient("Ada").await;
    let shown = replay(&clinic, &format!("{AT_ONCE}&wait_for={}", seen.position()), &[]).await;
    assert_eq!(shown.status, 200);
    // A minute between two entries makes a pause that outlasts the test.
    let apart = format!(
        "update audit.trail set recorded_at = recorded_at - interval '1 minute'
         where sequence = 1 and organization_id = '{}'",
        clinic.id
    );
    assert_eq!(sqlx::query(AssertSqlSafe(apart)).execute(&api.audit).await.unwrap().rows_affected(), 1);
    let begin = async || clinic.request(Method::GET, "/v1/trail/replay?speed=1").send().await.unwrap();
    let mut running = Vec::new();
    for _ in 0..8 {
        let replay = begin().await;
        assert_eq!(replay.status(), 200);
        running.push(replay);
    }
    let before = api.event_count().await;

    let ninth = replay(&clinic, AT_ONCE, &[]).await;

    assert_eq!((ninth.problem(), ninth.header("retry-after")), ((429, "too_many_waiting"), "5"));
    assert_eq!(api.event_count().await, before, "what is refused is not an export");
    let other = clinic.key_of("compliance").await;
    assert_eq!(clinic.get_as(&other, &format!("/v1/trail/replay?{AT_ONCE}")).await.status, 200);
    running.pop();
    until("there is room", async || (begin().await.status() == 200).then_some(())).await;
}
