//! The clinics of the demo: invented, the same on every machine, remembered between starts.
//!
//! What is random (ids, API keys, webhook secrets) is drawn once and kept in a file that only its owner may read. It
//! is written before the first command is, so that a start that breaks off is taken up again by the next one: what
//! is already there answers with a conflict, which is then no failure.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use carelog_domain::closed::Sha256Digest;
use carelog_domain::organization::Scope as KeyScope;
use carelog_domain::webhook_subscription::WebhookFormat;
use carelog_domain::{OrganizationId, Role};
use carelog_event_log::new_id;
use carelog_webhooks::sending::WebhookSecret;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

const FILE: &str = "demo.json";
const NAMES: [&str; 3] = ["Harbour Rehabilitation", "Linden Physiotherapy", "Northlight Movement Clinic"];
const SPECIALISTS: usize = 2;
const PATIENTS: usize = 4;
const ROLES: [Role; 6] =
    [Role::Admin, Role::Specialist, Role::Compliance, Role::Partner, Role::Analyst, Role::Patient];
const FIRST_NAMES: [&str; 12] =
    ["Ada", "Bruno", "Clara", "Deniz", "Elif", "Femi", "Greta", "Hugo", "Ines", "Jonas", "Kaya", "Lena"];
const LAST_NAMES: [&str; 10] =
    ["Brook", "Castell", "Dorn", "Ekholm", "Farrow", "Galen", "Hollis", "Iversen", "Juniper", "Kestrel"];

/// Everything about the demo that is drawn once.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cast {
    /// Where the receiver listened last; nothing before the subscriptions were made.
    pub(super) receiver_port: Option<u16>,
    /// Whether everything below is in the log.
    pub(super) is_ready: bool,
    /// The clinics.
    pub(super) clinics: Vec<Clinic>,
}

/// One clinic.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Clinic {
    pub(super) organization_id: OrganizationId,
    pub(super) name: String,
    pub(super) specialists: Vec<Uuid>,
    pub(super) patients: Vec<Uuid>,
    pub(super) keys: Vec<Key>,
    pub(super) hooks: Vec<Hook>,
}

/// An API key as its holder knows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Key {
    pub(super) role: Role,
    pub(super) id: Uuid,
    pub(super) secret: String,
}

/// A partner's receiver and the subscription that leads to it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Hook {
    pub(super) subscription_id: Uuid,
    pub(super) name: String,
    pub(super) format: WebhookFormat,
    /// Each request of this number fails; 0 for none.
    pub(super) fails_every: u64,
    pub(super) secret: String,
}

/// Somebody who does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Person {
    pub(super) name: String,
    pub(super) email: String,
    pub(super) phone: String,
    pub(super) birth_year: u16,
}

impl Cast {
    /// Reads the file, or draws anew where there is none.
    ///
    /// # Errors
    /// When the file cannot be read or is not ours.
    pub(super) fn load_or_draw(home: &Path) -> anyhow::Result<Self> {
        let path = home.join(FILE);
        match fs::read(&path) {
            Ok(text) => {
                serde_json::from_slice(&text).with_context(|| format!("{} is not readable", path.display()))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Self::draw(),
            Err(error) => Err(error).with_context(|| format!("{} cannot be read", path.display())),
        }
    }

    fn draw() -> anyhow::Result<Self> {
        let clinics = NAMES.iter().enumerate().map(|(index, name)| Clinic::draw(index, name));
        Ok(Self { receiver_port: None, is_ready: false, clinics: clinics.collect::<anyhow::Result<_>>()? })
    }

    /// Replaces the file as a whole.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn save(&self, home: &Path) -> anyhow::Result<()> {
        let path = home.join(FILE);
        write_private(&path, &serde_json::to_vec_pretty(self)?)
            .with_context(|| format!("{} cannot be written", path.display()))
    }
}

impl Clinic {
    fn draw(index: usize, name: &str) -> anyhow::Result<Self> {
        let ids = |count: usize| std::iter::repeat_with(new_id).take(count).collect();
        Ok(Self {
            organization_id: OrganizationId::new(new_id()),
            name: name.to_owned(),
            specialists: ids(SPECIALISTS),
            patients: ids(PATIENTS),
            keys: ROLES.iter().map(|role| Key::draw(*role)).collect::<anyhow::Result<_>>()?,
            hooks: Hook::draw_for(index)?,
        })
    }

    /// The key of a role, as it stands in `Authorization`.
    pub(super) fn bearer(&self, role: Role) -> String {
        self.keys.iter().find(|key| key.role == role).map(Key::text).unwrap_or_default()
    }
}

impl Key {
    fn draw(role: Role) -> anyhow::Result<Self> {
        Ok(Self { role, id: new_id(), secret: URL_SAFE_NO_PAD.encode(random()?) })
    }

    /// `clk_<id>_<secret>`.
    pub(super) fn text(&self) -> String {
        format!("clk_{}_{}", self.id.simple(), self.secret)
    }

    /// What the log keeps of it.
    pub(super) fn digest(&self) -> anyhow::Result<Sha256Digest> {
        let secret =
            URL_SAFE_NO_PAD.decode(&self.secret).ok().context("an API key of the demo is damaged")?;
        Ok(Sha256Digest::new(Sha256::digest(secret).into()))
    }

    /// What it opens.
    pub(super) fn scopes(&self) -> Vec<KeyScope> {
        match self.role {
            Role::Admin => KeyScope::ALL.to_vec(),
            Role::Compliance => vec![KeyScope::Commands, KeyScope::Reads, KeyScope::Trail, KeyScope::Events],
            Role::Partner => vec![KeyScope::Webhooks, KeyScope::Events],
            Role::Analyst => vec![KeyScope::Reads],
            Role::Specialist | Role::Patient | Role::System => vec![KeyScope::Commands, KeyScope::Reads],
        }
    }
}

impl Hook {
    /// Each clinic has a partner who behaves; the first one also has one that fails now and then, the second one
    /// who reads CloudEvents.
    fn draw_for(clinic: usize) -> anyhow::Result<Vec<Self>> {
        let mut hooks = vec![Self::draw(format!("partner-{}", clinic + 1), WebhookFormat::Standard, 0)?];
        match clinic {
            0 => hooks.push(Self::draw("flaky".to_owned(), WebhookFormat::Standard, 5)?),
            1 => hooks.push(Self::draw("cloudevents".to_owned(), WebhookFormat::Cloudevents, 0)?),
            _ => {}
        }
        Ok(hooks)
    }

    fn draw(name: String, format: WebhookFormat, fails_every: u64) -> anyhow::Result<Self> {
        let secret = WebhookSecret::from_random(random()?).reveal().to_string();
        Ok(Self { subscription_id: new_id(), name, format, fails_every, secret })
    }
}

impl Person {
    /// The person of a number, always the same.
    pub(super) fn number(number: usize) -> Self {
        let pick = |names: &[&'static str], at: usize| names.get(at % names.len()).copied().unwrap_or("Ada");
        let (first, last) =
            (pick(&FIRST_NAMES, number), pick(&LAST_NAMES, number / FIRST_NAMES.len() + number));
        Self {
            name: format!("{first} {last}"),
            email: format!("{}.{}.{number}@example.org", first.to_lowercase(), last.to_lowercase()),
            // Reserved for fiction.
            phone: format!("+1202555{:04}", 100 + number % 100),
            birth_year: 1940 + u16::try_from(number * 7 % 65).unwrap_or_default(),
        }
    }
}

fn random() -> anyhow::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).context("the system has no randomness to give")?;
    Ok(bytes)
}

/// Replaces a file that only its owner may read; a reader sees the old one or the new one.
///
/// # Errors
/// When the file system refuses.
pub(super) fn write_private(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let next = path.with_extension("next");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&next, path)
}
