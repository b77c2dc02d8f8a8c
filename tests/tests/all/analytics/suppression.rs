//! What is published of cells that were made for it, and when.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use carelog_analytics::publication::{Part, due, publish};
use carelog_domain::OrganizationId;
use carelog_event_log::{SystemClock, new_id};
use carelog_server::serve::Roles;
use carelog_tests::Product;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use super::{as_app, publish_now};

const A_DAY: Duration = Duration::from_hours(24);

/// Appointments, one for each of some patients.
#[derive(Clone)]
pub(super) struct Appointments {
    pub(super) patients: RangeInclusive<u16>,
    /// Of each.
    pub(super) count: u16,
    pub(super) weekday: u8,
    pub(super) lead_days: u8,
    pub(super) is_reminded: bool,
    pub(super) status: &'static str,
    /// Between the cancellation and the start.
    pub(super) notice_hours: Option<i64>,
    pub(super) punctuality: Option<i8>,
    pub(super) planned: Option<u8>,
    pub(super) length: Option<u8>,
    /// When it begins, from now.
    pub(super) in_days: u8,
}

pub(super) fn of(patients: RangeInclusive<u16>) -> Appointments {
    Appointments {
        patients,
        count: 1,
        weekday: 1,
        lead_days: 1,
        is_reminded: false,
        status: "completed",
        notice_hours: None,
        punctuality: None,
        planned: None,
        length: None,
        in_days: 0,
    }
}

/// An organization with its appointments, in the tables of facts.
pub(super) async fn clinic(
    product: &Product,
    threshold: u16,
    appointments: &[Appointments],
) -> OrganizationId {
    let id = OrganizationId::new(new_id());
    let start =
        format!("insert into analytics.analytics_organizations values ('{id}', 1, {threshold}, now(), 0);");
    run(product, &start).await;
    add(product, id, appointments).await;
    id
}

pub(super) async fn run(product: &Product, statements: &str) {
    let mut owner = product.databases().analytics_owner.acquire().await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(&mut *owner).await.unwrap();
}

async fn add(product: &Product, id: OrganizationId, appointments: &[Appointments]) {
    let number = |value: Option<i64>| value.map_or("null".to_owned(), |value| value.to_string());
    let mut statements = String::new();
    for one in appointments {
        let Appointments { count, weekday, lead_days, is_reminded, status, in_days, .. } = one;
        write!(
            statements,
            "insert into analytics.appointment_facts (organization_id, position, last_position, appointment, patient,
                 mode, origin, status, status_path, precision, booked_at, starts_at, starts_on, weekday, lead_days,
                 reschedule_count, is_confirmed, is_reminded, punctuality_minutes, planned_minutes, length_minutes,
                 cancel_notice_hours)
             select '{id}', place, place, gen_random_uuid(), md5(patient::text)::uuid, 'video', 'live', '{status}',
                 array['booked'], 'minute', now(), now() + {in_days} * interval '1 day', '2026-03-02', {weekday}, {lead_days}, 0, false, {is_reminded},
                 {}, {}, {}, {}
             from (
                 select patient, (select last_position from analytics.analytics_organizations
                     where organization_id = '{id}') + row_number() over () as place
                 from generate_series({}, {}) patient cross join generate_series(1, {count})) as records;
             update analytics.analytics_organizations
             set last_position = (select max(position) from analytics.appointment_facts where organization_id = '{id}'),
                 newest_event_at = now()
             where organization_id = '{id}';",
            number(one.punctuality.map(i64::from)),
            number(one.planned.map(i64::from)),
            number(one.length.map(i64::from)),
            number(one.notice_hours),
            one.patients.start(),
            one.patients.end(),
        )
        .unwrap();
    }
    run(product, &statements).await;
}

/// What is published in a table, by dimension and value.
pub(super) async fn published(product: &Product, id: OrganizationId, table: &str) -> Value {
    let mut tx = as_app(product, id).await;
    let cells = format!(
        "select coalesce(jsonb_object_agg(dimension || ' ' || value, to_jsonb(c)), '{{}}')::text
         from published.{table} c"
    );
    let cells: String = sqlx::query_scalar(AssertSqlSafe(cells)).fetch_one(&mut *tx).await.unwrap();
    serde_json::from_str(&cells).unwrap()
}

/// The weekdays whose figures are withheld.
fn withheld(cells: &Value) -> BTreeSet<String> {
    let cells = cells.as_object().unwrap().iter();
    cells
        .filter_map(|(place, cell)| Some((place.strip_prefix("weekday ")?, cell)))
        .filter(|(_, cell)| cell["is_suppressed"] == true)
        .inspect(|(_, cell)| {
            let figures = cell.as_object().unwrap().iter().filter(|(_, figure)| figure.is_number());
            assert_eq!(figures.count(), 0, "what is withheld has no figure left: {cell}");
        })
        .map(|(weekday, _)| weekday.to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn small_and_dominated_cells_are_withheld_and_those_from_which_they_would_follow() {
    let product = Product::start().await;
    let on = |weekday: u8, patients: RangeInclusive<u16>| Appointments { weekday, ..of(patients) };
    let busy = |appointments: Appointments, count: u16| Appointments { count, ..appointments };
    let cases: [(&str, u16, Vec<Appointments>, &[&str]); 12] = [
        ("nothing is small", 11, vec![on(1, 1..=11), on(2, 1..=30)], &[]),
        (
            "one small cell takes the smallest other along",
            11,
            vec![on(1, 1..=10), on(2, 1..=12), on(3, 1..=40)],
            &["1", "2"],
        ),
        (
            "two small cells of different patients stand alone",
            11,
            vec![on(1, 1..=6), on(2, 11..=15), on(3, 1..=12)],
            &["1", "2"],
        ),
        (
            "two small cells of the same patients take another along",
            11,
            vec![on(1, 1..=6), on(2, 1..=5), on(3, 1..=12), on(4, 1..=20)],
            &["1", "2", "3"],
        ),
        (
            "one patient in five cells is one",
            5,
            vec![
                on(1, 1..=1),
                on(2, 1..=1),
                on(3, 1..=1),
                on(4, 1..=1),
                on(5, 1..=1),
                on(6, 1..=6),
                on(7, 1..=30),
            ],
            &["1", "2", "3", "4", "5", "6"],
        ),
        (
            "what is hidden is mostly one patient's",
            11,
            vec![on(1, 2..=7), busy(on(1, 1..=1), 100), on(2, 11..=16), on(3, 1..=12), on(4, 1..=100)],
            &["1", "2", "3", "4"],
        ),
        (
            "patients count, not appointments",
            11,
            vec![busy(on(1, 1..=3), 50), on(2, 11..=30), on(3, 31..=99), on(3, 31..=200)],
            &["1", "2"],
        ),
        (
            "a patient who makes up the cell",
            11,
            vec![busy(on(1, 1..=1), 100), on(1, 2..=12), on(2, 21..=60), on(3, 61..=200)],
            &["1", "2"],
        ),
        (
            "a higher threshold of the clinic",
            20,
            vec![on(1, 1..=12), on(2, 21..=41), on(3, 51..=90)],
            &["1", "2"],
        ),
        ("no threshold goes below five", 1, vec![on(1, 1..=4), on(2, 11..=16), on(3, 21..=27)], &["1", "2"]),
        ("a clinic with one cell", 11, vec![on(1, 1..=3)], &["1"]),
        ("a clinic that is mostly one patient's", 11, vec![busy(on(1, 1..=1), 200), on(2, 2..=30)], &["1"]),
    ];
    for (name, threshold, appointments, expected) in cases {
        let id = clinic(&product, threshold, &appointments).await;
        publish_now(&product, id).await;

        let expected: BTreeSet<String> = expected.iter().map(|value| (*value).to_owned()).collect();
        assert_eq!(withheld(&published(&product, id, "appointment_patterns").await), expected, "{name}");
    }
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_column_repeats_a_hidden_cell_or_crosses_two_dimensions() {
    let product = Product::start().await;
    let one = Appointments { is_reminded: true, lead_days: 0, ..of(1..=1) };
    let hidden = clinic(&product, 11, &[one.clone(), of(2..=40)]).await;
    let many = Appointments { patients: 1..=20, ..one };
    let shown = clinic(&product, 11, &[many, of(21..=40)]).await;
    publish_now(&product, hidden).await;
    publish_now(&product, shown).await;

    let figures = |cells: &Value| {
        assert_eq!(cells["clinic all"]["appointments"], 40);
        let cells = cells.as_object().unwrap().iter();
        cells
            .filter(|(_, cell)| cell["reminded"].is_number() || cell["same_day_share"].is_number())
            .map(|(place, cell)| json!([place, cell["reminded"], cell["same_day_share"]]))
            .collect::<Vec<_>>()
    };

    let cells = published(&product, hidden, "appointment_patterns").await;
    assert_eq!(cells["reminder reminded"]["is_suppressed"], true);
    assert_eq!(figures(&cells), [json!(null); 0]);
    let cells = published(&product, shown, "appointment_patterns").await;
    assert_eq!(figures(&cells), [json!(["clinic all", 20, 0.5])]);
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_figure_about_few_of_a_large_cell_is_withheld() {
    let product = Product::start().await;
    let odd = Appointments { status: "no_show", ..of(1..=1) };
    let late = Appointments { punctuality: Some(35), planned: Some(30), length: Some(25), ..of(2..=2) };
    let id = clinic(&product, 11, &[odd, late, of(3..=42)]).await;
    let form = |patients: &str, hours: &str| {
        format!(
            "insert into analytics.form_facts (organization_id, position, last_position, form, patient, template_id,
                 template_version, status, assigned_at, save_count, turnaround_hours, is_late)
             select '{id}', 1000 + p, 1, gen_random_uuid(), md5(p::text)::uuid, '{id}', 1, 'assigned', now(), 0, {hours},
                 {hours} > 24
             from generate_series({patients}) p;"
        )
    };
    run(&product, &(form("1, 1", "70") + &form("2, 30", "null::integer"))).await;
    publish_now(&product, id).await;

    let patterns = published(&product, id, "appointment_patterns").await;
    let cell = &patterns["clinic all"];
    // Forty-two, one of whom did not come: what became of the others would tell of them, so nothing of it is shown.
    for (column, figure) in [
        ("appointments", json!(40)),
        ("no_shows", json!(null)),
        ("completed", json!(null)),
        ("no_show_rate", json!(null)),
        ("cancelled", json!(null)),
        ("median_punctuality_minutes", json!(null)),
    ] {
        assert_eq!(cell[column], figure, "{column}");
        assert_eq!(patterns["weekday 1"][column], figure, "{column}");
    }
    let cell = &published(&product, id, "clinic_utilisation").await["clinic all"];
    for column in ["bookable_minutes", "delivered_minutes", "utilisation"] {
        assert_eq!(cell[column], json!(null), "{column}");
    }
    assert_eq!(cell["patients"], 40);
    let cell = &published(&product, id, "form_turnaround").await["clinic all"];
    for (column, figure) in [
        ("assigned", json!(30)),
        ("signed", json!(null)),
        ("late", json!(null)),
        ("median_turnaround_hours", json!(null)),
    ] {
        assert_eq!(cell[column], figure, "{column}");
    }
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_event_between_two_looks_shows_nothing() {
    let product = Product::start().await;
    let id = clinic(&product, 11, &[of(1..=30)]).await;
    let now = product.log().clock().now();
    let later = now.saturating_add_micros(i64::try_from(2 * A_DAY.as_micros()).unwrap());
    let parts = async |at, every| {
        let due = due(&product.databases().analytics_system, at, every).await.unwrap();
        due.into_iter().find(|due| due.organization_id == id).map(|due| due.parts).unwrap_or_default()
    };
    let is_due = async |at, every| parts(at, every).await.contains(&Part::Appointments);
    let look = async || published(&product, id, "appointment_patterns").await;
    assert!(is_due(now, A_DAY).await, "a first publication waits for no time");
    publish_now(&product, id).await;
    let before = look().await;
    assert_eq!(before["clinic all"]["appointments"], 30);

    // So much happens that any look at the facts would show it, but about one patient.
    add(&product, id, &[Appointments { count: 8, status: "no_show", ..of(31..=31) }]).await;

    assert_eq!(look().await, before);
    assert!(!is_due(now, A_DAY).await && !is_due(later, A_DAY).await, "one patient makes no publication due");
    add(&product, id, &[of(32..=41)]).await;
    assert!(!is_due(now, A_DAY).await, "nor do eleven, before their time");
    assert_eq!(look().await, before);
    assert!(is_due(later, A_DAY).await);
    publish_now(&product, id).await;
    assert_eq!(look().await["clinic all"]["patients"], 40);
    assert!(!is_due(later, A_DAY).await, "and nothing is due after it");

    // A form of another patient waits for forms of others, whatever happens to appointments.
    let form = |first: u8, last: u8| {
        format!(
            "insert into analytics.form_facts
             select '{id}', 20000 + n, 20000 + n, gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 1, 'assigned',
                 now(), null, 0, null, null
             from generate_series({first}, {last}) n;
             update analytics.analytics_organizations set last_position = greatest(last_position, 20000 + {last})
             where organization_id = '{id}'"
        )
    };
    run(&product, &form(1, 1)).await;
    add(&product, id, &[of(42..=60)]).await;
    assert_eq!(parts(later, A_DAY).await, [Part::Appointments]);
    run(&product, &form(2, 11)).await;
    assert_eq!(parts(later, A_DAY).await, [Part::Appointments, Part::Forms]);
    let pool = &product.databases().analytics_system;
    assert!(publish(pool, id, &[Part::Appointments], now).await.unwrap());
    assert_eq!(look().await["clinic all"]["patients"], 60);
    assert_eq!(published(&product, id, "form_turnaround").await, json!({}), "they are none of that part");
    publish_now(&product, id).await;

    // A higher threshold, and an erasure, wait for nothing; a lower one for its time.
    let threshold = |patients: u8| {
        format!(
            "update analytics.analytics_organizations set small_cell_threshold = {patients} where organization_id = '{id}'"
        )
    };
    run(&product, &threshold(80)).await;
    assert_eq!(parts(now, A_DAY).await, Part::ALL);
    publish_now(&product, id).await;
    assert_eq!(look().await["clinic all"]["is_suppressed"], true);
    run(&product, &threshold(11)).await;
    assert_eq!(parts(now, A_DAY).await, [], "so that nobody publishes at will by changing it to and fro");
    add(&product, id, &[of(61..=61)]).await;
    assert!(!is_due(later, A_DAY).await, "nor does it show one patient");
    add(&product, id, &[of(62..=71)]).await;
    assert!(is_due(later, A_DAY).await);
    run(
        &product,
        &format!("insert into analytics.erased_patients values ('{id}', gen_random_uuid(), 30000)"),
    )
    .await;
    assert_eq!(parts(now, A_DAY).await, Part::ALL);
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clinic_that_is_published_by_several_at_once_has_the_figures_of_one_moment() {
    let product = Product::start().await;
    let id = clinic(&product, 11, &[of(1..=30)]).await;

    futures::future::join_all((0..8).map(|_| publish_now(&product, id))).await;

    let cells = "select count(*), count(distinct (dimension, value)) from published.appointment_patterns";
    let cells: (i64, i64) =
        sqlx::query_as(cells).fetch_one(&product.databases().analytics_owner).await.unwrap();
    assert!(cells.0 > 0 && cells.0 == cells.1, "{cells:?}");
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clinic_that_cannot_be_looked_at_keeps_no_other_from_being_published() {
    // Nothing publishes them meanwhile.
    let roles = Roles { projectors: false, ..Roles::ALL };
    let product = Product::start_as(roles, false, Arc::new(SystemClock)).await;
    let broken = clinic(&product, 11, &[of(1..=30)]).await;
    let sound = clinic(&product, 11, &[of(1..=30)]).await;
    run(
        &product,
        &format!(
            "alter table analytics.form_facts rename to form_facts_kept;
             create view analytics.form_facts as select * from analytics.form_facts_kept
             where case organization_id when '{broken}' then 1 / (position - position) else 1 end = 1;
             grant select on analytics.form_facts to public;
             insert into analytics.form_facts_kept
             values ('{broken}', 20000, 20000, gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 1, 'assigned',
                 now(), null, 0, null, null)"
        ),
    )
    .await;
    assert!(broken < sound, "it is looked at first");

    let now = product.log().clock().now();
    let due = due(&product.databases().analytics_system, now, A_DAY).await.unwrap();

    let clinics: Vec<OrganizationId> = due.iter().map(|due| due.organization_id).collect();
    assert!(clinics.contains(&sound) && !clinics.contains(&broken), "{due:?}");
    product.stop().await;
}
