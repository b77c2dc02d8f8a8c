//! Figures that no imported history has: utilisation, exercises, streaks and forms, as a person counts them.

use carelog_domain::OrganizationId;
use carelog_tests::Product;
use serde_json::json;

use super::publish_now;
use super::suppression::{Appointments, clinic, of, published, run};

/// Of 30 minutes each, 40 patients were seen for 20, 10 late each; 20 others did not come; 15 cancelled less than a day
/// before, and 30 a day before; and 15 are to come in a week. 15 more had no planned length.
fn appointments() -> [Appointments; 6] {
    let planned = |patients| Appointments { planned: Some(30), ..of(patients) };
    let seen = Appointments { length: Some(20), punctuality: Some(10), ..planned(1..=40) };
    let missed = Appointments { status: "no_show", length: Some(25), ..planned(41..=60) };
    let cancelled = |patients, hours| Appointments {
        status: "cancelled",
        notice_hours: Some(hours),
        ..planned(patients)
    };
    let to_come = Appointments { status: "booked", in_days: 7, ..planned(121..=135) };
    [seen, missed, of(61..=75), cancelled(76..=90, 23), cancelled(91..=120, 24), to_come]
}

/// In the first week 40 patients did two of three sessions and skipped the third; in the second 30 did one of four and
/// skipped two.
async fn assign(product: &Product, id: OrganizationId) {
    for (week, patients, [assigned, completed, skipped]) in [(1, 40, [3, 2, 1]), (2, 30, [4, 1, 2])] {
        let statement = format!(
            "insert into analytics.exercise_assignment_facts
             select '{id}', 1000 * {week} + n, 1000 * {week} + n, gen_random_uuid(), gen_random_uuid(),
                 md5(n::text)::uuid, '{id}', {week}, {assigned}, {completed}, {skipped}
             from generate_series(1, {patients}) n"
        );
        run(product, &statement).await;
    }
}

/// On these days of March, each patient of a range did an exercise, twice; or skipped one.
async fn exercise(product: &Product, id: OrganizationId, patients: [u16; 2], days: &[u8], outcome: &str) {
    let [first, last] = patients;
    let reason = if outcome == "skipped" { "'pain'" } else { "null" };
    for day in days {
        let statement = format!(
            "insert into analytics.exercise_session_facts
             select '{id}', 10000 + (select count(*) from analytics.exercise_session_facts) + row_number() over (),
                 gen_random_uuid(), md5(n::text)::uuid, '{id}', 1, 1, '{outcome}', {reason}, null, null, null,
                 make_date(2026, 3, {day})
             from generate_series({first}, {last}) n cross join generate_series(1, 2)"
        );
        run(product, &statement).await;
    }
}

/// 55 patients got a form: 25 signed it within a day, 15 within two, which was too late, and 15 did not.
async fn fill_in(product: &Product, id: OrganizationId) {
    let statement = format!(
        "insert into analytics.form_facts
         select '{id}', n, n, gen_random_uuid(), md5(n::text)::uuid, '{id}', 1,
             case when n <= 40 then 'signed' else 'assigned' end, now(), now(), 0,
             case when n <= 25 then 24 when n <= 40 then 48 end, case when n <= 40 then n > 25 end
         from generate_series(1, 55) n"
    );
    run(product, &statement).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn utilisation_exercises_streaks_and_forms_are_what_a_person_counts() {
    let product = Product::start().await;
    let id = clinic(&product, 11, &appointments()).await;
    assign(&product, id).await;
    exercise(&product, id, [1, 15], &[2], "completed").await;
    exercise(&product, id, [16, 30], &[2, 3, 4, 6, 7], "completed").await;
    // Whoever leaves a day out goes on with no streak.
    exercise(&product, id, [16, 30], &[5], "skipped").await;
    exercise(&product, id, [31, 45], &[1, 2, 3, 4, 5, 6, 7, 8], "completed").await;
    fill_in(&product, id).await;

    publish_now(&product, id).await;

    // Time is bookable of the seen, the missed and the late. Minutes are told to the nearest 15, and the rate is made of
    // those.
    let time = json!({ "patients": 135, "bookable_minutes": 2250, "delivered_minutes": 795,
        "utilisation": 795.0 / 2250.0 });
    let first = json!({ "patients": 40, "assigned_sessions": 120, "completed_sessions": 80, "skipped_sessions": 40,
        "completion_rate": 80.0 / 120.0 });
    let second = json!({ "patients": 30, "assigned_sessions": 120, "completed_sessions": 30, "skipped_sessions": 60,
        "completion_rate": 0.25 });
    let forms =
        json!({ "patients": 55, "assigned": 55, "signed": 40, "late": 15, "median_turnaround_hours": 24 });
    let patterns = json!({ "appointments": 135, "completed": 55, "no_shows": 20, "no_show_rate": 20.0 / 75.0,
        "cancelled": 45, "late_cancels": 15, "late_cancel_rate": 15.0 / 135.0,
        "median_punctuality_minutes": 10, "median_length_minutes": 20 });
    for (table, place, expected) in [
        ("clinic_utilisation", "clinic all", time.clone()),
        ("clinic_utilisation", "month 2026-03", time),
        ("exercise_completion", "programme_week 1", first),
        ("exercise_completion", "programme_week 2", second),
        ("exercise_streaks", "longest_streak 1", json!({ "patients": 15 })),
        ("exercise_streaks", "longest_streak 2-3", json!({ "patients": 15 })),
        ("exercise_streaks", "longest_streak 7+", json!({ "patients": 15 })),
        ("form_turnaround", "clinic all", forms),
        ("appointment_patterns", "clinic all", patterns),
    ] {
        let cell = &published(&product, id, table).await[place];
        for (name, figure) in expected.as_object().unwrap() {
            assert_eq!(cell[name].as_f64(), figure.as_f64(), "{table} {place} {name}: {cell}");
        }
    }
    product.stop().await;
}
