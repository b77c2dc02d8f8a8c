//! Bounded waiting.

use std::time::{Duration, Instant};

/// Longest wait of any test: only a test that fails waits so long, and a busy machine is no failure.
const LONGEST: Duration = Duration::from_mins(2);
/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// Asks until an answer comes.
///
/// # Panics
/// After two minutes, saying what was waited for.
pub async fn until<T>(awaited: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(began.elapsed() < LONGEST, "waited {LONGEST:?} in vain for: {awaited}");
        tokio::time::sleep(PAUSE).await;
    }
}
