//! The product: HTTP API, command line, and the wiring of everything below.
//!
//! Start reading at [`system`], which opens the parts, and `http` for the API.

pub mod analysts;
pub mod audit;
pub mod bench;
pub mod cli;
pub mod config;
pub mod copying;
pub mod databases;
pub mod demo;
pub mod doctor;
pub mod documents;
pub mod erasure;
pub mod exporting;
pub mod exports;
pub mod files;
pub mod forwarding;
pub mod http;
pub mod import;
pub mod listen;
mod own_files;
pub mod past;
pub mod publishing;
mod recordings;
pub mod serve;
pub mod signing;
pub mod skew;
pub mod storages;
pub mod system;
pub mod witness;
