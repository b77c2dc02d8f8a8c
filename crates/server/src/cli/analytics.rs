//! `carelog analytics`: publications and their export, analysts' logins, and the epochs of pseudonyms.

mod epoch;
mod export;

use std::process::ExitCode;

use anyhow::Context;
use carelog_analytics::logins::{self, Bounds, Verifier};
use carelog_analytics::publication::Part;
use carelog_analytics::{publication, worker};
use carelog_domain::{OrganizationId, Timestamp};
use clap::{Args, Subcommand};
use sqlx::postgres::PgConnectOptions;
use uuid::Uuid;

use self::export::ExportArguments;
use crate::config::Config;
use crate::databases::DatabaseOptions;
use crate::system::System;

const MICROS_PER_DAY: i64 = 86_400_000_000;
const PASSWORD_BYTES: usize = 24;

/// What to do with analytics.
#[derive(Debug, Subcommand)]
pub(super) enum AnalyticsCommand {
    /// Make a clinic's figures anew now, as after a rebuild
    Publish(Clinic),
    /// Write a clinic's figures to files of Parquet; the export is itself written to the log
    Export(ExportArguments),
    /// Copy the facts to ClickHouse from the beginning, or, once none is configured any more, forget that they were
    Recopy,
    /// See to the logins with which analysts read a clinic's figures
    #[command(subcommand)]
    Login(LoginCommand),
    /// See to the keys of a clinic's pseudonyms
    #[command(subcommand)]
    Epoch(EpochCommand),
}

/// Of which clinic.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Clinic {
    /// The clinic
    #[arg(long, value_name = "ID")]
    organization: Uuid,
}

#[derive(Debug, Subcommand)]
pub(super) enum LoginCommand {
    /// Make a login, and show its password, this once
    Create {
        #[command(flatten)]
        clinic: Clinic,
        #[command(flatten)]
        term: Term,
        /// Connections at a time
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=50))]
        connections: u16,
        /// Longest time of a statement, in seconds
        #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u16).range(1..=3600))]
        statement_seconds: u16,
    },
    /// Show the logins of a clinic
    List(Clinic),
    /// Give a login another password and term, and show it, this once
    Rotate {
        #[command(flatten)]
        login: Named,
        #[command(flatten)]
        term: Term,
    },
    /// End a login, and cut off whoever uses it
    Revoke(Named),
}

#[derive(Debug, Args)]
pub(super) struct Named {
    #[command(flatten)]
    clinic: Clinic,
    /// The name of the login
    #[arg(long, value_name = "NAME")]
    login: String,
}

#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Term {
    /// When it ends by itself, in days from now
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u16).range(1..=366))]
    days: u16,
}

#[derive(Debug, Subcommand)]
pub(super) enum EpochCommand {
    /// Show which epoch the facts stand under, and which is the newest
    Show(Clinic),
    /// Begin an epoch, which the next rebuild takes
    Rotate(Clinic),
    /// Destroy the key of an epoch that no facts stand under any more
    Destroy {
        #[command(flatten)]
        clinic: Clinic,
        /// Its number
        #[arg(long)]
        epoch: i32,
    },
}

impl Clinic {
    const fn id(self) -> OrganizationId {
        OrganizationId::new(self.organization)
    }
}

/// Publishes, exports, or sees to logins or epochs.
pub(super) async fn run(
    config: &Config,
    system: &System,
    databases: &DatabaseOptions,
    command: AnalyticsCommand,
) -> anyhow::Result<ExitCode> {
    match command {
        AnalyticsCommand::Publish(clinic) => {
            let pool = &system.databases.analytics_system;
            let is_known =
                publication::publish(pool, clinic.id(), Part::ALL, system.log.clock().now()).await?;
            anyhow::ensure!(is_known, "analytics know no organization {}", clinic.id());
            println!("the figures are those of now");
        }
        AnalyticsCommand::Export(arguments) => export::run(config, system, &arguments).await?,
        AnalyticsCommand::Recopy => {
            let pool = &system.databases.analytics_system;
            if config.analytics.clickhouse_url.is_some() {
                worker::restart(pool).await?;
                println!("the copy begins anew; erasures wait for it");
            } else {
                worker::give_up(pool).await?;
                println!("no ClickHouse is configured: erasures wait for no copy any more");
                eprintln!(
                    "warning: whoever is erased from now on stays in the copy that was made before: drop its tables"
                );
            }
        }
        AnalyticsCommand::Login(command) => login(system, databases, command).await?,
        AnalyticsCommand::Epoch(command) => Box::pin(epoch::run(system, command)).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn login(system: &System, databases: &DatabaseOptions, command: LoginCommand) -> anyhow::Result<()> {
    let mut owner = system.databases.analytics_owner.acquire().await?;
    match command {
        LoginCommand::Create { clinic, term, connections, statement_seconds } => {
            databases.close_to_public().await?;
            let (password, verifier) = new_password()?;
            let bounds = Bounds { valid_until: term.end(system), connections, statement_seconds };
            let role_name = logins::create(&mut owner, clinic.id(), verifier, bounds).await?;
            tell(&databases.analytics, &role_name, &password, bounds.valid_until);
            for name in logins::open_databases(&mut owner, &role_name).await? {
                eprintln!(
                    "warning: the login may also connect to the database {name:?} of this server, and write what is gone \
                     with its session there; to forbid it: revoke connect, temporary on database \"{name}\" from public"
                );
            }
        }
        LoginCommand::List(clinic) => {
            for login in logins::list(&mut owner, clinic.id()).await? {
                let until = login.valid_until.map_or("for ever".to_owned(), |until| format!("until {until}"));
                println!("{} {until}", login.role_name);
            }
        }
        LoginCommand::Rotate { login: Named { clinic, login }, term } => {
            let (password, verifier) = new_password()?;
            let valid_until = term.end(system);
            logins::rotate(&mut owner, clinic.id(), &login, verifier, valid_until).await?;
            tell(&databases.analytics, &login, &password, valid_until);
        }
        LoginCommand::Revoke(Named { clinic, login }) => {
            logins::revoke(&mut owner, clinic.id(), &login).await?;
            println!("{login} is no more");
        }
    }
    Ok(())
}

impl Term {
    fn end(self, system: &System) -> Timestamp {
        system.log.clock().now().saturating_add_micros(i64::from(self.days) * MICROS_PER_DAY)
    }
}

fn new_password() -> anyhow::Result<(String, Verifier)> {
    let (mut bytes, mut salt) = ([0; PASSWORD_BYTES], [0; 16]);
    getrandom::fill(&mut bytes).context("no random bytes")?;
    getrandom::fill(&mut salt).context("no random bytes")?;
    let password = hex::encode(bytes);
    let verifier = Verifier::new(&password, salt);
    Ok((password, verifier))
}

/// What a client of PostgreSQL needs to know.
fn tell(database: &PgConnectOptions, role_name: &str, password: &str, valid_until: Timestamp) {
    println!("host:     {}", super::psql::host(database));
    println!("port:     {}", database.get_port());
    println!("database: {}", database.get_database().unwrap_or_default());
    println!("login:    {role_name}");
    println!("password: {password}");
    println!("until:    {valid_until}");
    println!("The password is kept nowhere. The tables are those of the schema `published`.");
}
