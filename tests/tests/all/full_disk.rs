//! A disk that is full.

use std::num::NonZeroU16;
use std::path::Path;
use std::process::Command;

use carelog_embedded::postgres::TestServer;
use carelog_event_log::new_id;
use carelog_tests::{Product, ServerProcess, start_appointment, until};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tempfile::TempDir;

use crate::metrics::scrape;
use crate::webhooks::attempts;
use crate::worker_processes::{PROCESS, without_workers};

const DISK_FULL: &str = "53100";

/// A disk of a few mebibytes; gone with the value.
struct SmallDisk {
    place: TempDir,
}

impl SmallDisk {
    /// One that the account of the database may write to; nothing where this machine lets nobody mount one.
    fn mount(server: &TestServer) -> Option<Self> {
        let place = tempfile::Builder::new().prefix("carelog-disk-").tempdir().unwrap();
        let disk = Self { place };
        let account = server.postgres().home().join("postgres");
        let is_ready = run("mount", &["-t", "tmpfs", "-o", "size=16m,mode=0755", "tmpfs"], disk.path())
            && run("chown", &[&format!("--reference={}", account.display())], disk.path());
        is_ready.then_some(disk)
    }

    fn path(&self) -> &Path {
        self.place.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        run("umount", &["--lazy"], self.path());
    }
}

fn run(program: &str, arguments: &[&str], path: &Path) -> bool {
    Command::new(program).args(arguments).arg(path).output().is_ok_and(|output| output.status.success())
}

/// Moves the events onto the disk, and fills it. Gives the name of the tablespace.
async fn fill(product: &Product, disk: &Path) -> String {
    let name = format!("small_{}", new_id().simple());
    product.sql(&format!("create tablespace {name} location '{}'", disk.display())).await;
    let leaves = "select relid::regclass::text from pg_partition_tree('log.events') where isleaf";
    for leaf in product.texts(leaves).await {
        product.sql(&format!("alter table {leaf} set tablespace {name}")).await;
    }
    let ballast = "create table public.ballast (weight text) with (autovacuum_enabled = off) tablespace";
    product.sql(&format!("{ballast} {name}")).await;
    for rows in [10_000, 100, 1] {
        let more =
            format!("insert into public.ballast select repeat('x', 1900) from generate_series(1, {rows})");
        let refused = loop {
            let pool = &product.databases().core_owner;
            if let Err(error) = pool.execute(AssertSqlSafe(more.clone())).await {
                break error;
            }
        };
        let code = refused.as_database_error().and_then(|error| error.code().map(|code| code.to_string()));
        assert_eq!(code.as_deref(), Some(DISK_FULL), "{refused}");
    }
    name
}

/// How often the log did not take what a process gave to it.
async fn failures(worker: &ServerProcess) -> f64 {
    let (told, _) = scrape(worker.metrics).await;
    told.get("carelog_append_failures_total").copied().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn t34_on_a_full_disk_little_is_sent_and_every_request_is_an_attempt() {
    const WAITING: u64 = 60;
    /// Of the worker at a time, so that few are under way when the disk is found to be full.
    const AT_A_TIME: u16 = 4;
    let server = TestServer::shared().await.unwrap();
    let Some(disk) = SmallDisk::mount(server) else {
        println!("skipped: to mount a small disk takes a right that this account lacks");
        return;
    };
    let (product, organization_id, partner) = without_workers().await;
    for _ in 0..WAITING {
        start_appointment(product.log(), organization_id).await;
    }
    let waiting = "select count(*) from webhooks.webhook_events where state = 'pending'";
    until("all of them wait", async || {
        (product.count(waiting).await == i64::try_from(WAITING).unwrap()).then_some(())
    })
    .await;
    let tablespace = fill(&product, disk.path()).await;

    let worker = product.process(PROCESS, "workers", NonZeroU16::new(AT_A_TIME).unwrap(), &[]).await;
    for refused in [1.0, 2.0, 3.0] {
        until("the log refuses outcomes", async || (failures(&worker).await >= refused).then_some(())).await;
        product.leases_end(worker.owner).await;
    }
    let recorded = "select count(*) from log.events where event_type = 'webhook_delivery.attempted'";
    let recorded = u64::try_from(product.count(recorded).await).unwrap();
    let unrecorded = partner.hook.counts().received - recorded;
    println!("{recorded} recorded before the disk was full, {unrecorded} requests that were not");
    assert!(
        unrecorded <= u64::from(2 * AT_A_TIME),
        "{unrecorded} requests whose outcome nobody could record"
    );

    product.sql("drop table public.ballast").await;
    product.leases_end(worker.owner).await;
    until("every delivery arrives", async || {
        product.pull_retries().await;
        let open = "select count(*) from webhooks.webhook_events where state <> 'delivered'";
        (product.count(open).await == 0).then_some(())
    })
    .await;
    product.settled().await;
    let told = attempts(&product, &partner).await;
    let unknown = told.iter().filter(|attempt| attempt.ends_with("unknown")).count() as u64;
    let (received, all) = (partner.hook.counts().received, told.len() as u64);
    assert!(
        (all - unknown..=all).contains(&received),
        "{received} requests, {all} attempts, {unknown} of them unknown"
    );
    assert!(worker.end().await.success());
    product.is_sound().await;
    product.stop().await;
    let mut connection = PgConnection::connect_with(&server.connect_options("postgres")).await.unwrap();
    connection.execute(AssertSqlSafe(format!("drop tablespace {tablespace}"))).await.unwrap();
}
