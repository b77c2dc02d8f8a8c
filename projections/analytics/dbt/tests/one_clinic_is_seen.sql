-- The login belongs to one clinic: anything of a second is more than it may see.
select count(distinct organization_id) as organizations
from {{ source('published', 'freshness') }}
having count(distinct organization_id) <> 1
