use super::*;

fn key(secret: &NewSecret) -> Principal {
    Principal {
        organization_id: OrganizationId::new(Uuid::from_u128(1)),
        api_key_id: ApiKeyId::new(Uuid::from_u128(2)),
        role: Role::Admin,
        scopes: vec![Scope::Reads],
        patient_id: None,
        specialist_id: None,
        member_id: None,
        secret_sha256: secret.sha256(),
        expires_at: None,
        is_revoked: false,
    }
}

#[test]
fn a_key_proves_itself_by_its_secret_alone() {
    let (secret, other) = (NewSecret::draw().unwrap(), NewSecret::draw().unwrap());
    let principal = key(&secret);
    let header = format!("Bearer {}", secret.api_key(principal.api_key_id));

    let Some(Credential::Key(presented)) = Credential::parse(&header) else { panic!("{header}") };

    assert_eq!(presented.id, Uuid::from_u128(2));
    assert!(presented.proves(&principal));
    assert!(!presented.proves(&key(&other)));
}

#[test]
fn anything_else_in_the_header_is_no_credential() {
    let id = "00000000000000000000000000000002";
    let secret = "A".repeat(43);
    for header in [
        String::new(),
        "Bearer".to_owned(),
        format!("Basic clk_{id}_{secret}"),
        format!("Bearer clk_{id}"),
        format!("Bearer clk_{id}_{}", "A".repeat(42)),
        format!("Bearer clk_00000000-0000-0000-0000-000000000002_{secret}"),
        format!("Bearer clk_{id}_{secret}="),
        format!("Bearer clx_{id}_{secret}"),
    ] {
        assert!(Credential::parse(&header).is_none(), "{header}");
    }
}

#[test]
fn the_operators_key_survives_a_restart_and_is_private() {
    use std::os::unix::fs::PermissionsExt;

    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("operator.key");

    load_or_create_operator_key(&path).unwrap();
    let again = load_or_create_operator_key(&path).unwrap();

    let text = std::fs::read_to_string(&path).unwrap();
    let Some(Credential::Operator(secret)) = Credential::parse(&format!("Bearer {}", text.trim())) else {
        panic!("no operator key in the file")
    };
    assert!(again.is(secret));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn whoever_starts_while_the_operators_key_is_made_finds_all_of_it() {
    for _ in 0..50 {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("operator.key");
        let start = std::sync::Barrier::new(8);

        let keys: Vec<[u8; 32]> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        load_or_create_operator_key(&path).unwrap().0.0
                    })
                })
                .collect();
            starts.into_iter().map(|started| started.join().unwrap()).collect()
        });

        assert!(keys.iter().all(|key| *key == keys[0]));
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 1);
    }
}

#[test]
fn a_forgotten_key_is_asked_for_again() {
    let cache = KeyCache::new();
    let principal = Arc::new(key(&NewSecret::draw().unwrap()));
    cache.put(Arc::clone(&principal));
    assert!(cache.get(principal.api_key_id.uuid()).is_some());

    cache.forget(principal.api_key_id.uuid());

    assert!(cache.get(principal.api_key_id.uuid()).is_none());
}
