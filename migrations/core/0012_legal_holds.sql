-- Which legal holds keep a patient's data from being erased.

set local search_path to records, public;

-- Owned by the projection records. A rebuild runs the parts below in a schema of its own.

-- tables

alter table patients add column legal_holds uuid[] not null default '{}';
comment on column patients.legal_holds is 'The holds in force, in the order in which they were placed';

-- indexes
