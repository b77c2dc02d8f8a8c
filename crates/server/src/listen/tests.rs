use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::arguments::{SafeUrl, UnsafeUrl};
use super::forward::Forwarded;
use super::pull::Message;
use super::*;

/// The command line, for its arguments.
#[derive(Debug, clap::Parser)]
struct CommandLine {
    #[command(subcommand)]
    command: WebhooksCommand,
}

const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const OTHER: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A message of long ago, signed as Standard Webhooks says.
fn message() -> Message {
    serde_json::from_value(json!({
        "id": "00000000-0000-0000-0000-000000000007",
        "event": "form.signed",
        "sequence": 42,
        "recorded_at": "2026-03-02T09:30:00.000000Z",
        "headers": { "webhook-id": "msg", "webhook-timestamp": "1", "webhook-signature": "v1,AAAA" },
        "body": "{\"event\":\"form.signed\"}",
    }))
    .unwrap()
}

#[test]
fn without_a_secret_nothing_is_said_to_be_verified() {
    let secrets = [Webhook::new(SECRET).unwrap(), Webhook::new(OTHER).unwrap()];

    assert_eq!(Signature::of(&message(), &[]), Signature::NotChecked);
    assert_eq!(Signature::of(&message(), &secrets), Signature::Refused);
    assert_eq!(message().headers.len(), 3);
    let missing = Message { headers: HeaderMap::new(), ..message() };
    assert_eq!(Signature::of(&missing, &secrets), Signature::Refused);
}

#[test]
fn a_report_tells_people_and_programs_the_same() {
    let message = message();
    let forwarded = Some(Forwarded { outcome: Ok(StatusCode::NO_CONTENT), milliseconds: 3 });
    let report = Report { message: &message, signature: Signature::Refused, forwarded };

    let line = "2026-03-02T09:30:00.000000Z  form.signed                  \
                00000000-0000-0000-0000-000000000007  #42     SIGNATURE REFUSED  -> 204 in 3 ms";
    assert_eq!(report.line(), line);
    let told: Value = serde_json::from_str(&report.json()).unwrap();
    assert_eq!(told["forward"], json!({ "status": 204, "ms": 3 }));
    assert_eq!((&told["signature"], &told["message"]["event"]), (&json!("refused"), &json!("form.signed")));

    let mut summary = Summary::default();
    summary.add(&report);
    assert_eq!(summary.to_string(), "1 messages, 0 verified, 1 refused; 1 handed on, 1 of them accepted");
}

#[test]
fn plain_http_is_for_this_machine_only() {
    for safe in [
        "https://carelog.example",
        "https://203.0.113.7:8443/hook",
        "http://127.0.0.1:8080",
        "http://127.8.9.10/hook",
        "http://[::1]:3000",
        "http://[::ffff:127.0.0.1]",
        "http://LOCALHOST:3000/hook",
    ] {
        assert!(safe.parse::<SafeUrl>().is_ok(), "{safe}");
    }
    for plain in [
        "http://partner.example",
        "http://192.168.0.7:3000",
        "http://0.0.0.0:3000",
        "http://[2001:db8::1]",
        "http://localhost.partner.example",
        "http://127.0.0.1@partner.example",
    ] {
        let error = plain.parse::<SafeUrl>().unwrap_err();
        assert!(matches!(error, UnsafeUrl::Unencrypted), "{plain}: {error}");
        assert!(error.to_string().contains("write https://"));
    }
    assert!(matches!("ftp://127.0.0.1".parse::<SafeUrl>(), Err(UnsafeUrl::OtherScheme)));
    assert!(matches!("partner".parse::<SafeUrl>(), Err(UnsafeUrl::NoUrl(_))));
}

#[test]
fn neither_address_may_be_plain_and_nothing_shows_the_key_or_the_secrets() {
    let parse = |more: &[&str]| {
        let usual = ["carelog", "listen", "--subscription", "00000000-0000-0000-0000-000000000007"];
        let secrets = format!("{SECRET} {OTHER}");
        let words = usual.into_iter().chain(["--key", "clk_secret", "--secret", &secrets]);
        <CommandLine as clap::Parser>::try_parse_from(words.chain(more.iter().copied()))
    };

    for option in ["--forward", "--server"] {
        let refused = parse(&[option, "http://partner.example"]).unwrap_err().to_string();
        assert!(refused.contains(option) && refused.contains("write https://"), "{refused}");
    }
    let shown = format!("{:?}", parse(&["--forward", "http://localhost:3000"]).unwrap());
    assert_eq!(shown.matches("Hidden(redacted)").count(), 3, "{shown}");
    assert!(!shown.contains("clk_secret") && !shown.contains("whsec_"), "{shown}");
}

#[test]
fn a_pipe_that_nobody_reads_is_an_end_and_a_full_disk_is_a_failure() {
    struct Broken(io::ErrorKind);
    impl io::Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut lines = Vec::new();

    assert_eq!(print(&mut lines, "line").unwrap(), Reader::Listens);
    assert_eq!(lines, b"line\n");
    assert_eq!(print(&mut Broken(io::ErrorKind::BrokenPipe), "line").unwrap(), Reader::Left);
    assert!(print(&mut Broken(io::ErrorKind::StorageFull), "line").is_err());
}
