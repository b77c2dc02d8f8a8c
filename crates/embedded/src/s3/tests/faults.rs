//! Errors of the disk right after a name was given.

use bytes::Bytes;
use tempfile::TempDir;

use super::super::blob::FAILS_TO_SYNC;
use super::super::error::StoreError;
use super::super::manifest::UploadManifest;
use super::super::store::Store;
use super::{KEY, complete, content, open, put, read, tenant, unnamed};

/// An upload with one part, and the part's tag.
async fn upload(store: &Store, content: &Bytes) -> (String, String) {
    let upload = UploadManifest { key: KEY.to_owned(), content_type: None, initiated: 0 };
    let upload_id = store.begin(&tenant(), &upload).unwrap();
    let blob = unnamed(store, content, content.len() as u64).await.unwrap();
    let tag = store.put_part(&tenant(), &upload_id, KEY, 1, blob, 0).unwrap();
    (upload_id, tag)
}

async fn stored(store: &Store) -> Option<Vec<u8>> {
    let object = store.object(&tenant(), KEY).unwrap();
    read(store, &object.segments, 0..object.size).await
}

#[tokio::test]
async fn given_an_object_when_the_name_of_the_next_one_may_not_last_then_neither_loses_its_bytes() {
    let home = TempDir::new().unwrap();
    let store = open(&home);
    let before = put(&store, &content()).await;
    let next = Bytes::from_static(b"something else");
    let blob = unnamed(&store, &next, next.len() as u64).await.unwrap();

    FAILS_TO_SYNC.set(1);
    let replaced = store.put(&tenant(), KEY.to_owned(), None, blob, 0);

    assert!(matches!(replaced, Err(StoreError::Io(_))));
    // A power cut may bring the earlier name back.
    assert_eq!(read(&store, &[before], 0..content().len() as u64).await.unwrap(), content());
    assert_eq!(stored(&store).await.unwrap(), next);
}

#[tokio::test]
async fn given_a_part_when_the_name_of_the_next_one_may_not_last_then_it_can_be_joined() {
    let home = TempDir::new().unwrap();
    let store = open(&home);
    let (upload_id, tag) = upload(&store, &Bytes::from_static(b"something else")).await;
    let blob = unnamed(&store, &content(), content().len() as u64).await.unwrap();

    FAILS_TO_SYNC.set(1);
    let replaced = store.put_part(&tenant(), &upload_id, KEY, 1, blob, 0);

    assert!(matches!(replaced, Err(StoreError::Io(_))));
    let parts = store.parts(&tenant(), &upload_id, KEY).unwrap();
    assert!(parts[0].etag != tag);
    complete(&store, &upload_id, &[(1, &parts[0].etag)]).unwrap();
    assert_eq!(stored(&store).await.unwrap(), content());
}

#[tokio::test]
async fn given_an_object_whose_name_may_not_last_when_its_upload_is_touched_then_it_keeps_its_bytes() {
    for ends in ["aborted", "completed", "sent"] {
        let home = TempDir::new().unwrap();
        let store = open(&home);
        let (upload_id, tag) = upload(&store, &content()).await;
        FAILS_TO_SYNC.set(1);
        assert!(matches!(complete(&store, &upload_id, &[(1, &tag)]), Err(StoreError::Io(_))));
        assert!(matches!(complete(&store, &upload_id, &[(1, &tag)]), Err(StoreError::Exists)));

        match ends {
            "aborted" => store.abort(&tenant(), &upload_id, KEY).unwrap(),
            "completed" => {
                store.complete(&tenant(), &upload_id, KEY, &[(1, tag)], 0, false).unwrap();
            }
            _ => {
                let blob = unnamed(&store, &content(), content().len() as u64).await.unwrap();
                store.put_part(&tenant(), &upload_id, KEY, 1, blob, 0).unwrap();
            }
        }

        assert_eq!(stored(&store).await.unwrap(), content(), "{ends}");
    }
}

#[tokio::test]
async fn given_an_object_whose_name_may_not_last_then_nobody_is_told_of_it_before_it_does() {
    let home = TempDir::new().unwrap();
    let store = open(&home);
    let (upload_id, tag) = upload(&store, &content()).await;
    FAILS_TO_SYNC.set(1);
    assert!(matches!(complete(&store, &upload_id, &[(1, &tag)]), Err(StoreError::Io(_))));

    FAILS_TO_SYNC.set(1);
    assert!(matches!(complete(&store, &upload_id, &[(1, &tag)]), Err(StoreError::Io(_))), "again");
    FAILS_TO_SYNC.set(1);
    assert!(matches!(store.object(&tenant(), KEY), Err(StoreError::Io(_))), "asked for");
    FAILS_TO_SYNC.set(1);
    assert!(matches!(store.list(&tenant(), "", "", 1), Err(StoreError::Io(_))), "listed");
    FAILS_TO_SYNC.set(1);
    assert!(matches!(store.abort(&tenant(), &upload_id, KEY), Err(StoreError::Io(_))), "aborted");

    // A power cut may take the object's name, and the upload is what its bytes are left in.
    assert_eq!(store.parts(&tenant(), &upload_id, KEY).unwrap().len(), 1);
    assert!(matches!(complete(&store, &upload_id, &[(1, &tag)]), Err(StoreError::Exists)));
    FAILS_TO_SYNC.set(1);
    assert_eq!(stored(&store).await.unwrap(), content(), "its name lasts, and needs no disk any more");
    assert_eq!(FAILS_TO_SYNC.take(), 1);
}

#[tokio::test]
async fn given_an_object_whose_removal_may_not_last_then_it_is_gone_for_nobody_before_it_does() {
    let home = TempDir::new().unwrap();
    let store = open(&home);
    put(&store, &content()).await;
    FAILS_TO_SYNC.set(1);
    assert!(matches!(store.delete(&tenant(), KEY), Err(StoreError::Io(_))));

    FAILS_TO_SYNC.set(1);
    assert!(matches!(store.delete(&tenant(), KEY), Err(StoreError::Io(_))));
    FAILS_TO_SYNC.set(1);
    assert!(matches!(store.object(&tenant(), KEY), Err(StoreError::Io(_))));

    store.delete(&tenant(), KEY).unwrap();
    assert!(matches!(store.object(&tenant(), KEY), Err(StoreError::NoSuchKey)));
}

#[tokio::test]
async fn given_a_bucket_whose_name_may_not_last_then_it_is_there_for_nobody_before_it_does() {
    let home = TempDir::new().unwrap();
    let store = Store::open(home.path(), None).unwrap();
    FAILS_TO_SYNC.set(1);
    assert!(matches!(store.create_bucket(&tenant()), Err(StoreError::Io(_))));

    FAILS_TO_SYNC.set(1);
    assert!(matches!(store.require_bucket(&tenant()), Err(StoreError::Io(_))));

    store.require_bucket(&tenant()).unwrap();
    put(&store, &content()).await;
    assert_eq!(stored(&store).await.unwrap(), content());
}

#[tokio::test]
async fn given_a_process_that_died_before_a_name_lasted_when_opened_again_then_nothing_is_cleaned_before_it_does()
 {
    let home = TempDir::new().unwrap();
    let store = open(&home);
    let (upload_id, tag) = upload(&store, &content()).await;
    FAILS_TO_SYNC.set(1);
    assert!(matches!(complete(&store, &upload_id, &[(1, &tag)]), Err(StoreError::Io(_))));
    let is_kept = || home.path().join("buckets/clinic-a/uploads").join(&upload_id).exists();

    // The folder of buckets, the bucket, its objects, its uploads, the upload.
    for folder in 1..=5 {
        FAILS_TO_SYNC.set(folder);
        assert!(matches!(Store::open(home.path(), None), Err(StoreError::Io(_))), "{folder}");
        assert!(is_kept(), "{folder}");
    }

    let store = Store::open(home.path(), None).unwrap();
    assert!(!is_kept());
    assert_eq!(stored(&store).await.unwrap(), content());
}

#[tokio::test]
async fn given_parts_whose_object_was_replaced_when_they_are_joined_again_then_they_are_no_parts() {
    let home = TempDir::new().unwrap();
    let store = open(&home);
    let (upload_id, tag) = upload(&store, &content()).await;
    FAILS_TO_SYNC.set(1);
    assert!(matches!(complete(&store, &upload_id, &[(1, &tag)]), Err(StoreError::Io(_))));
    let next = Bytes::from_static(b"something else");
    put(&store, &next).await;

    let again = store.complete(&tenant(), &upload_id, KEY, &[(1, tag)], 0, false);

    assert!(matches!(again, Err(StoreError::InvalidPart)));
    assert_eq!(stored(&store).await.unwrap(), next);
}

#[tokio::test]
async fn given_a_name_that_may_not_last_when_it_does_at_last_then_what_stood_there_is_gone() {
    let home = TempDir::new().unwrap();
    let store = open(&home);
    let blobs = || std::fs::read_dir(home.path().join("buckets/clinic-a/blobs")).unwrap().count();
    put(&store, &content()).await;
    let next = Bytes::from_static(b"something else");
    let blob = unnamed(&store, &next, next.len() as u64).await.unwrap();
    FAILS_TO_SYNC.set(1);
    assert!(matches!(store.put(&tenant(), KEY.to_owned(), None, blob, 0), Err(StoreError::Io(_))));
    assert_eq!(blobs(), 2);

    assert_eq!(stored(&store).await.unwrap(), next);
    assert_eq!(blobs(), 1, "what was replaced");

    FAILS_TO_SYNC.set(1);
    assert!(matches!(store.delete(&tenant(), KEY), Err(StoreError::Io(_))));
    assert_eq!(blobs(), 1, "a power cut may bring it back");
    store.delete(&tenant(), KEY).unwrap();
    assert_eq!(blobs(), 0, "what was deleted");
}
