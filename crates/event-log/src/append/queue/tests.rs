use carelog_domain::{Actor, Circumstances, CorrelationId, OrganizationId, StreamKind};
use tokio::time::advance;
use uuid::Uuid;

use super::super::request::{Idempotency, Premise};
use super::*;
use crate::recorded::StreamKey;

fn command(stream: u128, can_wait: bool) -> AppendRequest {
    let organization_id = OrganizationId::new(Uuid::from_u128(1));
    AppendRequest {
        stream: StreamKey { organization_id, kind: StreamKind::Appointment, id: Uuid::from_u128(stream) },
        expected_version: 0,
        premise: None,
        circumstances: Circumstances::of(Actor::SYSTEM, CorrelationId::new(Uuid::from_u128(2))),
        network: None,
        idempotency: None,
        can_wait,
        events: Vec::new(),
    }
}

fn keyed(stream: u128, key: &str) -> AppendRequest {
    let idempotency = Some(Idempotency { key: key.to_owned(), fingerprint: [0; 32] });
    AppendRequest { idempotency, ..command(stream, false) }
}

/// A command that rests on another stream.
fn resting_on(other: u128, stream: u128) -> AppendRequest {
    let premise = Some(Premise { stream: command(other, false).stream, version: 0 });
    AppendRequest { premise, ..command(stream, false) }
}

async fn send(handle: &BatcherHandle, request: AppendRequest) {
    let (answer, _) = oneshot::channel();
    handle.queue.send(Waiting { request, answer }).await.unwrap();
}

fn streams(batch: &[Waiting]) -> Vec<u128> {
    batch.iter().map(|waiting| waiting.request.stream.id.as_u128()).collect()
}

async fn is_filled(queue: &mut Queue) -> bool {
    timeout_at(Instant::now(), queue.fill()).await.unwrap_or(false)
}

#[tokio::test(start_paused = true)]
async fn what_can_wait_waits_for_its_time_and_no_longer() {
    let (handle, mut queue) = queue();
    send(&handle, command(1, true)).await;
    let began = Instant::now();
    assert!(!is_filled(&mut queue).await);
    assert!(queue.fill().await);
    assert!(began.elapsed() >= PATIENCE);
    assert_eq!(streams(&queue.take_batch()), [1]);
}

#[tokio::test(start_paused = true)]
async fn what_somebody_waits_for_goes_at_once_and_takes_the_others_along() {
    let (handle, mut queue) = queue();
    send(&handle, command(1, false)).await;
    assert!(is_filled(&mut queue).await);
    assert_eq!(streams(&queue.take_batch()), [1]);

    send(&handle, command(2, true)).await;
    send(&handle, command(3, true)).await;
    assert!(!is_filled(&mut queue).await);
    send(&handle, command(4, false)).await;
    assert!(is_filled(&mut queue).await);
    assert_eq!(streams(&queue.take_batch()), [2, 3, 4]);
}

#[tokio::test(start_paused = true)]
async fn enough_for_a_batch_waits_no_longer() {
    let (handle, mut queue) = queue();
    for stream in 1..=WORTH_A_BATCH {
        assert!(!is_filled(&mut queue).await, "{stream}");
        send(&handle, command(stream as u128, true)).await;
    }
    assert!(is_filled(&mut queue).await);
    assert_eq!(queue.take_batch().len(), WORTH_A_BATCH);
}

#[tokio::test(start_paused = true)]
async fn the_end_is_not_waited_for_and_loses_nothing() {
    let (handle, mut queue) = queue();
    send(&handle, command(1, true)).await;
    drop(handle);
    assert!(is_filled(&mut queue).await);
    assert_eq!(streams(&queue.take_batch()), [1]);
    advance(PATIENCE).await;
    assert!(!queue.fill().await);
}

#[tokio::test]
async fn a_second_command_for_a_stream_or_a_key_comes_with_the_next_batch() {
    let (handle, mut queue) = queue();
    for request in [command(1, false), command(2, false), command(1, false), keyed(3, "a"), keyed(4, "a")] {
        send(&handle, request).await;
    }
    assert!(queue.fill().await);
    assert_eq!(streams(&queue.take_batch()), [1, 2, 3]);
    send(&handle, command(5, false)).await;
    assert!(queue.fill().await);
    assert_eq!(streams(&queue.take_batch()), [1, 4, 5]);
    assert!(queue.take_batch().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_rests_on_a_stream_and_what_is_appended_to_it_are_in_no_batch_together() {
    let (handle, mut queue) = queue();
    for request in
        [resting_on(2, 1), command(2, false), resting_on(3, 4), command(5, false), resting_on(5, 6)]
    {
        send(&handle, request).await;
    }

    assert!(is_filled(&mut queue).await);
    assert_eq!(streams(&queue.take_batch()), [1, 4, 5]);
    assert_eq!(streams(&queue.take_batch()), [2, 6]);
}
