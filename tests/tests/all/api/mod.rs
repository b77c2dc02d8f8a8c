//! The whole product over HTTP: commands, reads, refusals, isolation, webhooks, erasure.

mod clinic;
mod commands;
mod documents;
mod event_types;
mod files;
mod isolation;
mod life;
mod once;
mod partners;
mod personal;
mod plans;
mod refusals;
mod replays;
mod roles;
mod rows;
mod secrets;
mod strangers;
mod surface;
mod untouched;
mod webhooks;
