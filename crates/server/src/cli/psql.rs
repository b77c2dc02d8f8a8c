//! `carelog psql`: a database in the hands of a person.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::Context;
use carelog_embedded::postgres::Postgres;
use clap::{Args, ValueEnum};
use sqlx::postgres::PgConnectOptions;
use tokio::signal::unix::{SignalKind, signal};
use url::Url;

use super::place::Place;
use crate::config::Config;
use crate::databases::DatabaseOptions;

/// Which database, and what to tell psql.
#[derive(Debug, Args)]
#[command(override_usage = "carelog psql [core|audit|analytics|vault] [PSQL ARGUMENTS]...")]
pub(super) struct PsqlArguments {
    /// First the database, core where none is named; the rest is passed to psql as it is
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "DATABASE|ARGUMENT")]
    words: Vec<String>,
}

impl PsqlArguments {
    /// The database, and what psql is told.
    fn split(&self) -> (Which, &[String]) {
        match self.words.split_first() {
            Some((first, rest)) if let Ok(which) = Which::from_str(first, false) => (which, rest),
            _ => (Which::Core, &self.words),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Which {
    /// The log and current state
    Core,
    /// The audit trail
    Audit,
    /// Facts under pseudonyms
    Analytics,
    /// The keys
    Vault,
}

impl Which {
    const fn of(self, databases: &DatabaseOptions) -> &PgConnectOptions {
        match self {
            Self::Core => &databases.core,
            Self::Audit => &databases.audit,
            Self::Analytics => &databases.analytics,
            Self::Vault => &databases.vault,
        }
    }
}

/// Runs psql. The password travels in the environment: arguments can be read by everybody on the machine.
pub(super) async fn run(config: &Config, arguments: &PsqlArguments) -> anyhow::Result<ExitCode> {
    let (which, arguments) = arguments.split();
    let place = Place::find(config).await?;
    let options = which.of(&place.databases);
    let database = options.get_database().context("the database URL names no database")?;
    let mut command = Command::new(program(&place));
    command.env("PGHOST", host(options)).env("PGPORT", options.get_port().to_string());
    command.env("PGUSER", options.get_username()).env("PGDATABASE", database);
    if let Some(password) = password(config, &place, database)? {
        command.env("PGPASSWORD", password);
    }
    command.args(arguments);
    let is_ours = place.postgres().is_some_and(|postgres| postgres.watch().is_some());
    if !is_ours {
        // The server goes on without us, so psql may take our place.
        return Err(command.exec()).context("psql cannot be run");
    }
    // Ctrl-C cancels a query of psql, which is in our process group; it must not end the server under it.
    let _interrupts = signal(SignalKind::interrupt()).context("Ctrl-C cannot be heard")?;
    let status = tokio::task::spawn_blocking(move || command.status()).await?.context("psql cannot be run");
    place.leave().await;
    Ok(if status?.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn program(place: &Place) -> PathBuf {
    place.postgres().and_then(Postgres::psql_binary).unwrap_or_else(|| PathBuf::from("psql"))
}

/// An address, or the directory of a socket.
pub(super) fn host(options: &PgConnectOptions) -> String {
    match options.get_socket() {
        Some(socket) => socket.to_string_lossy().into_owned(),
        None => options.get_host().to_owned(),
    }
}

/// The driver gives no password back, so it is read from the URL again.
fn password(config: &Config, place: &Place, database: &str) -> anyhow::Result<Option<String>> {
    let url = match (place.postgres(), &config.database.url) {
        (Some(postgres), _) => postgres.url(database),
        (None, Some(url)) => url.reveal().to_owned(),
        (None, None) => return Ok(None),
    };
    // A socket's directory is no host to the parser; only what stands before the `@` matters here.
    let Some((credentials, _)) = url.rsplit_once('@') else { return Ok(None) };
    let url: Url =
        format!("{credentials}@localhost").parse().ok().context("the database URL cannot be read")?;
    let Some(encoded) = url.password() else { return Ok(None) };
    Ok(Some(decoded(encoded)))
}

fn decoded(encoded: &str) -> String {
    let pair = format!("password={}", encoded.replace('+', "%2B"));
    url::form_urlencoded::parse(pair.as_bytes()).map(|(_, value)| value.into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Psql {
        #[command(flatten)]
        arguments: PsqlArguments,
    }

    #[test]
    fn the_first_word_is_the_database_where_it_names_one() {
        for (line, database, told) in [
            ([].as_slice(), Which::Core, [].as_slice()),
            (&["vault"], Which::Vault, &[]),
            (&["-c", "select 1"], Which::Core, &["-c", "select 1"]),
            (&["audit", "-c", "select 1"], Which::Audit, &["-c", "select 1"]),
            (&["-v", "core", "--help"], Which::Core, &["-v", "core", "--help"]),
            (&["core", "core"], Which::Core, &["core"]),
        ] {
            let psql = Psql::try_parse_from(["psql"].iter().chain(line)).unwrap();
            let (which, arguments) = psql.arguments.split();
            assert_eq!(
                (which, arguments),
                (database, told.iter().map(ToString::to_string).collect::<Vec<_>>().as_slice())
            );
        }
    }

    #[test]
    fn an_encoded_password_is_decoded() {
        assert_eq!(decoded("a%2Fb+c%40"), "a/b+c@");
    }
}
