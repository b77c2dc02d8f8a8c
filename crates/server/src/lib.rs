//! The product: HTTP API, command line, and the wiring of everything below.
//!
//! Start reading at [`system`], which opens the parts, and `http` for the API.

pub mod bench;
pub mod cli;
pub mod config;
pub mod databases;
pub mod demo;
pub mod doctor;
pub mod erasure;
pub mod files;
pub mod http;
pub mod import;
pub mod listen;
pub mod serve;
pub mod signing;
pub mod skew;
pub mod storages;
pub mod system;
