-- The ledger of effects: what reactors want done and workers have done; and the queues in which effects wait.
--
-- Owned by the crate event-log. Rows are never deleted by a rebuild: the key is what keeps an effect from
-- being carried out a second time.

create table runtime.effects (
    organization_id uuid not null,
    source_event_id uuid not null,
    step uuid not null,
    reactor text not null,
    lane smallint not null,
    position bigint not null,
    token bigint not null default 1,
    owner uuid,
    claimed_at timestamptz,
    begun_at timestamptz,
    next_at timestamptz,
    created_at timestamptz not null default now(),
    constraint effects_pkey primary key (organization_id, source_event_id, step, reactor),
    constraint effects_owner check (owner is null or next_at is not null)
);
comment on table runtime.effects is 'Effects to be carried out, one per organization, reactor, source event and step';
comment on column runtime.effects.step is 'What to do for the source event; for webhooks the subscription';
comment on column runtime.effects.position is 'Where the source event stands in its lane';
comment on column runtime.effects.token is 'Fencing token: raised by every claim, and matched by every report';
comment on column runtime.effects.owner is 'The worker process that holds it';
comment on column runtime.effects.claimed_at is 'When its last holder took it, by the holder''s clock'
    ' as the outcomes in the log are';
comment on column runtime.effects.begun_at is 'The same moment by the clock of the database, which is the clock of queues';
comment on column runtime.effects.next_at is 'When it is due or, while held, when the lease ends; null when nothing is left to do';

create index effects_waiting on runtime.effects (reactor, organization_id, step, next_at) where next_at is not null;
create index effects_held on runtime.effects (reactor, organization_id, step) where owner is not null;

create table runtime.effect_queues (
    reactor text not null,
    organization_id uuid not null,
    step uuid not null,
    next_at timestamptz,
    held_until timestamptz,
    failing_since timestamptz,
    failed_at timestamptz,
    recovered_at timestamptz,
    begun_slot bigint not null default 0,
    failures integer not null default 0,
    per_tick integer,
    begun integer[] not null default array_fill(0, array[22]),
    is_closed boolean not null default false,
    constraint effect_queues_pkey primary key (reactor, organization_id, step),
    constraint effect_queues_failing check ((failures > 0) = (failing_since is not null))
) with (fillfactor = 50);
comment on table runtime.effect_queues is
    'The effects of one step of an organization wait together: for their turn, for the pace, for a receiver to recover';
comment on column runtime.effect_queues.next_at is
    'When to look for its due effects: never later than the first of them, unless something else holds them back';
comment on column runtime.effect_queues.held_until is 'Nothing is begun before';
comment on column runtime.effect_queues.failing_since is 'The first failure after the last success';
comment on column runtime.effect_queues.failed_at is 'The newest failure that was counted';
comment on column runtime.effect_queues.recovered_at is
    'The first success after three failures in a row or more; what was last tried before is due at once';
comment on column runtime.effect_queues.failures is 'Failures in a row; those under way together count as one';
comment on column runtime.effect_queues.per_tick is 'How many may begin in five seconds, where that is less than for every queue';
comment on column runtime.effect_queues.begun is
    'How many began in the quarter of a second begun_slot and in the 21 before it: five seconds and a little more';
comment on column runtime.effect_queues.is_closed is
    'Nothing is to be carried out any more: whatever waits is due, so that it can be ended';

create index effect_queues_next on runtime.effect_queues (reactor, next_at) where next_at is not null;

create type runtime.effect_limits as (
    per_tick integer,
    held_per_step integer,
    held_per_organization integer
);
comment on type runtime.effect_limits is
    'per_tick: begun in five seconds; held_per_step, held_per_organization: under way at a time';

-- The functions of a queue compute on its row alone, in the language that costs least for that.

create function runtime.effect_queue_now(q runtime.effect_queues) returns runtime.effect_queues
language plpgsql stable as $$
declare
    slot bigint := floor(extract(epoch from now()) * 4)::bigint;
    passed bigint := slot - q.begun_slot;
begin
    if passed >= 22 then
        q.begun := array_fill(0, array[22]);
    elsif passed > 0 then
        q.begun := array_fill(0, array[passed::integer]) || q.begun[1:22 - passed::integer];
    end if;
    q.begun_slot := greatest(q.begun_slot, slot);
    return q;
end $$;
comment on function runtime.effect_queue_now is 'A queue as of now: what began too long ago has fallen out of its counts';

create function runtime.effect_pace(q runtime.effect_queues, p_limits runtime.effect_limits)
returns integer language plpgsql immutable as $$
declare
    room integer := least(q.per_tick, p_limits.per_tick);
    count integer;
begin
    foreach count in array q.begun loop
        room := room - count;
    end loop;
    return room;
end $$;
comment on function runtime.effect_pace is 'How many effects of a queue, as of now, may begin as far as its pace goes';

create function runtime.effect_room(q runtime.effect_queues, p_limits runtime.effect_limits)
returns integer language plpgsql stable as $$
declare
    pace integer;
begin
    if q.is_closed then
        return 2147483647;
    end if;
    pace := runtime.effect_pace(q, p_limits);
    if pace <= 0 or q.held_until > now() then
        return 0;
    end if;
    return (
        select greatest(0, least(
            pace,
            p_limits.held_per_organization - count(*),
            case when q.failures >= 3 then 1 else p_limits.held_per_step end - count(*) filter (where x.step = q.step)
        ))
        from runtime.effects x
        where x.reactor = q.reactor and x.organization_id = q.organization_id and x.owner is not null
          and x.next_at > now()
          -- What is only being ended asks nothing of a receiver.
          and not (
              select c.is_closed from runtime.effect_queues c
              where c.reactor = x.reactor and c.organization_id = x.organization_id and c.step = x.step
          )
    );
end $$;
comment on function runtime.effect_room is
    'How many effects of a queue, as of now, may begin; after three failures in a row one at a time, until one succeeds';

create function runtime.effect_limited_until(q runtime.effect_queues, p_limits runtime.effect_limits)
returns timestamptz language plpgsql stable as $$
begin
    if q.is_closed then
        return null;
    elsif q.held_until > now() then
        return q.held_until;
    elsif runtime.effect_pace(q, p_limits) > 0 then
        return now() + interval '50 ms';
    end if;
    for age in reverse 22..1 loop
        if q.begun[age] > 0 then
            return to_timestamp((q.begun_slot + 23 - age) / 4.0);
        end if;
    end loop;
    return null;
end $$;
comment on function runtime.effect_limited_until is 'When a queue, as of now, that has no room is worth another look';

create function runtime.insert_effects(
    p_reactor text, p_owner uuid, p_claimed_at timestamptz, p_lease interval, p_room integer,
    p_limits runtime.effect_limits, p_organizations uuid[], p_steps uuid[], p_events uuid[], p_lanes smallint[],
    p_positions bigint[]
) returns setof runtime.effects language plpgsql as $$
declare
    q runtime.effect_queues;
    first integer := 1;
    last integer := 0;
    wanted integer;
    room integer := p_room;
    may integer;
    held integer;
begin
    while last < cardinality(p_steps) loop
        first := last + 1;
        last := first;
        while p_organizations[last + 1] = p_organizations[first] and p_steps[last + 1] = p_steps[first] loop
            last := last + 1;
        end loop;
        wanted := last - first + 1;
        loop
            select * into q
            from runtime.effect_queues k
            where k.reactor = p_reactor and k.organization_id = p_organizations[first] and k.step = p_steps[first]
            for update;
            exit when found;
            insert into runtime.effect_queues (reactor, organization_id, step)
            values (p_reactor, p_organizations[first], p_steps[first])
            on conflict do nothing;
        end loop;
        q := runtime.effect_queue_now(q);
        may := 0;
        if room > 0 and not q.is_closed then
            may := least(wanted, room, runtime.effect_room(q, p_limits));
        end if;
        -- Those that wait already go first. Where they wait for their pace or their share, the queue is looked at soon.
        if may > 0 and q.next_at < now() + interval '6 s' and exists (
            select from runtime.effects x
            where x.reactor = p_reactor and x.organization_id = q.organization_id and x.step = q.step
              and x.next_at <= now() and x.owner is null
        ) then
            may := 0;
        end if;
        held := 0;
        if may > 0 then
            return query
            insert into runtime.effects (organization_id, source_event_id, step, reactor, lane, position, owner,
                                         claimed_at, begun_at, next_at)
            select q.organization_id, w.event, q.step, p_reactor, w.lane, w.position, p_owner, p_claimed_at, now(),
                   now() + p_lease
            from unnest(p_events[first:first + may - 1], p_lanes[first:first + may - 1],
                        p_positions[first:first + may - 1]) as w (event, lane, position)
            on conflict do nothing
            returning *;
            get diagnostics held = row_count;
        end if;
        if may < wanted then
            insert into runtime.effects (organization_id, source_event_id, step, reactor, lane, position, next_at)
            select q.organization_id, w.event, q.step, p_reactor, w.lane, w.position, now()
            from unnest(p_events[first + may:last], p_lanes[first + may:last], p_positions[first + may:last])
                 as w (event, lane, position)
            on conflict do nothing;
        end if;
        room := room - held;
        q.begun[1] := q.begun[1] + held;
        update runtime.effect_queues k
        set begun = q.begun, begun_slot = q.begun_slot,
            next_at = least(k.next_at, now() + case when may < wanted then interval '0' else p_lease end)
        where k.reactor = p_reactor and k.organization_id = q.organization_id and k.step = q.step;
    end loop;
end $$;
comment on function runtime.insert_effects is
    'Adds effects that are not in the ledger yet, given in the order of their queues, which is the order in which'
    ' everybody locks queues. As many as their queues and p_room allow are leased to p_owner and'
    ' given back; the others are due for whoever claims them';

create function runtime.claim_effects(
    p_reactor text, p_owner uuid, p_claimed_at timestamptz, p_lease interval, p_room integer,
    p_limits runtime.effect_limits
) returns table (organization_id uuid, source_event_id uuid, step uuid, lane smallint, "position" bigint, token bigint,
                 abandoned_since timestamptz, is_closed boolean)
language plpgsql as $$
#variable_conflict use_column
declare
    q runtime.effect_queues;
    room integer := p_room;
    may integer;
    taken integer;
    due timestamptz;
begin
    for q in
        select * from runtime.effect_queues k
        where k.reactor = p_reactor and k.next_at <= now()
        order by k.next_at
        -- So many that nobody waits long for those that are locked here; the next look begins with the others.
        limit 200
        for update skip locked
    loop
        q := runtime.effect_queue_now(q);
        may := least(room, runtime.effect_room(q, p_limits));
        taken := 0;
        if may > 0 then
            return query
            with due as materialized (
                select x.ctid, x.owner, x.claimed_at
                from runtime.effects x
                where x.reactor = p_reactor and x.organization_id = q.organization_id and x.step = q.step
                  and x.next_at is not null
                  and (x.next_at <= now() or x.owner is null and (q.is_closed or x.begun_at < q.recovered_at))
                order by x.next_at
                limit may
                for update skip locked
            )
            update runtime.effects e
            set token = e.token + 1, owner = p_owner, claimed_at = p_claimed_at, begun_at = now(),
                next_at = now() + p_lease
            from due
            where e.ctid = due.ctid
            returning e.organization_id, e.source_event_id, e.step, e.lane, e.position, e.token,
                      case when due.owner is not null then due.claimed_at end, q.is_closed;
            get diagnostics taken = row_count;
        end if;
        room := room - taken;
        q.begun[1] := q.begun[1] + taken;
        if taken < may then
            q.recovered_at := null;
        end if;
        due := case when taken = may and (q.is_closed or q.recovered_at is not null) then now() else (
            select min(x.next_at)
            from runtime.effects x
            where x.reactor = p_reactor and x.organization_id = q.organization_id and x.step = q.step
              and x.next_at is not null
        ) end;
        update runtime.effect_queues k
        set begun = q.begun, begun_slot = q.begun_slot, recovered_at = q.recovered_at,
            -- One that got nothing is looked at before those that got something, so that they take turns.
            next_at = case when taken = may and room > 0 and due is not null
                           then greatest(due, runtime.effect_limited_until(q, p_limits)
                                              - case when taken = 0 then interval '10 ms' else interval '0' end)
                           else due end
        where k.reactor = p_reactor and k.organization_id = q.organization_id and k.step = q.step;
        exit when room <= 0;
    end loop;
end $$;
comment on function runtime.claim_effects is
    'Leases due effects, and those whose lease ran out, to p_owner: a few of each queue, the longest waiting queue first';

create function runtime.report_effects(
    p_reactor text, p_now timestamptz, p_failing_for interval, p_organizations uuid[], p_steps uuid[],
    p_events uuid[], p_tokens bigint[], p_next_at timestamptz[], p_succeeded boolean[], p_slow_down boolean[],
    p_hold interval[], out refused integer, out lost_organizations uuid[], out lost_steps uuid[]
) language plpgsql as $$
declare
    said record;
    q runtime.effect_queues;
begin
    lost_organizations := '{}';
    lost_steps := '{}';
    refused := cardinality(p_events);
    for said in
        with done as (
            update runtime.effects e
            -- Times of workers are as far from their now as they are from the database's.
            set owner = null, next_at = now() + (w.next_at - p_now)
            from unnest(p_organizations, p_steps, p_events, p_tokens, p_next_at, p_succeeded, p_slow_down, p_hold)
                 as w (organization_id, step, event, token, next_at, succeeded, slow_down, hold)
            where e.organization_id = w.organization_id and e.source_event_id = w.event and e.step = w.step
              and e.reactor = p_reactor and e.token = w.token
              -- Not as a condition that the index of the held ones answers: that one does not know the event.
              and (e.owner is null) is false
            returning w.organization_id, w.step, w.succeeded, w.slow_down, w.hold, e.next_at, e.begun_at
        )
        select g.*, (
                   select k.failures > 0 from runtime.effect_queues k
                   where k.reactor = p_reactor and k.organization_id = g.organization_id and k.step = g.step
               ) as was_failing
        from (
            select d.organization_id, d.step, count(*)::integer as count, min(d.next_at) as next_at,
                   bool_or(d.succeeded) as any_succeeded, bool_or(not d.succeeded) as any_failed,
                   bool_or(d.slow_down) as slow_down, max(d.hold) as hold,
                   max(d.begun_at) filter (where not d.succeeded) as failed_from
            from done d
            group by d.organization_id, d.step
        ) g
        order by g.organization_id, g.step
    loop
        refused := refused - said.count;
        -- Most often there is nothing to write down, and then nobody is kept waiting for the row.
        continue when said.next_at is null and said.any_failed is not true and not said.was_failing;
        select * into q
        from runtime.effect_queues k
        where k.reactor = p_reactor and k.organization_id = said.organization_id and k.step = said.step
        for update;
        if said.any_succeeded then
            -- Not after one or two: one delivery that always fails among others that do not would soon have no
            -- attempts left.
            if q.failures >= 3 then
                q.recovered_at := now();
                q.next_at := now();
            end if;
            q.failures := 0;
            q.failing_since := null;
        end if;
        if said.any_failed and said.failed_from > coalesce(q.failed_at, '-infinity') then
            -- Nobody tried for longer than the longest wait between two attempts: that is no failure in a row.
            if q.failed_at < now() - interval '36 hours' then
                q.failures := 0;
                q.failing_since := null;
            end if;
            q.failures := q.failures + 1;
            q.failed_at := now();
            q.failing_since := coalesce(q.failing_since, now());
        end if;
        if said.any_failed and (said.slow_down or said.hold is not null or q.failures >= 3) then
            -- A second, four, sixteen … up to a quarter of an hour, with a fifth of jitter, or what was asked for.
            q.held_until := greatest(q.held_until, now() + coalesce(said.hold,
                least(interval '900 s', interval '1 s' * 4 ^ least(q.failures - 1, 5)) * (0.8 + 0.4 * random())));
        end if;
        if said.any_failed and not q.is_closed and q.failures >= 5 and q.failing_since < now() - p_failing_for then
            lost_organizations := lost_organizations || said.organization_id;
            lost_steps := lost_steps || said.step;
        end if;
        update runtime.effect_queues k
        set failures = q.failures, failing_since = q.failing_since, failed_at = q.failed_at,
            recovered_at = q.recovered_at, held_until = q.held_until, next_at = least(q.next_at, said.next_at)
        where k.reactor = p_reactor and k.organization_id = said.organization_id and k.step = said.step;
    end loop;
end $$;
comment on function runtime.report_effects is
    'Writes down what became of effects under their tokens, and what that says of their queues: those that failed for'
    ' p_failing_for, five times or more, are named';

create function runtime.set_effect_queue(
    p_reactor text, p_organization_id uuid, p_step uuid, p_per_tick integer, p_is_closed boolean
) returns void language sql as $$
    insert into runtime.effect_queues as k (reactor, organization_id, step, per_tick, is_closed)
    values (p_reactor, p_organization_id, p_step, p_per_tick, coalesce(p_is_closed, false))
    on conflict (reactor, organization_id, step) do update
    set per_tick = coalesce(p_per_tick, k.per_tick),
        is_closed = coalesce(p_is_closed, k.is_closed),
        next_at = case when k.next_at is not null then now() end,
        failures = case when p_is_closed is false then 0 else k.failures end,
        failing_since = case when p_is_closed is false then null else k.failing_since end,
        held_until = case when p_is_closed is false then null else k.held_until end
$$;
comment on function runtime.set_effect_queue is
    'Sets the pace of a queue, closes it or opens it again, which forgets its failures';

create type runtime.page_end as (
    projector text,
    version integer,
    lane smallint,
    epoch bigint,
    from_position bigint,
    to_position bigint,
    recorded_at timestamptz,
    lease interval,
    reactor text,
    owner uuid,
    claimed_at timestamptz,
    effect_lease interval,
    room integer,
    per_tick integer,
    held_per_step integer,
    held_per_organization integer
);
comment on type runtime.page_end is 'How a page ends: the step of its checkpoint, and who takes its fresh effects';

create function runtime.end_page(
    p_end runtime.page_end, p_organizations uuid[], p_steps uuid[], p_events uuid[], p_lanes smallint[],
    p_positions bigint[]
) returns setof runtime.effects language plpgsql strict as $$
begin
    perform runtime.advance(p_end.projector, p_end.version, p_end.lane, p_end.epoch, p_end.from_position,
                            p_end.to_position, p_end.recorded_at, p_end.lease, p_end.reactor);
    if cardinality(p_steps) > 0 then
        return query select * from runtime.insert_effects(
            p_end.reactor, p_end.owner, p_end.claimed_at, p_end.effect_lease, p_end.room,
            row(p_end.per_tick, p_end.held_per_step, p_end.held_per_organization), p_organizations, p_steps, p_events,
            p_lanes, p_positions);
    end if;
end $$;
comment on function runtime.end_page is
    'Ends a page inside the one statement that writes it; nothing for null, when the page ends in statements of its own';

alter table runtime.effects enable row level security;
alter table runtime.effects force row level security;
create policy own_organization on runtime.effects using (organization_id = (select public.carelog_organization()));
grant select, insert, update on runtime.effects to carelog_system;
grant select on runtime.effects to carelog_app;

alter table runtime.effect_queues enable row level security;
alter table runtime.effect_queues force row level security;
create policy own_organization on runtime.effect_queues
    using (organization_id = (select public.carelog_organization()));
grant select, insert, update on runtime.effect_queues to carelog_system;
grant select on runtime.effect_queues to carelog_app;
