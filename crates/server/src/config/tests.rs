use std::net::IpAddr;

use super::*;

fn variable(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

#[test]
fn the_printed_file_holds_the_defaults() {
    let read = Config::read(DEFAULT_FILE, []).unwrap();

    assert_eq!(format!("{read:?}"), format!("{:?}", Config::default()));
}

#[test]
fn an_unknown_key_is_refused_by_name() {
    let error = Config::read("[http]\nlissten = \"127.0.0.1:1\"", []).unwrap_err();

    assert!(error.to_string().contains("lissten"), "{error}");
}

#[test]
fn an_unknown_variable_is_refused_by_name() {
    let in_section = Config::read("", [variable("CARELOG_HTTP_LISSTEN", "x")]).unwrap_err();
    let elsewhere = Config::read("", [variable("CARELOG_HTPP_LISTEN", "x")]).unwrap_err();

    assert!(in_section.to_string().contains("lissten"), "{in_section}");
    assert!(elsewhere.to_string().contains("CARELOG_HTPP_LISTEN"), "{elsewhere}");
}

#[test]
fn variables_win_over_the_file() {
    let variables = [
        variable("CARELOG_HTTP_LISTEN", "127.0.0.1:9"),
        variable("CARELOG_WEBHOOKS_ALLOW_LOOPBACK", "true"),
        variable("CARELOG_HTTP_TRUSTED_PROXIES", "[\"10.0.0.1\"]"),
        variable("CARELOG_HOME", "/somewhere"),
        variable("PATH", "/bin"),
    ];

    let read = Config::read("[http]\nlisten = \"127.0.0.1:1\"\nmax_body_bytes = 7", variables).unwrap();

    assert_eq!(read.http.listen.port(), 9);
    assert_eq!(read.http.max_body_bytes, 7);
    assert_eq!(read.http.trusted_proxies, [IpAddr::from([10, 0, 0, 1])]);
    assert!(read.webhooks.allow_loopback);
    assert_eq!(read.home, Path::new("/somewhere"));
}

#[test]
fn the_other_databases_stand_beside_the_logs() {
    let variables = [variable("DATABASE_URL", "postgres://me:hunter2@db.example/clinic_core")];
    let read = Config::read("", variables).unwrap();

    let options = read.database.options().unwrap().unwrap();

    let names = [&options.core, &options.audit, &options.analytics, &options.vault]
        .map(|options| options.get_database());
    assert_eq!(
        names,
        [Some("clinic_core"), Some("clinic_audit"), Some("clinic_analytics"), Some("clinic_vault")]
    );
    assert!(!format!("{read:?}").contains("hunter2"));
}

#[test]
fn analytics_take_origins_and_a_server_of_clickhouse_and_nothing_else() {
    let analytics = |text: &str| Config::read(&format!("[analytics]\n{text}"), []);

    let read = analytics(
        "frame_ancestors = [\"https://portal.example\", \"http://127.0.0.1:8000\"]
         clickhouse_url = \"https://me:hunter2@clickhouse.example:8443/facts\"",
    )
    .unwrap();

    assert_eq!(
        read.analytics.chart_policy(),
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; \
         frame-ancestors https://portal.example http://127.0.0.1:8000"
    );
    assert!(!format!("{read:?}").contains("hunter2"));
    for wrong in [
        "frame_ancestors = [\"*\"]",
        "frame_ancestors = [\"https://portal.example/page\"]",
        "frame_ancestors = [\"https://portal.example; script-src *\"]",
        "frame_ancestors = [\"https://*.example\"]",
        "frame_ancestors = [\"file:///home\"]",
        "clickhouse_url = \"postgres://me:hunter2@db.example\"",
    ] {
        let refused = analytics(wrong).unwrap_err().to_string();
        assert!(!refused.contains("hunter2"), "{refused}");
    }
}

#[test]
fn a_url_that_does_not_parse_is_not_quoted() {
    let error = Config::read("", [variable("DATABASE_URL", "postgres://me:hunter2@[")]).unwrap_err();

    assert!(!error.to_string().contains("hunter2"), "{error}");
}

#[test]
fn networks_that_are_denied_are_ranges_of_addresses() {
    let variables =
        [variable("CARELOG_WEBHOOKS_DENIED_NETWORKS", "[\"198.51.100.0/24\", \"2a00:1450::/32\"]")];
    let read = Config::read("", variables).unwrap();
    let ranges: Vec<String> =
        read.webhooks.denied_networks.iter().map(|network| network.range().to_string()).collect();

    assert_eq!(ranges, ["198.51.100.0/24", "2a00:1450::/32"]);
    for wrong in ["198.51.100.0", "198.51.100.0/33", "partner.example"] {
        assert!(
            Config::read(&format!("[webhooks]\ndenied_networks = [\"{wrong}\"]"), []).is_err(),
            "{wrong}"
        );
    }
}

#[test]
fn every_section_has_variables() {
    let keys: Vec<String> =
        DEFAULT_FILE.lines().filter_map(|line| line.strip_prefix('[')).map(str::to_owned).collect();

    assert_eq!(keys, SECTIONS.map(|section| format!("{section}]")));
}
