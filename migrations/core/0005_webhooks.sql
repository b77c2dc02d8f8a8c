-- Subscriptions of partners, deliveries to make, and what became of each attempt.
--
-- Owned by the projection webhooks.

create schema webhooks;
comment on schema webhooks is 'Webhook subscriptions, deliveries and attempts, folded from the log';
set local search_path to webhooks, public;

-- tables

do $$ begin
    execute format('grant usage on schema %I to carelog_app, carelog_system', current_schema());
end $$;

create table webhook_subscriptions (
    organization_id uuid not null,
    subscription_id uuid not null,
    partner_id uuid,
    filter text[] not null,
    format text not null,
    per_tick_limit integer,
    status text not null,
    disable_reason text,
    version bigint not null,
    created_at timestamptz not null,
    changed_at timestamptz not null,
    constraint webhook_subscriptions_pkey primary key (organization_id, subscription_id),
    constraint webhook_subscriptions_status check (status in ('active', 'disabled', 'deleted')),
    constraint webhook_subscriptions_format check (format in ('standard', 'cloudevents')),
    constraint webhook_subscriptions_reason check ((status = 'disabled') = (disable_reason is not null))
);
comment on table webhook_subscriptions is 'Who wants which events';
comment on column webhook_subscriptions.partner_id is
    'The partner whose it is, and whose keys alone reach it beside the clinic; null where the clinic keeps it itself';
comment on column webhook_subscriptions.filter is 'Patterns: *, a kind with .*, or an event type';
comment on column webhook_subscriptions.per_tick_limit is 'Deliveries that may start in a tick; null for the default';

create table webhook_subscription_parts (
    organization_id uuid not null,
    subscription_id uuid not null,
    version bigint not null,
    event_id uuid not null,
    event_type text not null,
    schema_version smallint not null,
    recorded_at timestamptz not null,
    overlap_seconds integer,
    key_id uuid not null,
    sealed bytea not null,
    constraint webhook_subscription_parts_pkey primary key (organization_id, subscription_id, version)
);
comment on table webhook_subscription_parts is
    'Sealed URL, headers and secrets as each event gave them; whoever may open them folds them by version';
comment on column webhook_subscription_parts.overlap_seconds is 'How long the secret before this one stays valid';

create table webhook_events (
    organization_id uuid not null,
    delivery_id uuid not null,
    subscription_id uuid not null,
    source_event_id uuid not null,
    source_sequence bigint not null,
    source_recorded_at timestamptz not null,
    position bigint not null,
    version bigint not null default 0,
    next_attempt_at timestamptz,
    finished_at timestamptz,
    lane smallint not null,
    attempt_count smallint not null default 0,
    last_status smallint,
    source_type text not null,
    state text not null,
    reason text,
    last_outcome text,
    constraint webhook_events_pkey primary key (organization_id, delivery_id),
    constraint webhook_events_state check (state in ('pending', 'delivered', 'failed')),
    constraint webhook_events_reason check ((state = 'failed') = (reason is not null)),
    constraint webhook_events_finished check ((state = 'pending') = (finished_at is null))
) partition by range (delivery_id);
comment on table webhook_events is
    'One row for each event and matching subscription; there is no default partition, which would forbid to detach others'
    ' without locking everybody out';
comment on column webhook_events.delivery_id is 'Follows from subscription and event; also the webhook-id that receivers see';
comment on column webhook_events.position is 'Where the source event stands in its lane';
comment on column webhook_events.version is 'Version of the delivery''s stream; 0 before its first outcome';
comment on column webhook_events.next_attempt_at is 'When it is tried again; null before the first outcome and at the end';
comment on column webhook_events.reason is 'Why it was never delivered';

create table webhook_attempts (
    organization_id uuid not null,
    delivery_id uuid not null,
    number smallint not null,
    status smallint,
    duration_ms integer not null,
    started_at timestamptz not null,
    recorded_at timestamptz not null,
    outcome text not null,
    lookup_ms integer,
    connect_ms integer,
    wait_ms integer,
    body_ms integer,
    subscription_version bigint,
    detail text,
    constraint webhook_attempts_pkey primary key (organization_id, delivery_id, number)
) partition by range (delivery_id);
comment on table webhook_attempts is 'One row for each HTTP try';
comment on column webhook_attempts.status is 'HTTP status, where there was one';
comment on column webhook_attempts.connect_ms is 'TCP and TLS; null where a kept connection was used';
comment on column webhook_attempts.wait_ms is 'From the connection to the head of the answer';
comment on column webhook_attempts.subscription_version is
    'The version of the subscription that told what to send; null where nothing was sent';
comment on column webhook_attempts.detail is 'What exactly was wrong, where the outcome does not tell';

create table webhook_retention (
    only_row boolean not null default true,
    oldest timestamptz not null,
    delivered_until timestamptz not null default 'epoch',
    failed_until timestamptz not null default 'epoch',
    swept_until timestamptz not null default 'epoch',
    constraint webhook_retention_pkey primary key (only_row),
    constraint webhook_retention_one_row check (only_row)
);
comment on table webhook_retention is 'How far deliveries have been removed, by the time that their ids begin with';
comment on column webhook_retention.oldest is 'The oldest partition begins here; of older events there is no row, and none is made';
comment on column webhook_retention.delivered_until is 'Delivered ones of older events are removed';
comment on column webhook_retention.failed_until is 'Failed ones of older events are removed too';
comment on column webhook_retention.swept_until is 'delivered_until of the last removal that was finished';

do $$
declare
    v_oldest timestamptz;
begin
    -- What a rebuild makes anew goes as far back as what serves, and no further.
    if current_schema() = 'webhooks' then
        insert into webhook_retention (oldest) values (public.carelog_partition_start(now() - interval '1 day'));
    else
        insert into webhook_retention select * from webhooks.webhook_retention;
    end if;
    select oldest into v_oldest from webhook_retention;
    perform public.carelog_make_partitions('webhook_events', v_oldest, now() + interval '56 days', 'with (fillfactor = 70)');
    perform public.carelog_make_partitions('webhook_attempts', v_oldest, now() + interval '56 days', '');
end $$;

alter table webhook_subscriptions enable row level security;
alter table webhook_subscriptions force row level security;
create policy own_organization on webhook_subscriptions using (organization_id = (select public.carelog_organization()));
create policy own_partner on webhook_subscriptions as restrictive to carelog_app
    using ((select public.carelog_partner()) is null or partner_id = (select public.carelog_partner()));
alter table webhook_subscription_parts enable row level security;
alter table webhook_subscription_parts force row level security;
create policy own_organization on webhook_subscription_parts
    using (organization_id = (select public.carelog_organization()));
create policy own_partner on webhook_subscription_parts as restrictive to carelog_app
    using ((select public.carelog_partner()) is null
           or subscription_id in (select s.subscription_id from webhook_subscriptions s));
alter table webhook_events enable row level security;
alter table webhook_events force row level security;
create policy own_organization on webhook_events using (organization_id = (select public.carelog_organization()));
-- A policy within a policy: the subscriptions that are seen here are the partner's own.
create policy own_partner on webhook_events as restrictive to carelog_app
    using ((select public.carelog_partner()) is null
           or subscription_id in (select s.subscription_id from webhook_subscriptions s));
alter table webhook_attempts enable row level security;
alter table webhook_attempts force row level security;
create policy own_organization on webhook_attempts using (organization_id = (select public.carelog_organization()));
create policy own_partner on webhook_attempts as restrictive to carelog_app
    using ((select public.carelog_partner()) is null
           or exists (select from webhook_events e
                      where e.organization_id = webhook_attempts.organization_id
                        and e.delivery_id = webhook_attempts.delivery_id));

grant select on webhook_retention to carelog_system;
grant select, insert, update, delete
    on webhook_subscriptions, webhook_subscription_parts, webhook_events, webhook_attempts to carelog_system;
grant select on webhook_subscriptions, webhook_subscription_parts, webhook_events, webhook_attempts to carelog_app;

create table webhook_replays (
    organization_id uuid not null,
    replay_id uuid not null,
    subscription_id uuid not null,
    sequence bigint not null,
    first_sequence bigint not null,
    last_sequence bigint not null,
    place bigint not null,
    version bigint not null,
    recorded_from timestamptz,
    recorded_until timestamptz,
    requested_at timestamptz not null,
    advanced_at timestamptz,
    finished_at timestamptz,
    number integer not null,
    matching_count integer not null,
    skipped_count integer not null default 0,
    status text not null,
    end_reason text,
    filter text[] not null,
    states text[] not null,
    reasons text[] not null,
    constraint webhook_replays_pkey primary key (organization_id, replay_id),
    constraint webhook_replays_number unique (organization_id, subscription_id, number),
    constraint webhook_replays_status check (status in ('running', 'completed', 'cancelled')),
    constraint webhook_replays_reason check ((status = 'cancelled') = (end_reason is not null)),
    constraint webhook_replays_finished check ((status = 'running') = (finished_at is null))
);
comment on table webhook_replays is 'Deliveries of a subscription that are sent again in bulk';
comment on column webhook_replays.sequence is 'Organization sequence of the request';
comment on column webhook_replays.first_sequence is 'Organization sequence of the first event whose delivery matched';
comment on column webhook_replays.last_sequence is 'Organization sequence of the last one';
comment on column webhook_replays.place is 'Organization sequence up to which everything was asked for or skipped';
comment on column webhook_replays.number is 'Numbers the replays of a subscription from 1';
comment on column webhook_replays.reasons is 'Of deliveries that never arrived, which; all where it is empty';

create table webhook_replay_counts (
    organization_id uuid not null,
    replay_id uuid not null,
    requested_count integer not null,
    delivered_count integer not null,
    failed_count integer not null,
    constraint webhook_replay_counts_pkey primary key (organization_id, replay_id)
) with (fillfactor = 50);
comment on table webhook_replay_counts is 'What became of the deliveries that a replay asked for, as their own events say';

alter table webhook_replays enable row level security;
alter table webhook_replays force row level security;
create policy own_organization on webhook_replays using (organization_id = (select public.carelog_organization()));
create policy own_partner on webhook_replays as restrictive to carelog_app
    using ((select public.carelog_partner()) is null
           or subscription_id in (select s.subscription_id from webhook_subscriptions s));
alter table webhook_replay_counts enable row level security;
alter table webhook_replay_counts force row level security;
create policy own_organization on webhook_replay_counts
    using (organization_id = (select public.carelog_organization()));
grant select, insert, update, delete on webhook_replays, webhook_replay_counts to carelog_system;
grant select on webhook_replays, webhook_replay_counts to carelog_app;

-- indexes
create index webhook_replays_by_sequence on webhook_replays (organization_id, sequence);
-- Not led by the organization: beside the primary key, an index that leads with it could seem as good for looking up
-- deliveries by their id, while a partition is still empty.
create index webhook_events_by_subscription on webhook_events (subscription_id, source_sequence);
create index webhook_events_undelivered on webhook_events (organization_id, delivery_id) where state <> 'delivered';
