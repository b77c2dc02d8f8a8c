//! The limit: bodies which were signed beforehand, posted in loops, or each at its time after one row was committed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use carelog_event_log::{Clock, SystemClock, new_id};
use carelog_webhooks::sending::{WebhookSecret, sign};
use reqwest::Client;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sqlx::PgPool;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::receiver::Hello;
use crate::bench::timings::Timings;

const IN_FLIGHT: usize = 64;

/// A body with its headers.
struct Signed {
    id: String,
    timestamp: String,
    signature: String,
    body: Bytes,
}

/// Posts so many, and says how many that is a second.
pub(super) async fn post(hello: &Hello, count: u64) -> anyhow::Result<(u64, f64)> {
    let client = client(hello)?;
    let secret = WebhookSecret::parse(&hello.secret)?;
    let all: Arc<[Signed]> = (0..count).map(|_| signed(&secret)).collect();
    let next = Arc::new(AtomicUsize::new(0));
    let began = Instant::now();
    let mut loops = JoinSet::new();
    for _ in 0..IN_FLIGHT {
        let (client, url, all, next) =
            (client.clone(), hello.url.clone(), Arc::clone(&all), Arc::clone(&next));
        loops.spawn(async move {
            while let Some(signed) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                signed.post(&client, &url).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = loops.join_next().await {
        ended??;
    }
    Ok((count, count as f64 / began.elapsed().as_secs_f64()))
}

/// At a fixed rate, commits one row and then posts one body; from the beginning of both to the answer.
pub(super) async fn commit_and_post(
    hello: &Hello,
    owner: &PgPool,
    per_second: u32,
    duration: Duration,
) -> anyhow::Result<Timings> {
    let client = client(hello)?;
    let secret = WebhookSecret::parse(&hello.secret)?;
    let table = "create table if not exists public.bare_posts (id text primary key, body bytea not null)";
    sqlx::query(table).execute(owner).await?;
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / per_second.max(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let count = usize::try_from(duration.as_millis() * u128::from(per_second) / 1000)?;
    let mut under_way = JoinSet::new();
    for _ in 0..count {
        ticks.tick().await;
        let (client, url, owner, signed) =
            (client.clone(), hello.url.clone(), owner.clone(), signed(&secret));
        under_way.spawn(async move {
            let began = Instant::now();
            sqlx::query("insert into public.bare_posts (id, body) values ($1, $2)")
                .bind(&signed.id)
                .bind(&signed.body[..])
                .execute(&owner)
                .await?;
            signed.post(&client, &url).await?;
            anyhow::Ok(began.elapsed())
        });
    }
    let mut timings = Timings::default();
    while let Some(ended) = under_way.join_next().await {
        timings.record(ended??);
    }
    Ok(timings)
}

impl Signed {
    async fn post(&self, client: &Client, url: &str) -> anyhow::Result<()> {
        let response = client
            .post(url)
            .header("content-type", "application/json")
            .header("webhook-id", &self.id)
            .header("webhook-timestamp", &self.timestamp)
            .header("webhook-signature", &self.signature)
            .body(self.body.clone())
            .send()
            .await?;
        ensure!(response.status().is_success(), "the receiver answered {}", response.status());
        Ok(())
    }
}

fn client(hello: &Hello) -> anyhow::Result<Client> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(hello.ca_pem.as_bytes()).context("the authority is PEM")?)?;
    let mut config =
        rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Client::builder()
        .tls_backend_preconfigured(config)
        .http1_only()
        .tcp_nodelay(true)
        .no_proxy()
        .pool_max_idle_per_host(IN_FLIGHT)
        .build()?)
}

/// The envelope of a booked appointment, member by member as long as the product's.
fn signed(secret: &WebhookSecret) -> Signed {
    let id = new_id().to_string();
    let now = SystemClock.now();
    let body = format!(
        r#"{{"event":"appointment.booked","event_id":"{id}","timestamp":"{now}","organization_id":"{id}","sequence":12345,"data":{{"appointment_id":"{id}","status":"booked","ends_at":"{now}","mode":"video","patient_id":"{id}","specialist_id":"{id}","starts_at":"{now}","starts_at_precision":"minute"}}}}"#
    );
    let timestamp = now.unix_seconds();
    let signature = sign(std::slice::from_ref(secret), &id, timestamp, body.as_bytes());
    Signed { id, timestamp: timestamp.to_string(), signature, body: body.into() }
}
