//! Processes and servers that die without a word.

use std::collections::HashSet;
use std::os::unix::fs::PermissionsExt;

use carelog_domain::OrganizationId;
use carelog_embedded::postgres::{Durability, Postgres, PostgresOptions, PostgresState};
use carelog_tests::{
    Children, Product, Random, TestSystem, check_invariants, start_appointment, until, work_as_child,
};
use rustix::process::{Pid, Signal, kill_process};
use uuid::Uuid;

/// A child's whole life; without a description of work in the environment it has nothing to do.
#[tokio::test(flavor = "multi_thread")]
async fn child() {
    work_as_child().await;
}

async fn appointments(system: &TestSystem, count: usize) -> (OrganizationId, Vec<Uuid>) {
    let organization_id = system.organization_in(1).await;
    let mut streams = Vec::new();
    for _ in 0..count {
        streams.push(start_appointment(system.log(), organization_id).await);
    }
    (organization_id, streams)
}

async fn acknowledged_beyond(children: &Children, count: usize) {
    until("the children append", async || (children.acknowledged().len() >= count).then_some(())).await;
}

/// What the dead had under way may still commit.
async fn their_sessions_ended(system: &TestSystem) {
    let own = format!("carelog-{}", std::process::id());
    until("the sessions of the dead end", async || {
        let statement = "select count(*) from pg_stat_activity
                         where datname = current_database() and application_name like 'carelog-%'
                             and application_name <> $1";
        let left: i64 = sqlx::query_scalar(statement).bind(&own).fetch_one(&system.owner).await.ok()?;
        (left == 0).then_some(())
    })
    .await;
}

async fn every_acknowledged_command_is_there_once(system: &TestSystem, children: &Children) {
    let acknowledged = children.acknowledged();
    let distinct: HashSet<_> = acknowledged.iter().collect();
    let ids: Vec<Uuid> = acknowledged.iter().map(|command| command.correlation_id).collect();
    let stored: i64 = sqlx::query_scalar("select count(*) from log.events where correlation_id = any($1)")
        .bind(&ids)
        .fetch_one(&system.owner)
        .await
        .unwrap();
    let all = system.count("select count(*) from log.events").await;
    let commands = system.count("select count(distinct correlation_id) from log.events").await;
    println!("{} acknowledged, {all} events", ids.len());
    assert_eq!(distinct.len(), ids.len(), "no command is acknowledged twice");
    assert_eq!(usize::try_from(stored).unwrap(), ids.len(), "each acknowledged command left one event");
    assert_eq!(all, commands, "no command left two");
    check_invariants(&system.owner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_processes_lose_nothing_that_was_acknowledged() {
    let mut random = Random::seeded(Random::seed(4));
    let system = TestSystem::new().await;
    let (organization_id, streams) = appointments(&system, 8).await;
    let mut children = Children::start(3, "crash::child", &system, organization_id, &streams);

    acknowledged_beyond(&children, 1).await;
    for _ in 0..6 {
        let more = usize::try_from(1 + random.below(80)).unwrap();
        acknowledged_beyond(&children, children.acknowledged().len() + more).await;
        children.kill_and_replace(usize::try_from(random.below(3)).unwrap());
    }
    children.kill_all();
    their_sessions_ended(&system).await;

    every_acknowledged_command_is_there_once(&system, &children).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_loses_nothing_that_was_acknowledged() {
    let permissions = std::fs::Permissions::from_mode(0o755);
    let home = tempfile::Builder::new().permissions(permissions).tempdir().unwrap();
    let options = PostgresOptions::new(home.path().join("postgres"))
        .durability(Durability::Durable)
        .setting("shared_buffers", "64MB");
    let postgres = Postgres::start(options).await.unwrap();
    let system = TestSystem::on_server(&postgres).await;
    let (organization_id, streams) = appointments(&system, 8).await;
    let mut children = Children::start(2, "crash::child", &system, organization_id, &streams);

    acknowledged_beyond(&children, 40).await;
    kill_postmaster(&postgres).await;
    acknowledged_beyond(&children, children.acknowledged().len() + 40).await;
    children.kill_all();
    their_sessions_ended(&system).await;

    every_acknowledged_command_is_there_once(&system, &children).await;
    postgres.stop().await;
}

async fn kill_postmaster(postgres: &Postgres) {
    let killed = postgres.postmaster_pid().unwrap();
    let pid = Pid::from_raw(i32::try_from(killed).unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    let mut states = postgres.watch().unwrap();
    let is_new = |state: &PostgresState| matches!(state, PostgresState::Ready { pid } if *pid != killed);
    states.wait_for(is_new).await.unwrap();
}

/// What holds a handle of the log beyond the order to stop keeps every process for seconds.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_nothing_to_do_ends_everything_when_it_stops() {
    let product = Product::start().await;
    product.clinic().await;
    product.settled().await;

    let has_ended = product.stop().await;

    assert!(has_ended);
}
