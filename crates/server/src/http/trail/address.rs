//! The network address by which entries are asked for.
//!
//! It comes in a header: an address is personal, and what stands in a URL stays in the logs of proxies and in the histories
//! of browsers. Of a body a hash is kept beside its idempotency key, and there are few enough addresses to try them all. No
//! cursor holds it, so that each page is asked for with the header again.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use carelog_audit::AddressIndex;
use http::HeaderMap;
use http::request::Parts;
use utoipa::IntoParams;

use crate::http::Api;
use crate::http::caller::Caller;
use crate::http::problem::Problem;

const HEADER: &str = "carelog-address";

/// The address that is asked for, where one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Header)]
pub(super) struct AskedAddress {
    /// Asked for from one network address, IPv4 or IPv6: the first entry of each request. Each page is asked for with it
    /// again. Nothing is found any more once the clinic's key of network addresses was destroyed.
    #[param(rename = "Carelog-Address", value_type = Option<String>, required = false)]
    address: Option<IpAddr>,
}

impl AskedAddress {
    fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut values = headers.get_all(HEADER).iter();
        let address = match (values.next(), values.next()) {
            (None, _) => return Ok(Self { address: None }),
            (Some(value), None) => value.to_str().ok().and_then(|text| text.parse().ok()),
            (Some(_), Some(_)) => None,
        };
        let refused = || Problem::invalid_header("Carelog-Address", "one IPv4 or IPv6 address");
        Ok(Self { address: Some(address.ok_or_else(refused)?) })
    }

    /// What stands for the address in the trail.
    ///
    /// # Errors
    /// When the keys cannot be reached.
    pub(super) async fn index(self, caller: &Caller) -> Result<Option<AddressIndex>, Problem> {
        let Some(address) = self.address else { return Ok(None) };
        let vault = caller.api.log().vault();
        Ok(Some(AddressIndex::find(vault, caller.organization_id, address).await?))
    }
}

impl FromRequestParts<Arc<Api>> for AskedAddress {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Api>) -> Result<Self, Problem> {
        Self::of(&parts.headers)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn asked(values: &[&str]) -> Result<Option<IpAddr>, Problem> {
        let headers = values.iter().map(|value| (HeaderName::from_static(HEADER), value.parse().unwrap()));
        AskedAddress::of(&headers.collect()).map(|asked| asked.address)
    }

    #[test]
    fn one_address_is_asked_for_or_none() {
        assert_eq!(asked(&[]).unwrap(), None);
        assert_eq!(asked(&["203.0.113.7"]).unwrap(), Some([203, 0, 113, 7].into()));
        for wrong in [&["localhost"] as &[_], &[""], &["203.0.113.7, 203.0.113.8"], &["::1", "::1"]] {
            assert_eq!(asked(wrong).unwrap_err().code(), "invalid_header", "{wrong:?}");
        }
    }
}
