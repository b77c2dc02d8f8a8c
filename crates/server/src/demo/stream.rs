//! Life in a clinic: a desk books, moves along and ends appointments, lets patients join, hands out forms and looks
//! things up, all through the HTTP API with the keys of those who would do it.
//!
//! A desk knows what it began and asks only for what can follow, so a refusal means that something is wrong.

use std::sync::Arc;
use std::time::Duration;

use carelog_domain::{Role, Timestamp};
use carelog_event_log::{Clock, SystemClock};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::acts::{Act, Open, Stage, choose, step};
use super::api::ApiClient;
use super::clinics::{Clinic, Person};
use super::dice::Dice;

/// Patients whom a desk remembers.
const MAX_PATIENTS: usize = 100;
/// A desk that fell behind by more than this does not try to catch up.
const MAX_BEHIND: Duration = Duration::from_secs(1);
const MINUTE_MICROS: i64 = 60 * 1_000_000;
const TEMPLATES: [Uuid; 2] = [
    Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001),
    Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0002),
];

/// One desk of a clinic.
#[derive(Debug)]
pub(super) struct Desk {
    api: ApiClient,
    clinic: Arc<Clinic>,
    dice: Dice,
    patients: Vec<Uuid>,
    paperwork: Vec<(Uuid, &'static str)>,
    appointments: Vec<(Uuid, Stage)>,
    /// Forms and whether their answers were saved.
    forms: Vec<(Uuid, bool)>,
    newest: Option<String>,
}

impl Desk {
    pub(super) fn new(api: ApiClient, clinic: Arc<Clinic>) -> Self {
        Self {
            api,
            patients: clinic.patients.clone(),
            clinic,
            dice: Dice::new(),
            paperwork: Vec::new(),
            appointments: Vec::new(),
            forms: Vec::new(),
            newest: None,
        }
    }

    /// Acts once in each interval, roughly, until told to stop.
    pub(super) async fn run(mut self, interval: Duration, stop: CancellationToken) {
        let mut next = Instant::now();
        while !stop.is_cancelled() {
            self.act().await;
            next += self.dice.around(interval);
            if next.elapsed() > MAX_BEHIND {
                next = Instant::now();
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep_until(next) => {}
            }
        }
    }

    async fn act(&mut self) {
        let open = Open {
            appointments: self.appointments.len(),
            forms: self.forms.len(),
            paperwork: self.paperwork.len(),
        };
        match choose(self.dice.below(100), open) {
            Act::Register => self.register().await,
            Act::Paperwork => self.paperwork().await,
            Act::Book => self.book().await,
            Act::Advance => self.advance().await,
            Act::Assign => self.assign().await,
            Act::FillIn => self.fill_in().await,
            Act::ReadPatient => self.read_patient().await,
            Act::ReadOwn => self.read(Role::Patient, "/v1/appointments?limit=5").await,
            Act::ReadTrail => self.read(Role::Compliance, "/v1/trail?limit=5").await,
        }
    }

    async fn register(&mut self) {
        let Person { name, email, phone, birth_year } = Person::number(self.dice.below(100_000));
        let details = json!({ "name": name, "email": email, "phone": phone });
        let body = json!({ "birth_year": birth_year, "details": details });
        let Some(id) = self.post(Role::Admin, "/v1/patients".to_owned(), body).await else { return };
        if self.patients.len() < MAX_PATIENTS {
            self.patients.push(id);
        }
        self.paperwork.extend(["recording", "treatment", "onboard"].map(|what| (id, what)));
    }

    async fn paperwork(&mut self) {
        let Some((patient, what)) = self.paperwork.pop() else { return };
        let (path, body) = match what {
            "onboard" => ("onboard", json!({})),
            consent => ("consents", json!({ "consent": consent, "version": 1 })),
        };
        self.post(Role::Specialist, format!("/v1/patients/{patient}/{path}"), body).await;
    }

    async fn book(&mut self) {
        let Some(patient) = self.dice.pick(&self.patients) else { return };
        // The first patient holds the patient's key.
        let is_own = self.clinic.patients.first() == Some(&patient);
        let role = if is_own { Role::Patient } else { Role::Specialist };
        let starts_at = self.soon();
        let body = json!({
            "patient_id": patient,
            "specialist_id": self.dice.pick(&self.clinic.specialists),
            "starts_at": starts_at,
            "ends_at": starts_at.saturating_add_micros(30 * MINUTE_MICROS),
            "mode": self.dice.pick(&["video", "video", "in_person", "phone"]),
            "note": self.dice.pick(&["Knee mobility after surgery", "Shoulder exercises", "First consultation"]),
        });
        if let Some(id) = self.post(role, "/v1/appointments".to_owned(), body).await {
            self.appointments.push((id, Stage::Booked));
        }
    }

    async fn advance(&mut self) {
        let index = self.dice.below(self.appointments.len());
        let Some((id, stage)) = self.appointments.get(index).copied() else { return };
        let (path, then) = step(stage, self.dice.below(100));
        let body = match path {
            "confirm" => json!({ "channel": self.dice.pick(&["reminder", "patient", "clinic"]) }),
            "reschedule" => json!({ "starts_at": self.soon(), "reason": "patient_request" }),
            "cancel" => json!({ "cancelled_by": "clinic", "reason": "illness" }),
            "complete" => json!({ "duration_minutes": 20 + self.dice.below(25) }),
            _ => json!({}),
        };
        let done = self.post(Role::Specialist, format!("/v1/appointments/{id}/{path}"), body).await;
        // Whatever was not answered is given up: nobody knows where it stands.
        match (done.and(then), self.appointments.get_mut(index)) {
            (Some(next), Some(appointment)) => appointment.1 = next,
            _ => drop(self.appointments.swap_remove(index)),
        }
    }

    async fn assign(&mut self) {
        let body = json!({
            "patient_id": self.dice.pick(&self.patients),
            "template_id": self.dice.pick(&TEMPLATES),
            "template_version": 1,
        });
        if let Some(id) = self.post(Role::Specialist, "/v1/forms".to_owned(), body).await {
            self.forms.push((id, false));
        }
    }

    async fn fill_in(&mut self) {
        let index = self.dice.below(self.forms.len());
        let Some((id, is_saved)) = self.forms.get(index).copied() else { return };
        if is_saved {
            self.forms.swap_remove(index);
            let content = hex::encode(Sha256::digest(id.as_bytes()));
            let body = json!({ "content_sha256": content, "signed_by": "specialist" });
            self.post(Role::Specialist, format!("/v1/forms/{id}/sign"), body).await;
            return;
        }
        let answers =
            json!({ "pain": self.dice.below(11), "mood": "good", "slept_well": self.dice.below(2) == 0 });
        let body = json!({ "answers": answers });
        let saved = self.send(Method::PUT, Role::Specialist, format!("/v1/forms/{id}/answers"), body).await;
        match (saved, self.forms.get_mut(index)) {
            (Some(_), Some(form)) => form.1 = true,
            _ => drop(self.forms.swap_remove(index)),
        }
    }

    async fn read_patient(&mut self) {
        let Some(patient) = self.dice.pick(&self.patients) else { return };
        self.read(Role::Compliance, &format!("/v1/patients/{patient}")).await;
    }

    async fn read(&self, role: Role, path: &str) {
        self.api.read(path, &self.clinic.bearer(role), self.newest.as_deref()).await;
    }

    async fn post(&mut self, role: Role, path: String, body: Value) -> Option<Uuid> {
        self.send(Method::POST, role, path, body).await
    }

    async fn send(&mut self, method: Method, role: Role, path: String, body: Value) -> Option<Uuid> {
        let answer = self.api.command(method, &path, &self.clinic.bearer(role), &body).await?;
        self.newest = answer.position.or(self.newest.take());
        Some(answer.id)
    }

    /// A moment within the next days.
    fn soon(&mut self) -> Timestamp {
        let minutes = i64::try_from(30 + self.dice.below(10 * 24 * 60)).unwrap_or(30);
        SystemClock.now().saturating_add_micros(minutes * MINUTE_MICROS)
    }
}
