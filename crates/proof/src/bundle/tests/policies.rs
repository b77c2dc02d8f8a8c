//! Policies, read and refused.

use super::samples::{policy_text, witness_key};
use crate::{Algorithm, Policy, PolicyError};

fn witness(name: &str) -> String {
    witness_key().verifier(name, Algorithm::Cosignature).unwrap().to_string()
}

#[test]
fn policies_are_read_as_the_specification_says() {
    let log = policy_text();
    let log = log.lines().next().unwrap();
    let (one, two) = (witness("w.example/1"), witness("w.example/2"));
    for text in [
        format!("{log}\nquorum none\n"),
        format!("# a comment\n\n{log} https://log.example/\nquorum none"),
        format!("{log}\nwitness a {one}\nwitness b {two} https://w.example/\ngroup g any a b\nquorum g\n"),
        format!("{log}\nwitness a {one}\nwitness b {two}\ngroup g 2 a b\ngroup h all g a\nquorum h\n"),
    ] {
        assert!(text.parse::<Policy>().is_ok(), "{text}");
    }
    for (text, error) in [
        (String::new(), PolicyError::NoLog),
        ("quorum none\n".to_owned(), PolicyError::NoLog),
        (format!("{log}\n"), PolicyError::NoQuorum),
        (format!("{log}\n{log}\nquorum none\n"), PolicyError::Line(2)),
        (format!("{log}\nquorum none\nquorum none\n"), PolicyError::Line(3)),
        (format!("{log}\nquorum a\nwitness a {one}\n"), PolicyError::Line(2)),
        (format!("{log}\nwitness none {one}\nquorum none\n"), PolicyError::Line(2)),
        (format!("{log}\nwitness a {one}\nwitness b {one}\nquorum none\n"), PolicyError::Line(3)),
        (format!("{log}\nwitness a {one}\ngroup g 2 a\nquorum g\n"), PolicyError::Line(3)),
        (format!("{log}\nwitness a {one}\ngroup g 0 a\nquorum g\n"), PolicyError::Line(3)),
        (format!("{log}\nwitness a {one}\ngroup g 1 a a\nquorum g\n"), PolicyError::Line(3)),
        (format!("{log}\ngroup g all g\nquorum g\n"), PolicyError::Line(2)),
        (format!("log {one}\nquorum none\n"), PolicyError::Line(1)),
        (format!("{log}\nsomething else\nquorum none\n"), PolicyError::Line(2)),
    ] {
        assert_eq!(text.parse::<Policy>().unwrap_err(), error, "{text}");
    }
}
