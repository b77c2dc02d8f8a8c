//! The whole product in this process: databases of its own, every role, and a partner's receiver.

use std::collections::BTreeMap;
use std::num::{NonZeroU16, NonZeroU32};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use carelog_analytics::Analytics;
use carelog_domain::webhook_subscription::{
    CreateSubscription, EventFilter, SubscriptionSecrets, WebhookFormat, WebhookSubscription,
    WebhookSubscriptionCommand,
};
use carelog_domain::{OrganizationId, SubscriptionId};
use carelog_embedded::daily::FakeDaily;
use carelog_embedded::postgres::TestServer;
use carelog_embedded::receiver::{Hook, Receiver, ReceiverOptions};
use carelog_event_log::runtime::{Projector, RebuildScope, rebuild};
use carelog_event_log::{Clock, EventLog, SystemClock, new_id};
use carelog_server::config::Config;
use carelog_server::databases::{DatabaseOptions, Databases};
use carelog_server::doctor::{Leaves, examine};
use carelog_server::serve::{Roles, Server};
use carelog_server::storages::Storages;
use carelog_server::system::System;
use carelog_video::VideoProjector;
use carelog_webhooks::WebhooksProjector;
use carelog_webhooks::sending::WebhookSecret;
use futures::future::LocalBoxFuture;
use sha2::{Digest, Sha256};
use sqlx::{AssertSqlSafe, Executor, PgPool};
use tempfile::TempDir;
use tokio::sync::{OnceCell, watch};
use uuid::Uuid;

use crate::process::{ProcessWork, ServerProcess};
use crate::remains::Remains;
use crate::wait::until;
use crate::wishes;

const TEMPLATE: &str = "product_template";
const SUFFIXES: [&str; 4] = ["core", "audit", "analytics", "vault"];

static MIGRATED: OnceCell<()> = OnceCell::const_new();
static COUNT: AtomicU32 = AtomicU32::new(0);

/// A running Carelog and a receiver that it trusts.
pub struct Product {
    /// The running product.
    pub server: Server,
    /// Where partners' webhooks arrive.
    pub receiver: Receiver,
    /// Where rooms are asked for.
    pub daily: FakeDaily,
    /// As the product was started.
    pub config: Config,
    prefix: String,
    _home: TempDir,
}

/// A partner's subscription, and the hook at the receiver that it leads to.
#[derive(Clone)]
pub struct Partner {
    /// Of whose events it hears.
    pub organization_id: OrganizationId,
    /// The subscription.
    pub subscription_id: SubscriptionId,
    /// The path at the receiver.
    pub hook: Arc<Hook>,
    /// The first secret.
    pub secret: String,
}

impl Product {
    /// Starts everything; subscriptions may lead to the receiver on this machine.
    pub async fn start() -> Self {
        Self::start_with(true).await
    }

    /// Starts everything, with or without leave to send to this machine.
    pub async fn start_with(allow_loopback: bool) -> Self {
        Self::start_as(Roles::ALL, allow_loopback, Arc::new(SystemClock)).await
    }

    /// Starts some roles, by a clock of the test's choice. For the others there are processes of their own.
    pub fn start_as(
        roles: Roles,
        allow_loopback: bool,
        clock: Arc<dyn Clock>,
    ) -> LocalBoxFuture<'static, Self> {
        Box::pin(Self::start_product(roles, allow_loopback, clock, |_| ()))
    }

    /// Starts everything, by a clock of the test's choice and with another configuration.
    pub fn start_adjusted(
        clock: Arc<dyn Clock>,
        adjust: impl FnOnce(&mut Config) + 'static,
    ) -> LocalBoxFuture<'static, Self> {
        Box::pin(Self::start_product(Roles::ALL, true, clock, adjust))
    }

    async fn start_product(
        roles: Roles,
        allow_loopback: bool,
        clock: Arc<dyn Clock>,
        adjust: impl FnOnce(&mut Config),
    ) -> Self {
        let server = TestServer::shared().await.expect("the tests have a PostgreSQL server");
        let postgres = server.connect_options("postgres");
        let template = DatabaseOptions::on_server(&postgres, TEMPLATE);
        MIGRATED.get_or_init(async || Box::pin(template.migrate()).await.expect("the migrations hold")).await;
        let prefix = format!("product{}", COUNT.fetch_add(1, Ordering::Relaxed));
        for suffix in SUFFIXES {
            let (name, template) = (format!("{prefix}_{suffix}"), format!("{TEMPLATE}_{suffix}"));
            server.copy_database(&name, &template).await.expect("a database can be copied");
        }
        let home = TempDir::new().expect("a temporary directory can be made");
        let receiver = Receiver::start(receiver_options()).await.expect("a port is free");
        let told = Arc::clone(&clock);
        let daily =
            FakeDaily::start(Arc::new(move || told.now().unix_micros())).await.expect("a port is free");
        let mut config = product_config(home.path(), receiver.ca_pem(), allow_loopback);
        config.video.daily_url = daily.url();
        config.video.hooks_url = Some("https://carelog.example/".to_owned());
        adjust(&mut config);
        let options = DatabaseOptions::on_server(&postgres, &prefix);
        let system = System::open_migrated(&options, &config.root_key(), clock).await.expect("the log opens");
        let server = Server::start(&config, system, roles).await.expect("the product starts");
        Self { server, receiver, daily, config, prefix, _home: home }
    }

    /// Starts a process of its own beside this one, which runs `test` to serve. `in_flight` bounds its requests.
    pub async fn process(
        &self,
        test: &str,
        roles: &str,
        in_flight: NonZeroU16,
        environment: &[(&str, &str)],
    ) -> ServerProcess {
        let server = TestServer::shared().await.expect("the tests have a PostgreSQL server");
        let work = ProcessWork {
            server_url: server.postgres().url("postgres"),
            prefix: self.prefix.clone(),
            home: self.config.home.clone(),
            ca_pem: self.receiver.ca_pem().to_owned(),
            roles: roles.to_owned(),
            daily_url: self.config.video.daily_url.clone(),
            storage: self.server.system().storages.get().and_then(Storages::own_address),
            in_flight,
            parent: std::process::id(),
        };
        ServerProcess::start(&work, test, environment).await
    }

    /// Half a minute passes for what `owner` holds.
    pub async fn leases_end(&self, owner: Uuid) {
        self.sql(&format!("update runtime.effects set next_at = now() where owner = '{owner}'")).await;
        self.sql(&format!("update runtime.checkpoints set leased_until = now() where owner = '{owner}'"))
            .await;
        self.look_for_due_effects().await;
    }

    /// The log.
    pub const fn log(&self) -> &EventLog {
        &self.server.system().log
    }

    /// Connections for each database and role.
    pub const fn databases(&self) -> &Databases {
        &self.server.system().databases
    }

    /// Registers a clinic by HTTP; gives its id and its administrator's key.
    pub async fn clinic(&self) -> (OrganizationId, String) {
        let operator = std::fs::read_to_string(self.config.operator_key()).expect("it is made at the start");
        let client = reqwest::Client::builder().no_proxy().build().expect("a client can be built");
        let post = async |path: String, body: serde_json::Value| -> serde_json::Value {
            let address = self.server.address.expect("the API listens");
            let request = client.post(format!("http://{address}{path}")).bearer_auth(operator.trim());
            let answer = request.json(&body).send().await.expect("the API answers");
            answer.json().await.expect("the answer is JSON")
        };
        let profile = serde_json::json!({ "profile": { "name": "Klinik", "time_zone": "Europe/Berlin" } });
        let registered = post("/v1/organizations".to_owned(), profile).await;
        let id = registered.get("id").and_then(|id| id.as_str()).expect("the clinic has an id");
        let issued = post(format!("/v1/organizations/{id}/api-keys"), serde_json::json!({})).await;
        let key = issued.get("api_key").and_then(|key| key.as_str()).expect("the key is told once");
        (OrganizationId::new(id.parse().expect("ids are UUIDs")), key.to_owned())
    }

    /// Subscribes a hook of the receiver.
    pub async fn subscribe(&self, organization_id: OrganizationId, filter: &[&str]) -> Partner {
        let subscription_id = SubscriptionId::new(new_id());
        let name = subscription_id.to_string();
        let hook = self.receiver.hook(&name);
        let secret = new_secret();
        hook.set_secrets(&[&secret]).expect("the secret is well formed");
        let url = self.receiver.url(&name);
        subscribe(self.log(), organization_id, subscription_id, filter, url, secret.clone()).await;
        Partner { organization_id, subscription_id, hook, secret }
    }

    /// Lets a hook of the receiver accept what a secret signs.
    pub fn hook_accepts(&self, name: &str, secret: &str) {
        self.receiver.hook(name).set_secrets(&[secret]).expect("the secret is well formed");
    }

    /// Calls the API with a key; gives the status and the body.
    pub async fn call(
        &self,
        key: &str,
        method: reqwest::Method,
        path: &str,
        body: Option<&serde_json::Value>,
    ) -> (u16, serde_json::Value) {
        let client = reqwest::Client::builder().no_proxy().build().expect("a client can be built");
        let address = self.server.address.expect("the API listens");
        let mut request = client.request(method, format!("http://{address}{path}")).bearer_auth(key);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.expect("the API answers");
        (answer.status().as_u16(), answer.json().await.unwrap_or_default())
    }

    /// Runs a command on a partner's subscription.
    pub async fn tell(&self, partner: &Partner, command: WebhookSubscriptionCommand) {
        let scope = wishes::scope(partner.organization_id);
        let id = partner.subscription_id.uuid();
        wishes::run::<WebhookSubscription>(self.log(), &scope, id, command).await;
    }

    /// A number that a statement gives, as the owner of the tables.
    pub async fn count(&self, statement: &str) -> i64 {
        let statement = AssertSqlSafe(statement.to_owned());
        sqlx::query_scalar(statement)
            .fetch_one(&self.databases().core_owner)
            .await
            .expect("the statement counts")
    }

    /// Texts that a statement gives, as the owner of the tables.
    pub async fn texts(&self, statement: &str) -> Vec<String> {
        let statement = AssertSqlSafe(statement.to_owned());
        sqlx::query_scalar(statement)
            .fetch_all(&self.databases().core_owner)
            .await
            .expect("the statement tells")
    }

    /// Runs statements as the owner of the tables.
    pub async fn sql(&self, statements: &str) {
        self.databases()
            .core_owner
            .execute(sqlx::raw_sql(AssertSqlSafe(statements.to_owned())))
            .await
            .expect("the test's statements hold");
    }

    /// Lets everything that waits for a retry be due now.
    pub async fn pull_retries(&self) {
        self.sql("update runtime.effects set next_at = now() where next_at > now() and owner is null").await;
        self.look_for_due_effects().await;
    }

    /// Lets every queue be looked at now, whatever held it back.
    pub async fn look_for_due_effects(&self) {
        self.sql(LOOK_FOR_DUE_EFFECTS).await;
    }

    /// Waits until everything that is due was sent, however its receiver does, every projector has seen everything,
    /// and no document is lacking.
    pub async fn settled(&self) {
        let databases = self.databases();
        until("everything is sent, projected and documented", async || {
            self.sql(LIFT_HOLDS).await;
            (is_documented(&databases.core_owner).await && is_settled(databases).await).then_some(())
        })
        .await;
    }

    /// The rows of every projection.
    pub async fn contents(&self) -> Contents {
        contents(self.databases()).await
    }

    /// Rebuilds every projection.
    pub async fn rebuild(&self, scope: RebuildScope) {
        rebuild_all(self.server.system(), scope).await;
    }

    /// Lets `carelog doctor` look at everything.
    ///
    /// # Panics
    /// With the damage that it found.
    pub async fn is_sound(&self) {
        is_sound(self.databases()).await;
    }

    /// Stops everything and leaves the databases to the test.
    pub async fn leave(self) -> Remains {
        self.server.stop().await;
        self.receiver.stop().await;
        Remains::keep(self.prefix).await
    }

    /// Stops everything and gives the databases back. Says whether whatever was under way ended.
    pub async fn stop(self) -> bool {
        let has_ended = self.server.stop().await;
        self.receiver.stop().await;
        let server = TestServer::shared().await.expect("it is there");
        for suffix in SUFFIXES {
            let name = format!("{}_{suffix}", self.prefix);
            server.drop_database(&name).await.expect("a database can be dropped");
        }
        has_ended
    }
}

/// Each row of each table of the projections as a text, in order.
pub type Contents = BTreeMap<String, Vec<String>>;

/// The configuration of a product in `home` that trusts a receiver.
pub fn product_config(home: &Path, ca_pem: &str, allow_loopback: bool) -> Config {
    let pem = home.join("receiver.pem");
    std::fs::write(&pem, ca_pem).expect("the certificate can be kept");
    let mut config = Config { home: home.to_path_buf(), ..Config::default() };
    config.http.listen = ([127, 0, 0, 1], 0).into();
    config.webhooks.allow_loopback = allow_loopback;
    config.webhooks.per_tick_limit = NonZeroU16::MAX;
    config.webhooks.extra_root_pem = Some(pem);
    config.proofs.sign_every_ms = NonZeroU32::new(500).expect("not zero");
    config
}

/// A receiver that keeps what it got.
pub fn receiver_options() -> ReceiverOptions {
    ReceiverOptions::new(Arc::new(|| SystemClock.now().unix_micros()))
}

/// A signing secret that nobody used before.
pub fn new_secret() -> String {
    WebhookSecret::from_random(Sha256::digest(new_id().as_bytes()).into()).reveal().to_string()
}

/// Subscribes a URL, past the checks of the API.
pub async fn subscribe(
    log: &EventLog,
    organization_id: OrganizationId,
    subscription_id: SubscriptionId,
    filter: &[&str],
    url: String,
    secret: String,
) {
    let secrets = SubscriptionSecrets { url, description: None, secret, headers: BTreeMap::new() };
    let create = WebhookSubscriptionCommand::Create(CreateSubscription {
        partner_id: None,
        filter: EventFilter::parse(filter).expect("the filter is known"),
        format: WebhookFormat::Standard,
        per_tick_limit: None,
        secrets,
    });
    let scope = wishes::scope(organization_id);
    wishes::run::<WebhookSubscription>(log, &scope, subscription_id.uuid(), create).await;
}

/// Receivers recover, as far as the ledger knows. What is due is still to be found by itself.
const LIFT_HOLDS: &str = "
    update runtime.effect_queues
    set next_at = now(), held_until = null, failures = 0, failing_since = null
    where ctid in (
        select ctid from runtime.effect_queues where held_until > now() or failures > 0 for update skip locked
    )";

/// After the times of effects were changed behind the ledger's back.
pub const LOOK_FOR_DUE_EFFECTS: &str = "
    update runtime.effect_queues
    set next_at = now(), held_until = null, failures = 0, failing_since = null
    where ctid in (
        select ctid from runtime.effect_queues where next_at > now() or failures > 0 for update skip locked
    )";

/// Whether nothing is due or held and every projector has seen everything. A database that does not answer has not
/// settled.
pub async fn is_settled(databases: &Databases) -> bool {
    let heads: Result<Option<i64>, _> = sqlx::query_scalar(
        "select heads.total
         from (select coalesce(sum(position), 0)::bigint as total from log.lane_heads) heads
         where not exists (select from runtime.effects where owner is not null or next_at <= now())
             and heads.total = all (
                 select coalesce(sum(c.position), 0)::bigint
                 from (values ('records'), ('video'), ('webhooks')) wanted (projector)
                 left join runtime.projections p using (projector)
                 left join runtime.checkpoints c on c.projector = p.projector and c.version = p.live_version
                 group by wanted.projector)",
    )
    .fetch_optional(&databases.core_owner)
    .await;
    let Ok(Some(total)) = heads else { return false };
    let facts: Result<i64, _> = sqlx::query_scalar(
        "select coalesce(sum(c.position), 0)::bigint
         from runtime.projections p
         join runtime.checkpoints c on c.projector = p.projector and c.version = p.live_version",
    )
    .fetch_one(&databases.analytics_owner)
    .await;
    let trail: Result<i64, _> =
        sqlx::query_scalar("select count(*) from audit.trail").fetch_one(&databases.audit_owner).await;
    // Whoever is nobody has the log of checkpoints, which is not made of events.
    let sealed: Result<i64, _> = sqlx::query_scalar(
        "select coalesce(sum(size), 0)::bigint
         from proof.trees
         where organization_id <> '00000000-0000-0000-0000-000000000000'",
    )
    .fetch_one(&databases.audit_owner)
    .await;
    [trail, facts, sealed].into_iter().all(|seen| seen.is_ok_and(|seen| seen == total))
}

/// Whether each signed form and each erasure that the records know of has its document, or never will.
pub async fn is_documented(core: &PgPool) -> bool {
    let lacking: Result<i64, _> = sqlx::query_scalar(
        "select (select count(*) from records.forms f
                 where f.status = 'signed' and f.personal is not null and not exists (
                     select from records.files d
                     where d.organization_id = f.organization_id and d.form_id = f.form_id
                         and d.kind = 'generated_document' and d.status <> 'requested'))
             + (select count(*) from records.patients where status = 'erased')
             - (select count(*) from records.files
                where kind = 'generated_document' and form_id is null and status <> 'requested')",
    )
    .fetch_one(core)
    .await;
    lacking.is_ok_and(|lacking| lacking <= 0)
}

/// The rows of every projection.
pub async fn contents(databases: &Databases) -> Contents {
    let mut contents = Contents::new();
    add_rows::<carelog_records::Records>(&databases.core_owner, &mut contents).await;
    add_rows::<WebhooksProjector>(&databases.core_owner, &mut contents).await;
    add_rows::<VideoProjector>(&databases.core_owner, &mut contents).await;
    add_rows::<carelog_audit::Audit>(&databases.audit_owner, &mut contents).await;
    add_rows::<carelog_audit::Sealer>(&databases.audit_owner, &mut contents).await;
    add_rows::<Analytics>(&databases.analytics_owner, &mut contents).await;
    contents
}

async fn add_rows<P: Projector>(pool: &PgPool, contents: &mut Contents) {
    for table in P::SCHEMA.tables {
        let name = format!("{}.{table}", P::SCHEMA.name);
        // Names are constants of the projection; the columns have the order of the migration in every version.
        let statement = AssertSqlSafe(format!("select t::text from {name} t order by t::text collate \"C\""));
        let mut rows: Vec<String> =
            sqlx::query_scalar(statement).fetch_all(pool).await.expect("the table can be read");
        // The log of checkpoints stands in the place of nobody, and grows by itself whatever happens in the log.
        rows.retain(|row| !row.starts_with("(00000000-0000-0000-0000-000000000000,"));
        contents.insert(name, rows);
    }
}

/// Rebuilds every projection.
pub async fn rebuild_all(system: &System, scope: RebuildScope) {
    let (log, core, audit) = (&system.log, &system.databases.core_owner, &system.databases.audit_owner);
    let progress = watch::Sender::default();
    rebuild(&WebhooksProjector, log, core, scope, &progress).await.expect("webhooks are rebuilt");
    rebuild(&VideoProjector, log, core, scope, &progress).await.expect("video rooms are rebuilt");
    rebuild(&carelog_records::Records, log, core, scope, &progress).await.expect("records are rebuilt");
    rebuild(&carelog_audit::Audit::new(log), log, audit, scope, &progress)
        .await
        .expect("the trail is rebuilt");
    let sealer = carelog_audit::Sealer::new(log, log.name());
    rebuild(&sealer, log, audit, scope, &progress).await.expect("the trees are rebuilt");
    let analytics = Analytics::new(Arc::clone(&system.pseudonyms));
    let owner = &system.databases.analytics_owner;
    rebuild(&analytics, log, owner, scope, &progress).await.expect("analytics are rebuilt");
}

/// Lets `carelog doctor` look at everything.
///
/// # Panics
/// With the damage that it found.
pub async fn is_sound(databases: &Databases) {
    let findings = examine(databases, Leaves::All).await.expect("everything can be examined");
    let damage: Vec<_> = findings.into_iter().filter(|finding| !finding.is_ok()).collect();
    assert!(damage.is_empty(), "damaged: {damage:#?}");
}
