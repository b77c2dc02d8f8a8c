//! The accounting of disclosures, put together from what was written down, exported and sent.

mod view;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use carelog_audit::{Order, TrailFilter, TrailPage, queries};
use carelog_domain::access::{AccessEvent, Disclosure, DisclosureExclusion};
use carelog_domain::webhook_delivery::{AttemptOutcome, WebhookDeliveryEvent};
use carelog_domain::{EventType, PatientId, Personal, PurposeOfUse, Role, SubscriptionId, Timestamp};
use carelog_event_log::{RecordedEvent, SealedPlace};
use uuid::Uuid;

use self::view::{AccountedView, DisclosureView, Way};
pub(super) use self::view::{AccountingView, PatientAccountingView};
use crate::http::caller::Caller;
use crate::http::disclosures::Excluded;
use crate::http::disclosures::suspensions::{self, SuspensionView, suspended_until};
use crate::http::past::{PastSubscriptionView, StateView};
use crate::http::problem::Problem;
use crate::past::{self, Moment, RecordKind};

/// Entries that are read at a time.
const AT_A_TIME: u16 = 500;

/// To whom a patient's records were disclosed.
pub(super) struct Accounting {
    patient_id: Uuid,
    from: Timestamp,
    before: Timestamp,
    /// The earliest first.
    pub(super) disclosures: Vec<AccountedView>,
    suspensions: Vec<SuspensionView>,
}

impl From<Accounting> for AccountingView {
    fn from(accounting: Accounting) -> Self {
        let Accounting { patient_id, from, before, disclosures, suspensions } = accounting;
        Self { patient_id, from, before, disclosures, suspensions }
    }
}

/// What makes two disclosures a repetition of each other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Series {
    way: Way,
    subscription_id: Option<Uuid>,
    recipient: Option<String>,
    address: Option<String>,
    what: Option<String>,
    purpose: Option<PurposeOfUse>,
    exclusion: Option<DisclosureExclusion>,
    erased: bool,
}

#[derive(Clone, Copy, Debug)]
struct Times {
    first_at: Timestamp,
    last_at: Timestamp,
    count: u64,
}

/// Everything that was disclosed about a patient in a time.
type Found = BTreeMap<Series, Times>;

impl Accounting {
    /// The accounting of a patient from a moment until before another.
    ///
    /// # Errors
    /// When the trail, the log or the vault does not answer.
    pub(super) async fn of(
        caller: &Caller,
        patient_id: PatientId,
        from: Timestamp,
        before: Timestamp,
    ) -> Result<Self, Problem> {
        let mut found = Found::new();
        for event_type in [EventType::AccessDisclosureMade, EventType::AccessRecordExported] {
            let filter = TrailFilter {
                subject_id: Some(patient_id),
                event_type_prefix: Some(event_type.as_str().to_owned()),
                occurred_from: Some(from),
                occurred_before: Some(before),
                ..TrailFilter::default()
            };
            take_written(caller, &filter, &mut found).await?;
        }
        let mut partners = Partners::default();
        take_sent(caller, patient_id, (from, before), &mut partners, &mut found).await?;
        let (suspensions, now) = (suspensions::of(caller, patient_id).await?, caller.api.now());
        let mut disclosures = Vec::with_capacity(found.len());
        for (series, times) in found {
            let exclusion = series.exclusion;
            let disclosure = view(caller, series, times, &mut partners).await?;
            let recipient = disclosure.recipient.as_deref();
            let suspended_until = recipient.and_then(|name| suspended_until(&suspensions, name, now));
            disclosures.push(AccountedView { disclosure, exclusion, suspended_until });
        }
        disclosures.sort_by_key(|accounted| accounted.disclosure.first_at);
        Ok(Self { patient_id: patient_id.uuid(), from, before, disclosures, suspensions })
    }

    /// What the patient gets of it.
    pub(super) fn for_patient(self, excluded: Excluded) -> PatientAccountingView {
        let is_told = |accounted: &AccountedView| {
            accounted.suspended_until.is_none()
                && (excluded == Excluded::Shown || accounted.exclusion.is_none())
        };
        let told = self.disclosures.into_iter().filter(is_told);
        let disclosures = told.map(|accounted| accounted.disclosure).collect();
        PatientAccountingView {
            patient_id: self.patient_id,
            from: self.from,
            before: self.before,
            disclosures,
        }
    }
}

fn count(found: &mut Found, series: Series, at: Timestamp) {
    let times = found.entry(series).or_insert(Times { first_at: at, last_at: at, count: 0 });
    times.first_at = times.first_at.min(at);
    times.last_at = times.last_at.max(at);
    times.count += 1;
}

/// What was written down, and what was exported.
async fn take_written(caller: &Caller, filter: &TrailFilter, found: &mut Found) -> Result<(), Problem> {
    let mut after = None;
    loop {
        let page = TrailPage { order: Order::OldestFirst, after, limit: AT_A_TIME };
        let mut tx = caller.read_trail().await?;
        let entries = queries::list_entries(&mut tx, caller.organization_id, filter, page).await?;
        tx.commit().await?;
        let sequences: Vec<i64> = entries.iter().map(|entry| entry.sequence).collect();
        let Some(last) = sequences.last() else { return Ok(()) };
        after = Some(*last);
        for event in caller.api.log().organization_at(caller.organization_id, &sequences).await? {
            let series = written(caller, &event).await?;
            count(found, series, event.occurred_at);
        }
    }
}

async fn written(caller: &Caller, event: &RecordedEvent) -> Result<Series, Problem> {
    let mut series = Series {
        way: Way::Export,
        subscription_id: None,
        recipient: None,
        address: None,
        what: None,
        purpose: event.circumstances.purpose,
        exclusion: event.circumstances.purpose.and_then(PurposeOfUse::exclusion),
        erased: false,
    };
    match event.decode_as().map_err(|error| Problem::internal(&error))? {
        AccessEvent::DisclosureMade(made) => {
            series.way = Way::WrittenDown;
            series.purpose = Some(made.purpose);
            series.exclusion = made.exclusion.or_else(|| made.purpose.exclusion());
            match opened(caller, event, made.personal).await? {
                None => series.erased = true,
                Some(told) => {
                    series.recipient = Some(told.recipient);
                    series.address = told.address;
                    series.what = Some(told.description);
                }
            }
        }
        AccessEvent::RecordExported(exported) => {
            let role = event.circumstances.actor.role;
            if role == Role::Patient {
                series.exclusion = Some(DisclosureExclusion::ToIndividual);
            }
            series.recipient = Some(role.to_string());
            series.what = Some(exported.target_kind.to_string());
        }
        AccessEvent::RecordViewed(_)
        | AccessEvent::TrailQueried(_)
        | AccessEvent::AnalyticsQueried(_)
        | AccessEvent::AnalyticsLinkIssued(_)
        | AccessEvent::Denied(_) => return Err(Problem::fault("audit.trail.event_type is not the log's")),
    }
    Ok(series)
}

/// What was written down of a disclosure; nothing where it is gone for ever.
///
/// # Errors
/// When the vault does not answer, or what was sealed does not parse.
pub(super) async fn opened(
    caller: &Caller,
    event: &RecordedEvent,
    personal: Option<Personal<Disclosure>>,
) -> Result<Option<Disclosure>, Problem> {
    let Some(Personal::Sealed(sealed)) = personal else { return Ok(None) };
    let Some(part) = SealedPlace::of(event).open(caller.api.log().vault(), &sealed).await? else {
        return Ok(None);
    };
    let told = serde_json::from_slice(&part);
    told.map(Some).map_err(|_| Problem::fault("a disclosure that was written down does not parse"))
}

/// What was sent to partners.
async fn take_sent(
    caller: &Caller,
    patient_id: PatientId,
    (from, before): (Timestamp, Timestamp),
    partners: &mut Partners,
    found: &mut Found,
) -> Result<(), Problem> {
    let mut after = 0;
    loop {
        let mut tx = caller.read_trail().await?;
        let attempts =
            queries::attempts_about(&mut tx, caller.organization_id, patient_id, after, AT_A_TIME.into())
                .await?;
        tx.commit().await?;
        let Some((last, _)) = attempts.last() else { return Ok(()) };
        after = *last;
        let types: BTreeMap<i64, EventType> = attempts.into_iter().collect();
        let sequences: Vec<i64> = types.keys().copied().collect();
        for event in caller.api.log().organization_at(caller.organization_id, &sequences).await? {
            let told = event.decode_as().map_err(|error| Problem::internal(&error))?;
            let WebhookDeliveryEvent::Attempted(attempted) = told else { continue };
            let at = attempted.started_at;
            if !may_have_been_read(attempted.outcome) || at < from || at >= before {
                continue;
            }
            let id = attempted.subscription_id;
            let address = match attempted.subscription_version {
                // Where it went then, which may be another address than today's.
                version @ Some(_) => partners.at(caller, id, version).await?.url.clone(),
                // Whoever sent it died of it, and nobody knows.
                None => None,
            };
            let series = Series {
                way: Way::Webhook,
                subscription_id: Some(id.uuid()),
                recipient: None,
                address,
                what: types.get(&event.organization_sequence).map(EventType::to_string),
                purpose: None,
                exclusion: None,
                erased: false,
            };
            count(found, series, at);
        }
    }
}

/// Whether the receiver had the request, or nobody can say that it had not.
const fn may_have_been_read(outcome: AttemptOutcome) -> bool {
    match outcome {
        AttemptOutcome::Success
        | AttemptOutcome::HttpStatus
        | AttemptOutcome::Redirect
        | AttemptOutcome::Timeout
        | AttemptOutcome::Reset
        | AttemptOutcome::InvalidResponse
        | AttemptOutcome::Unknown => true,
        AttemptOutcome::ConnectRefused
        | AttemptOutcome::ConnectFailed
        | AttemptOutcome::DnsFailed
        | AttemptOutcome::BlockedUrl
        | AttemptOutcome::TlsCertificate
        | AttemptOutcome::TlsFailed => false,
    }
}

async fn view(
    caller: &Caller,
    series: Series,
    times: Times,
    partners: &mut Partners,
) -> Result<DisclosureView, Problem> {
    let mut view = DisclosureView {
        way: series.way,
        recipient: series.recipient,
        address: series.address,
        partner_id: None,
        subscription_id: series.subscription_id,
        what: series.what,
        purpose: series.purpose,
        erased: series.erased,
        first_at: times.first_at,
        last_at: times.last_at,
        count: times.count,
    };
    if let Some(id) = series.subscription_id.map(SubscriptionId::new) {
        let partner = partners.at(caller, id, None).await?;
        view.partner_id = partner.partner_id;
        view.recipient.clone_from(&partner.description);
        view.erased = partner.erased;
    }
    Ok(view)
}

/// Subscriptions as they were, deleted or not; each is read once.
#[derive(Default)]
struct Partners(HashMap<(SubscriptionId, Option<i64>), PastSubscriptionView>);

impl Partners {
    /// A subscription at a version; as it is told of last where none is given.
    async fn at(
        &mut self,
        caller: &Caller,
        id: SubscriptionId,
        version: Option<i64>,
    ) -> Result<&PastSubscriptionView, Problem> {
        match self.0.entry((id, version)) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(place) => Ok(place.insert(partner(caller, id, version).await?)),
        }
    }
}

async fn partner(
    caller: &Caller,
    id: SubscriptionId,
    version: Option<i64>,
) -> Result<PastSubscriptionView, Problem> {
    let kind = RecordKind::WebhookSubscription;
    let events = past::events(caller.api.log(), caller.organization_id, kind, id.uuid()).await?;
    let moment = version.map_or(Moment::Newest, Moment::Version);
    let past = past::fold(kind, &events, &[], moment).map_err(|error| Problem::internal(&error))?;
    match StateView::open(caller, past.record).await? {
        StateView::WebhookSubscription(view) => Ok(*view),
        _ => Err(Problem::fault("a subscription is folded to something else")),
    }
}
