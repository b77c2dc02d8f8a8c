//! A real browser, driven through WebDriver.

use std::process::Stdio;

use carelog_embedded::packages::{Packages, install};
use fantoccini::key::Key;
use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder, Locator};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::examples::axe;
use crate::wait::until;

/// What axe finds against WCAG 2.2 at level AA, and against good practice. A page that gives it nothing to look at is none.
const AXE_FAULTS: &str =
    "axe.run(document).then((result) => result.passes.length === 0 ? 'nothing to look at' :
    result.violations.map((fault) => `${fault.id}: ${fault.nodes.map((node) => node.html).join(' | ')}`))";

const DRIVER: &str = "chromedriver";
const PACKAGES: Packages = Packages {
    apt: &["chromium", "chromium-driver"],
    dnf: &["chromium", "chromedriver"],
    apk: &["chromium", "chromium-chromedriver"],
};

/// Of Chromium's own protocol.
#[derive(Debug)]
struct BeforePages {
    script: String,
}

impl WebDriverCompatibleCommand for BeforePages {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/goog/cdp/execute", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        let body = serde_json::json!({
            "cmd": "Page.addScriptToEvaluateOnNewDocument", "params": { "source": self.script },
        });
        (http::Method::POST, Some(body.to_string()))
    }
}

/// A headless Chromium with one window, and its driver; both end when it is dropped.
pub struct Browser {
    client: Client,
    _driver: Child,
    profile: TempDir,
}

impl Browser {
    /// Starts it, and installs it first where it is missing and that is possible.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts it with a camera and a microphone that are none, and gives leave to use them.
    pub async fn start_with_devices() -> Self {
        Self::start_with(&[
            // Few pictures, because drawing them takes the processor from what is tested.
            "--use-fake-device-for-media-stream=fps=5",
            "--use-fake-ui-for-media-stream",
            "--autoplay-policy=no-user-gesture-required",
            // Where a machine has no other network.
            "--allow-loopback-in-peer-connection",
        ])
        .await
    }

    async fn start_with(further: &[&str]) -> Self {
        if Command::new(DRIVER).arg("--version").stdout(Stdio::null()).status().await.is_err() {
            install(&PACKAGES).await.expect("a browser is there or can be installed");
        }
        let (driver, port) = start_driver().await;
        let profile = TempDir::new().expect("a temporary directory can be made");
        let arguments = [
            "--headless=new",
            // Containers have no user namespaces; the pages are our own.
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-first-run",
            &format!("--user-data-dir={}", profile.path().display()),
        ];
        let arguments: Vec<&str> = arguments.into_iter().chain(further.iter().copied()).collect();
        let capabilities = serde_json::json!({ "goog:chromeOptions": { "args": arguments } });
        let capabilities = capabilities.as_object().expect("it is one").clone();
        let mut builder = ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new());
        let client = builder
            .capabilities(capabilities)
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .expect("the browser starts");
        Self { client, _driver: driver, profile }
    }

    /// Goes to a page.
    pub async fn open(&self, url: &str) {
        self.client.goto(url).await.expect("the page opens");
    }

    /// Loads the page again.
    pub async fn reload(&self) {
        self.client.refresh().await.expect("the page opens");
    }

    /// Runs a script in every page from now on, before the page's own.
    pub async fn run_before_pages(&self, script: &str) {
        let command = BeforePages { script: script.to_owned() };
        self.client.issue_cmd(command).await.expect("the browser takes the script");
    }

    /// What an expression of the page comes to; promises are waited for.
    pub async fn value_of(&self, expression: &str) -> serde_json::Value {
        let script = format!(
            "const done = arguments[arguments.length - 1]; Promise.resolve({expression}).then(done, () => done(null))"
        );
        self.client.execute_async(&script, Vec::new()).await.expect("the page answers")
    }

    /// Presses a key, wherever the focus is.
    pub async fn press(&self, key: Key) {
        let focused = self.client.active_element().await.expect("something has the focus");
        focused.send_keys(&char::from(key).to_string()).await.expect("keys can be pressed");
    }

    /// Writes into a field.
    pub async fn fill(&self, selector: &str, text: &str) {
        let field = self.client.find(Locator::Css(selector)).await.expect("the field is there");
        field.send_keys(text).await.expect("it can be written into");
    }

    /// Clicks the first of what a selector finds, once it is there.
    pub async fn click(&self, selector: &str) {
        until(&format!("{selector} can be clicked"), async || {
            self.client.find(Locator::Css(selector)).await.ok()?.click().await.ok()
        })
        .await;
    }

    /// Waits until one of what a selector finds shows a text.
    pub async fn sees(&self, selector: &str, text: &str) {
        until(&format!("{selector} shows {text:?}"), async || {
            for element in self.client.find_all(Locator::Css(selector)).await.ok()? {
                if element.text().await.is_ok_and(|shown| shown.contains(text)) {
                    return Some(());
                }
            }
            None
        })
        .await;
    }

    /// Has axe look at the page as it is now: names, roles, contrast, order.
    ///
    /// # Panics
    /// When it finds a fault.
    pub async fn is_accessible(&self, place: &str) {
        self.client.execute(&axe().await, Vec::new()).await.expect("the page takes the script");
        assert_eq!(self.value_of(AXE_FAULTS).await, serde_json::json!([]), "{place}");
    }

    /// Closes it.
    pub async fn quit(self) {
        self.client.clone().close().await.expect("the browser closes");
    }
}

/// The driver dies with its handle, and leaves the browser behind: after a test that failed, it would take the processor
/// from all others.
impl Drop for Browser {
    fn drop(&mut self) {
        let profile = format!("--user-data-dir={}", self.profile.path().display());
        let Ok(processes) = std::fs::read_dir("/proc") else { return };
        for process in processes.flatten() {
            let command = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
            let is_ours = command.split(|byte| *byte == 0).any(|word| word == profile.as_bytes());
            let id = process.file_name().to_str().and_then(|id| id.parse().ok()).and_then(Pid::from_raw);
            if let Some(id) = id.filter(|_| is_ours) {
                // One that has ended by now is no fault.
                let _ = kill_process(id, Signal::KILL);
            }
        }
    }
}

/// The driver on a port of its own choice. It takes the port on IPv4 first and then the same on IPv6, where another may
/// have it; then it ends without a word, and is started once more.
async fn start_driver() -> (Child, u16) {
    until("the driver starts", async || {
        let mut driver = Command::new(DRIVER)
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("the driver starts");
        let mut lines = BufReader::new(driver.stdout.take().expect("it is piped")).lines();
        while let Some(line) = lines.next_line().await.expect("the driver talks") {
            let port = line.strip_suffix('.').and_then(|line| line.rsplit_once("on port "));
            if let Some((_, port)) = port {
                return Some((driver, port.parse().expect("a port")));
            }
        }
        None
    })
    .await
}
