-- Entries by the network address that the request came from, and by the session of the console.
--
-- Both stand sealed in the log alone. So the trail begins anew here: its projector enters every event once more, from
-- the first, and until it is back at the head the trail lacks the newest entries, as its lag tells. A trail in a second
-- database stays as it is, since it tells of neither.

set local search_path to audit, public;

-- Owned by the projection audit. A rebuild runs the parts below in a schema of its own.

do $$ begin
    if exists (select from runtime.checkpoints where projector = 'audit') then
        truncate trail, consent_changes;
        update runtime.checkpoints
        set position = 0, recorded_at = null, epoch = epoch + 1, owner = null, leased_until = '-infinity'
        where projector = 'audit';
    end if;
end $$;

-- tables

alter table trail
    add column address_index bytea,
    add column session_id uuid,
    add constraint trail_address_index check (octet_length(address_index) = 16);
comment on column trail.address_index is 'Stands for the address that the request came from: a hash under the organization''s key of class network. Null in a second database, where there was no address, and where its key was destroyed before';
comment on column trail.session_id is 'The session of the console in which it was asked for; null where the address is, and outside of the console';

-- indexes

create index trail_by_address on trail (organization_id, address_index, sequence) where address_index is not null;
create index trail_by_session on trail (organization_id, session_id, sequence) where session_id is not null;
