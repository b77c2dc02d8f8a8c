-- Owned by the logins of analysts. A login may set aside what it has for a default; these limits hold whatever it sets.

alter table analytics_access.logins
    add column statement_seconds integer not null default 60,
    add constraint logins_statement_seconds check (statement_seconds > 0);
comment on column analytics_access.logins.statement_seconds is 'How long a statement may take, and how long a transaction may wait for its next; seconds. Class: number';

create function analytics_access.end_overlong() returns bigint
language sql volatile security definer set search_path = pg_catalog as $$
    select count(*)
    from (
        select pg_terminate_backend(session.pid) as is_ended
        from pg_stat_activity session
        join analytics_access.logins login on login.role_name = session.usename
        where clock_timestamp() - make_interval(secs => login.statement_seconds) > case session.state
            when 'active' then session.query_start
            when 'fastpath function call' then session.query_start
            when 'idle in transaction' then session.state_change
            when 'idle in transaction (aborted)' then session.state_change
        end
    ) overlong
    where is_ended
$$;
comment on function analytics_access.end_overlong is 'Ends the sessions of analysts whose statement takes longer than it may, and tells how many those were';
revoke execute on function analytics_access.end_overlong from public;
grant usage on schema analytics_access to carelog_system;
grant execute on function analytics_access.end_overlong to carelog_system;
