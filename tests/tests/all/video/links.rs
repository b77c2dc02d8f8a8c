//! Links to rooms: one person each, for the window, shown once, and told before they are made.

use carelog_server::serve::Roles;
use serde_json::json;

use super::scene::{DOMAIN_ID, Scene, name_of};

#[tokio::test(flavor = "multi_thread")]
async fn a_link_opens_the_room_for_its_window_and_daily_takes_its_token() {
    let scene = Scene::new(Roles::ALL).await;
    let appointment = scene.onboarded(60).await;
    let room = scene.becomes(&appointment, "open").await;
    let patients = json!({ "role": "patient", "scopes": ["commands", "reads"], "patient_id": scene.patient });
    let patient = scene.key(patients).await;

    let (status, link) = scene.link(&patient, &appointment, json!({ "participant": "specialist" })).await;

    assert_eq!((status, &link["participant"]), (201, &json!("patient")), "{link}");
    assert_eq!(link["url"], format!("https://clinic.daily.co/{}", name_of(&appointment)));
    let token = link["token"].as_str().unwrap();
    assert_eq!(link["join_url"], format!("{}?t={token}", link["url"].as_str().unwrap()));
    let (status, claims) = scene.read_token(token).await;
    assert_eq!(status, 200, "{claims}");
    assert_eq!(claims["room_name"], name_of(&appointment));
    assert_eq!((&claims["user_id"], &claims["is_owner"]), (&link["participant_id"], &json!(false)));
    assert_eq!(claims["nbf"], super::unix(&room["opens_at"]));
    assert_eq!(claims["exp"], super::unix(&room["expires_at"]));
    assert_eq!((&claims["eject_at_token_exp"], &claims["user_name"]), (&json!(true), &json!(null)));

    // It is signed here, with what is known of the account.
    assert_eq!((scene.asked("POST /meeting-tokens"), scene.asked("GET /")), (0, 1));
    let granted = scene.fact("video_room.access_granted", "participant_id").await;
    assert_eq!(link["participant_id"], granted);
    let (_, specialists) = scene.link(&scene.admin, &appointment, json!({})).await;
    assert_eq!(scene.read_token(specialists["token"].as_str().unwrap()).await.1["is_owner"], true);
    scene.product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_keeps_one_id_and_each_guest_gets_another() {
    let scene = Scene::new(Roles::ALL).await;
    let appointment = scene.onboarded(60).await;
    scene.becomes(&appointment, "open").await;
    let ids = async |participant: &str| {
        let body = json!({ "participant": participant });
        let mut ids = Vec::new();
        for _ in 0..2 {
            ids.push(scene.link(&scene.admin, &appointment, body.clone()).await.1["participant_id"].clone());
        }
        ids
    };

    let (patient, specialist, guest) = (ids("patient").await, ids("specialist").await, ids("guest").await);

    assert_eq!((&patient[0], &specialist[0]), (&patient[1], &specialist[1]));
    assert_ne!(guest[0], guest[1]);
    assert_ne!(patient[0], specialist[0]);
    assert_ne!(patient[0], json!(scene.patient), "nobody can tell from it who it is");
    scene.product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_open_room_there_is_no_link() {
    let scene = Scene::new(Roles::ALL).await;
    let code = async |appointment: &str, key: &str| {
        let (status, problem) = scene.link(key, appointment, json!({})).await;
        (status, problem["code"].as_str().unwrap_or_default().to_owned())
    };
    let planned = scene.book(60).await;
    assert_eq!(code(&planned, &scene.admin).await, (404, "video_room_not_created".to_owned()));

    let appointment = scene.onboarded(5).await;
    scene.becomes(&appointment, "open").await;
    let stranger = scene.done(reqwest::Method::POST, "/v1/patients", json!({})).await;
    let strangers = json!({ "role": "patient", "scopes": ["commands"], "patient_id": stranger });
    let stranger = scene.key(strangers).await;
    assert_eq!(code(&appointment, &stranger).await.0, 404);

    // Over, although nobody has told so yet.
    scene.clock.step_seconds(50 * 60 + 1);
    assert_eq!(code(&appointment, &scene.admin).await, (409, "video_room_window_over".to_owned()));
    scene.becomes_at_last(&appointment, "closed").await;
    assert_eq!(code(&appointment, &scene.admin).await, (409, "video_room_not_open".to_owned()));
    let granted = "select count(*) from log.events where event_type = 'video_room.access_granted'";
    assert_eq!(scene.product.count(granted).await, 0);
    scene.product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_link_is_made_that_cannot_be_told() {
    let scene = Scene::new(Roles::ALL).await;
    let appointment = scene.onboarded(60).await;
    scene.becomes(&appointment, "open").await;
    scene
        .product
        .sql(
            "create function public.refuse() returns trigger language plpgsql as $$
             begin raise exception 'refused'; end $$;
             create trigger refuse before insert on log.events for each row
             when (new.event_type = 'video_room.access_granted') execute function public.refuse()",
        )
        .await;

    let (status, answer) = scene.link(&scene.admin, &appointment, json!({})).await;

    assert!(status >= 500 && answer["token"].is_null(), "{status} {answer}");
    scene.product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_tokens_nor_addresses_are_kept_in_the_clear() {
    let scene = Scene::new(Roles::ALL).await;
    let partner = scene.product.subscribe(scene.organization_id, &["video_room.*"]).await;
    let appointment = scene.onboarded(60).await;
    scene.becomes(&appointment, "open").await;
    let (_, link) = scene.link(&scene.admin, &appointment, json!({})).await;
    scene.product.settled().await;

    let secrets = [link["token"].as_str().unwrap(), "daily.co", DOMAIN_ID];
    let events = scene.product.texts("select convert_from(facts, 'UTF8') from log.events").await;
    let rows = scene.product.contents().await;
    for secret in secrets {
        assert!(events.iter().all(|facts| !facts.contains(secret)), "{secret} is a fact");
        assert!(rows.values().flatten().all(|row| !row.contains(secret)), "{secret} is in a row");
    }
    assert_eq!(partner.hook.counts().verified, 1, "the room was announced");
    for receipt in partner.hook.receipts() {
        let body = String::from_utf8_lossy(&receipt.body).into_owned();
        assert!(secrets.iter().all(|secret| !body.contains(secret)), "{body}");
    }
    scene.product.stop().await;
}
