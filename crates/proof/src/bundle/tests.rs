mod hostile;
mod logged;
mod mutations;
mod policies;
mod samples;

use super::*;
use crate::{Policy, SignedCheckpoint};

fn check_since(bundle: &[u8], policy: &Policy, since: Option<&SignedCheckpoint>) -> Result<Report, Damage> {
    let since = since.map(ToString::to_string);
    let options = Options { policy, since: since.as_deref(), progress: &|_, _| {} };
    verify(bundle, &options).map_err(|error| match error {
        VerifyError::Damaged(damage) => damage,
        VerifyError::Read(error) => panic!("it can be read: {error}"),
    })
}
