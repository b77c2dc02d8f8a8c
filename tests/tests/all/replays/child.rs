//! A process that runs the workers of a product until it is killed.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use carelog_embedded::postgres::TestServer;
use carelog_event_log::SystemClock;
use carelog_server::databases::DatabaseOptions;
use carelog_server::serve::{Roles, Server};
use carelog_server::system::System;
use carelog_tests::{Product, product_config};
use serde::{Deserialize, Serialize};

const WORK: &str = "CARELOG_TEST_WORKER";

#[derive(Serialize, Deserialize)]
struct Work {
    server_url: String,
    prefix: String,
    home: PathBuf,
    ca_pem: String,
    parent: u32,
}

/// The process; killed when dropped.
pub(super) struct Worker(Child);

impl Worker {
    pub(super) async fn start(product: &Product) -> Self {
        let server = TestServer::shared().await.unwrap();
        let work = Work {
            server_url: server.postgres().url("postgres"),
            prefix: product.prefix().to_owned(),
            home: product.config.home.clone(),
            ca_pem: product.receiver.ca_pem().to_owned(),
            parent: std::process::id(),
        };
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "replays::child::works_when_asked_to", "--nocapture"])
            .env(WORK, serde_json::to_string(&work).unwrap())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }

    pub(super) fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Does nothing, unless this process was started for it.
#[tokio::test(flavor = "multi_thread")]
async fn works_when_asked_to() {
    let Ok(work) = std::env::var(WORK) else { return };
    let work: Work = serde_json::from_str(&work).unwrap();
    let home = tempfile::tempdir_in(&work.home).unwrap();
    let config = product_config(home.path(), &work.ca_pem, true);
    let url: sqlx::postgres::PgConnectOptions = work.server_url.parse().unwrap();
    let options = DatabaseOptions::on_server(&url, &work.prefix);
    let root_key = work.home.join("root.key");
    let system = System::open_migrated(&options, &root_key, Arc::new(SystemClock)).await.unwrap();
    let roles = Roles { api: false, projectors: false, workers: true };
    let server = Server::start(&config, system, roles).await.unwrap();
    // Whoever started it may be killed too, and then nobody kills it.
    let has_parent =
        || rustix::process::getppid().is_some_and(|pid| pid.as_raw_pid().unsigned_abs() == work.parent);
    while has_parent() {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    server.stop().await;
}
