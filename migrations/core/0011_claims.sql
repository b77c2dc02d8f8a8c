-- A claim that costs the same however many effects wait, and whose taker is told how new what it depends on has to be.
--
-- Owned by the crate event-log. The plans of these statements depend on what the server knows of the table, and on whether
-- it plans for the values at hand or for any. Whichever it is, no plan may read every effect that waits.

alter table runtime.effect_queues add column revision bigint not null default 0;
comment on column runtime.effect_queues.revision is
    'Version of the stream that its effects depend on, as of the last change that was told; each taker is told it, and'
    ' uses nothing older';

create type runtime.taken_effect as (
    organization_id uuid,
    source_event_id uuid,
    step uuid,
    lane smallint,
    position bigint,
    token bigint,
    abandoned_since timestamptz,
    is_closed boolean,
    revision bigint
);
comment on type runtime.taken_effect is 'An effect in the hands of a worker, and how its queue stood when it was taken';

drop function runtime.end_page(runtime.page_end, uuid[], uuid[], uuid[], smallint[], bigint[]);
drop function runtime.insert_effects(
    text, uuid, timestamptz, interval, integer, runtime.effect_limits, uuid[], uuid[], uuid[], smallint[], bigint[]
);
drop function runtime.claim_effects(text, uuid, timestamptz, interval, integer, runtime.effect_limits);
drop function runtime.set_effect_queue(text, uuid, uuid, integer, boolean);

create or replace function runtime.effect_room(q runtime.effect_queues, p_limits runtime.effect_limits)
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
          -- Not as a condition that the index of those that wait answers: it holds all of the organization's.
          and (x.next_at > now()) is true
          -- What is only being ended asks nothing of a receiver.
          and not (
              select c.is_closed from runtime.effect_queues c
              where c.reactor = x.reactor and c.organization_id = x.organization_id and c.step = x.step
          )
    );
end $$;

create function runtime.insert_effects(
    p_reactor text, p_owner uuid, p_claimed_at timestamptz, p_lease interval, p_room integer,
    p_limits runtime.effect_limits, p_organizations uuid[], p_steps uuid[], p_events uuid[], p_lanes smallint[],
    p_positions bigint[]
) returns setof runtime.taken_effect language plpgsql as $$
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
            insert into runtime.effects as e (organization_id, source_event_id, step, reactor, lane, position, owner,
                                              claimed_at, begun_at, next_at)
            select q.organization_id, w.event, q.step, p_reactor, w.lane, w.position, p_owner, p_claimed_at, now(),
                   now() + p_lease
            from unnest(p_events[first:first + may - 1], p_lanes[first:first + may - 1],
                        p_positions[first:first + may - 1]) as w (event, lane, position)
            on conflict do nothing
            returning e.organization_id, e.source_event_id, e.step, e.lane, e.position, e.token,
                      null::timestamptz, false, q.revision;
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
) returns setof runtime.taken_effect language plpgsql as $$
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
                  -- By itself, so that the index is read to there and no further.
                  and x.next_at <= case when q.is_closed or q.recovered_at is not null then 'infinity' else now() end
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
                      case when due.owner is not null then due.claimed_at end, q.is_closed, q.revision;
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

create function runtime.set_effect_queue(
    p_reactor text, p_organization_id uuid, p_step uuid, p_per_tick integer, p_is_closed boolean,
    p_revision bigint default null
) returns void language sql as $$
    insert into runtime.effect_queues as k (reactor, organization_id, step, per_tick, is_closed, revision)
    values (p_reactor, p_organization_id, p_step, p_per_tick, coalesce(p_is_closed, false), coalesce(p_revision, 0))
    on conflict (reactor, organization_id, step) do update
    set per_tick = coalesce(p_per_tick, k.per_tick),
        is_closed = coalesce(p_is_closed, k.is_closed),
        revision = greatest(p_revision, k.revision),
        next_at = case when k.next_at is not null then now() end,
        failures = case when p_is_closed is false then 0 else k.failures end,
        failing_since = case when p_is_closed is false then null else k.failing_since end,
        held_until = case when p_is_closed is false then null else k.held_until end
$$;
comment on function runtime.set_effect_queue is
    'Sets the pace of a queue, closes it or opens it again, which forgets its failures; and tells the version that its'
    ' effects depend on from here on';

create function runtime.end_page(
    p_end runtime.page_end, p_organizations uuid[], p_steps uuid[], p_events uuid[], p_lanes smallint[],
    p_positions bigint[]
) returns setof runtime.taken_effect language plpgsql strict as $$
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

-- What these look for is found in the order of an index, or where it lies. What the server knows of a table that fills
-- and empties may be anything, and one that takes the few for many, or the many for few, reads them all.
do $$
declare
    f regprocedure;
    setting text;
begin
    foreach f in array array[
        'runtime.insert_effects(text, uuid, timestamptz, interval, integer, runtime.effect_limits, uuid[], uuid[], uuid[],'
        ' smallint[], bigint[])',
        'runtime.claim_effects(text, uuid, timestamptz, interval, integer, runtime.effect_limits)'
    ]::regprocedure[] loop
        foreach setting in array array['bitmapscan', 'seqscan', 'sort', 'hashjoin', 'mergejoin'] loop
            execute format('alter function %s set enable_%s = off', f, setting);
        end loop;
    end loop;
end $$;
