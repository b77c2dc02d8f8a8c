//! Facts in ClickHouse, over its HTTP interface, a page at a time as columns (`JSONColumns`).
//!
//! Every statement may be sent again: rows are named by pseudonyms of their places, the newest replaces the others, and
//! removing what is not there does nothing. See <https://clickhouse.com/docs/interfaces/http>.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use carelog_domain::OrganizationId;
use carelog_event_log::Position;
use carelog_vault::{Pseudonym, PseudonymKey, PseudonymKind};
use futures::future::BoxFuture;
use percent_encoding::percent_decode_str;
use reqwest::{Client, StatusCode};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use url::Url;
use uuid::Uuid;

use crate::epochs::EpochKeys;
use crate::model::{Analytic as _, Fact, Key};
use crate::sink::{FactSink, Facts};

/// The tables of facts, as they are made.
const TABLES: &str = include_str!("clickhouse.sql");
/// Who copied, and into which tables: one row for each time that somebody began.
const TURNS: &str =
    "create table if not exists turns (turn UInt64, shape String) engine = MergeTree order by turn";

/// Longest time of a statement: a page of some thousand rows takes far less.
pub(crate) const TIMEOUT: Duration = Duration::from_mins(1);
/// Of what a server says that refuses, so much is kept.
const TOLD_CHARS: usize = 500;
/// Moments come as in RFC 3339, and a column that the tables do not have is an error, not a loss.
const SETTINGS: [(&str, &str); 4] = [
    ("date_time_input_format", "best_effort"),
    ("input_format_skip_unknown_fields", "0"),
    // Seconds, as long as is waited for an answer: nothing goes on that nobody waits for.
    ("max_execution_time", "60"),
    ("wait_end_of_query", "1"),
];
/// Tables whose rows are about patients: all.
const FACTS: [&str; 7] = [
    "patient_facts",
    "appointment_facts",
    "exercise_assignment_facts",
    "exercise_session_facts",
    "form_facts",
    "video_session_facts",
    "video_quality_facts",
];

/// Why ClickHouse did not take something.
#[derive(Debug, thiserror::Error)]
pub enum ClickHouseError {
    /// The address names no server that can be asked.
    #[error("the address of ClickHouse is none of http or https with a host")]
    Address,
    /// It cannot be reached, or did not answer in time.
    #[error("ClickHouse does not answer")]
    Unreachable(#[source] reqwest::Error),
    /// It tells something else than it was asked for.
    #[error("ClickHouse answers something else than it was asked for")]
    Answer,
    /// Rows cannot be named without the key of their clinic's pseudonyms.
    #[error("no key names the facts of organization {0}")]
    NoKey(OrganizationId),
    /// It refused a statement.
    #[error("ClickHouse refuses with {status}: {told}")]
    Refused {
        /// The status of its answer.
        status: StatusCode,
        /// The beginning of what it says.
        told: String,
    },
}

/// A database of a ClickHouse server.
#[derive(Clone)]
pub struct ClickHouse {
    client: Client,
    url: Url,
    user: Option<(String, String)>,
}

impl std::fmt::Debug for ClickHouse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClickHouse").field("host", &self.url.host_str()).finish_non_exhaustive()
    }
}

/// A time during which one process copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Counts from 1.
    pub number: u64,
    /// The [`shape`] of the tables.
    pub shape: String,
}

/// What tells the tables of this program from those of another: a digest of the statements that make them.
pub fn shape() -> String {
    let mut digest = Sha256::new();
    for line in TABLES.lines().filter(|line| !line.starts_with("--")) {
        digest.update(line);
        digest.update("\n");
    }
    URL_SAFE_NO_PAD.encode(digest.finalize())
}

impl ClickHouse {
    /// From an address such as `https://user:password@host:8443/database`; the database is `default` where none is
    /// named, and exists.
    ///
    /// # Errors
    /// When the address names no server, or no client can be made.
    pub fn new(address: &Url) -> Result<Self, ClickHouseError> {
        if !is_address(address) {
            return Err(ClickHouseError::Address);
        }
        let mut url = address.clone();
        let decoded = |text: &str| {
            let text = percent_decode_str(text).decode_utf8().map_err(|_| ClickHouseError::Address)?;
            Ok::<_, ClickHouseError>(text.into_owned())
        };
        let user = match (address.username(), address.password()) {
            ("", None) => None,
            (name, password) => Some((decoded(name)?, decoded(password.unwrap_or_default())?)),
        };
        let database = match address.path().trim_matches('/') {
            "" => "default".to_owned(),
            name => decoded(name)?,
        };
        url.set_username("").and_then(|()| url.set_password(None)).map_err(|()| ClickHouseError::Address)?;
        url.set_path("/");
        url.query_pairs_mut().clear().append_pair("database", &database).extend_pairs(SETTINGS);
        let client = Client::builder()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(ClickHouseError::Unreachable)?;
        Ok(Self { client, url, user })
    }

    /// The newest turn of copying into these tables; nothing where nobody ever copied here.
    ///
    /// # Errors
    /// When the server does not do its part.
    pub async fn newest_turn(&self) -> Result<Option<Turn>, ClickHouseError> {
        self.run(TURNS, String::new()).await?;
        let newest = "select turn, shape from turns order by turn desc limit 1 format TabSeparated";
        let told = self.run(newest, String::new()).await?;
        if told.is_empty() {
            return Ok(None);
        }
        let (number, shape) = told.trim_end().split_once('\t').ok_or(ClickHouseError::Answer)?;
        let number = number.parse().map_err(|_| ClickHouseError::Answer)?;
        Ok(Some(Turn { number, shape: shape.to_owned() }))
    }

    /// Begins a turn in tables that have the shape of this program.
    ///
    /// # Errors
    /// When the server does not do its part.
    pub async fn begin_turn(&self, number: u64) -> Result<(), ClickHouseError> {
        self.run(&format!("insert into turns select {number}, '{}'", shape()), String::new()).await?;
        Ok(())
    }

    /// Whether every table is there, of whatever shape.
    ///
    /// # Errors
    /// When the server does not do its part.
    pub async fn has_tables(&self) -> Result<bool, ClickHouseError> {
        let names = "select name from system.tables where database = currentDatabase() format TabSeparated";
        let told = self.run(names, String::new()).await?;
        Ok(FACTS.iter().all(|table| told.lines().any(|name| name == *table)))
    }

    /// Makes the tables anew, empty.
    ///
    /// # Errors
    /// When the server does not do its part.
    pub async fn remake(&self) -> Result<(), ClickHouseError> {
        for table in FACTS {
            self.run(&format!("drop table if exists {table} sync"), String::new()).await?;
        }
        for statement in TABLES.split(';').filter(|statement| !statement.trim().is_empty()) {
            self.run(statement, String::new()).await?;
        }
        Ok(())
    }

    /// Removes every row.
    ///
    /// # Errors
    /// When the server does not do its part.
    pub async fn empty(&self) -> Result<(), ClickHouseError> {
        for table in FACTS {
            self.run(&format!("truncate table {table}"), String::new()).await?;
        }
        Ok(())
    }

    /// Removes the rows of a clinic.
    ///
    /// # Errors
    /// When the server does not do its part.
    pub async fn forget(&self, organization_id: OrganizationId) -> Result<(), ClickHouseError> {
        for table in FACTS {
            // A UUID's text needs no quoting.
            self.delete(table, &format!("organization_id = '{organization_id}'")).await?;
        }
        Ok(())
    }

    /// Takes pages of a turn, whose rows the keys name.
    pub const fn pages<'a>(&'a self, keys: &'a EpochKeys, turn: u64) -> Pages<'a> {
        Pages { clickhouse: self, keys, turn }
    }

    async fn remove(&self, patients: &HashSet<Key>) -> Result<(), ClickHouseError> {
        if patients.is_empty() {
            return Ok(());
        }
        let keys: Vec<String> = patients
            .iter()
            .map(|(organization_id, patient)| format!("('{organization_id}', '{}')", patient.uuid()))
            .collect();
        for table in FACTS {
            self.delete(table, &format!("(organization_id, patient) in ({})", keys.join(", "))).await?;
        }
        Ok(())
    }

    /// Writes the parts of a table anew without some rows, and waits for it, on every replica. The statement `delete`
    /// would only hide them. See <https://clickhouse.com/docs/sql-reference/statements/alter/delete>.
    async fn delete(&self, table: &str, which: &str) -> Result<(), ClickHouseError> {
        let statement = format!("alter table {table} delete where {which} settings mutations_sync = 2");
        self.run(&statement, String::new()).await?;
        Ok(())
    }

    /// One statement; `rows` are what an insert brings. Gives what it selects.
    async fn run(&self, statement: &str, rows: String) -> Result<String, ClickHouseError> {
        let mut url = self.url.clone();
        let body = if rows.is_empty() {
            statement.to_owned()
        } else {
            url.query_pairs_mut().append_pair("query", statement);
            rows
        };
        let mut request = self.client.post(url).body(body);
        if let Some((name, password)) = &self.user {
            request = request.basic_auth(name, Some(password));
        }
        let without_url = |error: reqwest::Error| ClickHouseError::Unreachable(error.without_url());
        let answer = request.send().await.map_err(without_url)?;
        let status = answer.status();
        let told = answer.text().await.map_err(without_url)?;
        if status.is_success() {
            return Ok(told);
        }
        Err(ClickHouseError::Refused { status, told: told.chars().take(TOLD_CHARS).collect() })
    }
}

/// Whether a server can be asked there.
pub fn is_address(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https") && url.has_host()
}

/// How a row is called that the event at a place made.
pub fn name(key: &PseudonymKey, position: Position) -> Pseudonym {
    key.pseudonym(PseudonymKind::Place, Uuid::from_u128(position.unsigned_abs().into()))
}

/// Pages on their way to the tables.
#[derive(Debug)]
pub struct Pages<'a> {
    clickhouse: &'a ClickHouse,
    keys: &'a EpochKeys,
    turn: u64,
}

impl Pages<'_> {
    async fn insert<F: Fact>(&self, rows: &[&F]) -> Result<(), ClickHouseError> {
        if rows.is_empty() {
            return Ok(());
        }
        let columns = F::COLUMNS.join(", ");
        let statement = format!("insert into {} (fact, turn, {columns}) format JSONColumns", F::TABLE);
        self.clickhouse.run(&statement, self.columns(rows)?).await?;
        Ok(())
    }

    /// `{"column": [value of the first row, …], …}`
    fn columns<F: Fact>(&self, rows: &[&F]) -> Result<String, ClickHouseError> {
        let mut columns: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
        for row in rows {
            let organization_id = row.organization_id();
            let (_, key) = self.keys.get(&organization_id).ok_or(ClickHouseError::NoKey(organization_id))?;
            columns.entry("fact").or_default().push(name(key, row.position()).cell());
            columns.entry("turn").or_default().push(self.turn.into());
            for (name, cell) in F::COLUMNS.iter().zip(row.cells()) {
                columns.entry(name).or_default().push(cell);
            }
        }
        Ok(serde_json::to_string(&columns).expect("texts and numbers are JSON"))
    }
}

impl FactSink for Pages<'_> {
    type Error = ClickHouseError;

    fn write<'a>(&'a mut self, facts: &'a Facts<'a>) -> BoxFuture<'a, Result<(), ClickHouseError>> {
        Box::pin(async move {
            self.insert(&facts.patients.all()).await?;
            self.insert(&facts.appointments.all()).await?;
            self.insert(&facts.exercises.all()).await?;
            self.insert(&facts.sessions).await?;
            self.insert(&facts.forms.all()).await?;
            self.insert(&facts.video_sessions.all()).await?;
            self.insert(&facts.samples).await?;
            self.clickhouse.remove(facts.erased).await
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::{AgeBand, PatientFact};

    #[test]
    fn only_servers_of_the_web_can_be_asked() {
        for (address, is_one) in [
            ("https://carelog:secret@clickhouse.example:8443/facts", true),
            ("http://127.0.0.1:8123", true),
            ("tcp://clickhouse.example:9000", false),
            ("file:///var/lib", false),
            ("mailto:operator@clickhouse.example", false),
        ] {
            assert_eq!(is_address(&address.parse().unwrap()), is_one, "{address}");
        }
    }

    const CLINIC: OrganizationId = OrganizationId::new(Uuid::from_u128(1));
    const TURN: u64 = 3;

    /// What is sent of rows.
    fn sent<F: Fact>(rows: &[&F]) -> Result<String, ClickHouseError> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let clickhouse = ClickHouse::new(&"http://127.0.0.1:8123".parse().unwrap()).unwrap();
        let keys = EpochKeys::from([(CLINIC, (1, PseudonymKey::new([7; 32])))]);
        clickhouse.pages(&keys, TURN).columns(rows)
    }

    fn patient(organization_id: OrganizationId, position: Position, age_band: AgeBand) -> PatientFact {
        let patient = Pseudonym::stored(Uuid::from_u128(2));
        PatientFact { position, organization_id, patient, age_band }
    }

    #[test]
    fn a_page_is_written_column_by_column_under_the_names_of_the_table() {
        let (first, second) = (patient(CLINIC, 7, AgeBand::From90), patient(CLINIC, 9, AgeBand::Unknown));

        let page: Value = serde_json::from_str(&sent(&[&first, &second]).unwrap()).unwrap();

        let (one, two) = ("00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002");
        let key = PseudonymKey::new([7; 32]);
        let expected = json!({
            "organization_id": [one, one], "fact": [name(&key, 7).cell(), name(&key, 9).cell()],
            "turn": [TURN, TURN], "patient": [two, two], "age_band": ["90+", "unknown"],
        });
        assert_eq!(page, expected);
    }

    #[test]
    fn the_name_of_a_row_says_nothing_of_its_place() {
        let (one, other) = (PseudonymKey::new([7; 32]), PseudonymKey::new([8; 32]));
        let mut names: Vec<Pseudonym> =
            (1..=100).flat_map(|position| [name(&one, position), name(&other, position)]).collect();
        let in_order = names.clone();

        names.sort_unstable();
        names.dedup();

        assert_eq!(names.len(), in_order.len(), "two places, and one place under two keys, have two names");
        assert_ne!(names, in_order, "the order of names is not that of places");
    }

    #[test]
    fn rows_of_a_clinic_without_a_key_are_not_sent() {
        let other = OrganizationId::new(Uuid::from_u128(9));

        let refused = sent(&[&patient(other, 7, AgeBand::Unknown)]);

        assert!(matches!(refused, Err(ClickHouseError::NoKey(id)) if id == other), "{refused:?}");
    }

    #[test]
    fn every_table_of_facts_is_made_once() {
        let made: Vec<&str> = TABLES
            .split("create table if not exists ")
            .skip(1)
            .filter_map(|statement| statement.split_whitespace().next())
            .collect();

        assert_eq!(made, FACTS);
    }
}
