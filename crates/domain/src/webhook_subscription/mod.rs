//! A partner's subscription: which events go where, signed with what, and whether they go at all.

mod commands;
mod events;
mod filter;
#[cfg(test)]
mod tests;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};

pub use commands::*;
pub use events::*;
pub use filter::*;

use crate::aggregate::write_all;
use crate::{Personal, StreamKind, closed_enum};

/// More deliveries than this a tick would be a flood, whatever the partner wishes.
pub const MAX_PER_TICK: u16 = 10_000;

/// A week: long enough to roll out a secret by hand, short enough that a leaked one dies.
pub const MAX_OVERLAP_SECONDS: u32 = 7 * 24 * 60 * 60;

closed_enum! {
    /// Whether events are sent.
    pub enum SubscriptionStatus {
        /// They are.
        Active = "active",
        /// Not now.
        Disabled = "disabled",
        /// Never again.
        Deleted = "deleted",
    }
}

/// What a subscription needs to know in order to decide.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookSubscription {
    terms: Option<Terms>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Terms {
    filter: EventFilter,
    per_tick_limit: Option<u16>,
    disabled: Option<DisableReason>,
    is_deleted: bool,
}

impl WebhookSubscription {
    /// Whether events are sent; nothing before it is created.
    pub fn status(&self) -> Option<SubscriptionStatus> {
        self.terms.as_ref().map(|terms| match (terms.is_deleted, terms.disabled) {
            (true, _) => SubscriptionStatus::Deleted,
            (false, Some(_)) => SubscriptionStatus::Disabled,
            (false, None) => SubscriptionStatus::Active,
        })
    }

    /// Decides a command without changing anything.
    ///
    /// # Errors
    /// The rejection.
    pub fn decide(
        &self,
        command: WebhookSubscriptionCommand,
    ) -> Result<Vec<WebhookSubscriptionEvent>, WebhookSubscriptionRejection> {
        let event = match (&self.terms, command) {
            (None, WebhookSubscriptionCommand::Create(create)) => create_subscription(create),
            (None, _) => Err(WebhookSubscriptionRejection::NotCreated),
            (Some(_), WebhookSubscriptionCommand::Create(_)) => {
                Err(WebhookSubscriptionRejection::AlreadyCreated)
            }
            (Some(terms), _) if terms.is_deleted => Err(WebhookSubscriptionRejection::AlreadyDeleted),
            (Some(terms), command) => terms.decide(command),
        }?;
        Ok(vec![event])
    }
}

type Decision = Result<WebhookSubscriptionEvent, WebhookSubscriptionRejection>;

fn create_subscription(create: CreateSubscription) -> Decision {
    check_limit(create.per_tick_limit)?;
    Ok(WebhookSubscriptionEvent::Created(WebhookSubscriptionCreated {
        partner_id: create.partner_id,
        filter: create.filter,
        format: create.format,
        per_tick_limit: create.per_tick_limit,
        personal: Some(Personal::Open(create.secrets)),
    }))
}

fn check_limit(per_tick_limit: Option<u16>) -> Result<(), WebhookSubscriptionRejection> {
    match per_tick_limit {
        Some(given) if !(1..=MAX_PER_TICK).contains(&given) => {
            Err(WebhookSubscriptionRejection::PerTickLimitOutOfRange { given, maximum: MAX_PER_TICK })
        }
        Some(_) | None => Ok(()),
    }
}

impl Terms {
    fn decide(&self, command: WebhookSubscriptionCommand) -> Decision {
        match command {
            WebhookSubscriptionCommand::Create(_) => Err(WebhookSubscriptionRejection::AlreadyCreated),
            WebhookSubscriptionCommand::Change { filter, per_tick_limit, change } => {
                self.change(filter, per_tick_limit, change)
            }
            WebhookSubscriptionCommand::RotateSecret { secret, overlap_seconds } => {
                rotate_secret(secret, overlap_seconds)
            }
            WebhookSubscriptionCommand::Disable { reason } => match self.disabled {
                Some(reason) => Err(WebhookSubscriptionRejection::AlreadyDisabled { reason }),
                None => Ok(WebhookSubscriptionEvent::Disabled(WebhookSubscriptionDisabled { reason })),
            },
            WebhookSubscriptionCommand::Enable => match self.disabled {
                Some(_) => Ok(WebhookSubscriptionEvent::Enabled(WebhookSubscriptionEnabled {})),
                None => Err(WebhookSubscriptionRejection::NotDisabled),
            },
            WebhookSubscriptionCommand::Delete => {
                Ok(WebhookSubscriptionEvent::Deleted(WebhookSubscriptionDeleted {}))
            }
            WebhookSubscriptionCommand::RequestTest => match self.disabled {
                Some(reason) => Err(WebhookSubscriptionRejection::NotActive { reason }),
                None => Ok(WebhookSubscriptionEvent::TestRequested(WebhookSubscriptionTestRequested {})),
            },
        }
    }

    /// What already is as asked is left out of the event. Personal values cannot be compared, so any that is
    /// given counts as a change.
    fn change(
        &self,
        filter: Option<EventFilter>,
        per_tick_limit: Option<u16>,
        change: Option<SubscriptionChange>,
    ) -> Decision {
        check_limit(per_tick_limit)?;
        let filter = filter.filter(|filter| *filter != self.filter);
        let per_tick_limit = per_tick_limit.filter(|limit| Some(*limit) != self.per_tick_limit);
        let change = change.filter(|change| !change.is_empty());
        if filter.is_none() && per_tick_limit.is_none() && change.is_none() {
            return Err(WebhookSubscriptionRejection::NothingChanged);
        }
        let personal = change.map(Personal::Open);
        Ok(WebhookSubscriptionEvent::Changed(WebhookSubscriptionChanged { filter, per_tick_limit, personal }))
    }
}

fn rotate_secret(secret: RotatedSecret, overlap_seconds: u32) -> Decision {
    if overlap_seconds > MAX_OVERLAP_SECONDS {
        return Err(WebhookSubscriptionRejection::OverlapTooLong {
            given_seconds: overlap_seconds,
            maximum_seconds: MAX_OVERLAP_SECONDS,
        });
    }
    let personal = Some(Personal::Open(secret));
    Ok(WebhookSubscriptionEvent::SecretRotated(WebhookSubscriptionSecretRotated {
        overlap_seconds,
        personal,
    }))
}

impl Aggregate for WebhookSubscription {
    const TYPE: &'static str = StreamKind::WebhookSubscription.as_str();
    type Command = WebhookSubscriptionCommand;
    type Event = WebhookSubscriptionEvent;
    type Error = WebhookSubscriptionRejection;
    type Services = ();

    async fn handle(
        &mut self,
        command: WebhookSubscriptionCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), WebhookSubscriptionRejection> {
        write_all(self.decide(command)?, self, sink).await;
        Ok(())
    }

    fn apply(&mut self, event: WebhookSubscriptionEvent) {
        if let WebhookSubscriptionEvent::Created(created) = &event {
            let (filter, per_tick_limit) = (created.filter.clone(), created.per_tick_limit);
            self.terms = Some(Terms { filter, per_tick_limit, disabled: None, is_deleted: false });
        }
        if let Some(terms) = &mut self.terms {
            terms.apply(event);
        }
    }
}

impl Terms {
    fn apply(&mut self, event: WebhookSubscriptionEvent) {
        match event {
            WebhookSubscriptionEvent::Created(_)
            | WebhookSubscriptionEvent::SecretRotated(_)
            | WebhookSubscriptionEvent::TestRequested(_) => {}
            WebhookSubscriptionEvent::Changed(changed) => {
                if let Some(filter) = changed.filter {
                    self.filter = filter;
                }
                self.per_tick_limit = changed.per_tick_limit.or(self.per_tick_limit);
            }
            WebhookSubscriptionEvent::Disabled(disabled) => self.disabled = Some(disabled.reason),
            WebhookSubscriptionEvent::Enabled(_) => self.disabled = None,
            WebhookSubscriptionEvent::Deleted(_) => self.is_deleted = true,
        }
    }
}
