//! Files that were made to harm whoever looks at them.

use tar::{Builder, EntryType, Header};

use super::super::*;
use super::check_since;
use super::samples::*;
use DamageKind as D;

fn kind(bundle: &[u8]) -> Option<D> {
    check_since(bundle, &policy(), None).err().map(|damage| damage.kind)
}

/// A tar file with one more entry in front, whatever its name.
fn with_entry(name: &str, entry_type: EntryType, size: u64, content: &[u8]) -> Vec<u8> {
    let mut header = Header::new_ustar();
    // Past the checks of the crate that writes.
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(entry_type);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_cksum();
    let mut tar = Builder::new(Vec::new());
    tar.append(&header, content).unwrap();
    let mut bytes = tar.into_inner().unwrap();
    bytes.truncate(bytes.len() - 1024);
    bytes.extend(Parts::range(0, 3).pack());
    bytes
}

#[test]
fn strange_entries_are_refused() {
    assert_eq!(kind(&Parts::range(0, 3).pack()), None);
    for name in [
        "../checkpoint",
        "/checkpoint",
        "./checkpoint",
        "a/../checkpoint",
        "keys/../../x",
        "proofs/00.tlog-proof",
        "proofs/x.tlog-proof",
        "proofs/1.tlog-proof/",
        "tile/0/1",
        "tile/entries/000",
        "tile/64/000",
        "PaxHeaders/checkpoint",
        "",
    ] {
        assert_eq!(kind(&with_entry(name, EntryType::Regular, 2, b"hi")), Some(D::Malformed), "{name}");
    }
    for entry_type in [
        EntryType::Symlink,
        EntryType::Link,
        EntryType::Directory,
        EntryType::Fifo,
        EntryType::XHeader,
        EntryType::XGlobalHeader,
        EntryType::GNULongName,
        EntryType::GNUSparse,
    ] {
        assert_eq!(
            kind(&with_entry(names::POLICY, entry_type, 2, b"hi")),
            Some(D::Malformed),
            "{entry_type:?}"
        );
    }
    assert_eq!(kind(&with_entry(names::POLICY, EntryType::Regular, 2, b"hi")), Some(D::Malformed), "twice");
}

#[test]
fn sizes_are_not_believed() {
    for size in [1 << 33, u64::MAX / 2, u64::MAX - 600] {
        assert_eq!(
            kind(&with_entry("keys/log", EntryType::Regular, size, b"hi")),
            Some(D::Malformed),
            "{size}"
        );
    }
    let mut long = Parts::range(0, 3);
    long.files.push((names::LOG_KEY.to_owned(), vec![b'x'; 3 << 20]));
    assert_eq!(kind(&long.pack()), None, "a long file that nobody has to read whole");
    let mut long = Parts::range(0, 3);
    *long.file(names::CHECKPOINT) = vec![b'\n'; 3 << 20];
    assert_eq!(kind(&long.pack()), Some(D::Malformed));
}

#[test]
fn nothing_follows_and_nothing_is_missing() {
    let whole = Parts::range(0, 3).pack();
    let with = |more: &[u8]| [whole.as_slice(), more].concat();

    assert_eq!(kind(&with(&[0; 8192])), None, "as other programs fill tar files up");
    assert_eq!(kind(&with(b"more")), Some(D::Malformed));
    assert_eq!(kind(&with(&vec![0; 1 << 20])), Some(D::Malformed));
    assert_eq!(kind(&with(&whole)), Some(D::Malformed), "another bundle behind it");
    for length in [0, 1, 511, 512, 1024, whole.len() / 2, whole.len() - 1024] {
        let refused = kind(&whole[..length]);
        assert!(matches!(refused, Some(D::Malformed | D::Incomplete)), "{length}: {refused:?}");
    }
}

/// What a tar program would unpack, but for the manifest.
fn unpacked(bundle: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in tar::Archive::new(bundle).entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        files.push((entry.path_bytes().into_owned(), bytes));
    }
    files.retain(|(path, _)| path != names::MANIFEST.as_bytes());
    files
}

#[test]
fn what_is_accepted_has_the_files_of_the_original() {
    let whole = Parts::range(0, 3).pack();
    let original = unpacked(&whole);
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 0x20;

        // A time or an owner in a header does not matter, nor what the manifest says of the program that made it.
        assert!(kind(&changed).is_some() || unpacked(&changed) == original, "byte {at} of {}", whole.len());
    }
}

#[test]
fn a_file_that_the_manifest_does_not_name_is_refused() {
    let mut extra = Parts::full();
    extra.files.push((names::RANGE.to_owned(), b"{}".to_vec()));
    assert_eq!(kind(&extra.pack()), Some(D::ManifestMismatch), "named, but of another shape");
    let unnamed = with_entry(names::LOG_KEY, EntryType::Regular, 2, b"hi");
    assert_eq!(kind(&unnamed), Some(D::ManifestMismatch));
}

#[test]
fn a_file_with_another_hash_than_the_manifests_is_found() {
    let whole = Parts::range(0, 3).pack();
    let at = whole.windows(11).position(|bytes| bytes == b"quorum none").unwrap();
    let mut changed = whole;
    changed[at] = b'Q';

    assert_eq!(kind(&changed), Some(D::ManifestMismatch));
}
