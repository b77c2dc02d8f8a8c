//! The caller of a request: checked against its route's rule before anything else of the request is looked at.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use carelog_domain::access::DenialReason;
use carelog_domain::{
    Actor, ActorKind, ApiKeyId, Circumstances, CorrelationId, MemberId, OrganizationId, Origin, PartnerId,
    PatientId, PurposeOfUse, RequestId, Role, Sealed, Timestamp,
};
use carelog_event_log::{Expected, Idempotency, Network, Scope};
use futures::future::BoxFuture;
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, header};
use uuid::Uuid;

use super::authentication::{Credential, PresentedKey, Principal};
use super::authorization::{self, Allows};
use super::problem::Problem;
use super::service::{Arrival, matched_path};
use super::{Api, access};

/// Longest user agent that is kept.
const MAX_USER_AGENT_BYTES: usize = 512;

/// Somebody who may call this route, acting inside one organization.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) api: Arc<Api>,
    pub(super) organization_id: OrganizationId,
    /// The key's holder; nobody where the operator acts.
    pub(super) principal: Option<Arc<Principal>>,
    pub(super) call: Call,
}

/// The operator, who acts inside no organization yet.
#[derive(Clone, Debug)]
pub(super) struct Operator {
    pub(super) api: Arc<Api>,
    call: Call,
}

/// What surrounds a call.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) request_id: Uuid,
    correlation_id: Uuid,
    purpose: Option<PurposeOfUse>,
    address: IpAddr,
    user_agent: Option<String>,
    session_id: Option<Uuid>,
    pub(super) wait_for: Option<String>,
}

impl FromRequestParts<Arc<Api>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        let allows = rule_of(parts)?;
        let call = Call::of(parts, api)?;
        match credential(&parts.headers) {
            Some(Credential::Key(presented)) => {
                let principal = api.principal(&presented, call.address).await?;
                let caller = Self {
                    api: Arc::clone(api),
                    organization_id: principal.organization_id,
                    principal: Some(principal),
                    call,
                };
                caller.check(allows).await?;
                Ok(caller)
            }
            Some(Credential::Operator(_)) | None => Err(api.unknown_caller(call.address)),
        }
    }
}

impl FromRequestParts<Arc<Api>> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        if rule_of(parts)? != Allows::Operator {
            return Err(Problem::fault("a route of keys asks for the operator"));
        }
        let call = Call::of(parts, api)?;
        match credential(&parts.headers) {
            Some(Credential::Operator(secret)) if api.operator.is(secret) => {
                Ok(Self { api: Arc::clone(api), call })
            }
            Some(Credential::Key(presented)) => {
                let principal = api.principal(&presented, call.address).await?;
                let organization_id = principal.organization_id;
                let caller =
                    Caller { api: Arc::clone(api), organization_id, principal: Some(principal), call };
                Err(caller.refuse(DenialReason::WrongRole, forbidden("wrong_role")).await)
            }
            Some(Credential::Operator(_)) | None => Err(api.unknown_caller(call.address)),
        }
    }
}

impl Operator {
    /// Acts inside an organization.
    pub(super) fn within(self, organization_id: OrganizationId) -> Caller {
        Caller { api: self.api, organization_id, principal: None, call: self.call }
    }
}

impl Caller {
    /// Whoever opens a link that a key made, and so acts with that key, as long as it may read figures.
    ///
    /// # Errors
    /// When the key is not one of the organization, has ended, or may not read figures any more.
    pub(super) fn by_key<'a>(
        parts: &'a Parts,
        api: &'a Arc<Api>,
        organization_id: OrganizationId,
        api_key_id: ApiKeyId,
    ) -> BoxFuture<'a, Result<Self, Problem>> {
        Box::pin(async move {
            let call = Call::of(parts, api)?;
            let principal = api.look_up_key(api_key_id).await?;
            let Some(principal) = principal.filter(|key| key.organization_id == organization_id) else {
                return Err(api.unknown_caller(call.address));
            };
            let api = Arc::clone(api);
            let caller = Self { api, organization_id, principal: Some(Arc::new(principal)), call };
            let allows = authorization::allows("GET", "/v1/analytics/{view}");
            caller.check(allows.ok_or_else(|| Problem::fault("nobody may read figures"))?).await?;
            Ok(caller)
        })
    }

    /// Whether the address that asks, without a key, may still do so.
    pub(super) fn check_address(parts: &Parts, api: &Api) -> Result<(), Problem> {
        api.limits.check_address(Call::of(parts, api)?.address)
    }

    /// The answer to whoever brings a link that nobody signed.
    pub(super) fn unknown(parts: &Parts, api: &Api) -> Problem {
        match Call::of(parts, api) {
            Ok(call) => api.unknown_caller(call.address),
            Err(problem) => problem,
        }
    }

    fn check(&self, allows: Allows) -> BoxFuture<'_, Result<(), Problem>> {
        Box::pin(async move {
            let Some(principal) = &self.principal else { return Ok(()) };
            self.api.limits.check_key(principal.api_key_id)?;
            let unauthorized = || Problem::new(StatusCode::UNAUTHORIZED, "unauthorized");
            if principal.is_revoked {
                return Err(self.refuse(DenialReason::RevokedKey, unauthorized()).await);
            }
            if principal.expires_at.is_some_and(|end| end <= self.api.now()) {
                return Err(self.refuse(DenialReason::ExpiredKey, unauthorized()).await);
            }
            match allows {
                Allows::Keys(_, roles) if !roles.contains(&principal.role) => {
                    Err(self.refuse(DenialReason::WrongRole, forbidden("wrong_role")).await)
                }
                Allows::Keys(scope, _) if !principal.scopes.contains(&scope) => {
                    Err(self.refuse(DenialReason::MissingScope, forbidden("missing_scope")).await)
                }
                Allows::AnyKey | Allows::Keys(..) => Ok(()),
                Allows::Operator => Err(Problem::fault("a route of the operator asks for a key")),
            }
        })
    }

    /// Writes the refusal down, unless this key was refused too often of late, and gives the answer back.
    pub(super) fn refuse(&self, reason: DenialReason, answer: Problem) -> BoxFuture<'_, Problem> {
        Box::pin(async move {
            metrics::counter!("carelog_http_denied_total", "reason" => reason.as_str()).increment(1);
            let is_recorded = self
                .principal
                .as_ref()
                .is_some_and(|principal| self.api.limits.records_denial(principal.api_key_id));
            if is_recorded
                && let Err(problem) = access::record_denial(self, reason, answer.status().as_u16()).await
            {
                tracing::warn!(error = problem.cause(), "a refusal cannot be written to the log");
            }
            answer
        })
    }

    /// The answer to somebody who asks for a record of somebody else: as if it did not exist.
    pub(super) fn refuse_foreign(&self) -> BoxFuture<'_, Problem> {
        Box::pin(async move { self.refuse(DenialReason::ForeignRecord, Problem::not_found()).await })
    }

    /// The role that the caller acts in.
    pub(super) fn role(&self) -> Role {
        self.principal.as_ref().map_or(Role::System, |principal| principal.role)
    }

    /// The only patient whose records the caller may touch; nothing where there is no such bound.
    pub(super) fn bound_to(&self) -> Option<PatientId> {
        self.principal
            .as_ref()
            .filter(|principal| principal.role == Role::Patient)
            // A patient's key without a patient reaches nobody.
            .map(|principal| principal.patient_id.unwrap_or(PatientId::new(Uuid::nil())))
    }

    /// Refuses a record of anybody but the patient whom the caller is bound to.
    ///
    /// # Errors
    /// Not found, whether or not there is such a record.
    pub(super) fn may_touch(&self, patient_id: PatientId) -> BoxFuture<'_, Result<(), Problem>> {
        Box::pin(async move {
            match self.bound_to() {
                Some(own) if own != patient_id => Err(self.refuse_foreign().await),
                Some(_) | None => Ok(()),
            }
        })
    }

    /// Whom a request is about: the patient whom the caller is bound to, or names; nobody in particular where neither is.
    ///
    /// # Errors
    /// Not found, where it names another than its own.
    pub(super) fn patient_meant(
        &self,
        asked: Option<PatientId>,
    ) -> BoxFuture<'_, Result<Option<PatientId>, Problem>> {
        Box::pin(async move {
            match asked {
                Some(patient_id) => self.may_touch(patient_id).await.map(|()| asked),
                None => Ok(self.bound_to()),
            }
        })
    }

    /// The only partner whose subscriptions the caller may touch; nothing where there is no such bound. A member's keys
    /// share theirs; a key of nobody has its own.
    pub(super) fn partner(&self) -> Option<PartnerId> {
        let principal = self.principal.as_ref().filter(|principal| principal.role == Role::Partner)?;
        let member = principal.member_id.map(MemberId::uuid);
        Some(PartnerId::new(member.unwrap_or(principal.api_key_id.uuid())))
    }

    fn actor(&self) -> Actor {
        match &self.principal {
            None => Actor::OPERATOR,
            Some(principal) => Actor {
                kind: ActorKind::ApiKey,
                id: Some(principal.api_key_id.uuid()),
                role: principal.role,
                on_behalf_of: principal.on_behalf_of(),
            },
        }
    }

    /// The scope of a command of this caller.
    ///
    /// # Errors
    /// When the vault cannot seal the network address.
    pub(super) fn scope(
        &self,
        expected: Expected,
        occurred_at: Option<Timestamp>,
        idempotency: Option<Idempotency>,
    ) -> BoxFuture<'_, Result<Scope, Problem>> {
        Box::pin(async move {
            let circumstances = Circumstances {
                actor: self.actor(),
                purpose: self.call.purpose,
                correlation_id: CorrelationId::new(self.call.correlation_id),
                causation_id: None,
                request_id: Some(RequestId::new(self.call.request_id)),
                origin: Origin::Live,
            };
            let network = self.sealed_network().await?;
            Ok(Scope {
                organization_id: self.organization_id,
                circumstances,
                occurred_at,
                idempotency,
                network,
                expected,
                premise: None,
                can_wait: false,
            })
        })
    }

    async fn sealed_network(&self) -> Result<Option<Sealed>, Problem> {
        let Call { address, session_id, .. } = self.call;
        let network = Network { address, user_agent: self.call.user_agent.clone(), session_id };
        let request_id = RequestId::new(self.call.request_id);
        Ok(self.api.log().seal_network(self.organization_id, request_id, &network).await?)
    }

    /// Where browsers reach this. Without a setting it is the host that was asked: they give a camera to pages of this
    /// machine and to those over TLS alone.
    ///
    /// # Errors
    /// Without a setting and without a host.
    pub(super) fn public_url(&self, headers: &HeaderMap) -> Result<String, Problem> {
        if let Some(url) = &self.api.public_url {
            return Ok(url.trim_end_matches('/').to_owned());
        }
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let host = host.ok_or_else(|| Problem::invalid_header("Host", "the host that is asked"))?;
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        let scheme = if matches!(name, "localhost" | "127.0.0.1" | "[::1]") { "http" } else { "https" };
        Ok(format!("{scheme}://{host}"))
    }
}

impl Call {
    fn of(parts: &Parts, api: &Api) -> Result<Self, Problem> {
        let arrival = parts
            .extensions
            .get::<Arrival>()
            .copied()
            .ok_or_else(|| Problem::fault("a request came past the service"))?;
        let headers = &parts.headers;
        let correlation_id = match text(headers, "x-correlation-id") {
            None => arrival.request_id,
            Some(id) => id.parse().map_err(|_| Problem::invalid_header("X-Correlation-Id", "a UUID"))?,
        };
        let purpose = match text(headers, "x-purpose-of-use") {
            None => None,
            Some(purpose) => Some(
                purpose
                    .parse()
                    .map_err(|_| Problem::invalid_header("X-Purpose-Of-Use", "a known purpose"))?,
            ),
        };
        Ok(Self {
            request_id: arrival.request_id,
            correlation_id,
            purpose,
            address: address(arrival.peer, headers, &api.config.trusted_proxies),
            user_agent: text(headers, header::USER_AGENT.as_str())
                .filter(|agent| agent.len() <= MAX_USER_AGENT_BYTES)
                .map(str::to_owned),
            session_id: arrival.session_id,
            wait_for: text(headers, "carelog-wait").map(str::to_owned),
        })
    }
}

impl Api {
    /// The holder of a key, from memory or from the records.
    async fn principal(&self, presented: &PresentedKey, address: IpAddr) -> Result<Arc<Principal>, Problem> {
        let principal = if let Some(known) = self.keys.get(presented.id) {
            Some(known)
        } else {
            if !self.keys.has_known(presented.id) {
                self.limits.check_address(address)?;
            }
            let found = self.look_up_key(ApiKeyId::new(presented.id)).await?.map(Arc::new);
            if let Some(principal) = &found {
                self.keys.put(Arc::clone(principal));
            }
            found
        };
        principal.filter(|principal| presented.proves(principal)).ok_or_else(|| self.unknown_caller(address))
    }

    /// Somebody without a valid key; counted and not written to the log, which they could fill.
    fn unknown_caller(&self, address: IpAddr) -> Problem {
        metrics::counter!("carelog_http_unauthorized_total").increment(1);
        match self.limits.check_address(address) {
            Ok(()) => Problem::new(StatusCode::UNAUTHORIZED, "unauthorized"),
            Err(limited) => limited,
        }
    }
}

/// The answer to a key that may not do this.
pub(super) fn forbidden(code: &'static str) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, code)
}

fn rule_of(parts: &Parts) -> Result<Allows, Problem> {
    // The router answers HEAD with the handler of GET.
    let method = if parts.method == Method::HEAD { &Method::GET } else { &parts.method };
    matched_path(&parts.extensions)
        .and_then(|path| authorization::allows(method.as_str(), path))
        .ok_or_else(|| Problem::fault("a route has no rule"))
}

fn credential(headers: &HeaderMap) -> Option<Credential> {
    text(headers, header::AUTHORIZATION.as_str()).and_then(Credential::parse)
}

pub(super) fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The client's address: the connection's, or what the nearest trusted proxy says about it.
pub(super) fn address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpAddr]) -> IpAddr {
    if !trusted.contains(&peer) {
        return peer;
    }
    let forwarded = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
    let hops: Vec<&str> = forwarded.flat_map(|value| value.split(',')).map(str::trim).collect();
    hops.iter()
        .rev()
        .map_while(|hop| hop.parse::<IpAddr>().ok().map(|hop| hop.to_canonical()))
        .find(|hop| !trusted.contains(hop))
        .unwrap_or(peer)
}
