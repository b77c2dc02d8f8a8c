//! Which cells are withheld, on cells that were made for it.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use carelog_domain::OrganizationId;
use carelog_event_log::new_id;
use carelog_tests::Product;
use sqlx::AssertSqlSafe;

use super::as_app;

/// Fills an organization's weekdays: for each, how many patients, and how many appointments the first of them has.
async fn weekdays(product: &Product, threshold: u16, cells: &[(u8, u16, u16)]) -> OrganizationId {
    let id = OrganizationId::new(new_id());
    let mut statements = format!(
        "insert into analytics.analytics_organizations values ('{id}', 1, {threshold}, now(), 1);
         create temporary sequence if not exists place;"
    );
    for (weekday, patients, of_the_first) in cells {
        write!(
            statements,
            "insert into analytics.appointment_facts (organization_id, position, last_position, appointment, patient,
                 mode, origin, status, status_path, precision, booked_at, starts_at, starts_on, weekday, lead_days,
                 reschedule_count, is_confirmed, is_reminded)
             select '{id}', nextval('place'), 1, gen_random_uuid(), md5(p::text)::uuid, 'video', 'live', 'completed',
                 array['booked'], 'minute', now(), now(), now()::date, {weekday}, 1, 0, false, false
             from generate_series(1, {patients}) p
             cross join lateral generate_series(1, case when p = 1 then {of_the_first} else 1 end);"
        )
        .unwrap();
    }
    let mut owner = product.databases().analytics_owner.acquire().await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut *owner).await.unwrap();
    id
}

/// The weekdays whose figures are withheld.
async fn withheld(product: &Product, id: OrganizationId) -> BTreeSet<String> {
    let mut tx = as_app(product, id).await;
    let view = "select value from analytics.appointment_patterns
                where dimension = 'weekday' and is_suppressed
                    and num_nulls(patients, appointments, no_show_rate, same_day_share) = 4";
    let values: Vec<String> = sqlx::query_scalar(view).fetch_all(&mut *tx).await.unwrap();
    let suppressed =
        "select count(*) from analytics.appointment_patterns where dimension = 'weekday' and is_suppressed";
    let count: i64 = sqlx::query_scalar(suppressed).fetch_one(&mut *tx).await.unwrap();
    assert_eq!(i64::try_from(values.len()).unwrap(), count, "what is withheld has no figure left");
    values.into_iter().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn small_and_dominated_cells_are_withheld_and_those_from_which_they_would_follow() {
    let product = Product::start().await;
    for (name, threshold, cells, expected) in [
        ("nothing is small", 11, &[(1, 11, 1), (2, 30, 1)][..], &[][..]),
        (
            "one small cell takes the smallest other along",
            11,
            &[(1, 10, 1), (2, 12, 1), (3, 40, 1)],
            &["1", "2"],
        ),
        (
            "two small cells with enough patients together stand alone",
            11,
            &[(1, 6, 1), (2, 5, 1), (3, 12, 1)],
            &["1", "2"],
        ),
        (
            "two with too few together take another along",
            11,
            &[(1, 6, 1), (2, 4, 1), (3, 12, 1), (4, 13, 1)],
            &["1", "2", "3"],
        ),
        ("patients count, not appointments", 11, &[(1, 3, 50), (2, 12, 1)], &["1", "2"]),
        ("a patient who makes up the cell", 11, &[(1, 12, 100), (2, 12, 1), (3, 40, 1)], &["1", "2"]),
        ("a higher threshold of the clinic", 20, &[(1, 12, 1), (2, 21, 1), (3, 40, 1)], &["1", "2"]),
        ("no threshold goes below five", 1, &[(1, 4, 1), (2, 6, 1), (3, 7, 1)], &["1", "2"]),
        ("a clinic with one cell", 11, &[(1, 3, 1)], &["1"]),
    ] {
        let id = weekdays(&product, threshold, cells).await;

        let expected: BTreeSet<String> = expected.iter().map(|value| (*value).to_owned()).collect();
        assert_eq!(withheld(&product, id).await, expected, "{name}");
    }
    product.stop().await;
}
