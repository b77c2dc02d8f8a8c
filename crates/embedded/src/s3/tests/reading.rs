//! Ranges and sizes at the edges of what is read at a time.

use bytes::Bytes;
use tempfile::TempDir;

use super::super::store::Store;
use super::{KEY, content, open, put, read, tenant, write};

#[tokio::test]
async fn what_is_read_across_the_end_of_a_visit_is_whole() {
    const VISIT: u64 = 256 << 10;
    let home = TempDir::new().unwrap();
    let store = open(&home);
    let content: Bytes = (0..600_000_u32).map(|at| u8::try_from(at % 251).unwrap()).collect();
    let segment = write(&store, &content, 600_000).await.unwrap();
    for range in [VISIT - 1..VISIT + 1, VISIT - 1..VISIT, VISIT..VISIT + 1, 5..2 * VISIT + 5, VISIT..600_000]
    {
        let wanted = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();

        assert!(
            read(&store, std::slice::from_ref(&segment), range.clone()).await.unwrap() == content[wanted],
            "{range:?}"
        );
    }
}

#[tokio::test]
async fn an_object_without_bytes_is_kept_and_read() {
    let home = TempDir::new().unwrap();
    let store = open(&home);
    let empty = put(&store, &Bytes::new()).await;
    let more = write(&store, &content(), content().len() as u64).await.unwrap();

    let found = store.object(&tenant(), KEY).unwrap();
    assert_eq!((found.size, &found.segments[..]), (0, &[empty.clone()][..]));
    assert_eq!(read(&store, &found.segments, 0..0).await.unwrap(), Vec::<u8>::new());
    let joined = [empty.clone(), more, empty];
    assert_eq!(read(&store, &joined, 0..content().len() as u64).await.unwrap(), content());
    assert_eq!(Store::open(home.path(), None).unwrap().object(&tenant(), KEY).unwrap(), found);
}
