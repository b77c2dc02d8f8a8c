//! The whole product on databases of its own, and a client that speaks HTTP to it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use carelog_embedded::postgres::TestServer;
use carelog_event_log::SystemClock;
use carelog_server::config::Config;
use carelog_server::databases::DatabaseOptions;
use carelog_server::serve::{Roles, Server};
use carelog_server::system::System;
use reqwest::header::HeaderMap;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tempfile::TempDir;
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::names::Names;

const TEMPLATE: &str = "served";
const SUFFIXES: [&str; 4] = ["core", "audit", "analytics", "vault"];

static MIGRATED: OnceCell<()> = OnceCell::const_new();
static COUNT: AtomicU32 = AtomicU32::new(0);
/// Databases that no test needs any more; the next test drops them.
static FINISHED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// The four databases of one product, migrated; dropped some time after the value.
#[derive(Debug)]
pub struct ProductDatabases {
    /// How the product reaches them.
    pub options: DatabaseOptions,
    /// The URLs of core, audit, analytics and vault, for other processes.
    pub urls: [String; 4],
    prefix: String,
}

/// A running product.
#[derive(Debug)]
pub struct Api {
    /// The product.
    pub server: Server,
    /// The log's database, as the superuser.
    pub core: PgPool,
    /// The trail's database, as the superuser.
    pub audit: PgPool,
    /// The analysts' database, as the superuser.
    pub analytics: PgPool,
    /// What names of receivers lead to.
    pub names: Arc<Names>,
    /// The operator's key.
    pub operator: String,
    client: Client,
    base: String,
    databases: ProductDatabases,
    home: TempDir,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as it was sent.
    pub text: String,
    /// The body, where it is JSON.
    pub body: Value,
}

/// One organization and its administrator.
#[derive(Debug)]
pub struct ApiClinic<'a> {
    /// Where it is.
    pub api: &'a Api,
    /// Its id.
    pub id: Uuid,
    /// The administrator's key.
    pub admin: ApiKey,
}

/// An API key.
#[derive(Clone, Debug)]
pub struct ApiKey {
    /// Its public part.
    pub id: String,
    /// The whole of it.
    pub text: String,
}

impl ProductDatabases {
    /// Copies of databases that were migrated once.
    pub async fn new() -> Self {
        let server = TestServer::shared().await.expect("the tests have a PostgreSQL server");
        let at = |database: &str| server.connect_options(database);
        MIGRATED
            .get_or_init(async || {
                let template = DatabaseOptions::on_server(&at("postgres"), TEMPLATE);
                Box::pin(template.migrate()).await.expect("the migrations hold");
            })
            .await;
        let finished = std::mem::take(&mut *FINISHED.lock().unwrap_or_else(PoisonError::into_inner));
        for name in finished {
            server.drop_database(&name).await.expect("a database can be dropped");
        }
        let prefix = format!("served{}", COUNT.fetch_add(1, Ordering::Relaxed));
        for suffix in SUFFIXES {
            let (name, template) = (format!("{prefix}_{suffix}"), format!("{TEMPLATE}_{suffix}"));
            server.copy_database(&name, &template).await.expect("a database can be copied");
        }
        let options = DatabaseOptions::on_server(&at("postgres"), &prefix);
        let urls = SUFFIXES.map(|suffix| server.postgres().url(&format!("{prefix}_{suffix}")));
        Self { options, urls, prefix }
    }
}

impl Drop for ProductDatabases {
    fn drop(&mut self) {
        let names = SUFFIXES.map(|suffix| format!("{}_{suffix}", self.prefix));
        FINISHED.lock().unwrap_or_else(PoisonError::into_inner).extend(names);
    }
}

impl Api {
    /// Starts the product on any free port.
    pub async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    /// The same with another configuration.
    pub async fn start_with(adjust: impl FnOnce(&mut Config)) -> Self {
        let databases = ProductDatabases::new().await;
        let home = TempDir::new().expect("a temporary directory can be made");
        let mut config = Config { home: home.path().to_path_buf(), ..Config::default() };
        config.http.listen = ([127, 0, 0, 1], 0).into();
        adjust(&mut config);
        let system = System::open_migrated(&databases.options, &config.root_key(), Arc::new(SystemClock))
            .await
            .expect("the log opens");
        let names = Arc::<Names>::default();
        let server = Server::start_with_names(&config, system, Roles::ALL, Arc::clone(&names) as _)
            .await
            .expect("the product starts");
        let address = server.address.expect("the product has an API");
        let operator = std::fs::read_to_string(config.operator_key()).expect("the operator has a key");
        Self {
            core: superuser(&databases.options.core),
            audit: superuser(&databases.options.audit),
            analytics: superuser(&databases.options.analytics),
            operator: operator.trim().to_owned(),
            client: Client::builder().no_proxy().build().expect("a client can be built"),
            base: format!("http://{address}"),
            server,
            names,
            databases,
            home,
        }
    }

    /// Registers a clinic.
    pub async fn clinic(&self, name: &str) -> ApiClinic<'_> {
        let profile = json!({ "profile": { "name": name, "time_zone": "Europe/Berlin" } });
        let registered = self.call(Method::POST, "/v1/organizations", &self.operator, Some(&profile)).await;
        self.clinic_of(registered.id().parse().expect("an id is a UUID")).await
    }

    /// Issues an administrator's key of a clinic that is there.
    pub async fn clinic_of(&self, id: Uuid) -> ApiClinic<'_> {
        let path = format!("/v1/organizations/{id}/api-keys");
        let issued = self.call(Method::POST, &path, &self.operator, Some(&json!({}))).await;
        ApiClinic { api: self, id, admin: issued.api_key() }
    }

    /// A request without anything.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    /// Sends a request with a key, and a body in JSON where there is one.
    pub async fn call(&self, method: Method, path: &str, key: &str, body: Option<&Value>) -> Answer {
        let request = self.request(method, path).bearer_auth(key);
        send(match body {
            Some(body) => request.json(body),
            None => request,
        })
        .await
    }

    /// Where the product keeps its files.
    pub fn home(&self) -> &std::path::Path {
        self.home.path()
    }

    /// The URLs of core, audit, analytics and vault, for other processes.
    pub const fn database_urls(&self) -> &[String; 4] {
        &self.databases.urls
    }

    /// How many events there are in the log.
    pub async fn event_count(&self) -> i64 {
        let count = sqlx::query_scalar("select count(*) from log.events").fetch_one(&self.core);
        count.await.expect("the log can be counted")
    }
}

fn superuser(options: &PgConnectOptions) -> PgPool {
    PgPoolOptions::new().max_connections(4).connect_lazy_with(options.clone())
}

/// Sends a request and takes the whole answer in.
pub async fn send(request: RequestBuilder) -> Answer {
    let response = request.send().await.expect("the API answers");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await.expect("the answer is whole");
    let body = serde_json::from_str(&text).unwrap_or_default();
    Answer { status, headers, text, body }
}

/// Sends a request that the API signed, as it said.
///
/// # Panics
/// When it is no such request, or nobody answers.
pub async fn follow(link: &Value, body: Vec<u8>) -> Answer {
    let text = |name: &str| link.get(name).and_then(Value::as_str).expect("a link is complete").to_owned();
    let method: Method = text("method").parse().expect("it is a method");
    let client = Client::builder().no_proxy().build().expect("a client can be built");
    let mut request = client.request(method.clone(), text("url"));
    for (name, value) in link.get("headers").and_then(Value::as_object).into_iter().flatten() {
        // These two follow from the address and the body.
        if name != "host" && name != "content-length" {
            request = request.header(name, value.as_str().expect("headers are text"));
        }
    }
    send(if method == Method::PUT { request.body(body) } else { request }).await
}

impl Answer {
    /// The status and the code of a problem.
    pub fn problem(&self) -> (u16, &str) {
        (self.status, self.text_at("/code"))
    }

    /// The text at a place of the body.
    pub fn text_at(&self, pointer: &str) -> &str {
        self.body.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The id in the answer to a command.
    pub fn id(&self) -> &str {
        assert!((200..300).contains(&self.status), "refused: {self:?}");
        self.text_at("/id")
    }

    /// The place in the log in the answer to a command.
    pub fn position(&self) -> &str {
        assert!((200..300).contains(&self.status), "refused: {self:?}");
        self.text_at("/position")
    }

    /// The items of a page.
    pub fn items(&self) -> &[Value] {
        let items = self.body.get("items").and_then(Value::as_array);
        items.unwrap_or_else(|| panic!("no page: {self:?}"))
    }

    fn api_key(&self) -> ApiKey {
        ApiKey { id: self.id().to_owned(), text: self.text_at("/api_key").to_owned() }
    }
}

impl ApiClinic<'_> {
    /// Issues a key.
    pub async fn key(&self, body: &Value) -> ApiKey {
        self.post("/v1/api-keys", body).await.api_key()
    }

    /// Issues a key of a role with every scope.
    pub async fn key_of(&self, role: &str) -> ApiKey {
        let scopes = ["commands", "reads", "webhooks", "trail", "events", "keys"];
        self.key(&json!({ "role": role, "scopes": scopes })).await
    }

    /// The administrator's POST.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.api.call(Method::POST, path, &self.admin.text, Some(body)).await
    }

    /// The administrator's GET.
    pub async fn get(&self, path: &str) -> Answer {
        self.get_as(&self.admin, path).await
    }

    /// A GET with another key.
    pub async fn get_as(&self, key: &ApiKey, path: &str) -> Answer {
        self.api.call(Method::GET, path, &key.text, None).await
    }

    /// A request of the administrator.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.api.request(method, path).bearer_auth(&self.admin.text)
    }

    /// Registers a patient.
    pub async fn patient(&self, name: &str) -> Answer {
        self.post("/v1/patients", &json!({ "details": { "name": name } })).await
    }

    /// Books an appointment.
    pub async fn book(&self, patient_id: &str) -> Answer {
        let body =
            json!({ "patient_id": patient_id, "starts_at": "2099-01-01T10:00:00Z", "mode": "in_person" });
        self.post("/v1/appointments", &body).await
    }

    /// Assigns a form.
    pub async fn form(&self, patient_id: &str) -> Answer {
        let template = "0197a000-0000-7000-8000-000000000001";
        let body = json!({ "patient_id": patient_id, "template_id": template, "template_version": 1 });
        self.post("/v1/forms", &body).await
    }
}
