//! The network address by which entries are asked for.
//!
//! It comes in a header: an address is personal, and what stands in a URL stays in the logs of proxies and in the histories
//! of browsers. No cursor holds it, so that each page is asked for with the header again; half of the keyed hash that stands
//! in the trail is in the cursor, so that no page is one of another list. Of a body a hash is kept beside its idempotency key,
//! and there are few enough addresses to try them all: what is mixed into that is the keyed hash too.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use carelog_audit::AddressIndex;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use utoipa::IntoParams;
use uuid::Uuid;

use crate::http::Api;
use crate::http::caller::Caller;
use crate::http::problem::Problem;

const HEADER: &str = "carelog-address";

/// The address that is asked for, where one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Header)]
pub(super) struct AskedAddress {
    /// Asked for from one network address, IPv4 or IPv6: the first entry of each request. Each page is asked for with it
    /// again, and refused with `another_address` otherwise. Nothing is found any more once the clinic's key of network
    /// addresses was destroyed.
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

/// What a cursor tells of the address that its list was asked for by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark(u64);

impl Mark {
    /// Of a list that was asked for by no address.
    const NONE: Self = Self(0);

    pub(super) fn of(address: Option<&AddressIndex>) -> Self {
        let half = address.and_then(|index| index.bytes().first_chunk());
        half.map_or(Self::NONE, |half| Self(u64::from_be_bytes(*half)))
    }

    /// As an id, in cursors whose list needs none.
    pub(super) const fn id(self) -> Uuid {
        Uuid::from_u64_pair(0, self.0)
    }

    pub(super) const fn from_id(id: Uuid) -> Self {
        Self(id.as_u64_pair().1)
    }

    /// As a number, in cursors whose list needs none.
    pub(super) const fn number(self) -> i64 {
        self.0.cast_signed()
    }

    pub(super) const fn from_number(number: i64) -> Self {
        Self(number.cast_unsigned())
    }

    /// Refuses to go on with a list that was asked for by another address.
    ///
    /// # Errors
    /// `another_address`.
    pub(super) fn refuse_unless(self, asked_by: Self) -> Result<(), Problem> {
        if self == asked_by {
            return Ok(());
        }
        let detail = match (self, asked_by) {
            (_, Self::NONE) => {
                "the page before was asked for by an address: send its Carelog-Address with each page"
            }
            (Self::NONE, _) => {
                "the page before was asked for by no address: leave Carelog-Address out, or begin without after"
            }
            _ => {
                "the page before was asked for by another address: send its Carelog-Address with each page, or begin \
                 without after"
            }
        };
        Err(Problem::new(StatusCode::BAD_REQUEST, "another_address").detail(detail))
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
