//! Every kind of stream and every type of event, by name.
//!
//! The list grows; a name never changes its meaning, because events live for ever.

use serde_json::Value;

use crate::closed_enum;
use crate::event::Facts;

closed_enum! {
    /// Which aggregate a stream belongs to.
    pub enum StreamKind {
        /// A clinic.
        Organization = "organization",
        /// A patient.
        Patient = "patient",
        /// The legal holds on a patient's data.
        LegalHold = "legal_hold",
        /// The accounting of disclosures that a patient gets.
        Accounting = "accounting",
        /// A specialist.
        Specialist = "specialist",
        /// An appointment.
        Appointment = "appointment",
        /// A form.
        Form = "form",
        /// A file in the object storage.
        File = "file",
        /// A programme of exercises.
        TreatmentPlan = "treatment_plan",
        /// The video room of an appointment.
        VideoRoom = "video_room",
        /// What a provider of video rooms told.
        VideoNotice = "video_notice",
        /// A partner's subscription to events.
        WebhookSubscription = "webhook_subscription",
        /// One event for one subscription.
        WebhookDelivery = "webhook_delivery",
        /// Sending deliveries of one subscription again.
        WebhookReplay = "webhook_replay",
        /// One access to records, or one refusal.
        Access = "access",
    }
}

macro_rules! catalogue {
    ($($kind:ident in $module:ident { $($(#[doc = $doc:literal])* $variant:ident = $text:literal, v $version:literal, $audience:ident;)+ })+) => {
        closed_enum! {
            /// The type of an event, `noun.past`.
            pub enum EventType { $($($(#[doc = $doc])* $variant = $text),+),+ }
        }

        impl EventType {
            /// The kind of stream in which such events stand.
            pub const fn stream_kind(self) -> StreamKind {
                match self { $($(Self::$variant => StreamKind::$kind),+),+ }
            }

            /// The schema version that new events of this type are written in.
            pub const fn schema_version(self) -> u16 {
                match self { $($(Self::$variant => $version),+),+ }
            }

            /// Whether partners may receive it.
            pub const fn is_public(self) -> bool {
                match self { $($(Self::$variant => catalogue!(@ $audience)),+),+ }
            }

            /// JSON Schema (2020-12) of the facts of such events.
            pub fn facts_schema(self) -> Value {
                match self { $($(Self::$variant => <crate::$module::$variant as Facts>::schema()),+),+ }
            }
        }
    };
    (@ public) => { true };
    (@ internal) => { false };
}

catalogue! {
    Organization in organization {
        /// A clinic joined.
        OrganizationRegistered = "organization.registered", v 1, internal;
        /// Its settings changed.
        OrganizationSettingsChanged = "organization.settings_changed", v 1, internal;
        /// An integration got its settings and credentials.
        OrganizationIntegrationConfigured = "organization.integration_configured", v 1, internal;
        /// An integration was removed.
        OrganizationIntegrationRemoved = "organization.integration_removed", v 1, internal;
        /// Somebody joined the staff.
        OrganizationMemberAdded = "organization.member_added", v 1, internal;
        /// Somebody left the staff.
        OrganizationMemberRemoved = "organization.member_removed", v 1, internal;
        /// An API key was issued.
        OrganizationApiKeyIssued = "organization.api_key_issued", v 1, internal;
        /// An API key was revoked.
        OrganizationApiKeyRevoked = "organization.api_key_revoked", v 1, internal;
        /// A new key makes the pseudonyms of analytics from the next rebuild on.
        OrganizationPseudonymEpochBegun = "organization.pseudonym_epoch_begun", v 1, internal;
        /// The key of former pseudonyms was destroyed: nothing leads back from them to people.
        OrganizationPseudonymKeyDestroyed = "organization.pseudonym_key_destroyed", v 1, internal;
    }
    Patient in patient {
        /// A patient became known to the clinic.
        PatientRegistered = "patient.registered", v 1, public;
        /// The patient finished joining and can be treated.
        PatientOnboarded = "patient.onboarded", v 1, public;
        /// Names, numbers or ways to be reached changed.
        PatientDetailsChanged = "patient.details_changed", v 1, internal;
        /// The patient agreed to something.
        PatientConsentGiven = "patient.consent_given", v 1, public;
        /// The patient took an agreement back.
        PatientConsentWithdrawn = "patient.consent_withdrawn", v 1, public;
        /// As `accounting.suspended`, which is written in its place.
        PatientAccountingSuspended = "patient.accounting_suspended", v 1, internal;
        /// As `accounting.resumed`, which is written in its place.
        PatientAccountingResumed = "patient.accounting_resumed", v 1, internal;
        /// As `legal_hold.placed`, which is written in its place.
        PatientLegalHoldPlaced = "patient.legal_hold_placed", v 1, internal;
        /// As `legal_hold.released`, which is written in its place.
        PatientLegalHoldReleased = "patient.legal_hold_released", v 1, internal;
        /// Erasure was asked for; the intent stands before any key is destroyed.
        PatientErasureRequested = "patient.erasure_requested", v 1, internal;
        /// The patient's data keys were destroyed.
        PatientKeysDestroyed = "patient.keys_destroyed", v 1, internal;
        /// Every projection confirmed the erasure.
        PatientErased = "patient.erased", v 1, public;
    }
    LegalHold in legal_hold {
        /// A patient's data has to be kept, whoever asks for its erasure.
        LegalHoldPlaced = "legal_hold.placed", v 1, internal;
        /// It need not be kept for that reason any more.
        LegalHoldReleased = "legal_hold.released", v 1, internal;
    }
    Accounting in accounting {
        /// For a time a patient gets no account of disclosures to an agency.
        AccountingSuspended = "accounting.suspended", v 1, internal;
        /// The patient gets the whole account again.
        AccountingResumed = "accounting.resumed", v 1, internal;
    }
    Specialist in specialist {
        /// A specialist joined.
        SpecialistAdded = "specialist.added", v 1, public;
        /// A specialist stopped working here.
        SpecialistDeactivated = "specialist.deactivated", v 1, public;
    }
    Appointment in appointment {
        /// An appointment was made.
        AppointmentBooked = "appointment.booked", v 1, public;
        /// It was confirmed, or a reminder went out.
        AppointmentConfirmed = "appointment.confirmed", v 1, public;
        /// The patient checked in.
        AppointmentOnboarded = "appointment.onboarded", v 1, public;
        /// It moved to another time.
        AppointmentRescheduled = "appointment.rescheduled", v 1, public;
        /// The consultation began.
        AppointmentStarted = "appointment.started", v 1, public;
        /// The consultation took place.
        AppointmentCompleted = "appointment.completed", v 1, public;
        /// It was called off.
        AppointmentCancelled = "appointment.cancelled", v 1, public;
        /// The patient did not come.
        AppointmentNoShow = "appointment.no_show", v 1, public;
    }
    Form in form {
        /// A patient was asked to fill in a form.
        FormAssigned = "form.assigned", v 1, public;
        /// Answers were kept, not yet signed.
        FormSaved = "form.saved", v 1, internal;
        /// The form was signed.
        FormSigned = "form.signed", v 1, public;
        /// The form no longer counts.
        FormVoided = "form.voided", v 1, public;
    }
    File in file {
        /// Somebody is about to upload a file.
        FileUploadRequested = "file.upload_requested", v 1, internal;
        /// It lies in the storage, encrypted, and is what was said.
        FileStored = "file.stored", v 1, public;
        /// The upload came to nothing.
        FileUploadFailed = "file.upload_failed", v 1, internal;
        /// Somebody was given a link by which it can be read for a while.
        FileLinkIssued = "file.link_issued", v 1, internal;
        /// It was deleted.
        FileDeleted = "file.deleted", v 1, public;
    }
    TreatmentPlan in treatment_plan {
        /// A programme of exercises over some weeks began.
        TreatmentPlanCreated = "treatment_plan.created", v 1, public;
        /// An exercise was added to a week of the programme.
        TreatmentPlanExerciseAssigned = "treatment_plan.exercise_assigned", v 1, public;
        /// A session of an exercise was done.
        TreatmentPlanExerciseCompleted = "treatment_plan.exercise_completed", v 1, public;
        /// A session of an exercise was left out.
        TreatmentPlanExerciseSkipped = "treatment_plan.exercise_skipped", v 1, public;
        /// The programme ended.
        TreatmentPlanCompleted = "treatment_plan.completed", v 1, public;
    }
    VideoRoom in video_room {
        /// A video room was made for an appointment.
        VideoRoomCreated = "video_room.created", v 1, public;
        /// A video room could not be made.
        VideoRoomCreationFailed = "video_room.creation_failed", v 1, internal;
        /// Its window moved with the appointment.
        VideoRoomMoved = "video_room.moved", v 1, public;
        /// It could not be moved or closed.
        VideoRoomChangeFailed = "video_room.change_failed", v 1, internal;
        /// Somebody was given a link to it.
        VideoRoomAccessGranted = "video_room.access_granted", v 1, internal;
        /// A link to a video room leads nowhere any more.
        VideoRoomAccessRevoked = "video_room.access_revoked", v 1, internal;
        /// A specialist let a video room stay open for longer.
        VideoRoomExtended = "video_room.extended", v 1, public;
        /// Somebody came into it.
        VideoRoomParticipantJoined = "video_room.participant_joined", v 1, public;
        /// Somebody left it.
        VideoRoomParticipantLeft = "video_room.participant_left", v 1, public;
        /// A participant's network was measured.
        VideoRoomQualitySampled = "video_room.quality_sampled", v 1, internal;
        /// A recording began, with the clinic's setting and the patient's consent in force.
        VideoRoomRecordingStarted = "video_room.recording_started", v 1, public;
        /// A recording lies in the clinic's own storage.
        VideoRoomRecordingStored = "video_room.recording_stored", v 1, public;
        /// Somebody asked for a recording.
        VideoRoomRecordingRequested = "video_room.recording_requested", v 1, internal;
        /// The recording has to end.
        VideoRoomRecordingStopRequested = "video_room.recording_stop_requested", v 1, internal;
        /// A recording ended.
        VideoRoomRecordingStopped = "video_room.recording_stopped", v 1, internal;
        /// A recording could not be started, stopped or fetched.
        VideoRoomRecordingFailed = "video_room.recording_failed", v 1, internal;
        /// A recording is not kept, and deleted wherever it was.
        VideoRoomRecordingDiscarded = "video_room.recording_discarded", v 1, internal;
        /// It is closed, and links to it lead nowhere any more.
        VideoRoomExpired = "video_room.expired", v 1, public;
    }
    VideoNotice in video_notice {
        /// A provider told something of a room.
        VideoNoticeReceived = "video_notice.received", v 1, internal;
    }
    WebhookSubscription in webhook_subscription {
        /// A partner subscribed, and whoever asked was shown the signing secret.
        WebhookSubscriptionCreated = "webhook_subscription.created", v 1, internal;
        /// URL, filter, headers or description changed.
        WebhookSubscriptionChanged = "webhook_subscription.changed", v 1, internal;
        /// A new signing secret replaces the old one after an overlap; whoever asked was shown it.
        WebhookSubscriptionSecretRotated = "webhook_subscription.secret_rotated", v 1, internal;
        /// Sending stopped.
        WebhookSubscriptionDisabled = "webhook_subscription.disabled", v 1, internal;
        /// Sending goes on.
        WebhookSubscriptionEnabled = "webhook_subscription.enabled", v 1, internal;
        /// The partner unsubscribed.
        WebhookSubscriptionDeleted = "webhook_subscription.deleted", v 1, internal;
        /// Somebody asked for a delivery that says nothing but that it arrives; sent to that subscription alone.
        WebhookSubscriptionTestRequested = "webhook_subscription.test_requested", v 1, internal;
    }
    WebhookDelivery in webhook_delivery {
        /// An event is to be delivered to a subscription.
        WebhookDeliveryEmitted = "webhook_delivery.emitted", v 1, internal;
        /// One HTTP try ended, or its end is unknown.
        WebhookDeliveryAttempted = "webhook_delivery.attempted", v 1, internal;
        /// The receiver accepted it.
        WebhookDeliveryDelivered = "webhook_delivery.delivered", v 1, internal;
        /// It will not be tried again.
        WebhookDeliveryExhausted = "webhook_delivery.exhausted", v 1, internal;
        /// Somebody asked to send it again.
        WebhookDeliveryRedeliveryRequested = "webhook_delivery.redelivery_requested", v 1, internal;
        /// What was kept of the receiver's answers was removed for good.
        WebhookDeliveryAnswersExpunged = "webhook_delivery.answers_expunged", v 1, internal;
    }
    WebhookReplay in webhook_replay {
        /// Somebody asked to send deliveries of a subscription again.
        WebhookReplayRequested = "webhook_replay.requested", v 1, internal;
        /// A further batch was asked for.
        WebhookReplayAdvanced = "webhook_replay.advanced", v 1, internal;
        /// Everything that matched was asked for or skipped.
        WebhookReplayCompleted = "webhook_replay.completed", v 1, internal;
        /// It ended early.
        WebhookReplayCancelled = "webhook_replay.cancelled", v 1, internal;
    }
    Access in access {
        /// A record was read.
        AccessRecordViewed = "access.record_viewed", v 1, internal;
        /// Records were exported.
        AccessRecordExported = "access.record_exported", v 1, internal;
        /// Records were disclosed to somebody outside.
        AccessDisclosureMade = "access.disclosure_made", v 1, internal;
        /// The audit trail was queried.
        AccessTrailQueried = "access.trail_queried", v 1, internal;
        /// A view of analytics was queried.
        AccessAnalyticsQueried = "access.analytics_queried", v 1, internal;
        /// A link to a chart of analytics was made.
        AccessAnalyticsLinkIssued = "access.analytics_link_issued", v 1, internal;
        /// A known caller was refused.
        AccessDenied = "access.access_denied", v 1, internal;
    }
}

impl EventType {
    /// Every type that partners may ask for, in the order of declaration.
    pub fn public() -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(|event_type| event_type.is_public())
    }

    /// Every type that a receiver may be sent: those that partners may ask for, and the test of a subscription, which
    /// nobody has to ask for.
    pub fn received() -> impl Iterator<Item = Self> {
        Self::public().chain([Self::WebhookSubscriptionTestRequested])
    }

    /// Reads the name of a type that partners may receive.
    pub fn parse_public(name: &str) -> Option<Self> {
        name.parse().ok().filter(|event_type: &Self| event_type.is_public())
    }
}
