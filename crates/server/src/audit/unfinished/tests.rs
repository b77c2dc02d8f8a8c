use std::fs;

use carelog_audit::proof::Edge;
use tempfile::TempDir;

use super::{LEAVES, STATE, Unfinished};

#[test]
fn an_export_that_begins_anew_leaves_nothing_that_tells_of_the_old_lists() {
    let folder = TempDir::new().unwrap();
    let unfinished = Unfinished::open(folder.path(), u64::MAX).unwrap();
    fs::write(folder.path().join(STATE), "{}").unwrap();
    fs::write(folder.path().join(LEAVES), "old\n").unwrap();

    unfinished.begin(Edge::default()).unwrap();

    assert!(!folder.path().join(STATE).exists());
    assert_eq!(fs::read(folder.path().join(LEAVES)).unwrap(), b"");
    unfinished.begin(Edge::default()).unwrap();
}
