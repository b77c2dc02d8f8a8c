//! A running product with one clinic, and a client that speaks HTTP to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use carelog_embedded::postgres::TestServer;
use carelog_event_log::SystemClock;
use carelog_server::config::Config;
use carelog_server::databases::DatabaseOptions;
use carelog_server::serve::{Roles, Server};
use carelog_server::system::System;
use carelog_tests::Names;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tempfile::TempDir;

static COUNT: AtomicU32 = AtomicU32::new(0);

/// The product, and the administrator of one clinic in it.
pub(super) struct Clinic {
    pub(super) server: Server,
    pub(super) operator: String,
    pub(super) admin: String,
    client: Client,
    _home: TempDir,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: reqwest::header::HeaderMap,
    pub(super) body: Value,
}

impl Answer {
    /// The status and the code of a problem.
    pub(super) fn problem(&self) -> (u16, &str) {
        (self.status, self.body["code"].as_str().unwrap_or_default())
    }

    /// The id in the answer to a command.
    pub(super) fn id(&self) -> &str {
        self.body["id"].as_str().unwrap_or_else(|| panic!("no id in {self:?}"))
    }

    /// The position in the answer to a command.
    pub(super) fn position(&self) -> &str {
        self.body["position"].as_str().unwrap_or_else(|| panic!("no position in {self:?}"))
    }
}

impl Clinic {
    /// Starts the product on databases of its own and registers the clinic.
    pub(super) async fn open() -> Self {
        let postgres = TestServer::shared().await.unwrap();
        let prefix = format!("api{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let databases = DatabaseOptions::on_server(&postgres.connect_options("postgres"), &prefix);
        let home = TempDir::new().unwrap();
        let mut config = Config { home: home.path().to_path_buf(), ..Config::default() };
        config.http.listen = ([127, 0, 0, 1], 0).into();
        config.webhooks.allow_loopback = true;
        let system = System::open(&databases, &config.root_key(), Arc::new(SystemClock)).await.unwrap();
        let server =
            Server::start_with_names(&config, system, Roles::ALL, Arc::<Names>::default()).await.unwrap();
        let operator = std::fs::read_to_string(config.operator_key()).unwrap().trim().to_owned();
        let client = Client::builder().no_proxy().build().unwrap();
        let mut clinic = Self { server, operator, admin: String::new(), client, _home: home };
        clinic.admin = clinic.register().await;
        clinic
    }

    /// Registers a further clinic and gives its administrator's key.
    pub(super) async fn register(&self) -> String {
        let profile = json!({ "profile": { "name": "Klinik", "time_zone": "Europe/Berlin" } });
        let registered =
            self.call(Method::POST, "/v1/organizations", &self.operator, Some(&profile), &[]).await;
        let path = format!("/v1/organizations/{}/api-keys", registered.id());
        let issued = self.call(Method::POST, &path, &self.operator, Some(&json!({})), &[]).await;
        issued.body["api_key"].as_str().unwrap().to_owned()
    }

    pub(super) async fn call(
        &self,
        method: Method,
        path: &str,
        key: &str,
        body: Option<&Value>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let url = format!("http://{}{path}", self.server.address.unwrap());
        let mut request = self.client.request(method, url).bearer_auth(key);
        if let Some(body) = body {
            request = request.json(body);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(request).await
    }

    /// Sends bytes as they are.
    pub(super) async fn send(&self, path: &str, media_type: &str, bytes: Vec<u8>) -> Answer {
        let url = format!("http://{}{path}", self.server.address.unwrap());
        let request = self.client.post(url).bearer_auth(&self.admin).header("content-type", media_type);
        answer(request.body(bytes)).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::POST, path, &self.admin, Some(body), &[]).await
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, &self.admin, None, &[]).await
    }

    pub(super) async fn get_as(&self, key: &str, path: &str) -> Answer {
        self.call(Method::GET, path, key, None, &[]).await
    }

    /// Registers a patient and gives the id.
    pub(super) async fn patient(&self, name: &str) -> String {
        self.post("/v1/patients", &json!({ "details": { "name": name } })).await.id().to_owned()
    }

    /// Books an appointment with a note and gives the answer.
    pub(super) async fn book(&self, patient_id: &str) -> Answer {
        let body = json!({
            "patient_id": patient_id, "starts_at": "2099-01-01T10:00:00Z", "mode": "video", "note": "the knee",
        });
        self.post("/v1/appointments", &body).await
    }

    /// Issues the key of a patient.
    pub(super) async fn patient_key(&self, patient_id: &str) -> String {
        let body = json!({ "role": "patient", "scopes": ["reads", "commands"], "patient_id": patient_id });
        self.post("/v1/api-keys", &body).await.body["api_key"].as_str().unwrap().to_owned()
    }
}

async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let bytes = response.bytes().await.unwrap();
    Answer { status, headers, body: serde_json::from_slice(&bytes).unwrap_or_default() }
}
