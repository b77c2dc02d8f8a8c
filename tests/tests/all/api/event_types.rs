//! The catalogue of events: to be read by every key, and true of what is really delivered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use carelog_domain::video_room::{
    CreateRoom, RecordingLeave, RoomAddress, RoomAppointment, RoomEnd, RoomProvider, RoomWindow, Stay,
    StoredRecording, VideoRoom, VideoRoomCommand,
};
use carelog_domain::webhook_subscription::{
    CreateSubscription, EventFilter, SubscriptionSecrets, WebhookFormat, WebhookSubscription,
    WebhookSubscriptionCommand,
};
use carelog_domain::{
    AppointmentId, EventType, FileId, OrganizationId, ParticipantId, PatientId, RecordingId,
};
use carelog_embedded::receiver::Hook;
use carelog_event_log::new_id;
use carelog_tests::{
    Answer, Api, Product, at, follow, new_secret, node_client, run, scope, send, told_by, until,
};
use carelog_webhooks::catalogue::catalogue;
use jsonschema::Validator;
use reqwest::{Client, Method};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn every_key_reads_the_catalogue_and_nothing_is_logged() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    let analyst = clinic.key(&json!({ "role": "analyst", "scopes": ["reads"] })).await;
    let before = api.event_count().await;

    let list = clinic.get_as(&analyst, "/v1/event-types").await;
    let one = clinic.get_as(&analyst, "/v1/event-types/appointment.booked").await;

    assert_eq!(list.status, 200, "{list:?}");
    assert_eq!(list.body, serde_json::to_value(catalogue()).unwrap());
    let listed = list.items().iter().find(|item| item["name"] == "appointment.booked").unwrap();
    let mut shown = one.body.clone();
    assert!(shown.as_object_mut().unwrap().remove("body_schemas").unwrap()["standard"].is_object());
    assert_eq!(&shown, listed);
    for unknown in ["appointment.teleported", "organization.registered", "*"] {
        let refused = clinic.get_as(&analyst, &format!("/v1/event-types/{unknown}")).await;
        assert_eq!(refused.problem(), (404, "not_found"), "{unknown}");
    }
    assert_eq!(api.event_count().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_the_catalogue_is_not_sent_it_again() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    for path in ["/v1/event-types", "/v1/event-types/form.signed"] {
        let etag = clinic.get(path).await.header("etag").to_owned();
        let ask = |known: String| send(clinic.request(Method::GET, path).header("if-none-match", known));

        let same = ask(format!("\"other\", W/{etag}")).await;
        let other = ask("\"other\"".to_owned()).await;

        assert_eq!((same.status, same.text.as_str(), same.header("etag")), (304, "", etag.as_str()));
        assert_eq!((other.status, other.header("etag")), (200, etag.as_str()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_asyncapi_document_and_the_page_are_there_for_everybody() {
    let api = Api::start().await;

    let document = send(api.request(Method::GET, "/asyncapi.json")).await;
    let page = send(api.request(Method::GET, "/docs/events")).await;
    let reference = send(api.request(Method::GET, "/docs")).await;

    assert_eq!((document.status, document.text_at("/asyncapi")), (200, "3.0.0"));
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(page.header("content-security-policy").contains("default-src 'none'"));
    assert!(reference.text.contains("href=\"/docs/events\""));
    assert!(!page.text.contains("<script") && !page.text.contains("@import"));
    for attribute in ["src=\"", "href=\"", "url(", "action=\""] {
        for link in page.text.split(attribute).skip(1).map(|rest| rest.split('"').next().unwrap()) {
            let is_own = (link.starts_with('/') && !link.starts_with("//")) || link.starts_with('#');
            assert!(is_own, "{link}");
            let is_there =
                link.strip_prefix('#').is_none_or(|id| page.text.contains(&format!("id=\"{id}\"")));
            assert!(is_there, "{link}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_asyncapi_document_is_as_the_schema_of_its_standard_says() {
    let api = Api::start().await;
    let document = send(api.request(Method::GET, "/asyncapi.json")).await.body;
    let errors = async |document: &Value| told_by(node_client("asyncapi").await, document).await;

    assert_eq!(errors(&document).await, json!([]));
    for (place, wrong) in [
        ("/asyncapi", json!("3.0")),
        ("/operations/send_standard/action", json!("shout")),
        ("/channels/standard/address", json!(7)),
        ("/components/messages/standard.appointment.booked/payload/type", json!("objekt")),
    ] {
        let mut altered = document.clone();
        *altered.pointer_mut(place).unwrap() = wrong;
        assert_ne!(errors(&altered).await, json!([]), "the judge sees {place}");
    }
}

/// Subscribes a hook of the receiver to everything.
async fn subscribe(product: &Product, organization_id: OrganizationId, format: WebhookFormat) -> Arc<Hook> {
    let (id, secret) = (new_id(), new_secret());
    let hook = product.receiver.hook(&id.to_string());
    hook.set_secrets(&[&secret]).unwrap();
    let create = WebhookSubscriptionCommand::Create(CreateSubscription {
        partner_id: None,
        filter: EventFilter::all(),
        format,
        per_tick_limit: None,
        secrets: SubscriptionSecrets {
            url: product.receiver.url(&id.to_string()),
            description: None,
            secret,
            headers: BTreeMap::new(),
        },
    });
    run::<WebhookSubscription>(product.log(), &scope(organization_id), id, create).await;
    hook
}

/// What a build wrote of subscriptions that did not know `video_room.extended` yet, byte for byte.
const OLD_FACTS: [&str; 2] = [
    r#"{"filter":["video_room.*"],"format":"standard","partner_id":null,"per_tick_limit":null}"#,
    r#"{"filter":["*"],"format":"standard","partner_id":null,"per_tick_limit":null}"#,
];

#[tokio::test(flavor = "multi_thread")]
async fn t42_a_type_that_was_added_after_a_subscription_was_made_arrives() {
    let product = Product::start().await;
    let organization_id = product.clinic().await.0;
    let by_kind = product.subscribe(organization_id, &["video_room.*"]).await;
    let by_star = product.subscribe(organization_id, &["*"]).await;
    let stored = "select convert_from(facts, 'UTF8') from log.events
                  where event_type = 'webhook_subscription.created' order by organization_sequence";
    assert_eq!(product.texts(stored).await, OLD_FACTS, "as stored then");

    room_lives(&product, organization_id).await;

    for partner in [by_kind, by_star] {
        until("the later type arrives", async || {
            let receipts = partner.hook.receipts();
            receipts.iter().any(|got| got.event.as_deref() == Some("video_room.extended")).then_some(())
        })
        .await;
    }
    product.stop().await;
}

struct Staff<'p> {
    product: &'p Product,
    client: Client,
    key: String,
}

impl Staff<'_> {
    async fn act(&self, method: Method, path: &str, body: Value) -> Answer {
        let url = format!("http://{}{path}", self.product.server.address.unwrap());
        let done = send(self.client.request(method, url).bearer_auth(&self.key).json(&body)).await;
        assert!((200..300).contains(&done.status), "{path}: {done:?}");
        done
    }

    async fn post(&self, path: &str, body: Value) -> String {
        self.act(Method::POST, path, body).await.id().to_owned()
    }

    /// Lets everything happen that partners may hear of.
    async fn live(&self) {
        let patient = self.post("/v1/patients", json!({ "details": { "name": "Ada" } })).await;
        let path = format!("/v1/patients/{patient}");
        self.post(&format!("{path}/onboard"), json!({})).await;
        self.post(&format!("{path}/consents"), json!({ "consent": "recording", "version": 2 })).await;
        self.act(Method::DELETE, &format!("{path}/consents/recording"), json!({})).await;
        let specialist = json!({ "profession": "nurse", "name": "Grace", "email": "grace@example.org" });
        let specialist = self.post("/v1/specialists", specialist).await;
        for ending in [
            &[
                ("confirm", json!({ "channel": "patient" })),
                ("reschedule", json!({ "starts_at": "2099-01-02T10:00:00Z", "reason": "patient_request" })),
                ("onboard", json!({})),
                ("start", json!({})),
                ("complete", json!({ "duration_minutes": 25 })),
            ][..],
            &[("cancel", json!({ "cancelled_by": "patient", "reason": "illness" }))],
            &[("no-show", json!({}))],
        ] {
            let booked = json!({
                "patient_id": patient, "mode": "video", "starts_at": "2099-01-01T10:00:00Z", "note": "the knee",
            });
            let appointment = self.post("/v1/appointments", booked).await;
            for (step, body) in ending {
                self.post(&format!("/v1/appointments/{appointment}/{step}"), body.clone()).await;
            }
        }
        for (ending, body) in [
            ("sign", json!({ "content_sha256": "ab".repeat(32), "signed_by": "patient" })),
            ("void", json!({ "reason": "superseded" })),
        ] {
            let template = "0197a000-0000-7000-8000-000000000001";
            let assigned = json!({ "patient_id": patient, "template_id": template, "template_version": 1 });
            let form = self.post("/v1/forms", assigned).await;
            let answers = json!({ "answers": { "pain": 3 } });
            self.act(Method::PUT, &format!("/v1/forms/{form}/answers"), answers).await;
            self.post(&format!("/v1/forms/{form}/{ending}"), body).await;
        }
        let announced = json!({
            "patient_id": patient, "kind": "form_attachment", "content_type": "application/pdf", "size_bytes": 5,
            "content_sha256": "38523c087796e5d5dd1cf9bad1fb026781a838dd9dd2cf8af58b9f6502a46778",
        });
        let file = self.act(Method::POST, "/v1/files", announced).await;
        follow(&file.body["upload"]["whole"], b"%PDF-".to_vec()).await;
        let path_of_file = format!("/v1/files/{}", file.id());
        self.act(Method::POST, &format!("{path_of_file}/complete"), json!({})).await;
        self.act(Method::DELETE, &path_of_file, json!({})).await;
        self.carry_out_a_plan(&patient, &specialist).await;
        self.post(&format!("/v1/specialists/{specialist}/deactivate"), json!({ "reason": "leave" })).await;
        self.act(Method::POST, &format!("{path}/erasure"), json!({ "ground": "patient_request" })).await;
    }

    async fn carry_out_a_plan(&self, patient: &str, specialist: &str) {
        let plan = json!({
            "patient_id": patient, "specialist_id": specialist, "week_count": 1, "title": "The knee",
            "starts_at": "2026-03-02T00:00:00Z",
        });
        let path = format!("/v1/treatment-plans/{}", self.post("/v1/treatment-plans", plan).await);
        let exercise = json!({
            "exercise_id": "0197a000-0000-7000-8000-00000000000a", "week": 1, "session_count": 2, "sets": 3,
            "repetitions": 12, "instructions": "Heels stay down",
        });
        let assigned = self.act(Method::POST, &format!("{path}/exercises"), exercise).await;
        let exercise = format!("{path}/exercises/{}", assigned.text_at("/assignment_id"));
        self.post(&format!("{exercise}/complete"), json!({ "pain": 2 })).await;
        self.post(&format!("{exercise}/skip"), json!({ "reason": "fatigue" })).await;
        self.post(&format!("{path}/complete"), json!({ "outcome": "goals_reached" })).await;
    }
}

/// What a provider would tell of a room.
async fn room_lives(product: &Product, organization_id: OrganizationId) {
    let appointment = RoomAppointment {
        patient_id: PatientId::new(new_id()),
        appointment_id: AppointmentId::new(new_id()),
    };
    let (opens_at, expires_at) = (at("2099-01-01T10:00:00Z"), at("2099-01-01T11:00:00Z"));
    let later = RoomWindow { opens_at, expires_at: at("2099-01-01T12:00:00Z") };
    let (session_id, recording_id) = (new_id(), RecordingId::new(new_id()));
    let stay = Stay { participant_id: None, session_id, joined_at: opens_at };
    let commands = [
        VideoRoomCommand::Create(CreateRoom {
            appointment,
            provider: RoomProvider::Embedded,
            window: RoomWindow { opens_at, expires_at },
            adopted: false,
            address: Some(RoomAddress {
                url: "https://clinic.daily.co/x".to_owned(),
                account: "domain".to_owned(),
            }),
        }),
        VideoRoomCommand::Move { window: later },
        VideoRoomCommand::Extend { participant_id: ParticipantId::new(new_id()), minutes: 15, now: opens_at },
        VideoRoomCommand::Join(stay),
        VideoRoomCommand::StartRecording {
            recording_id,
            started_at: opens_at,
            leave: RecordingLeave { is_enabled: true, has_consent: true },
        },
        VideoRoomCommand::Leave { stay, duration_seconds: 60 },
        VideoRoomCommand::StoreRecording(StoredRecording {
            recording_id,
            file_id: FileId::new(new_id()),
            duration_seconds: 60,
            size_bytes: 1 << 20,
        }),
        VideoRoomCommand::Expire { reason: RoomEnd::WindowOver },
    ];
    let room_id = new_id();
    for command in commands {
        run::<VideoRoom>(product.log(), &scope(organization_id), room_id, command).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_delivered_is_as_the_catalogue_says() {
    let product = Product::start().await;
    let (organization_id, key) = product.clinic().await;
    let hooks = [
        (WebhookFormat::Standard, subscribe(&product, organization_id, WebhookFormat::Standard).await),
        (WebhookFormat::Cloudevents, subscribe(&product, organization_id, WebhookFormat::Cloudevents).await),
    ];
    let staff = Staff { product: &product, client: Client::builder().no_proxy().build().unwrap(), key };

    staff.live().await;
    room_lives(&product, organization_id).await;

    let wanted: BTreeSet<String> = EventType::public().map(|event_type| event_type.to_string()).collect();
    for (format, hook) in hooks {
        let receipts = until("every type was delivered", async || {
            let receipts = hook.receipts();
            let types: BTreeSet<String> =
                receipts.iter().filter_map(|receipt| receipt.event.clone()).collect();
            (types == wanted).then_some(receipts)
        })
        .await;
        for receipt in receipts {
            let name: EventType = receipt.event.as_deref().unwrap().parse().unwrap();
            let schema = catalogue().find(name).unwrap().body_schema(format);
            let body: Value = serde_json::from_slice(&receipt.body).unwrap();
            assert!(receipt.verified, "{body}");

            let wrong: Vec<String> =
                closed(&schema).iter_errors(&body).map(|error| error.to_string()).collect();

            assert!(wrong.is_empty(), "{body}: {wrong:?}");
        }
    }
    product.stop().await;
}

/// Refuses properties that the schema does not name, too.
fn closed(schema: &Value) -> Validator {
    let text =
        schema.to_string().replace(r#""additionalProperties":true"#, r#""additionalProperties":false"#);
    let schema: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(schema["additionalProperties"], false);
    jsonschema::draft202012::options().should_validate_formats(true).build(&schema).unwrap()
}
