//! What strangers can check: other programs verify what is served, damage is found and named, and the signer never
//! goes back.

mod bundles;
mod damage;
mod handed_on;
mod live;
mod meta;
mod mutations;
mod served;
mod signer;
mod witness;

use std::num::NonZeroU32;

use carelog_domain::OrganizationId;
use carelog_tests::{Api, ApiClinic, run, scope, start_appointment, until};

/// A product that signs all the time.
async fn signing_api() -> Api {
    Api::start_with(|config| config.proofs.sign_every_ms = NonZeroU32::new(50).unwrap()).await
}

/// Lets at least so many events happen in a clinic.
async fn happen(api: &Api, organization_id: OrganizationId, count: usize) {
    let log = &api.server.system().log;
    let booked = (0..count.div_ceil(2)).map(|_| async move {
        let id = start_appointment(log, organization_id).await;
        let scope = scope(organization_id);
        run::<carelog_domain::appointment::Appointment>(log, &scope, id, carelog_tests::confirm()).await;
    });
    futures::future::join_all(booked).await;
}

/// The checkpoint of a clinic once it covers so many events, and its three lines.
async fn checkpoint(clinic: &ApiClinic<'_>, events: u64) -> (String, String, u64, String) {
    until("a checkpoint covers the events", async || {
        let answer = clinic.get("/v1/proofs/checkpoint").await;
        let mut lines = answer.text.lines().map(str::to_owned);
        let (origin, size, root) = (lines.next()?, lines.next()?.parse().ok()?, lines.next()?);
        (answer.status == 200 && size >= events).then_some((answer.text, origin, size, root))
    })
    .await
}
