//! Epochs of the pseudonyms under which a clinic's facts of analytics stand: what the vault did is told here.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{
    OrganizationEvent, OrganizationPseudonymEpochBegun, OrganizationPseudonymKeyDestroyed,
    OrganizationRejection,
};

/// The first epoch, which begins with the clinic and has no event.
const FIRST: u32 = 1;
/// Epochs that one command tells at most; there is one more in years.
const MOST_AT_A_TIME: u32 = 1_000;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PseudonymEpochs {
    newest: u32,
    destroyed: BTreeSet<u32>,
}

impl Default for PseudonymEpochs {
    fn default() -> Self {
        Self { newest: FIRST, destroyed: BTreeSet::new() }
    }
}

impl PseudonymEpochs {
    /// Tells of an epoch, and of those before it of which nobody told, because whoever began them died.
    pub(super) fn begin(&self, epoch: u32) -> Result<Vec<OrganizationEvent>, OrganizationRejection> {
        if epoch <= self.newest {
            return Err(OrganizationRejection::EpochAlreadyRecorded { epoch });
        }
        if epoch - self.newest > MOST_AT_A_TIME {
            return Err(OrganizationRejection::EpochUnknown { epoch });
        }
        let begun = |epoch| OrganizationEvent::PseudonymEpochBegun(OrganizationPseudonymEpochBegun { epoch });
        Ok((self.newest + 1..=epoch).map(begun).collect())
    }

    pub(super) fn destroy(&self, epoch: u32) -> Result<OrganizationEvent, OrganizationRejection> {
        if self.destroyed.contains(&epoch) {
            return Err(OrganizationRejection::PseudonymKeyAlreadyDestroyed { epoch });
        }
        if !(FIRST..self.newest).contains(&epoch) {
            return Err(OrganizationRejection::EpochUnknown { epoch });
        }
        Ok(OrganizationEvent::PseudonymKeyDestroyed(OrganizationPseudonymKeyDestroyed { epoch }))
    }

    pub(super) fn apply_begun(&mut self, begun: &OrganizationPseudonymEpochBegun) {
        self.newest = self.newest.max(begun.epoch);
    }

    pub(super) fn apply_destroyed(&mut self, destroyed: &OrganizationPseudonymKeyDestroyed) {
        self.destroyed.insert(destroyed.epoch);
    }
}
