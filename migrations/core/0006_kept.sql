-- What no log can restore: parts of receivers' answers, which may hold personal data and therefore never enter it.
--
-- Owned by the projection webhooks; outside its schema, because a rebuild replaces that.

create schema kept;
comment on schema kept is 'What no log can restore, and what a rebuild therefore leaves alone';
grant usage on schema kept to carelog_app, carelog_system;

create table kept.webhook_answers (
    organization_id uuid not null,
    delivery_id uuid not null,
    is_expunged boolean not null default false,
    numbers smallint[] not null default '{}',
    key_ids uuid[] not null default '{}',
    sealed bytea[] not null default '{}',
    constraint webhook_answers_pkey primary key (organization_id, delivery_id),
    constraint webhook_answers_expunged check (not is_expunged or numbers = '{}' and key_ids = '{}' and sealed = '{}'),
    constraint webhook_answers_together
        check (cardinality(numbers) = cardinality(key_ids) and cardinality(numbers) = cardinality(sealed))
) partition by range (delivery_id);
comment on table kept.webhook_answers is 'What is kept of the answers to the attempts of a delivery';
comment on column kept.webhook_answers.is_expunged is 'They were removed for good: nothing more is written';
comment on column kept.webhook_answers.numbers is 'Of the attempts, in no order';
comment on column kept.webhook_answers.key_ids is 'What seals each: a key of the patient, or of the organization';
comment on column kept.webhook_answers.sealed is 'Headers and at most 1 KiB of the body';

select public.carelog_make_partitions('kept.webhook_answers', oldest, now() + interval '56 days', '')
from webhooks.webhook_retention;

alter table kept.webhook_answers enable row level security;
alter table kept.webhook_answers force row level security;
create policy own_organization on kept.webhook_answers
    using (organization_id = (select public.carelog_organization()));
-- A text that is read anew each time, and no view of the projection's tables: a rebuild puts others in their place.
create function kept.is_seen_delivery(p_organization_id uuid, p_delivery_id uuid) returns boolean
language plpgsql stable as $$
begin
    return exists (select from webhooks.webhook_events e
                   where e.organization_id = p_organization_id and e.delivery_id = p_delivery_id);
end $$;
comment on function kept.is_seen_delivery is 'Whether the policies of webhooks.webhook_events let the caller see a delivery';
create policy own_partner on kept.webhook_answers as restrictive to carelog_app
    using ((select public.carelog_partner()) is null or kept.is_seen_delivery(organization_id, delivery_id));
grant select, insert, update, delete on kept.webhook_answers to carelog_system;
grant select on kept.webhook_answers to carelog_app;
