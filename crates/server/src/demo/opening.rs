//! Opens the clinics: each is set up on its own and begins to live as soon as it is ready.

use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::api::ApiClient;
use super::clinics::Clinic;
use super::stage::Stage;
use super::stream::Desk;

/// Commands a second that one desk manages with ease.
const DESK_RATE: u32 = 20;

/// Sets the clinics up side by side, lets their desks begin, and remembers that all are ready.
pub(super) fn open_clinics(
    stage: &Stage,
    desks: &TaskTracker,
    rate: u32,
    closing: &CancellationToken,
) -> impl Future<Output = anyhow::Result<()>> + Send + use<> {
    let clinics: Vec<Arc<Clinic>> = stage.cast.clinics.iter().cloned().map(Arc::new).collect();
    let desk_count = desks_per_clinic(rate, clinics.len());
    let interval = interval(rate, desk_count * clinics.len());
    let opening: Vec<_> = clinics
        .into_iter()
        .enumerate()
        .map(|(number, clinic)| {
            let set_up = stage.set_up(number, Arc::clone(&clinic));
            let (api, desks, closing) = (stage.api.clone(), desks.clone(), closing.clone());
            async move {
                set_up.await?;
                tokio::select! {
                    () = closing.cancelled() => return anyhow::Ok(()),
                    known = know_keys(&api, &clinic) => known?,
                }
                for _ in 0..desk_count {
                    desks.spawn(Desk::new(api.clone(), Arc::clone(&clinic)).run(interval, closing.clone()));
                }
                Ok(())
            }
        })
        .collect();
    let remember = stage.remembering();
    async move {
        try_join_all(opening).await?;
        remember()
    }
}

/// Keys are issued one after the other, so whoever knows the last one knows all.
async fn know_keys(api: &ApiClient, clinic: &Clinic) -> anyhow::Result<()> {
    match clinic.keys.last() {
        Some(key) => api.wait_for_key(&key.text()).await,
        None => Ok(()),
    }
}

/// How many desks a clinic needs for its share of the rate.
pub(super) fn desks_per_clinic(rate: u32, clinics: usize) -> usize {
    let desks = usize::try_from(rate.div_ceil(DESK_RATE)).unwrap_or(usize::MAX);
    desks.div_ceil(clinics.max(1)).max(1)
}

/// Between two acts of one desk, so that all of them together keep the rate.
pub(super) fn interval(rate: u32, desks: usize) -> Duration {
    Duration::from_secs(1) * u32::try_from(desks).unwrap_or(u32::MAX) / rate.max(1)
}
