//! What is seen of a running demo: a block that is drawn over itself on a terminal, a line now and then elsewhere.
//!
//! On a terminal it goes to standard output; otherwise to standard error, because standard output may belong to
//! whoever reads the JSON.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::time::Duration;

use super::api::Tally;
use super::figures::Figures;

/// How often figures are read and a terminal is redrawn.
pub(super) const REFRESH: Duration = Duration::from_millis(250);
/// How often a line is written where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// Over which the rate is taken: eight looks.
const RATE_SAMPLES: usize = 8;

/// Shows the figures.
#[derive(Debug)]
pub(super) struct View {
    is_terminal: bool,
    drawn_lines: usize,
    last_line_at: Duration,
    samples: VecDeque<(Duration, u64)>,
}

impl View {
    /// Draws when standard output is a terminal that nobody wants JSON on.
    pub(super) fn new(json: bool) -> Self {
        let is_terminal = !json && io::stdout().is_terminal();
        Self { is_terminal, drawn_lines: 0, last_line_at: Duration::ZERO, samples: VecDeque::new() }
    }

    /// Whether somebody watches.
    pub(super) const fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Says something once.
    pub(super) fn say(&self, text: &str) {
        if self.is_terminal {
            // Nothing can be done about a terminal that went away.
            let _ = writeln!(io::stdout().lock(), "{text}");
        } else {
            let _ = writeln!(io::stderr().lock(), "{text}");
        }
    }

    /// Shows the figures of now.
    pub(super) fn show(&mut self, figures: &Figures, tally: &Tally) {
        let per_second = self.rate(figures.uptime(), figures.events);
        if self.is_terminal {
            self.draw(&block(figures, tally, per_second));
        } else if figures.uptime().saturating_sub(self.last_line_at) >= LINE_EVERY {
            self.last_line_at = figures.uptime();
            self.say(&line(figures, per_second));
        }
    }

    fn rate(&mut self, now: Duration, events: u64) -> f64 {
        self.samples.push_back((now, events));
        if self.samples.len() > RATE_SAMPLES {
            self.samples.pop_front();
        }
        self.samples
            .front()
            .map_or(0.0, |(then, before)| per_second(events - before, now.saturating_sub(*then)))
    }

    /// Goes back to the first line of the block and writes each line over its predecessor.
    fn draw(&mut self, lines: &[String]) {
        let mut text = String::new();
        if self.drawn_lines > 0 {
            let _ = write!(text, "\x1b[{}A", self.drawn_lines);
        }
        for line in lines {
            let _ = writeln!(text, "\r\x1b[2K{line}");
        }
        self.drawn_lines = lines.len();
        let mut out = io::stdout().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}

fn block(figures: &Figures, tally: &Tally, per_second: f64) -> Vec<String> {
    let row = |what: &str, value: String| format!("  {what:<26}{value}");
    vec![
        row("up", clock(figures.uptime())),
        row("events in the log", format!("{}  ({per_second:.0} per second)", figures.events)),
        row(
            "commands",
            format!("{}  ({} refused, {} failed)", tally.commands(), tally.rejected(), tally.failed()),
        ),
        row("deliveries made", figures.deliveries.to_string()),
        row("verified by the receiver", figures.verified.to_string()),
        row("refused signatures", figures.refused_signatures.to_string()),
        row("waiting for a retry", figures.retries_waiting.to_string()),
        row("projectors behind by", format!("{} events", figures.events_behind)),
        row("commit to receipt", latency(figures)),
    ]
}

fn line(figures: &Figures, per_second: f64) -> String {
    format!(
        "{}: {} events ({per_second:.0}/s), {} deliveries, {} verified, {} refused, {} waiting, {} behind, {}",
        clock(figures.uptime()),
        figures.events,
        figures.deliveries,
        figures.verified,
        figures.refused_signatures,
        figures.retries_waiting,
        figures.events_behind,
        latency(figures),
    )
}

fn latency(figures: &Figures) -> String {
    let [p50, p99] = [0.5, 0.99].map(|share| figures.commit_to_receipt_ms(share));
    format!("p50 {p50:.1} ms, p99 {p99:.1} ms")
}

/// `1:02:03`.
pub(super) fn clock(duration: Duration) -> String {
    let seconds = duration.as_secs();
    format!("{}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

/// Nothing happens in no time.
pub(super) fn per_second(count: u64, time: Duration) -> f64 {
    let count = f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    if time.is_zero() { 0.0 } else { count / time.as_secs_f64() }
}
