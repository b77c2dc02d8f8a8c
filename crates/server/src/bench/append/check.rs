//! What must hold after everybody has appended.

use sqlx::PgPool;

use crate::bench::report::Report;

/// Each counts the places where its rule is broken.
const RULES: [(&str, &str); 4] = [
    (
        "every lane is gapless and its head true",
        "select count(*) from log.lane_heads h
         left join (select lane, count(*) as events, min(position) as first, max(position) as last
                    from log.events group by lane) e using (lane)
         where coalesce(e.events, 0) <> h.position or coalesce(e.first, 1) <> 1
             or coalesce(e.last, 0) <> h.position",
    ),
    (
        "every organization's sequence is gapless and its head true",
        "select count(*) from log.organizations o
         left join (select organization_id, count(*) as events, min(organization_sequence) as first,
                           max(organization_sequence) as last
                    from log.events group by organization_id) e using (organization_id)
         where coalesce(e.events, 0) <> o.sequence or coalesce(e.first, 1) <> 1
             or coalesce(e.last, 0) <> o.sequence",
    ),
    (
        "every stream's head is true",
        "select count(*) from log.stream_heads h
         full join (select organization_id, stream_id, stream_kind, count(*) as events, max(version) as version,
                           min(position) as first_position, max(position) as last_position
                    from log.events group by 1, 2, 3) e using (organization_id, stream_id, stream_kind)
         where (h.version, h.version, h.first_position, h.last_position)
             is distinct from (e.events, e.version, e.first_position, e.last_position)",
    ),
    ("something was appended", "select case when exists (select from log.events) then 0 else 1 end::bigint"),
];

pub(super) async fn gapless(owner: &PgPool, report: &mut Report) -> anyhow::Result<()> {
    for (rule, statement) in RULES {
        let broken: i64 = sqlx::query_scalar(statement).fetch_one(owner).await?;
        report.check(rule, broken == 0);
    }
    Ok(())
}
