//! Bounded waiting.

use std::time::{Duration, Instant};

/// Longest wait of any test.
const LONGEST: Duration = Duration::from_secs(30);
/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// Asks until an answer comes.
///
/// # Panics
/// After half a minute, saying what was waited for.
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
