//! The vault with its own database.

use std::collections::HashSet;
use std::sync::Arc;

use carelog_domain::patient::{Patient, PatientCommand};
use carelog_domain::{DataClass, KeyScope, OrganizationId, PatientId, StreamKind};
use carelog_event_log::{
    ExecuteError, RecordedEvent, SealError, SealedPlace, StreamKey, SystemClock, new_id,
};
use carelog_server::databases::DatabaseOptions;
use carelog_server::system::System;
use carelog_tests::{Product, TestSystem, check_invariants, details, register, run, scope};
use carelog_vault::{KeyState, Vault};
use sqlx::{AssertSqlSafe, Connection, Executor};
use tokio::task::JoinSet;

fn identity(organization_id: OrganizationId, subject: PatientId) -> KeyScope {
    KeyScope { organization_id, subject: Some(subject), class: DataClass::Identity }
}

async fn registered(
    system: &TestSystem,
    organization_id: OrganizationId,
    patient: PatientId,
) -> RecordedEvent {
    run::<Patient>(system.log(), &scope(organization_id), patient.uuid(), register("Zoe")).await;
    let stream = StreamKey { organization_id, kind: StreamKind::Patient, id: patient.uuid() };
    system.log().stream(&stream, 0).await.unwrap().remove(0)
}

async fn open(vault: &Vault, event: &RecordedEvent) -> Option<Vec<u8>> {
    let sealed = &event.personal.as_ref().unwrap().sealed;
    SealedPlace::of(event).open(vault, sealed).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scope_has_one_key_however_many_ask_for_it_first() {
    let system = TestSystem::new().await;
    let nodes = [system.another_node().await, system.another_node().await];
    let organization_id = OrganizationId::new(new_id());
    let patients: Vec<PatientId> = (0..4).map(|_| PatientId::new(new_id())).collect();

    let mut askers = JoinSet::new();
    for asker in 0..24 {
        let log = [system.log(), &nodes[0].log, &nodes[1].log][asker % 3].clone();
        let mut scopes: Vec<_> = patients.iter().map(|id| identity(organization_id, *id)).collect();
        scopes.rotate_left(asker % 4);
        askers.spawn(async move {
            let states = log.vault().data_keys(&scopes).await.unwrap();
            states
                .iter()
                .map(|state| (*state.live().unwrap().scope(), state.live().unwrap().id()))
                .collect::<Vec<_>>()
        });
    }
    let keys: HashSet<_> = askers.join_all().await.into_iter().flatten().collect();

    assert_eq!(keys.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shredded_patient_opens_as_nothing_everywhere_and_the_log_still_holds() {
    let system = TestSystem::new().await;
    let organization_id = system.organization_in(1).await;
    let (zoe, max) = (PatientId::new(new_id()), PatientId::new(new_id()));
    let of_zoe = registered(&system, organization_id, zoe).await;
    let of_max = registered(&system, organization_id, max).await;
    assert!(open(system.log().vault(), &of_zoe).await.is_some());

    let destroyed = system.log().vault().shred(organization_id, zoe).await.unwrap();
    let again = system.log().vault().shred(organization_id, zoe).await.unwrap();

    let part = of_zoe.personal.clone().unwrap();
    assert_eq!(destroyed, [(part.sealed.key_id, part.key_commit)]);
    assert_eq!(again, destroyed);
    let other = system.another_node().await;
    for vault in [system.log().vault(), other.log.vault()] {
        assert_eq!(open(vault, &of_zoe).await, None);
        assert!(open(vault, &of_max).await.is_some());
        let state = vault.data_key(&identity(organization_id, zoe)).await.unwrap();
        assert!(matches!(state, KeyState::Destroyed));
    }
    check_invariants(&system.owner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_personal_is_written_about_a_shredded_patient_but_the_rest_is() {
    let system = TestSystem::new().await;
    let organization_id = system.organization_in(1).await;
    let zoe = PatientId::new(new_id());
    registered(&system, organization_id, zoe).await;
    system.log().vault().shred(organization_id, zoe).await.unwrap();
    let scope = scope(organization_id);

    let change = PatientCommand::ChangeDetails { details: details("Zoe again") };
    let refused = system.log().execute::<Patient>(&scope, zoe.uuid(), change).await;
    let onboarded = run::<Patient>(system.log(), &scope, zoe.uuid(), PatientCommand::Onboard).await;

    assert!(matches!(refused, Err(ExecuteError::Seal(SealError::SubjectErased))), "{refused:?}");
    assert_eq!(onboarded.version, 2);
    check_invariants(&system.owner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shredding_while_others_ask_for_keys_leaves_none_alive() {
    let system = TestSystem::new().await;
    let nodes = [system.another_node().await, system.another_node().await];
    let organization_id = OrganizationId::new(new_id());
    let patients: Vec<PatientId> = (0..12).map(|_| PatientId::new(new_id())).collect();

    let mut tasks = JoinSet::new();
    for patient in patients.clone() {
        for (node, class) in [(0, DataClass::Identity), (1, DataClass::Clinical), (0, DataClass::Clinical)] {
            let log = nodes[node].log.clone();
            let scope = KeyScope { class, ..identity(organization_id, patient) };
            tasks.spawn(async move { drop(log.vault().data_key(&scope).await.unwrap()) });
        }
        let log = system.log().clone();
        tasks.spawn(async move { drop(log.vault().shred(organization_id, patient).await.unwrap()) });
    }
    tasks.join_all().await;

    let fresh = system.another_node().await;
    for patient in patients {
        for class in [DataClass::Identity, DataClass::Clinical] {
            let scope = KeyScope { class, ..identity(organization_id, patient) };
            let state = fresh.log.vault().data_key(&scope).await.unwrap();
            assert!(matches!(state, KeyState::Destroyed), "{scope:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_never_deleted_and_a_destroyed_one_never_comes_back() {
    let system = TestSystem::new().await;
    let organization_id = system.organization_in(1).await;
    let zoe = PatientId::new(new_id());
    registered(&system, organization_id, zoe).await;
    system.log().vault().shred(organization_id, zoe).await.unwrap();
    let mut connection = system.vault_owner.acquire().await.unwrap();
    let wishes = [
        "delete from vault.data_keys",
        "truncate vault.data_keys",
        "delete from vault.organization_keys",
        "truncate vault.organization_keys cascade",
        "update vault.data_keys set destroyed_at = null, wrapped = decode(repeat('00', 61), 'hex')
         where destroyed_at is not null",
        "update vault.data_keys set subject_id = gen_random_uuid()",
        "update vault.organization_keys set organization_id = gen_random_uuid()",
    ];

    for role in ["postgres", "carelog_vault"] {
        for wish in wishes {
            let mut tx = connection.begin().await.unwrap();
            tx.execute(AssertSqlSafe(format!("set local role {role}"))).await.unwrap();
            let refused = tx.execute(wish).await.unwrap_err();
            tx.rollback().await.unwrap();
            let code = refused.as_database_error().unwrap().code().unwrap().into_owned();
            assert!(["23001", "42501"].contains(&code.as_str()), "{role}: {wish}: {code}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_root_key_is_not_replaced_by_a_new_one() {
    let product = Product::start().await;
    product.clinic().await;
    let databases = product.databases();
    let options = |pool: &sqlx::PgPool| (*pool.connect_options()).clone();
    let databases = DatabaseOptions {
        core: options(&databases.core_owner),
        audit: options(&databases.audit_owner),
        analytics: options(&databases.analytics_owner),
        vault: options(&databases.vault),
    };
    let home = tempfile::tempdir().unwrap();
    let root_key = home.path().join("root.key");

    let refused = System::open_migrated(&databases, &root_key, Arc::new(SystemClock)).await.unwrap_err();

    assert!(refused.to_string().contains("is missing"), "{refused}");
    assert!(!root_key.exists());
    product.stop().await;
}
