//! The receivers that partners are shown, as real processes, with the official libraries of their languages.
//!
//! The libraries are installed into a directory of the user's cache, once for each set of pinned versions. A lock file
//! keeps two tests from doing it at once; what was left half done is begun anew.

use std::env;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, PoisonError};

use carelog_embedded::packages::{Packages, install};
use rustix::fs::{FlockOperation, flock};
use serde_json::Value;
use tokio::io::AsyncWriteExt;

use crate::wait::until;

const PYTHON: Packages =
    Packages { apt: &["python3", "python3-venv"], dnf: &["python3"], apk: &["python3", "py3-pip"] };
const NODE: Packages = Packages { apt: &["nodejs", "npm"], dnf: &["nodejs", "npm"], apk: &["nodejs", "npm"] };
/// Written last into a directory that holds everything.
const COMPLETE: &str = "complete";

/// Which of the examples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// `receivers/python`
    Python,
    /// `receivers/javascript`
    JavaScript,
    /// `receivers/rust`
    Rust,
}

/// A running example; killed when dropped.
#[derive(Debug)]
pub struct ExampleReceiver {
    /// On which port of this machine it listens, without TLS.
    pub port: u16,
    child: Child,
    lines: Mutex<(Receiver<Value>, Vec<Value>)>,
}

impl ExampleReceiver {
    /// Installs what the example needs, and starts it.
    ///
    /// # Panics
    /// When its language is missing and cannot be installed.
    pub async fn start(language: Language, secrets: &[&str], rust_binary: &str) -> Self {
        let mut command = command(language, rust_binary).await;
        let mut child = command
            .env("WEBHOOK_SECRETS", secrets.join(" "))
            .env("PORT", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the example starts");
        let output = child.stdout.take().expect("it is piped");
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut example = Self { port: 0, child, lines: Mutex::new((receiver, Vec::new())) };
        let port = until("the example listens", async || example.said().first()?.get("listening")?.as_u64());
        example.port = u16::try_from(port.await).expect("it is a port");
        example
    }

    /// What it has printed, line by line.
    pub fn said(&self) -> Vec<Value> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let (arriving, kept) = &mut *lines;
        kept.extend(arriving.try_iter());
        kept.clone()
    }

    /// What it said about the message of this id, in order.
    pub fn verdicts(&self, id: &str) -> Vec<String> {
        let of_id = |line: &Value| line.get("id").and_then(Value::as_str) == Some(id);
        let verdict = |line: &Value| Some(line.get("verdict")?.as_str()?.to_owned());
        self.said().iter().filter(|line| of_id(line)).filter_map(verdict).collect()
    }
}

impl Drop for ExampleReceiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn command(language: Language, rust_binary: &str) -> Command {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("receivers");
    match language {
        Language::Python => {
            let source = folder.join("python");
            let venv = python_environment(&source).await;
            let mut command = Command::new(venv.join("bin/python"));
            command.arg(source.join("receiver.py"));
            command
        }
        Language::JavaScript => node_program(&folder.join("javascript"), "receiver.js").await,
        Language::Rust => Command::new(rust_binary),
    }
}

/// A script of a folder, beside the pinned packages of that folder.
async fn node_program(source: &Path, script: &str) -> Command {
    let place = node_packages(source, &["package.json", "package-lock.json", script]).await;
    let mut command = Command::new("node");
    command.arg(place.join(script));
    command
}

async fn node_packages(source: &Path, files: &[&str]) -> PathBuf {
    installed(source, files, NODE, &["node", "npm"], |place| {
        vec![words(&["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], place)]
    })
    .await
}

/// The script of the accessibility checker axe, for pages.
///
/// # Panics
/// When it cannot be installed.
pub(crate) async fn axe() -> String {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/axe");
    let place = node_packages(&source, &["package.json", "package-lock.json"]).await;
    fs::read_to_string(place.join("node_modules/axe-core/axe.min.js")).expect("it was installed")
}

/// A client of somebody else for Node.js in `tests/clients`, with everything that it needs.
///
/// # Panics
/// When Node.js is missing and cannot be installed.
pub async fn node_client(name: &str) -> Command {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(name);
    node_program(&source, "client.js").await
}

/// An environment of Python with the pinned packages of a folder.
///
/// # Panics
/// When it cannot be installed.
pub async fn python_environment(source: &Path) -> PathBuf {
    installed(source, &["requirements.txt"], PYTHON, &["python3"], |place| {
        vec![
            words(&["python3", "-m", "venv", "."], place),
            words(
                &[
                    "bin/python",
                    "-m",
                    "pip",
                    "install",
                    "--quiet",
                    "--no-deps",
                    "--only-binary=:all:",
                    "--require-hashes",
                    "--requirement=requirements.txt",
                ],
                place,
            ),
        ]
    })
    .await
}

fn words(words: &[&str], place: &Path) -> Command {
    let (program, arguments) = words.split_first().expect("a command has a name");
    // A program in the place is named by its path, since it is looked up before the directory changes.
    let program = if program.contains('/') { place.join(program) } else { PathBuf::from(program) };
    let mut command = Command::new(program);
    command.args(arguments).current_dir(place);
    command
}

/// A Python client of somebody else in `tests/clients`, with everything that it needs.
///
/// # Panics
/// When Python is missing and cannot be installed.
pub async fn python_client(name: &str) -> Command {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(name);
    let mut command = Command::new(python_environment(&source).await.join("bin/python"));
    command.arg(source.join("client.py"));
    command
}

/// What a client of somebody else prints about a document that it reads from its standard input.
///
/// # Panics
/// When it fails.
pub async fn told_by(client: Command, document: &Value) -> Value {
    let mut client = tokio::process::Command::from(client);
    let mut child = client.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the client starts");
    let mut input = child.stdin.take().expect("it is piped");
    input.write_all(document.to_string().as_bytes()).await.expect("the client reads");
    drop(input);
    let output = child.wait_with_output().await.expect("the client ends");
    assert!(output.status.success(), "the client failed");
    serde_json::from_slice(&output.stdout).expect("the client prints JSON")
}

/// A directory with these files and everything that the commands put beside them.
async fn installed(
    source: &Path,
    files: &[&str],
    packages: Packages,
    programs: &[&str],
    commands: impl FnOnce(&Path) -> Vec<Command>,
) -> PathBuf {
    let contents: Vec<Vec<u8>> =
        files.iter().map(|file| fs::read(source.join(file)).expect("it is in the repository")).collect();
    let name = source.file_name().and_then(|name| name.to_str()).expect("it has a plain name");
    let mut hasher = DefaultHasher::new();
    contents.hash(&mut hasher);
    let cache = cache();
    fs::create_dir_all(&cache).expect("the cache can be written");
    let place = cache.join(format!("{name}-{:016x}", hasher.finish()));
    let lock = File::create(place.with_extension("lock")).expect("the cache can be written");
    // Another test may hold it for as long as an installation takes.
    let lock =
        tokio::task::spawn_blocking(move || flock(&lock, FlockOperation::LockExclusive).map(|()| lock));
    let _lock = lock.await.expect("it does not panic").expect("a file can be locked");
    if place.join(COMPLETE).exists() && programs.iter().all(|program| is_there(program)) {
        return place;
    }
    if !programs.iter().all(|program| is_there(program)) {
        let told = install(&packages).await;
        told.unwrap_or_else(|error| panic!("install {programs:?} to run the receiver in {name}: {error}"));
    }
    let _ = fs::remove_dir_all(&place);
    fs::create_dir_all(&place).expect("the cache can be written");
    for (file, content) in files.iter().zip(contents) {
        fs::write(place.join(file), content).expect("the cache can be written");
    }
    for mut command in commands(&place) {
        let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    fs::write(place.join(COMPLETE), "").expect("the cache can be written");
    place
}

fn is_there(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// Where libraries are kept between runs.
fn cache() -> PathBuf {
    let named = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let of_home = || env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    named.or_else(of_home).unwrap_or_else(env::temp_dir).join("carelog-tests")
}
