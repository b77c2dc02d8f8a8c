-- What two columns of facts about appointments mean by now: days are always days of a calendar, and a length follows from
-- the moments where it was not told. Rows of before stay as they were made until `carelog rebuild analytics`.

set local search_path to analytics, public;

-- Owned by the projection analytics. A rebuild runs the parts below in a schema of its own.

-- tables

comment on column appointment_facts.lead_days is 'From the day of the booking to that of the beginning, days. Class: number';
comment on column appointment_facts.length_minutes is 'How long the consultation took, as was told or else from its start to its end, cut to 5 minutes; null where neither is known; minutes. Class: number';

-- indexes
