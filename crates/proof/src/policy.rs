//! Policies (C2SP tlog-policy): which logs are known, which witnesses are, and how many of them must have seen a
//! checkpoint before it is believed. Whoever verifies brings one that did not come with what is verified.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use crate::checkpoint::{CheckpointError, SignedCheckpoint};
use crate::keys::{Algorithm, VerifierKey};

/// Longest policy that is looked at.
const MAX_BYTES: usize = 1 << 20;
/// The quorum of those who ask no witness, and no name of a witness or group.
const NONE: &str = "none";

/// What a verifier trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    logs: Vec<VerifierKey>,
    witnesses: BTreeMap<String, VerifierKey>,
    groups: BTreeMap<String, Group>,
    quorum: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    threshold: usize,
    members: BTreeSet<String>,
}

/// Why a text is no policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// A line is none of a policy, or names what no line before it defines.
    #[error("line {0} of the policy does not parse, or names what no line before it defines")]
    Line(usize),
    /// It trusts no log.
    #[error("the policy names no log")]
    NoLog,
    /// It does not say how many witnesses it wants.
    #[error("the policy has no line `quorum`; `quorum none` asks for no witness")]
    NoQuorum,
    /// Longer than any real one.
    #[error("the policy is longer than is looked at")]
    TooLong,
}

/// Why a checkpoint does not satisfy a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuorumError {
    /// A signature or cosignature is missing or false.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Too few witnesses have seen it.
    #[error("the quorum `{quorum}` is not met: {} of its witnesses have cosigned", .cosigned)]
    Unmet {
        /// The quorum's name.
        quorum: String,
        /// Known witnesses that have cosigned.
        cosigned: usize,
    },
}

impl FromStr for Policy {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        if text.len() > MAX_BYTES {
            return Err(PolicyError::TooLong);
        }
        let mut policy =
            Self { logs: Vec::new(), witnesses: BTreeMap::new(), groups: BTreeMap::new(), quorum: None };
        let mut has_quorum = false;
        for (number, line) in (1..).zip(text.lines()) {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            let read = match words.as_slice() {
                [] => Some(()),
                [first, ..] if first.starts_with('#') => Some(()),
                ["log", vkey] | ["log", vkey, _] => policy.add_log(vkey),
                ["witness", name, vkey] | ["witness", name, vkey, _] => policy.add_witness(name, vkey),
                ["group", name, threshold, members @ ..] => policy.add_group(name, threshold, members),
                ["quorum", name] if !has_quorum => {
                    has_quorum = true;
                    policy.set_quorum(name)
                }
                _ => None,
            };
            read.ok_or(PolicyError::Line(number))?;
        }
        match (policy.logs.is_empty(), has_quorum) {
            (true, _) => Err(PolicyError::NoLog),
            (_, false) => Err(PolicyError::NoQuorum),
            (false, true) => Ok(policy),
        }
    }
}

impl Policy {
    /// The keys of the logs that it trusts.
    pub fn log_keys(&self) -> &[VerifierKey] {
        &self.logs
    }

    fn add_log(&mut self, vkey: &str) -> Option<()> {
        let key: VerifierKey = vkey.parse().ok()?;
        let is_new = key.algorithm() == Algorithm::Ed25519 && !self.logs.contains(&key);
        is_new.then(|| self.logs.push(key))
    }

    fn add_witness(&mut self, name: &str, vkey: &str) -> Option<()> {
        let key: VerifierKey = vkey.parse().ok()?;
        // One witness under two names would count twice.
        let is_new = key.algorithm() == Algorithm::Cosignature
            && self.is_free(name)
            && self.witnesses.values().all(|known| *known != key);
        is_new.then(|| self.witnesses.insert(name.to_owned(), key)).map(drop)
    }

    fn add_group(&mut self, name: &str, threshold: &str, members: &[&str]) -> Option<()> {
        let distinct: BTreeSet<String> = members.iter().map(|&member| member.to_owned()).collect();
        let are_known = distinct.iter().all(|member| self.is_defined(member));
        let threshold = match threshold {
            "any" => 1,
            "all" => distinct.len(),
            number => number.parse().ok()?,
        };
        let is_sound = self.is_free(name)
            && are_known
            && distinct.len() == members.len()
            && (1..=distinct.len()).contains(&threshold);
        is_sound
            .then(|| self.groups.insert(name.to_owned(), Group { threshold, members: distinct }))
            .map(drop)
    }

    fn set_quorum(&mut self, name: &str) -> Option<()> {
        if name == NONE {
            return Some(());
        }
        self.is_defined(name).then(|| self.quorum = Some(name.to_owned()))
    }

    fn is_defined(&self, name: &str) -> bool {
        self.witnesses.contains_key(name) || self.groups.contains_key(name)
    }

    fn is_free(&self, name: &str) -> bool {
        name != NONE && !self.is_defined(name)
    }

    /// Checks that a known log has signed a checkpoint and that enough witnesses have seen it. Gives the names of the
    /// witnesses that have.
    ///
    /// # Errors
    /// See [`QuorumError`].
    pub fn verify(&self, checkpoint: &SignedCheckpoint) -> Result<Vec<String>, QuorumError> {
        self.verify_log(checkpoint)?;
        let witnesses: Vec<VerifierKey> = self.witnesses.values().cloned().collect();
        let cosigners: BTreeSet<VerifierKey> =
            checkpoint.cosignatures(&witnesses)?.into_iter().map(|one| one.witness).collect();
        let has_signed = |name: &str| self.witnesses.get(name).is_some_and(|key| cosigners.contains(key));
        let names: Vec<String> = self.witnesses.keys().filter(|name| has_signed(name)).cloned().collect();
        match &self.quorum {
            Some(quorum) if !self.is_met(quorum, &has_signed) => {
                Err(QuorumError::Unmet { quorum: quorum.clone(), cosigned: names.len() })
            }
            Some(_) | None => Ok(names),
        }
    }

    /// Checks only that a known log has signed a checkpoint. Keys of other logs have no say about it.
    ///
    /// # Errors
    /// When none has, or a signature is false.
    pub fn verify_log(&self, checkpoint: &SignedCheckpoint) -> Result<(), CheckpointError> {
        let origin = &checkpoint.claim().origin;
        let keys: Vec<VerifierKey> = self.logs.iter().filter(|key| key.name() == origin).cloned().collect();
        checkpoint.verify(&keys).map(drop)
    }

    /// A group only names what was defined before it, so this ends.
    fn is_met(&self, name: &str, has_signed: &impl Fn(&str) -> bool) -> bool {
        match self.groups.get(name) {
            None => has_signed(name),
            Some(group) => {
                let met = group.members.iter().filter(|member| self.is_met(member, has_signed));
                met.count() >= group.threshold
            }
        }
    }
}
