-- Owned by the logins of analysts. Those that were made before learn what was agreed, and the owner becomes able to end
-- them where it is no superuser: a session belongs to its role, and to the members of that role.

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

do $$
declare
    name text;
begin
    for name in select rolname from pg_catalog.pg_roles join analytics_access.logins on role_name = rolname loop
        begin
            execute format('grant %I to %I', name, current_user);
        exception when insufficient_privilege then
            raise warning 'login % was made by another role, so that its statements end in time only while it keeps its own limit', name;
        end;
    end loop;
end $$;
