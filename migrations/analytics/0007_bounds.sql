-- Owned by the logins of analysts. What PostgreSQL lets every role do, and what a read-only login needs none of: to hold
-- locks of a name, with which the publisher could be held off and the server's table of locks filled; to write large
-- objects; to count the rows of everybody.

do $$
declare
    spare regprocedure;
begin
    for spare in
        select oid::regprocedure
        from pg_catalog.pg_proc
        where pronamespace = 'pg_catalog'::regnamespace
            and (proname ~ '^pg_(try_)?advisory_|^lo_|^lowrite$|^loread$|^pg_stat_get_'
                or proname in ('pg_relation_size', 'pg_table_size', 'pg_indexes_size', 'pg_total_relation_size',
                               'pg_database_size', 'pg_stat_file'))
    loop
        execute format('revoke execute on function %s from public', spare);
        execute format('grant execute on function %s to carelog_system, carelog_app', spare);
    end loop;
end $$;

-- Neither a login whose time is over nor a transaction that is kept alive by short statements goes on.
create or replace function analytics_access.end_overlong() returns bigint
language sql volatile security definer set search_path = pg_catalog as $$
    select count(*)
    from (
        select pg_terminate_backend(session.pid) as is_ended
        from pg_stat_activity session
        join analytics_access.logins login on login.role_name = session.usename
        join pg_roles role on role.rolname = session.usename
        where role.rolvaliduntil <= clock_timestamp()
            or clock_timestamp() - make_interval(secs => 10 * login.statement_seconds) > session.xact_start
            or clock_timestamp() - make_interval(secs => login.statement_seconds) > case session.state
                when 'active' then session.query_start
                when 'fastpath function call' then session.query_start
                when 'idle in transaction' then session.state_change
                when 'idle in transaction (aborted)' then session.state_change
            end
    ) overlong
    where is_ended
$$;
comment on function analytics_access.end_overlong is 'Ends the sessions of analysts whose time is over, whose statement takes longer than it may, or whose transaction takes ten times as long, and tells how many those were';

do $$
declare
    name text;
begin
    for name in select rolname from pg_catalog.pg_roles join analytics_access.logins on role_name = rolname loop
        execute format('alter role %I set temp_file_limit = ''1GB''', name);
    end loop;
end $$;

alter table published.freshness add column newest_event_at timestamptz;
comment on column published.freshness.newest_event_at is 'When the newest event that the figures hold was written to the log, cut to the hour. Class: time';
