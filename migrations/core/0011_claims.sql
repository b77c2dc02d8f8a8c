-- A claim that costs the same however many effects wait.
--
-- Owned by the crate event-log. The plans of these statements depend on what the server knows of the table, and on whether
-- it plans for the values at hand or for any. Whichever it is, no plan may read every effect that waits.

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

create or replace function runtime.claim_effects(
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
