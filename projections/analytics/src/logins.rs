//! Analysts' logins: roles of the database server that see one organization, read, and end by themselves.
//!
//! A login is bound by a row of `analytics_access.logins`, which it cannot reach. It holds the rights of
//! `carelog_analyst` and no others. Its validity and the number of its connections are kept by the server. The time of a
//! statement and the search path are defaults, which a login may set aside, so [`end_overlong`] ends what takes too long.
//! The server never hears the password, only what SCRAM (RFC 5802, RFC 7677) keeps of it, so that it stands in no log.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use carelog_domain::{OrganizationId, Timestamp};
use futures::future::BoxFuture;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, PgPool};
use time::OffsetDateTime;

/// Logins of one organization, at most.
pub const MAX_LOGINS: i64 = 50;
/// Begins the name of every login that is made here. Nothing depends on it.
const PREFIX: &str = "analyst_";
/// How long is waited for a session to end, milliseconds.
const CUT_OFF_MS: i64 = 5_000;
/// As PostgreSQL chooses by default.
const ITERATIONS: u32 = 4096;

/// Why a login was not made or changed.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// There are no events of such an organization.
    #[error("analytics know no organization {0}")]
    NoOrganization(OrganizationId),
    /// No login of the organization has that name.
    #[error("organization {organization_id} has no login {role_name}")]
    NoLogin {
        /// The clinic.
        organization_id: OrganizationId,
        /// The name.
        role_name: String,
    },
    /// As many as there may be.
    #[error("organization {0} has {MAX_LOGINS} logins, the most that it may have")]
    TooMany(OrganizationId),
    /// Nobody new can sign in; where a login was to be rotated, another try may end them and open it again.
    #[error(
        "nobody can sign in any more, but sessions of the login have not ended in time: pg_stat_activity tells which"
    )]
    StillConnected,
    /// The database failed, or its user may make no roles.
    #[error("the database of analytics refused")]
    Database(#[from] sqlx::Error),
}

/// Bounds of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// When it ends.
    pub valid_until: Timestamp,
    /// Connections at a time.
    pub connections: u16,
    /// Longest time of a statement, seconds.
    pub statement_seconds: u16,
}

/// A login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The role that signs in.
    pub role_name: String,
    /// When it ends; nothing where that was changed by hand.
    pub valid_until: Option<OffsetDateTime>,
}

/// What a password leads to, and how.
#[derive(Clone, Copy)]
pub struct Verifier {
    salt: [u8; 16],
    stored_key: [u8; 32],
    server_key: [u8; 32],
}

impl Verifier {
    /// Of a password of ASCII letters and digits, and a random salt.
    pub fn new(password: &str, salt: [u8; 16]) -> Self {
        let mut block = hmac(password.as_bytes(), &[&salt, &1_u32.to_be_bytes()]);
        let mut salted = block;
        for _ in 1..ITERATIONS {
            block = hmac(password.as_bytes(), &[&block]);
            salted.iter_mut().zip(block).for_each(|(sum, byte)| *sum ^= byte);
        }
        let stored_key = Sha256::digest(hmac(&salted, &[b"Client Key"])).into();
        Self { salt, stored_key, server_key: hmac(&salted, &[b"Server Key"]) }
    }

    fn text(&self) -> String {
        let [salt, stored, server] =
            [&self.salt[..], &self.stored_key, &self.server_key].map(|bytes| STANDARD.encode(bytes));
        format!("SCRAM-SHA-256${ITERATIONS}:{salt}${stored}:{server}")
    }
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// Makes a login, and tells its name. The connection belongs to a role that may make roles.
///
/// # Errors
/// See [`LoginError`].
pub fn create(
    owner: &mut PgConnection,
    organization_id: OrganizationId,
    verifier: Verifier,
    bounds: Bounds,
) -> BoxFuture<'_, Result<String, LoginError>> {
    Box::pin(async move {
        let mut tx = owner.begin().await?;
        sqlx::query!(
            "
            select organization_id from analytics.analytics_organizations where organization_id = $1 for update
            ",
            organization_id.uuid()
        )
        .fetch_optional(&mut *tx)
        .await?
        .ok_or(LoginError::NoOrganization(organization_id))?;
        if list(&mut tx, organization_id).await?.len() >= usize::try_from(MAX_LOGINS).unwrap_or(usize::MAX) {
            return Err(LoginError::TooMany(organization_id));
        }
        let statement = sqlx::query!(
            r#"
            select r.name as "role_name!",
                format(
                    'create role %1$I login nosuperuser nocreatedb nocreaterole noreplication nobypassrls
                        in role carelog_analyst password %2$L valid until %3$L connection limit %4$s',
                    r.name, $2::text, $3::timestamptz, $4::integer) as "statement!"
            from (select $1::text || left(replace(gen_random_uuid()::text, '-', ''), 16) as name) as r
            "#,
            PREFIX,
            verifier.text(),
            OffsetDateTime::from(bounds.valid_until),
            i32::from(bounds.connections)
        )
        .fetch_one(&mut *tx)
        .await?;
        tx.execute(AssertSqlSafe(statement.statement)).await?;
        sqlx::query!(
            "insert into analytics_access.logins (role_name, organization_id, statement_seconds) values ($1, $2, $3)",
            statement.role_name,
            organization_id.uuid(),
            i32::from(bounds.statement_seconds)
        )
        .execute(&mut *tx)
        .await?;
        set_defaults(&mut tx, &statement.role_name).await?;
        tx.commit().await?;
        Ok(statement.role_name)
    })
}

/// Gives a login another password and another end, and takes back whatever it has set of itself. Whoever is connected is
/// cut off first: a session may give its login a password of its own.
///
/// # Errors
/// See [`LoginError`]. Nobody signs in then, until another try succeeds.
pub fn rotate<'a>(
    owner: &'a mut PgConnection,
    organization_id: OrganizationId,
    role_name: &'a str,
    verifier: Verifier,
    valid_until: Timestamp,
) -> BoxFuture<'a, Result<(), LoginError>> {
    Box::pin(async move {
        let mut tx = owner.begin().await?;
        check_bound(&mut tx, organization_id, role_name).await?;
        let role = sqlx::query!(
            r#"
            select oid::bigint as "number!", format('alter role %I nologin', rolname) as "closes!",
                format('alter role %I login password %L valid until %L', rolname, $2::text, $3::timestamptz) as "opens!"
            from pg_catalog.pg_roles
            where rolname = $1
            "#,
            role_name,
            verifier.text(),
            OffsetDateTime::from(valid_until)
        )
        .fetch_optional(&mut *tx)
        .await?
        .ok_or_else(|| LoginError::NoLogin { organization_id, role_name: role_name.to_owned() })?;
        tx.execute(AssertSqlSafe(role.closes)).await?;
        tx.commit().await?;
        cut_off(owner, role.number).await?;
        let mut tx = owner.begin().await?;
        tx.execute(AssertSqlSafe(role.opens)).await?;
        set_defaults(&mut tx, role_name).await?;
        tx.commit().await?;
        Ok(())
    })
}

/// Ends a login, and cuts off whoever is connected with it.
///
/// # Errors
/// See [`LoginError`].
pub fn revoke<'a>(
    owner: &'a mut PgConnection,
    organization_id: OrganizationId,
    role_name: &'a str,
) -> BoxFuture<'a, Result<(), LoginError>> {
    Box::pin(async move {
        let mut tx = owner.begin().await?;
        check_bound(&mut tx, organization_id, role_name).await?;
        sqlx::query!("delete from analytics_access.logins where role_name = $1", role_name)
            .execute(&mut *tx)
            .await?;
        let role = sqlx::query!(
            r#"
            select oid::bigint as "number!", format('drop owned by %1$I; drop role %1$I', rolname) as "statement!"
            from pg_catalog.pg_roles
            where rolname = $1
            "#,
            role_name
        )
        .fetch_optional(&mut *tx)
        .await?;
        // Somebody may have dropped it by hand.
        let Some(role) = role else { return Ok(tx.commit().await?) };
        tx.execute(AssertSqlSafe(role.statement)).await?;
        tx.commit().await?;
        // Nobody can sign in any more; and a session has no name any more, only a number.
        cut_off(owner, role.number).await
    })
}

/// The logins of an organization, in the order of their names.
///
/// # Errors
/// When the database fails.
pub fn list(
    owner: &mut PgConnection,
    organization_id: OrganizationId,
) -> BoxFuture<'_, Result<Vec<Login>, sqlx::Error>> {
    Box::pin(async move {
        sqlx::query_as!(
            Login,
            "
            select l.role_name, r.rolvaliduntil as valid_until
            from analytics_access.logins l
            join pg_catalog.pg_roles r on r.rolname = l.role_name
            where l.organization_id = $1
            order by l.role_name
            ",
            organization_id.uuid()
        )
        .fetch_all(owner)
        .await
    })
}

/// The other databases of the server that a login may connect to: PostgreSQL lets every role into every database that was
/// not closed to all, `postgres` and `template1` among them. They may be somebody else's, so that they stay as they are.
///
/// # Errors
/// When the database fails.
pub fn open_databases<'a>(
    owner: &'a mut PgConnection,
    role_name: &'a str,
) -> BoxFuture<'a, Result<Vec<String>, sqlx::Error>> {
    Box::pin(async move {
        sqlx::query_scalar!(
            r#"
            select datname::text as "name!"
            from pg_catalog.pg_database
            where datallowconn and datname <> current_database() and has_database_privilege($1, oid, 'connect')
            order by datname
            "#,
            role_name
        )
        .fetch_all(owner)
        .await
    })
}

/// Ends the sessions of logins whose statement takes longer than it may, and tells how many those were.
///
/// # Errors
/// When the database fails.
pub fn end_overlong(system: &PgPool) -> BoxFuture<'_, Result<i64, sqlx::Error>> {
    Box::pin(async move {
        sqlx::query_scalar!(r#"select analytics_access.end_overlong() as "count!""#).fetch_one(system).await
    })
}

/// Ends every session of a role.
async fn cut_off(owner: &mut PgConnection, number: i64) -> Result<(), LoginError> {
    let have_ended = sqlx::query_scalar!(
        r#"
        select coalesce(bool_and(pg_terminate_backend(pid, $2)), true) as "have_ended!"
        from pg_stat_activity
        where usesysid::bigint = $1
        "#,
        number,
        CUT_OFF_MS
    )
    .fetch_one(owner)
    .await?;
    if have_ended { Ok(()) } else { Err(LoginError::StillConnected) }
}

/// What the sessions of a login begin with; whatever else was set of it, for one database or for all, is gone.
async fn set_defaults(tx: &mut PgConnection, role_name: &str) -> Result<(), sqlx::Error> {
    let statement = sqlx::query_scalar!(
        r#"
        select coalesce((
                select string_agg(format('alter role %I in database %I reset all;', l.role_name, d.datname), '')
                from pg_catalog.pg_db_role_setting s
                join pg_catalog.pg_roles r on r.oid = s.setrole
                join pg_catalog.pg_database d on d.oid = s.setdatabase
                where r.rolname = l.role_name), '')
            || format(
                'alter role %1$I reset all;
                 alter role %1$I set default_transaction_read_only = on;
                 alter role %1$I set statement_timeout = %2$L;
                 alter role %1$I set idle_in_transaction_session_timeout = %2$L;
                 alter role %1$I set temp_file_limit = ''1GB'';
                 alter role %1$I set search_path = published',
                l.role_name, l.statement_seconds || 's') as "statement!"
        from analytics_access.logins l
        where l.role_name = $1
        "#,
        role_name
    )
    .fetch_one(&mut *tx)
    .await?;
    tx.execute(AssertSqlSafe(statement)).await?;
    Ok(())
}

async fn check_bound(
    tx: &mut PgConnection,
    organization_id: OrganizationId,
    role_name: &str,
) -> Result<(), LoginError> {
    sqlx::query_scalar!(
        "select role_name from analytics_access.logins where role_name = $1 and organization_id = $2 for update",
        role_name,
        organization_id.uuid()
    )
    .fetch_optional(tx)
    .await?
    .map(|_| ())
    .ok_or_else(|| LoginError::NoLogin { organization_id, role_name: role_name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values come from PostgreSQL 15, which was given the password.
    #[test]
    fn a_verifier_is_what_postgresql_makes_of_the_password() {
        let expected = "SCRAM-SHA-256$4096:yvCd4o5NU4s+39LC9IdELw==$+KF1H8sxV1yivbDpQ0nET1tZM+5RmFuyMwGxWxh3qnE=:+YUpgja+7LMxvM6URIELAGCq3w/8hENLoTDrvfvNuOQ=";
        let salt = STANDARD.decode("yvCd4o5NU4s+39LC9IdELw==").unwrap().try_into().unwrap();

        assert_eq!(Verifier::new("pencil", salt).text(), expected);
    }
}
