//! Pins the formats: bytes that were ever written must open for ever. The expected values come from another
//! implementation of the formats in the crate's essay.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use carelog_domain::{
    DataClass, EventId, EventType, KeyId, KeyScope, OrganizationId, PatientId, Sealed, StreamKind,
};
use uuid::Uuid;

use crate::secret::Secret;
use crate::wrap::{self, WrappingKey};
use crate::{DataKey, RootKey, RootKeyError, SealContext, VaultError, aead};

const NONCE: [u8; 12] = [0x0b; 12];

fn uuid(last: u128) -> Uuid {
    Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0000 + last)
}

fn secret(byte: u8) -> Secret {
    Secret::from_slice(&[byte; 32]).unwrap()
}

fn scope() -> KeyScope {
    KeyScope {
        organization_id: OrganizationId::new(uuid(1)),
        subject: Some(PatientId::new(uuid(2))),
        class: DataClass::Identity,
    }
}

fn context() -> SealContext {
    SealContext {
        scope: scope(),
        stream_kind: StreamKind::Patient,
        stream_id: uuid(2),
        version: 7,
        event_id: EventId::new(uuid(4)),
        event_type: EventType::PatientRegistered,
        schema_version: 1,
    }
}

fn data_key_of(scope: KeyScope) -> DataKey {
    DataKey::new(KeyId::new(uuid(3)), scope, secret(0x11))
}

fn data_key() -> DataKey {
    data_key_of(scope())
}

#[test]
fn sealed_bytes_are_pinned() {
    let sealed = data_key().seal_with(NONCE, &context(), br#"{"name":"Zoe"}"#).unwrap();

    assert_eq!(sealed.key_id, KeyId::new(uuid(3)));
    assert_eq!(
        hex::encode(&sealed.bytes),
        "010b0b0b0b0b0b0b0b0b0b0b0b8542365dd6bca361b5107d9e011d1598d96d2e51bb0be912f1eb5cc08d88"
    );
    assert_eq!(data_key().open(&context(), &sealed).unwrap(), br#"{"name":"Zoe"}"#);
}

#[test]
fn sealed_bytes_without_a_subject_are_pinned() {
    let scope = KeyScope { subject: None, class: DataClass::Network, ..scope() };
    let context = SealContext { scope, ..context() };

    let sealed = data_key_of(scope).seal_with(NONCE, &context, b"").unwrap();

    assert_eq!(hex::encode(&sealed.bytes), "010b0b0b0b0b0b0b0b0b0b0b0b0ce46c29d9d8fc21195d7300a21d8243");
}

#[test]
fn wrapped_keys_are_pinned() {
    let wrapping = WrappingKey::new(&secret(0x22));
    let data_key_place = wrap::data_key_place(&scope(), KeyId::new(uuid(3)));
    let organization_place = wrap::organization_place(OrganizationId::new(uuid(1)), 1);

    let data_key = wrapping.wrap_with(NONCE, &data_key_place, &secret(0x11));
    let organization = wrapping.wrap_with(NONCE, &organization_place, &secret(0x11));

    assert_eq!(
        hex::encode(&data_key),
        "010b0b0b0b0b0b0b0b0b0b0b0b09ae532e4ea12792eda0f85379df15e1e554ca1d6a247cd7c7df7e572d7a6e1a2831ed87327a2aff801483cd58abd725"
    );
    assert_eq!(
        hex::encode(&organization),
        "010b0b0b0b0b0b0b0b0b0b0b0b09ae532e4ea12792eda0f85379df15e1e554ca1d6a247cd7c7df7e572d7a6e1a589a99a77c8c690eadd2405eff6199f8"
    );
    assert_eq!(wrapping.unwrap(&data_key_place, &data_key).unwrap().bytes(), &[0x11; 32]);
}

#[test]
fn commitment_and_blind_index_are_pinned() {
    assert_eq!(
        hex::encode(data_key().commit()),
        "f5d0dda499a82f52b31a65d60ed0f530ee5cb144403bc01062c1d820446d12a5"
    );
    assert_eq!(
        hex::encode(data_key().blind_index("patients.email", b"zoe@example.org")),
        "0ec1957f336578e0595eef064416ff4037a7f58356dfaeb914b9992f048a344f"
    );
}

#[test]
fn blind_indexes_differ_by_purpose_and_value() {
    let index = |purpose, value: &[u8]| data_key().blind_index(purpose, value);

    assert_eq!(index("a", b"bc"), index("a", b"bc"));
    assert_ne!(index("a", b"bc"), index("ab", b"c"));
    assert_ne!(index("a", b"bc"), index("a", b"bd"));
}

#[test]
fn a_sealed_value_opens_nowhere_else() {
    let sealed = data_key().seal(&context(), b"secret").unwrap();
    let moved = [
        SealContext { stream_kind: StreamKind::Appointment, ..context() },
        SealContext { stream_id: uuid(9), ..context() },
        SealContext { version: 8, ..context() },
        SealContext { event_id: EventId::new(uuid(9)), ..context() },
        SealContext { event_type: EventType::PatientOnboarded, ..context() },
        SealContext { schema_version: 2, ..context() },
    ];

    for context in moved {
        let opened = data_key().open(&context, &sealed);
        assert!(matches!(opened, Err(VaultError::SealedAuthentication { .. })), "{context:?}");
    }
}

#[test]
fn a_sealed_value_opens_for_no_other_scope() {
    let sealed = data_key().seal(&context(), b"secret").unwrap();
    let others = [
        KeyScope { organization_id: OrganizationId::new(uuid(9)), ..scope() },
        KeyScope { subject: Some(PatientId::new(uuid(9))), ..scope() },
        KeyScope { subject: None, ..scope() },
        KeyScope { class: DataClass::Clinical, ..scope() },
    ];

    for scope in others {
        let context = SealContext { scope, ..context() };
        let refused = data_key().open(&context, &sealed);
        assert!(matches!(refused, Err(VaultError::OtherScope { .. })), "{scope:?}");
        // Also when somebody passes the same key off as one of the other scope.
        let opened = data_key_of(scope).open(&context, &sealed);
        assert!(matches!(opened, Err(VaultError::SealedAuthentication { .. })), "{scope:?}");
        assert!(matches!(data_key().seal(&context, b""), Err(VaultError::OtherScope { .. })));
    }
}

#[test]
fn a_sealed_value_opens_with_no_other_key() {
    let sealed = data_key().seal(&context(), b"secret").unwrap();
    let other_bytes = DataKey::new(KeyId::new(uuid(3)), scope(), secret(0x12));
    let other_name = DataKey::new(KeyId::new(uuid(9)), scope(), secret(0x11));

    let renamed = Sealed { key_id: other_name.id(), ..sealed.clone() };

    let opened = other_bytes.open(&context(), &sealed);
    assert!(matches!(opened, Err(VaultError::SealedAuthentication { .. })));
    assert!(matches!(other_name.open(&context(), &sealed), Err(VaultError::OtherKey { .. })));
    let opened = other_name.open(&context(), &renamed);
    assert!(matches!(opened, Err(VaultError::SealedAuthentication { .. })));
}

#[test]
fn altered_bytes_are_refused_wherever_they_are_altered() {
    let sealed = data_key().seal(&context(), b"secret").unwrap();

    for place in 0..sealed.bytes.len() {
        let mut bytes = sealed.bytes.to_vec();
        bytes[place] ^= 1;
        let altered = Sealed { key_id: sealed.key_id, bytes: bytes.into() };
        data_key().open(&context(), &altered).unwrap_err();
    }
    for length in 0..sealed.bytes.len() {
        let cut = Sealed { key_id: sealed.key_id, bytes: sealed.bytes[..length].into() };
        data_key().open(&context(), &cut).unwrap_err();
    }
}

#[test]
fn an_unknown_format_is_told_from_altered_bytes() {
    let sealed = data_key().seal(&context(), b"secret").unwrap();
    let mut bytes = sealed.bytes.to_vec();
    bytes[0] = 2;
    let newer = Sealed { key_id: sealed.key_id, bytes: bytes.into() };

    assert!(matches!(data_key().open(&context(), &newer), Err(VaultError::SealedFormat { .. })));
}

#[test]
fn sealing_twice_gives_different_bytes() {
    let seal = || data_key().seal(&context(), b"secret").unwrap();

    assert_ne!(seal().bytes, seal().bytes);
}

#[test]
fn a_wrapped_key_opens_in_its_own_row_only() {
    let wrapping = WrappingKey::new(&secret(0x22));
    let key_id = KeyId::new(uuid(3));
    let wrapped = wrapping.wrap(&wrap::data_key_place(&scope(), key_id), &secret(0x11)).unwrap();
    let organization_id = OrganizationId::new(uuid(9));
    let elsewhere = [
        wrap::data_key_place(&KeyScope { organization_id, ..scope() }, key_id),
        wrap::data_key_place(&KeyScope { subject: None, ..scope() }, key_id),
        wrap::data_key_place(&KeyScope { class: DataClass::Clinical, ..scope() }, key_id),
        wrap::data_key_place(&scope(), KeyId::new(uuid(9))),
        wrap::organization_place(scope().organization_id, 1),
    ];

    for place in elsewhere {
        assert!(wrapping.unwrap(&place, &wrapped).is_none());
    }
    let other = WrappingKey::new(&secret(0x23));
    assert!(other.unwrap(&wrap::data_key_place(&scope(), key_id), &wrapped).is_none());
}

#[test]
fn fields_cannot_run_into_each_other() {
    assert_eq!(aead::fields(&[b"ab", b""]), b"\0\0\0\x02ab\0\0\0\0");
    assert_ne!(aead::fields(&[b"a", b"b"]), aead::fields(&[b"ab", b""]));
}

#[test]
fn debug_texts_show_no_key() {
    let text = format!("{:?} {:?}", data_key(), RootKey::new([0x11; 32]));

    assert_eq!(text, format!("DataKey({}) RootKey", uuid(3)));
}

fn key_file(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("root.key")
}

/// Two root keys are the same when one opens what the other wrapped.
fn same(one: &RootKey, other: &RootKey) -> bool {
    let wrapped = one.0.wrap(b"", &secret(0x11)).unwrap();
    other.0.unwrap(b"", &wrapped).is_some()
}

#[test]
fn a_root_key_is_made_once_and_then_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = key_file(&folder);

    let made = RootKey::load_or_create(&path).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let read = RootKey::load_or_create(&path).unwrap();

    assert!(same(&made, &read));
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file stays");
}

#[test]
fn root_keys_made_at_the_same_time_are_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = key_file(&folder);

    let keys: Vec<RootKey> = std::thread::scope(|threads| {
        let starts: Vec<_> =
            (0..8).map(|_| threads.spawn(|| RootKey::load_or_create(&path).unwrap())).collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });

    assert!(keys.iter().all(|key| same(key, &keys[0])));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file stays");
}

#[test]
fn the_root_key_file_is_pinned() {
    let folder = tempfile::tempdir().unwrap();
    let path = key_file(&folder);
    write(&path, "carelog-root-v1:IiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiI=\n", 0o600);

    assert!(same(&RootKey::load(&path).unwrap(), &RootKey::new([0x22; 32])));
}

#[test]
fn a_root_key_file_that_others_may_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = key_file(&folder);
    RootKey::load_or_create(&path).unwrap();

    for mode in [0o640, 0o604, 0o620] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let refused = RootKey::load_or_create(&path);
        assert!(matches!(refused, Err(RootKeyError::Mode { mode: found, .. }) if found == mode));
    }
}

#[test]
fn a_root_key_file_with_anything_else_in_it_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = key_file(&folder);
    let texts = [
        "",
        "carelog-root-v1:\n",
        "carelog-root-v1:IiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiI=",
        "carelog-root-v2:IiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiI=\n",
        "carelog-root-v1:IiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIi\n",
        "carelog-root-v1:IiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiI=\n\n",
        "carelog-root-v1:IiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIg==\n",
    ];

    for text in texts {
        write(&path, text, 0o600);
        assert!(matches!(RootKey::load_or_create(&path), Err(RootKeyError::Format { .. })), "{text:?}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
}

fn write(path: &PathBuf, text: &str, mode: u32) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}
