//! What is printed, also into a pipe that nobody reads any more.
//!
//! `println!` and `eprintln!` panic there, and `… --json | head -1` is a usual thing to write.

use std::fmt;
use std::io::{self, ErrorKind, Write};

/// Whether anybody reads on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    Listens,
    Left,
}

/// Prints a line and hands it over at once.
///
/// # Errors
/// When it cannot be written for another reason than that the reader left.
pub(super) fn print(out: &mut impl Write, line: &str) -> io::Result<Reader> {
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        Ok(()) => Ok(Reader::Listens),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Reader::Left),
        Err(error) => Err(error),
    }
}

/// Tells the developer something beside the messages; it is lost where nobody can read it.
pub(super) fn tell(line: &impl fmt::Display) {
    let _ = writeln!(io::stderr(), "{line}");
}
