//! Video rooms. So far: the client of the provider.

pub mod daily;
