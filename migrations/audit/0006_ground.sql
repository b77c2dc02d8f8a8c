-- What made an entry lawful: the legal basis, and what the patient had agreed to. And where it came from: the network
-- address of the request, and the session of the console.
--
-- What patients agreed to, addresses and sessions stand in the log alone. So the trail begins anew here: its projector
-- enters every event once more, from the first, and until it is back at the head the trail lacks the newest entries, as
-- its lag tells. Nothing is lost, since no entry says what the log does not say.

set local search_path to audit, public;

-- Owned by the projection audit. A rebuild runs the parts below in a schema of its own.

-- A trail in a second database may be kept as evidence beside the log. What it said before is put aside, for whoever
-- owns it to keep or to drop.
do $$ begin
    if exists (select from runtime.checkpoints where projector = 'forwarded_trail') then
        create table runtime.trail_before_0006 as table audit.trail;
        comment on table runtime.trail_before_0006 is 'The trail as it was before legal bases and consents were told';
    end if;
end $$;
truncate trail;
update runtime.checkpoints
set position = 0, recorded_at = null, epoch = epoch + 1, owner = null, leased_until = '-infinity'
where projector in ('audit', 'forwarded_trail');

-- tables

alter table trail
    add column legal_basis text not null,
    add column consents text not null,
    add column address_index bytea,
    add column session_id uuid,
    add constraint trail_address_index check (octet_length(address_index) = 16),
    add constraint trail_legal_basis check (
        legal_basis in ('consent', 'contract', 'legal_obligation', 'vital_interests', 'legitimate_interests'));
comment on column trail.legal_basis is 'Which point of GDPR Article 6(1) it rests on by default';
comment on column trail.consents is 'What the patient had agreed to when it happened, as kind/version, sorted, with spaces between; empty for nothing';
comment on column trail.address_index is 'Stands for the address that the request came from: a hash under the organization''s key of class network. Null in a second database, where there was no address, and where its key was destroyed before';
comment on column trail.session_id is 'The session of the console in which it was asked for; null where the address is, and outside of the console';

create table consent_changes (
    organization_id uuid not null,
    sequence bigint not null,
    subject_id uuid not null,
    occurred_at timestamptz not null,
    consent text not null,
    version integer,
    constraint consent_changes_pkey primary key (organization_id, subject_id, sequence),
    constraint consent_changes_version check (version between 0 and 65535)
);
comment on table consent_changes is 'What patients agreed to and took back, from which the consents of later entries follow';
comment on column consent_changes.sequence is 'Of the entry that tells of it';
comment on column consent_changes.occurred_at is 'When it happened, microseconds';
comment on column consent_changes.consent is 'To what';
comment on column consent_changes.version is 'Of the consent''s text; null where it was taken back';

alter table consent_changes enable row level security;
alter table consent_changes force row level security;
create policy own_organization on consent_changes
    using (organization_id = (select public.carelog_organization()));
grant select, insert on consent_changes to carelog_system;

-- indexes

create index trail_by_address on trail (organization_id, address_index, sequence) where address_index is not null;
create index trail_by_session on trail (organization_id, session_id, sequence) where session_id is not null;
