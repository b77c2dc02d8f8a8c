//! Whether the log of checkpoints is made of what was signed.

use carelog_audit::meta::META;
use sqlx::PgConnection;

use super::{Finding, MAX_NAMED};

/// Each leaf has to be the text of a checkpoint that was signed, in its place in the tree, and the tree has to have no
/// others. The leaves of one organization's log have to be of growing sizes.
pub(super) async fn checkpoints(audit: &mut PgConnection) -> Result<Finding, sqlx::Error> {
    let checked = sqlx::query_scalar!(r#"select count(*) as "count!" from signer.meta_leaves"#)
        .fetch_one(&mut *audit)
        .await?;
    let damage = sqlx::query_scalar!(
        r#"
        with kept as (
            select leaf_index, organization_id, origin, size, text,
                   lag(size, 1, 0::bigint) over (partition by organization_id, origin order by leaf_index) as before,
                   row_number() over (order by leaf_index) - 1 as place
            from signer.meta_leaves),
        tree as (
            select leaf_index, leaf_hash from proof.tree_leaves where organization_id = $1)
        select format('leaf %s of the log of checkpoints is not the one that was sealed', k.leaf_index) as "damage!"
        from kept k
        join tree t using (leaf_index)
        where t.leaf_hash <> sha256('\x00'::bytea || convert_to(k.text, 'UTF8'))
        union all
        select format('leaf %s of the log of checkpoints has no checkpoint that was signed', k.leaf_index)
        from kept k
        left join signer.checkpoints c
            on c.organization_id = k.organization_id and c.origin = k.origin and c.size = k.size
        where c.note is null or split_part(c.note, E'\n\n', 1) || E'\n' <> k.text
        union all
        select format('leaf %s of the log of checkpoints comes out of order', k.leaf_index)
        from kept k
        where k.size <= k.before or k.place <> k.leaf_index
        union all
        select format('leaf %s of the log of checkpoints is sealed, and nobody knows of what', t.leaf_index)
        from tree t
        left join kept k using (leaf_index)
        where k.leaf_index is null
        limit $2
        "#,
        META.uuid(),
        MAX_NAMED
    )
    .fetch_all(audit)
    .await?;
    Ok(Finding::new(
        "the log of checkpoints has what was signed, each organization in one history",
        checked,
        damage,
    ))
}
