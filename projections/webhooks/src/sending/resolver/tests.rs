use std::sync::Mutex;

use super::*;

/// Answers each lookup with the next list; an empty script stands for a missing name.
struct Scripted(Mutex<Vec<Vec<&'static str>>>);

#[async_trait]
impl Lookup for Scripted {
    async fn addresses(&self, _host: &str) -> Result<Vec<IpAddr>, LookupError> {
        let answer = self.0.lock().unwrap().pop().ok_or(LookupError::NotFound)?;
        Ok(answer.into_iter().map(|text| text.parse().unwrap()).collect())
    }
}

fn scripted(policy: AddressPolicy, answers: &[&[&'static str]]) -> Vetting {
    let answers = answers.iter().rev().map(|answer| answer.to_vec()).collect();
    Vetting::new(Arc::new(Scripted(Mutex::new(answers))), policy)
}

async fn resolve(resolver: &Vetting, host: &str) -> Result<Vec<String>, ResolveError> {
    match resolver.resolve(host.parse().unwrap()).await {
        Ok(addresses) => Ok(addresses.map(|address| address.to_string()).collect()),
        Err(error) => Err(*error.downcast::<ResolveError>().unwrap()),
    }
}

#[tokio::test]
async fn public_answers_are_passed_on() {
    let resolver = scripted(AddressPolicy::strict(), &[&["8.8.8.8", "2606:4700:4700::1111"]]);
    assert_eq!(resolve(&resolver, "example.com").await.unwrap(), ["8.8.8.8:0", "[2606:4700:4700::1111]:0"]);
}

#[tokio::test]
async fn one_inner_answer_refuses_all_of_them() {
    for inner in ["10.0.0.1", "127.0.0.1", "::1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "169.254.169.254"] {
        let resolver = scripted(AddressPolicy::strict(), &[&["8.8.8.8", inner]]);
        let refused = resolve(&resolver, "example.com").await;
        assert!(matches!(refused, Err(ResolveError::Refused(_))), "{inner}");
    }
}

#[tokio::test]
async fn given_a_name_that_rebinds_when_looked_up_again_then_it_is_refused() {
    let resolver = scripted(AddressPolicy::strict(), &[&["8.8.8.8"], &["127.0.0.1"]]);
    assert!(resolve(&resolver, "example.com").await.is_ok());
    assert!(matches!(resolve(&resolver, "example.com").await, Err(ResolveError::Refused(_))));
}

#[tokio::test]
async fn a_missing_name_and_an_empty_answer_are_not_refusals() {
    let resolver = scripted(AddressPolicy::strict(), &[&[]]);
    for _ in 0..2 {
        let missing = resolve(&resolver, "example.com").await;
        assert!(matches!(missing, Err(ResolveError::Lookup(LookupError::NotFound))));
    }
}

#[tokio::test]
async fn localhost_is_never_looked_up() {
    let strict = scripted(AddressPolicy::strict(), &[&["8.8.8.8"]]);
    assert!(matches!(resolve(&strict, "localhost").await, Err(ResolveError::Refused(_))));
    let demo = scripted(AddressPolicy::with_loopback(), &[&["8.8.8.8"]]);
    assert_eq!(resolve(&demo, "localhost").await.unwrap(), ["127.0.0.1:0", "[::1]:0"]);
}

/// A name server that never says anything.
struct Silent;

#[async_trait]
impl Lookup for Silent {
    async fn addresses(&self, _host: &str) -> Result<Vec<IpAddr>, LookupError> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_url_is_refused_where_it_leads_inside_and_for_nothing_else() {
    let url = |text: &str| WebhookUrl::parse(text, &AddressPolicy::with_loopback()).unwrap();
    let named = url("https://hooks.example.com/");

    for (answer, is_allowed) in [(&["8.8.8.8"][..], true), (&[], true), (&["8.8.8.8", "10.0.0.1"], false)] {
        let vetting = scripted(AddressPolicy::strict(), &[answer]);
        assert_eq!(vetting.check(&named).await.is_ok(), is_allowed, "{answer:?}");
    }
    let missing = scripted(AddressPolicy::strict(), &[]);
    assert_eq!(missing.check(&named).await, Ok(()));
    assert_eq!(missing.check(&url("https://127.0.0.1/")).await, Err(UrlError::AddressRefused));
    assert_eq!(missing.check(&url("https://localhost/")).await, Err(UrlError::AddressRefused));
    assert_eq!(Vetting::new(Arc::new(Silent), AddressPolicy::strict()).check(&named).await, Ok(()));
}
