//! What rooms need that Carelog runs itself: links, who is there, and the settings of relays.
//!
//! The participants' browsers talk to each other directly; a server only introduces them. It may be another process
//! for each of them, so they meet in the database: [`presence`] holds a row for each stay, [`signal`] what one browser
//! has to tell the other, [`ending`] ends stays, and a notification that names nothing but the appointment wakes whoever waits ([`Hub`]).
//! A process that dies leaves rows that are heard of no more; whoever notices ends the stay.

pub mod ending;
mod hub;
mod ice;
mod link;
pub mod presence;
pub mod signal;
#[cfg(test)]
mod tests;

pub use self::hub::{Hub, Woken, wake};
pub use self::ice::{IceServer, RelaySecret, Relays};
pub use self::link::{LinkClaims, LinkSecret, RoomLink};
