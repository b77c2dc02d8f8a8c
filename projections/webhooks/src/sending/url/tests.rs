use super::*;

fn parse(text: &str) -> Result<String, UrlError> {
    WebhookUrl::parse(text, &AddressPolicy::strict()).map(|url| url.as_str().to_owned())
}

fn parse_in_demo(text: &str) -> Result<String, UrlError> {
    WebhookUrl::parse(text, &AddressPolicy::with_loopback()).map(|url| url.as_str().to_owned())
}

#[test]
fn a_public_url_is_kept_in_normal_form() {
    for (text, normal) in [
        ("https://example.com", "https://example.com/"),
        ("HTTPS://Example.COM:443/a?b=c", "https://example.com/a?b=c"),
        ("https://example.com:8443/hook", "https://example.com:8443/hook"),
        ("https://example.com./hook", "https://example.com/hook"),
        ("https://bücher.example/", "https://xn--bcher-kva.example/"),
        ("https://example.com/a/../b", "https://example.com/b"),
        ("https://8.8.8.8/", "https://8.8.8.8/"),
        ("https://134744072/", "https://8.8.8.8/"),
        ("https://[2606:4700:4700::1111]:8443/", "https://[2606:4700:4700::1111]:8443/"),
        ("https:\\\\example.com\\a", "https://example.com/a"),
    ] {
        assert_eq!(parse(text).as_deref(), Ok(normal), "{text}");
        assert_eq!(parse(normal).as_deref(), Ok(normal), "the normal form is stable");
    }
}

#[test]
fn every_spelling_of_an_inner_address_is_refused() {
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0x7f000001",
        "0177.0.0.1",
        "017700000001",
        "127.0.0.1.",
        "0",
        "0.0.0.0",
        "10.0.0.1",
        "169.254.169.254",
        "0xa9fea9fe",
        "2852039166",
        "168.63.129.16",
        "192.168.1.1",
        "[::1]",
        "[::]",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::ffff:10.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[fe80::1]",
        "[fd00::1]",
        "[2002:7f00:1::]",
        "[2001:db8::1]",
        "１２７.0.0.1",
        "127。0。0。1",
        "①27.0.0.1",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "api.localhost",
        "backend",
        "postgres.",
        "%6c%6f%63%61%6c%68%6f%73%74",
    ] {
        let text = format!("https://{host}/hook");
        assert_eq!(parse(&text), Err(UrlError::AddressRefused), "{host}");
    }
}

#[test]
fn what_no_parser_agrees_on_is_invalid() {
    for text in [
        "",
        "example.com",
        "/hook",
        "https://",
        "https:///",
        "https://[fe80::1%25eth0]/",
        "https://[::1/",
        "https://example.com:99999/",
        "https://exa mple.com/",
        "https://example.com/a b",
        " https://example.com/",
        "https://exam\tple.com/",
        "https://example.com/\n",
        "https://example.com/#part",
        "https://example.com/#",
        "https://256.256.256.256/",
        "https://a..b/",
        "https://.example.com/",
        "https://example.com/\u{0}",
    ] {
        assert_eq!(parse(text), Err(UrlError::Invalid), "{text:?}");
    }
    let long_label = format!("https://{}.example.com/", "a".repeat(64));
    assert_eq!(parse(&long_label), Err(UrlError::Invalid));
}

#[test]
fn each_rule_has_its_own_stable_code() {
    for (text, code) in [
        ("http://example.com/", "url_not_https"),
        ("ftp://example.com/", "url_not_https"),
        ("file:///etc/passwd", "url_not_https"),
        ("data:text/plain,x", "url_not_https"),
        ("https://user:secret@example.com/", "url_has_credentials"),
        ("https://user@example.com/", "url_has_credentials"),
        ("https://:secret@example.com/", "url_has_credentials"),
        ("https://example.com:22/", "url_port_refused"),
        ("https://example.com:80/", "url_port_refused"),
        ("https://example.com:0/", "url_port_refused"),
        ("https://10.0.0.1/", "blocked_url"),
        ("https://example.com/#part", "url_invalid"),
    ] {
        assert_eq!(parse(text).unwrap_err().code(), code, "{text}");
    }
}

#[test]
fn a_url_has_at_most_2048_characters_also_once_it_is_normal() {
    let of_length = |length: usize| format!("https://example.com/{}", "a".repeat(length - 20));
    assert!(parse(&of_length(2048)).is_ok());
    assert_eq!(parse(&of_length(2049)), Err(UrlError::TooLong));
    let grows = format!("https://example.com/{}", "ü".repeat(600));
    assert_eq!(parse(&grows), Err(UrlError::TooLong));
}

#[test]
fn given_a_loopback_exception_any_port_of_loopback_passes_and_nothing_else() {
    for text in [
        "https://127.0.0.1:1234/",
        "https://localhost:9/",
        "https://localhost/",
        "https://[::1]:65535/",
        "https://[::ffff:127.0.0.1]:1234/",
        "https://hook.localhost:1234/",
    ] {
        assert!(parse_in_demo(text).is_ok(), "{text}");
        assert_eq!(parse(text), Err(UrlError::AddressRefused), "{text}");
    }
    assert_eq!(parse_in_demo("https://10.0.0.1/"), Err(UrlError::AddressRefused));
    assert_eq!(parse_in_demo("https://backend/"), Err(UrlError::AddressRefused));
    assert_eq!(parse_in_demo("https://example.com:1234/"), Err(UrlError::PortRefused { port: 1234 }));
    assert_eq!(parse_in_demo("http://127.0.0.1:1234/"), Err(UrlError::NotHttps));
}

#[test]
fn logs_see_scheme_and_host_alone() {
    let url =
        WebhookUrl::parse("https://example.com:8443/t0ken?key=s3cret", &AddressPolicy::strict()).unwrap();
    assert_eq!(url.log_safe(), "https://example.com");
    assert_eq!(format!("{url:?}"), "WebhookUrl(https://example.com)");
}
