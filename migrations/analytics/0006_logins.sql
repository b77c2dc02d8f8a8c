-- Owned by the logins of analysts. Those that were made before their limits were noted learn what was agreed.

update analytics_access.logins login
set statement_seconds = greatest(1, agreed.seconds)
from (
    select role.rolname, substring(setting from '^statement_timeout=(\d{1,9})s$')::integer as seconds
    from pg_catalog.pg_db_role_setting defaults
    join pg_catalog.pg_roles role on role.oid = defaults.setrole
    cross join unnest(defaults.setconfig) setting
    where defaults.setdatabase = 0
) agreed
where agreed.rolname = login.role_name and agreed.seconds is not null;
