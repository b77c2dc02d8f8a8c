//! A clinic with an account at Daily, and appointments that are soon.

use std::sync::Arc;

use carelog_domain::organization::{Organization, OrganizationCommand};
use carelog_domain::{Actor, Circumstances, CorrelationId, OrganizationId, Timestamp};
use carelog_embedded::daily::FakeRoom;
use carelog_event_log::{Clock, Scope, new_id};
use carelog_server::serve::Roles;
use carelog_tests::{Product, ShiftedClock, until};
use reqwest::Method;
use serde_json::{Value, json};

pub(super) const DAILY_KEY: &str = "the-key-of-the-clinic-at-daily";
pub(super) const DOMAIN_ID: &str = "7a1e6f0c-2f4e-4a7e-9d1a-5f5b1f4c0001";

/// A clinic of a product.
pub(super) struct Scene {
    pub(super) product: Product,
    pub(super) clock: Arc<ShiftedClock>,
    pub(super) organization_id: OrganizationId,
    pub(super) admin: String,
    pub(super) patient: String,
}

impl Scene {
    /// With a provider.
    pub(super) async fn new(roles: Roles) -> Self {
        let scene = Self::without_provider(roles).await;
        scene.configure(DAILY_KEY).await;
        scene
    }

    /// With a provider that tells the API what happens in rooms.
    pub(super) async fn connected() -> Self {
        let scene = Self::without_provider(Roles::ALL).await;
        scene.product.daily.resolves("carelog.example", scene.product.server.address.unwrap());
        scene.configure(DAILY_KEY).await;
        scene
    }

    pub(super) async fn without_provider(roles: Roles) -> Self {
        let clock = ShiftedClock::by_seconds(0);
        Self::of(Product::start_as(roles, true, Arc::clone(&clock) as _).await, clock).await
    }

    /// Without a provider, where everything in rooms goes by the relay at this address.
    pub(super) async fn behind(relay: &str, secret: &str) -> Self {
        let clock = ShiftedClock::by_seconds(0);
        let (url, secret) = (relay.to_owned(), secret.to_owned());
        let product = Product::start_adjusted(Arc::clone(&clock) as _, move |config| {
            config.video.ice_urls = vec![url];
            config.video.relay_secret = Some(secret.into());
            config.video.relay_only = true;
        });
        Self::of(product.await, clock).await
    }

    async fn of(product: Product, clock: Arc<ShiftedClock>) -> Self {
        product.daily.add_domain("clinic", DOMAIN_ID, DAILY_KEY);
        let (organization_id, admin) = product.clinic().await;
        let mut scene = Self { product, clock, organization_id, admin, patient: String::new() };
        scene.patient = scene.done(Method::POST, "/v1/patients", json!({ "birth_year": 1950 })).await;
        scene
    }

    /// A command that succeeds; gives the id.
    pub(super) async fn done(&self, method: Method, path: &str, body: Value) -> String {
        let (status, answer) = self.product.call(&self.admin, method, path, Some(&body)).await;
        assert!(status < 300, "{path}: {status} {answer}");
        answer["id"].as_str().unwrap_or_default().to_owned()
    }

    pub(super) async fn configure(&self, key: &str) {
        let settings = json!({ "settings": { "api_key": key } });
        self.done(Method::PUT, "/v1/integrations/daily", settings).await;
    }

    /// Something that happens to the clinic without the API.
    pub(super) async fn decides(&self, command: OrganizationCommand) {
        let circumstances = Circumstances::of(Actor::SYSTEM, CorrelationId::new(new_id()));
        let scope = Scope::new(self.organization_id, circumstances);
        let log = &self.product.server.system().log;
        log.execute::<Organization>(&scope, self.organization_id.uuid(), command).await.unwrap();
    }

    /// Books an appointment by video that begins so many minutes from now and takes half an hour.
    pub(super) async fn book(&self, minutes: i64) -> String {
        let starts_at = self.in_minutes(minutes);
        let body = json!({
            "patient_id": self.patient, "mode": "video", "starts_at": starts_at,
            "ends_at": starts_at.saturating_add_micros(30 * 60_000_000),
        });
        self.done(Method::POST, "/v1/appointments", body).await
    }

    pub(super) fn in_minutes(&self, minutes: i64) -> Timestamp {
        self.clock.now().saturating_add_micros(minutes * 60_000_000)
    }

    /// Something that happens to an appointment.
    pub(super) async fn happens(&self, appointment: &str, what: &str, body: Value) {
        self.done(Method::POST, &format!("/v1/appointments/{appointment}/{what}"), body).await;
    }

    /// An appointment of which somebody has checked in.
    pub(super) async fn onboarded(&self, minutes: i64) -> String {
        let appointment = self.book(minutes).await;
        self.happens(&appointment, "onboard", json!({})).await;
        appointment
    }

    pub(super) async fn moves(&self, appointment: &str, minutes: i64) -> Timestamp {
        let starts_at = self.in_minutes(minutes);
        let body = json!({
            "starts_at": starts_at, "ends_at": starts_at.saturating_add_micros(30 * 60_000_000), "reason": "other",
        });
        self.happens(appointment, "reschedule", body).await;
        starts_at
    }

    /// The room as the API shows it.
    pub(super) async fn room(&self, appointment: &str) -> Value {
        let path = format!("/v1/appointments/{appointment}/video-room");
        let (status, room) = self.product.call(&self.admin, Method::GET, &path, None).await;
        assert_eq!(status, 200, "{room}");
        room
    }

    /// Waits until the room is in a state, and gives it.
    pub(super) async fn becomes(&self, appointment: &str, state: &str) -> Value {
        until(&format!("the room is {state}"), async || {
            // A booking may not show yet.
            let path = format!("/v1/appointments/{appointment}/video-room");
            let (status, room) = self.product.call(&self.admin, Method::GET, &path, None).await;
            (status == 200 && room["state"] == state).then_some(room)
        })
        .await
    }

    /// The same, with every pause cut short.
    pub(super) async fn becomes_at_last(&self, appointment: &str, state: &str) -> Value {
        until(&format!("the room is {state} at last"), async || {
            self.product.pull_retries().await;
            let room = self.room(appointment).await;
            (room["state"] == state).then_some(room)
        })
        .await
    }

    /// What is in the stream of the room.
    pub(super) async fn told(&self, appointment: &str) -> Vec<String> {
        self.product
            .texts(&format!(
                "select event_type from log.events
                 where stream_kind = 'video_room' and convert_from(facts, 'UTF8')::jsonb ->> 'appointment_id' = '{appointment}'
                 order by version"
            ))
            .await
    }

    /// A fact of the newest event of a type.
    pub(super) async fn fact(&self, event_type: &str, name: &str) -> String {
        let statement = format!(
            "select convert_from(facts, 'UTF8')::jsonb ->> '{name}' from log.events
             where event_type = '{event_type}' order by lane, position desc limit 1"
        );
        self.product.texts(&statement).await.pop().unwrap_or_default()
    }

    /// What Daily has.
    pub(super) fn rooms(&self) -> Vec<FakeRoom> {
        self.product.daily.rooms(DAILY_KEY)
    }

    pub(super) fn asked(&self, route: &str) -> u64 {
        self.product.daily.calls().by_route.get(route).copied().unwrap_or_default()
    }

    /// Asks for a link.
    pub(super) async fn link(&self, key: &str, appointment: &str, body: Value) -> (u16, Value) {
        let path = format!("/v1/appointments/{appointment}/video-room/access");
        self.product.call(key, Method::POST, &path, Some(&body)).await
    }

    /// Issues a key.
    pub(super) async fn key(&self, body: Value) -> String {
        let (status, answer) =
            self.product.call(&self.admin, Method::POST, "/v1/api-keys", Some(&body)).await;
        assert!(status < 300, "{answer}");
        answer["api_key"].as_str().unwrap().to_owned()
    }

    /// What Daily makes of a token.
    pub(super) async fn read_token(&self, token: &str) -> (u16, Value) {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("{}/meeting-tokens/{token}", self.product.daily.url());
        let answer = client.get(url).bearer_auth(DAILY_KEY).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }
}

/// The name of an appointment's first room.
pub(super) fn name_of(appointment: &str) -> String {
    format!("appt-{}", appointment.replace('-', ""))
}
