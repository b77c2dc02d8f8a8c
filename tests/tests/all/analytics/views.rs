//! The views over HTTP: JSON and CSV, who may ask, what is refused, and the account that is kept of it.

use carelog_analytics::publication::{Part, publish};
use carelog_domain::OrganizationId;
use carelog_tests::{Api, ApiClinic, until};
use serde_json::{Value, json};

async fn clinic_with_appointments(api: &Api, patients: usize) -> ApiClinic<'_> {
    let clinic = api.clinic("Klinik").await;
    for _ in 0..patients {
        let patient = clinic.patient("Ada").await.id().to_owned();
        clinic.book(&patient).await.id();
    }
    let wanted = i64::try_from(patients).unwrap();
    until("the appointments are counted", async || {
        let facts = "select count(*) from analytics.appointment_facts where organization_id = $1";
        let count: i64 = sqlx::query_scalar(facts).bind(clinic.id).fetch_one(&api.analytics).await.unwrap();
        (count == wanted).then_some(())
    })
    .await;
    let id = OrganizationId::new(clinic.id);
    let now = api.server.system().log.clock().now();
    assert!(publish(&api.server.system().databases.analytics_system, id, Part::ALL, now).await.unwrap());
    clinic
}

#[tokio::test(flavor = "multi_thread")]
async fn an_analyst_reads_figures_and_every_query_is_in_the_log() {
    let api = Api::start().await;
    let (clinic, other) = (clinic_with_appointments(&api, 12).await, clinic_with_appointments(&api, 3).await);
    let analyst = clinic.key(&json!({ "role": "analyst", "scopes": ["reads"] })).await;

    let shown = clinic.get_as(&analyst, "/v1/analytics/appointment_patterns?dimension=clinic").await;

    assert_eq!(shown.status, 200, "{shown:?}");
    let cell = &shown.items()[0];
    assert_eq!((shown.items().len(), &cell["is_suppressed"]), (1, &json!(false)));
    // All are still to come: what became of each patient's is what became of all, and withheld.
    assert_eq!(
        (&cell["patients"], &cell["appointments"], &cell["no_shows"]),
        (&json!(10), &json!(10), &json!(null))
    );
    assert_eq!(cell["organization_id"], clinic.id.to_string());
    assert_eq!(shown.body["small_cell_threshold"], 11);
    assert!(shown.text_at("/published_at").ends_with(":00.000000Z"), "cut to the minute: {shown:?}");
    assert!(shown.text_at("/newest_event_at").ends_with(":00:00.000000Z"), "cut to the hour: {shown:?}");
    let small = other.get("/v1/analytics/appointment_patterns").await;
    assert!(!small.items().is_empty());
    assert!(
        small.items().iter().all(|cell| cell["is_suppressed"] == true && cell["patients"] == Value::Null)
    );

    let csv = clinic
        .get_as(&analyst, "/v1/analytics/appointment_patterns?format=csv&dimension=clinic&value=all")
        .await;
    assert_eq!(csv.header("content-type"), "text/csv; charset=utf-8; header=present");
    assert_eq!(csv.header("content-disposition"), "attachment; filename=\"appointment_patterns.csv\"");
    let lines: Vec<&str> = csv.text.split("\r\n").collect();
    assert!(
        lines[0].starts_with("organization_id,dimension,value,is_suppressed,patients,appointments,"),
        "{lines:?}"
    );
    assert!(lines[1].starts_with(&format!("{},clinic,all,false,10,10,", clinic.id)), "{lines:?}");
    assert_eq!((lines.len(), lines[2]), (3, ""));

    let queried = "select convert_from(facts, 'utf8')::jsonb from log.events
        where event_type = 'access.analytics_queried' and organization_id = $1 order by position";
    let queried = queried.replace("::jsonb", "");
    let facts: Vec<String> =
        sqlx::query_scalar(sqlx::AssertSqlSafe(queried)).bind(clinic.id).fetch_all(&api.core).await.unwrap();
    let facts: Vec<Value> = facts.iter().map(|facts| serde_json::from_str(facts).unwrap()).collect();
    let mut json = json!({ "view": "appointment_patterns", "format": "json", "dimension": "clinic", "cell_count": 1,
        "withheld_count": 0 });
    let first = json.clone();
    json["format"] = "csv".into();
    json["values"] = json!(["all"]);
    assert_eq!(facts, [first, json]);
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_of_months_and_several_values_choose_cells() {
    let api = Api::start().await;
    let clinic = clinic_with_appointments(&api, 12).await;
    let all = clinic.get("/v1/analytics/clinic_utilisation?dimension=month").await;
    let month = all.items()[0]["value"].as_str().unwrap().to_owned();
    let count = async |query: String| {
        let shown = clinic.get(&format!("/v1/analytics/{query}")).await;
        assert_eq!(shown.status, 200, "{shown:?}");
        shown.items().len()
    };

    assert_eq!(all.items().len(), 1);
    for (range, cells) in [
        (format!("from={month}&until={month}"), 1),
        (format!("from={month}"), 1),
        (format!("dimension=month&value={month},2000-01"), 1),
        (format!("until={month}&value=2000-01"), 0),
        ("until=2000-12".to_owned(), 0),
        ("from=9000-01".to_owned(), 0),
    ] {
        assert_eq!(count(format!("clinic_utilisation?{range}")).await, cells, "{range}");
    }
    assert_eq!(count("appointment_patterns?dimension=weekday&value=1,2,3,4,5,6,7".to_owned()).await, 1);
    assert_eq!(count("appointment_patterns?dimension=reminder&value=reminded".to_owned()).await, 0);
    let asked = "select convert_from(facts, 'utf8') from log.events
        where event_type = 'access.analytics_queried' and organization_id = $1 order by position";
    let asked: Vec<String> = sqlx::query_scalar(asked).bind(clinic.id).fetch_all(&api.core).await.unwrap();
    let asked: Value = serde_json::from_str(&asked[1]).unwrap();
    assert_eq!((&asked["from"], &asked["until"]), (&json!(month), &json!(month)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dictionary_tells_what_every_column_means() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;

    let dictionary = clinic.get("/v1/analytics").await;

    let names: Vec<&str> = dictionary.items().iter().map(|view| view["view"].as_str().unwrap()).collect();
    let expected = [
        "appointment_patterns",
        "clinic_utilisation",
        "exercise_completion",
        "exercise_streaks",
        "form_turnaround",
        "video_quality",
        "video_sessions",
    ];
    assert_eq!(names, expected);
    for view in dictionary.items() {
        assert!(!view["description"].as_str().unwrap().is_empty(), "{view}");
        for column in view["columns"].as_array().unwrap() {
            assert!(column["description"].as_str().unwrap().contains(" Class: "), "{view}: {column}");
        }
        let path = format!("/v1/analytics/{}", view["view"].as_str().unwrap());
        let empty = clinic.get(&path).await;
        assert_eq!((empty.status, empty.items().len()), (200, 0), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_or_is_not_allowed_is_refused() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    let before = api.event_count().await;

    for (path, problem) in [
        ("/v1/analytics/patients", (404, "not_found")),
        ("/v1/analytics/appointment_facts", (404, "not_found")),
        ("/v1/analytics/progress", (404, "not_found")),
        ("/v1/analytics/appointment_patterns?dimension=patient", (422, "invalid_query")),
        ("/v1/analytics/exercise_streaks?dimension=weekday", (422, "invalid_query")),
        ("/v1/analytics/appointment_patterns?value=all", (422, "invalid_query")),
        ("/v1/analytics/appointment_patterns?dimension=clinic&value=", (422, "invalid_query")),
        ("/v1/analytics/appointment_patterns?dimension=weekday&value=1,8", (422, "invalid_query")),
        ("/v1/analytics/clinic_utilisation?dimension=month&value=Ada", (422, "invalid_query")),
        ("/v1/analytics/clinic_utilisation?from=2026-13", (422, "invalid_query")),
        ("/v1/analytics/clinic_utilisation?from=2026-02&until=2026-01", (422, "invalid_query")),
        ("/v1/analytics/clinic_utilisation?dimension=clinic&from=2026-01", (422, "invalid_query")),
        ("/v1/analytics/appointment_patterns?until=2026-01", (422, "invalid_query")),
        ("/v1/analytics/appointment_patterns?format=xlsx", (422, "invalid_query")),
        ("/v1/analytics/appointment_patterns?organization_id=1", (422, "invalid_query")),
        ("/v1/analytics?limit=1", (422, "invalid_query")),
    ] {
        let refused = clinic.get(path).await;
        assert_eq!(refused.problem(), problem, "{path}: {refused:?}");
        assert_eq!(refused.header("content-type"), "application/problem+json", "{path}");
    }
    assert_eq!(api.event_count().await, before, "nothing is stored");
    for role in ["specialist", "partner"] {
        let key = clinic.key_of(role).await;
        for path in ["/v1/analytics", "/v1/analytics/appointment_patterns"] {
            assert_eq!(clinic.get_as(&key, path).await.problem(), (403, "wrong_role"), "{role} {path}");
        }
    }
}
