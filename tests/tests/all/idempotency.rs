//! One wish, sent any number of times, is granted once.

use std::collections::HashSet;

use carelog_domain::OrganizationId;
use carelog_domain::appointment::{Appointment, AppointmentRejection};
use carelog_domain::closed::Sha256Digest;
use carelog_domain::file::{
    ContentType, File, FileCommand, FileDeletion, FileKind, FoundObject, RequestUpload, StorageEncryption,
};
use carelog_event_log::{Appended, ExecuteError, Executed, Expected, Scope, new_id};
use carelog_tests::{
    TestSystem, appended, at, book, check_invariants, confirm, keyed, run, scope, start_appointment,
};
use tokio::task::JoinSet;
use uuid::Uuid;

const FOUND: FileCommand = FileCommand::RecordStored(FoundObject {
    size_bytes: 4,
    content_sha256: Sha256Digest::new([3; 32]),
    content_type: Some(ContentType::Pdf),
    encryption: Some(StorageEncryption::Aes256),
});

/// A file that is stored, and is not changed by being found once more.
async fn stored_file(system: &TestSystem, organization_id: OrganizationId) -> Uuid {
    let file_id = new_id();
    let announced = FileCommand::RequestUpload(RequestUpload {
        patient_id: None,
        form_id: None,
        kind: FileKind::FormAttachment,
        content_type: ContentType::Pdf,
        size_bytes: 4,
        content_sha256: Sha256Digest::new([3; 32]),
        expires_at: at("2099-01-01T00:00:00Z"),
        name: None,
    });
    run::<File>(system.log(), &keyed(organization_id, "announce", "announce"), file_id, announced).await;
    run::<File>(system.log(), &scope(organization_id), file_id, FOUND).await;
    file_id
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_wish_again_gets_the_first_answer() {
    let system = TestSystem::new().await;
    let organization_id = system.organization_in(1).await;
    let stream_id = start_appointment(system.log(), organization_id).await;
    let scope = keyed(organization_id, "confirm-1", "confirm");

    let first = run::<Appointment>(system.log(), &scope, stream_id, confirm()).await;
    let again = system.log().execute::<Appointment>(&scope, stream_id, confirm()).await.unwrap();

    let Executed::Replayed(known) = again else { panic!("{again:?}") };
    assert_eq!((known.appended, known.stream_id), (first, stream_id));
    assert_eq!(system.count("select count(*) from log.events").await, 2);
    check_invariants(&system.owner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_wish_again_gets_the_first_answer_although_its_version_is_stale_by_now() {
    let system = TestSystem::new().await;
    let organization_id = system.organization_in(1).await;
    let stream_id = start_appointment(system.log(), organization_id).await;
    let scope = Scope { expected: Expected::Version(1), ..keyed(organization_id, "confirm-1", "confirm") };

    let first = run::<Appointment>(system.log(), &scope, stream_id, confirm()).await;
    let again = system.log().execute::<Appointment>(&scope, stream_id, confirm()).await;

    assert!(matches!(&again, Ok(Executed::Replayed(known)) if known.appended == first), "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_wish_under_a_used_key_is_refused() {
    let system = TestSystem::new().await;
    let organization_id = system.organization_in(1).await;
    let stream_id = new_id();
    run::<Appointment>(system.log(), &keyed(organization_id, "key", "book"), stream_id, book()).await;

    let other = keyed(organization_id, "key", "confirm");
    let accepted_wish = system.log().execute::<Appointment>(&other, stream_id, confirm()).await;
    let rejected_wish = system.log().execute::<Appointment>(&other, stream_id, book()).await;

    assert!(matches!(accepted_wish, Err(ExecuteError::KeyReused)), "{accepted_wish:?}");
    assert!(matches!(rejected_wish, Err(ExecuteError::KeyReused)), "{rejected_wish:?}");
    assert_eq!(system.count("select count(*) from log.events").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wish_that_changes_nothing_is_refused_under_the_key_of_another() {
    let system = TestSystem::new().await;
    let organization_id = system.organization_in(1).await;
    let file_id = stored_file(&system, organization_id).await;

    let other = keyed(organization_id, "announce", "store");
    let refused = system.log().execute::<File>(&other, file_id, FOUND).await;

    assert!(matches!(refused, Err(ExecuteError::KeyReused)), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wish_that_changed_nothing_gets_its_first_answer_again_whatever_came_after_it() {
    let system = TestSystem::new().await;
    let organization_id = system.organization_in(1).await;
    let file_id = stored_file(&system, organization_id).await;
    let keyed = |body| keyed(organization_id, "store", body);

    let first = system.log().execute::<File>(&keyed("store"), file_id, FOUND).await.unwrap();
    assert_eq!(first, Executed::Unchanged { version: 2 });
    let again = system.log().execute::<File>(&keyed("store"), file_id, FOUND).await.unwrap();
    let delete = FileCommand::Delete { reason: FileDeletion::Requested };
    run::<File>(system.log(), &scope(organization_id), file_id, delete).await;
    let later = system.log().execute::<File>(&keyed("store"), file_id, FOUND).await.unwrap();
    let other = system.log().execute::<File>(&keyed("another"), file_id, FOUND).await;

    let Executed::Replayed(known) = &again else { panic!("{again:?}") };
    let Appended { version, position, event_count } = known.appended;
    assert_eq!((known.stream_id, version, position.position, event_count), (file_id, 2, 2, 0));
    assert_eq!(later, again);
    assert!(matches!(other, Err(ExecuteError::KeyReused)), "{other:?}");
    assert_eq!(system.count("select count(*) from log.idempotency_keys").await, 2);
    check_invariants(&system.owner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_belongs_to_one_organization() {
    let system = TestSystem::new().await;
    let (one, other) = (system.organization_in(1).await, system.organization_in(1).await);

    run::<Appointment>(system.log(), &keyed(one, "key", "book"), new_id(), book()).await;
    run::<Appointment>(system.log(), &keyed(other, "key", "another"), new_id(), book()).await;

    check_invariants(&system.owner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_wish_does_not_use_its_key_up() {
    let system = TestSystem::new().await;
    let organization_id = system.organization_in(1).await;
    let (stream_id, keyed) = (new_id(), keyed(organization_id, "key", "confirm"));

    let refused = system.log().execute::<Appointment>(&keyed, stream_id, confirm()).await;
    run::<Appointment>(system.log(), &scope(organization_id), stream_id, book()).await;
    let granted = system.log().execute::<Appointment>(&keyed, stream_id, confirm()).await;

    assert!(matches!(refused, Err(ExecuteError::Rejected(AppointmentRejection::NotBooked))), "{refused:?}");
    appended(granted);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_from_many_tasks_and_processes_is_granted_once() {
    let system = TestSystem::new().await;
    let organization_id = system.organization_in(3).await;
    let nodes = [system.another_node().await, system.another_node().await];
    let logs = [system.log(), &nodes[0].log, &nodes[1].log];

    let mut callers = JoinSet::new();
    for caller in 0..30 {
        let log = logs[caller % logs.len()].clone();
        // A client that repeats itself makes another stream id each time.
        let scope = Scope { expected: Expected::New, ..keyed(organization_id, "the-key", "book") };
        callers.spawn(async move { log.execute::<Appointment>(&scope, new_id(), book()).await.unwrap() });
    }
    let executed = callers.join_all().await;

    let granted = executed.iter().filter(|executed| matches!(executed, Executed::Appended(_))).count();
    let answers: HashSet<_> = executed
        .into_iter()
        .map(|executed| match executed {
            Executed::Appended(appended) => appended.position,
            Executed::Replayed(known) => known.appended.position,
            Executed::Unchanged { .. } => panic!("a booking changes something"),
        })
        .collect();
    assert_eq!((granted, answers.len()), (1, 1));
    assert_eq!(system.count("select count(*) from log.events").await, 1);
    check_invariants(&system.owner).await;
}
