//! Everything at once, and everything killed; `cargo run -p carelog-tests --bin storm -- --rounds 100` does it for longer.

const ROUNDS: u64 = 10;
const CHILD: &[&str] = &["--exact", "storm::child", "--nocapture", "--test-threads=1"];

/// A child's whole life; without a description of work in the environment it has nothing to do.
#[tokio::test(flavor = "multi_thread")]
async fn child() {
    carelog_tests::as_child().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_twice_or_invented_when_processes_die() {
    Box::pin(carelog_tests::storm(ROUNDS, CHILD)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t33_a_standby_takes_over_and_nothing_is_lost_twice_or_invented() {
    Box::pin(carelog_tests::storm_with_failover(CHILD)).await;
}
