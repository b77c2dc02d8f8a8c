//! Records as they were, and what the trail answers about them.

mod accounting;
mod addresses;
mod cost;
mod disclosures;
mod exports;
mod fhir;
mod forwarding;
mod ground;
mod holds;
mod jobs;
mod naive;
mod past;
mod questions;
mod replay;
mod resumed;
mod served;
mod silence;
