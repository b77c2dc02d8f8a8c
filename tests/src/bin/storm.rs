//! The crash test for as many rounds as one likes: `storm --rounds 100`.

use clap::Parser;

/// Lets processes and the database die at random, and judges afterwards.
#[derive(Debug, Parser)]
struct Options {
    /// How many deaths.
    #[arg(long, default_value_t = 10)]
    rounds: u64,
}

#[tokio::main]
async fn main() {
    // Does not return when this process is one of those that are to be killed.
    carelog_tests::as_child().await;
    let Options { rounds } = Options::parse();
    Box::pin(carelog_tests::storm(rounds, &[])).await;
}
