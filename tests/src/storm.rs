//! Everything at once, and everything killed: the log, its projections and the partners agree afterwards.

mod child;
mod cluster;
mod judge;
mod watch;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use carelog_domain::{OrganizationId, SubscriptionId};
use carelog_embedded::receiver::{Behaviour, Receiver, ReceiverOptions};
use carelog_event_log::runtime::RebuildScope;
use carelog_event_log::{SystemClock, new_id};
use carelog_server::config::Config;
use carelog_server::databases::{DatabaseOptions, Databases};
use carelog_server::serve::{Roles, Server};
use carelog_server::system::System;
use sqlx::{AssertSqlSafe, Executor, PgPool};
use tempfile::TempDir;
use uuid::Uuid;

pub use self::child::as_child;

use self::child::{Children, Work};
use self::cluster::Cluster;
use self::watch::{Moment, Watch};
use crate::journal::Journal;
use crate::{
    LOOK_FOR_DUE_EFFECTS, Random, check_invariants, contents, is_settled, is_sound, new_secret,
    product_config, rebuild_all, receiver_options, subscribe, until,
};

const ORGANIZATIONS: usize = 3;
/// Acknowledgements of a round: some before the kill, at random.
const MOST_ACKNOWLEDGEMENTS: u64 = 40;
/// One round in so many kills the database too.
const DATABASE_DIES_IN: u64 = 4;
/// One round in so many lets every lease end.
const ALL_LEASES_END_IN: u64 = 5;
const PREFIX: &str = "storm";

/// What outlives every kill: the supervisor of the database, and the partners' receiver.
struct Weather {
    home: TempDir,
    began: Instant,
    cluster: Cluster,
    receiver: Receiver,
    config: Config,
    databases: Databases,
    organizations: Vec<OrganizationId>,
    random: Random,
    watch: Watch,
}

/// Lets processes work and die for so many rounds; then nothing may be lost, there twice or invented.
///
/// `child_arguments` are what this program takes to call [`as_child`].
///
/// # Panics
/// When something is lost, there twice or invented.
pub async fn storm(rounds: u64, child_arguments: &'static [&'static str]) {
    let home = home();
    let cluster = Cluster::alone(home.path()).await;
    let mut weather = Weather::rise(home, cluster).await;
    let mut children = Children::start(weather.work(), child_arguments);
    for round in 1..=rounds {
        weather.blow(round, &mut children).await;
    }
    weather.end(children).await;
    println!("{rounds} rounds");
}

/// The same on a primary that dies for good in the middle, when its synchronous standby takes over.
///
/// # Panics
/// When something is lost, there twice or invented.
pub async fn storm_with_failover(child_arguments: &'static [&'static str]) {
    let home = home();
    let cluster = Cluster::with_standby(home.path()).await;
    let mut weather = Weather::rise(home, cluster).await;
    let mut children = Children::start(weather.work(), child_arguments);
    weather.blow(1, &mut children).await;
    weather.cluster.fail_over().await;
    for round in 2..DATABASE_DIES_IN {
        weather.blow(round, &mut children).await;
    }
    weather.end(children).await;
}

/// Passable for the account that runs the database where the tests run as root.
fn home() -> TempDir {
    tempfile::Builder::new().permissions(Permissions::from_mode(0o755)).tempdir().unwrap()
}

impl Weather {
    async fn rise(home: TempDir, cluster: Cluster) -> Self {
        let random = Random::seeded(Random::seed(new_id().as_u64_pair().1));
        let began = Instant::now();
        let mut options: ReceiverOptions = receiver_options();
        options.record_to = Some(home.path().join("received"));
        let receiver = Receiver::start(options).await.unwrap();
        let config = product_config(home.path(), receiver.ca_pem(), true);
        let options = DatabaseOptions::on_server(&cluster.connect_options("postgres"), PREFIX);
        let system = System::open(&options, &config.root_key(), Arc::new(SystemClock)).await.unwrap();
        let organizations = subscribe_partners(&system, &receiver).await;
        let databases = system.databases.clone();
        system.stop().await;
        Self {
            home,
            began,
            cluster,
            receiver,
            config,
            databases,
            organizations,
            random,
            watch: Watch::default(),
        }
    }

    fn work(&self) -> Work {
        Work {
            server_url: self.cluster.url("postgres"),
            prefix: PREFIX.to_owned(),
            home: self.home.path().to_owned(),
            ca_pem: self.receiver.ca_pem().to_owned(),
            acknowledged: Journal::create(&self.home.path().join("acknowledged")),
            organizations: self.organizations.iter().map(|id| id.uuid()).collect(),
            seed: 0,
            parent: std::process::id(),
        }
    }

    /// One round: work, a death, and work that goes on without the dead. A round begins only when commands were
    /// acknowledged and webhooks accepted since the last death, so that each death falls into both.
    async fn blow(&mut self, round: u64, children: &mut Children) {
        self.watch.look(round, Moment::Start, &children.pids(), &self.databases.core_owner).await;
        let wanted = children.acknowledged().len() as u64 + 1 + self.random.below(MOST_ACKNOWLEDGEMENTS);
        let accepted = self.receiver.counts().accepted;
        until("the children append and deliver", async || {
            let is_at_work =
                children.acknowledged().len() as u64 >= wanted && self.receiver.counts().accepted > accepted;
            is_at_work.then_some(())
        })
        .await;
        self.watch.look(round, Moment::End, &children.pids(), &self.databases.core_owner).await;
        let database_dies = round.is_multiple_of(DATABASE_DIES_IN);
        let index = usize::try_from(self.random.next() >> 1).unwrap();
        let dies_first = self.random.below(2) == 0;
        if database_dies && dies_first {
            self.cluster.kill().await;
        }
        let dead = children.kill_and_replace(index, self.random.next());
        if database_dies && !dies_first {
            self.cluster.kill().await;
        }
        if let Some(dead) = dead {
            self.leases_end(dead).await;
        }
        if round.is_multiple_of(ALL_LEASES_END_IN) {
            self.all_leases_end().await;
        }
        let counts = self.receiver.counts();
        println!(
            "round {round} at {:.1} s: {} acknowledged, {} received, {} accepted, {} duplicates{}",
            self.began.elapsed().as_secs_f64(),
            children.acknowledged().len(),
            counts.received,
            counts.accepted,
            counts.duplicates,
            if database_dies { ", the database died too" } else { "" }
        );
    }

    /// Half a minute passes for the leases of the dead.
    async fn leases_end(&self, dead: Uuid) {
        let pool = &self.databases.core_owner;
        self.sql(pool, &format!("update runtime.effects set next_at = now() where owner = '{dead}'")).await;
        self.sql(pool, LOOK_FOR_DUE_EFFECTS).await;
        for pool in [pool, &self.databases.audit_owner, &self.databases.analytics_owner] {
            let statement =
                format!("update runtime.checkpoints set leased_until = now() where owner = '{dead}'");
            self.sql(pool, &statement).await;
        }
    }

    /// Half a minute passes for every lease, also for those whose holders are at work: they must bear it.
    async fn all_leases_end(&self) {
        let pool = &self.databases.core_owner;
        self.sql(pool, "update runtime.effects set next_at = now() where next_at is not null").await;
        self.sql(pool, LOOK_FOR_DUE_EFFECTS).await;
        for pool in [pool, &self.databases.audit_owner, &self.databases.analytics_owner] {
            self.sql(pool, "update runtime.checkpoints set leased_until = now()").await;
        }
    }

    /// Runs statements as the owner; again where the connection did not survive the last death.
    async fn sql(&self, pool: &PgPool, statement: &str) {
        until("the database takes statements", async || {
            pool.execute(AssertSqlSafe(statement.to_owned())).await.ok()
        })
        .await;
    }

    async fn start(&self) -> Server {
        let options = DatabaseOptions::on_server(&self.cluster.connect_options("postgres"), PREFIX);
        let system =
            System::open_migrated(&options, &self.config.root_key(), Arc::new(SystemClock)).await.unwrap();
        Server::start(&self.config, system, Roles::ALL).await.unwrap()
    }

    /// Everybody is killed, what is left is done, and everything is looked at.
    async fn end(self, mut children: Children) {
        children.kill_all();
        println!("calm at {:?}", self.began.elapsed());
        self.watch.report();
        self.calm_down().await;
        println!("quiet at {:?}", self.began.elapsed());
        self.look_around(&children).await;
        println!("sound at {:?}", self.began.elapsed());
        self.cluster.stop().await;
    }

    /// One process, receivers that behave, and retries at once, until nothing is left to do.
    async fn calm_down(&self) {
        for name in hooks() {
            self.receiver.hook(&name).set_behaviour(Behaviour::Ok);
        }
        self.sessions_of_the_dead_end().await;
        self.all_leases_end().await;
        let server = self.start().await;
        let pool = &self.databases.core_owner;
        until("everything is sent and projected", async || {
            let retries =
                "update runtime.effects set next_at = now() where next_at > now() and owner is null";
            self.sql(pool, retries).await;
            self.sql(pool, LOOK_FOR_DUE_EFFECTS).await;
            let left: Result<i64, _> =
                sqlx::query_scalar("select count(*) from runtime.effects where next_at is not null")
                    .fetch_one(pool)
                    .await;
            (is_settled(&self.databases).await && left.is_ok_and(|left| left == 0)).then_some(())
        })
        .await;
        server.stop().await;
    }

    /// What the dead had under way may still commit.
    async fn sessions_of_the_dead_end(&self) {
        until("the sessions of the dead end", async || {
            let active = "select count(*) from pg_stat_activity
                          where application_name = 'carelog' and state <> 'idle' and pid <> pg_backend_pid()";
            let left: i64 = sqlx::query_scalar(active).fetch_one(&self.databases.core_owner).await.ok()?;
            (left == 0).then_some(())
        })
        .await;
    }

    async fn look_around(&self, children: &Children) {
        // With fresh connections: the old ones may not have survived.
        let options = DatabaseOptions::on_server(&self.cluster.connect_options("postgres"), PREFIX);
        let system =
            System::open_migrated(&options, &self.config.root_key(), Arc::new(SystemClock)).await.unwrap();
        let pool = &system.databases.core_owner;
        check_invariants(pool).await;
        judge::acknowledged(pool, &children.acknowledged()).await;
        judge::deliveries(pool).await;
        judge::received(pool, &self.home.path().join("received")).await;
        judge::trail(&system.databases).await;
        assert_eq!(self.receiver.counts().refused_signatures, 0);
        is_sound(&system.databases).await;
        let live = contents(&system.databases).await;
        rebuild_all(&system, RebuildScope::Everything).await;
        assert_eq!(contents(&system.databases).await, live, "rebuilt projections equal live ones");
        system.stop().await;
    }
}

fn hooks() -> Vec<String> {
    let kinds = ["good", "flaky", "slow", "cut"];
    (0..ORGANIZATIONS).flat_map(|number| kinds.map(|kind| format!("{kind}-{number}"))).collect()
}

/// Four partners of each clinic: one that behaves, one that fails now and then, a slow one, and one that breaks off.
async fn subscribe_partners(system: &System, receiver: &Receiver) -> Vec<OrganizationId> {
    let organizations: Vec<_> = (0..ORGANIZATIONS).map(|_| OrganizationId::new(new_id())).collect();
    for name in hooks() {
        let (kind, number) = name.split_once('-').unwrap();
        let (hook, secret) = (receiver.hook(&name), new_secret());
        hook.set_secrets(&[&secret]).unwrap();
        let (behaviour, filter) = match kind {
            "good" => (Behaviour::Ok, "*"),
            "flaky" => (Behaviour::FailEvery { every: 4, status: 503 }, "*"),
            "slow" => (Behaviour::Delay(Duration::from_millis(120)), "appointment.booked"),
            _ => (Behaviour::Reset, "appointment.confirmed"),
        };
        hook.set_behaviour(behaviour);
        let organization_id = organizations[number.parse::<usize>().unwrap()];
        let id = SubscriptionId::new(new_id());
        subscribe(&system.log, organization_id, id, &[filter], receiver.url(&name), secret).await;
    }
    organizations
}
