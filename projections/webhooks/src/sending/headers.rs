//! Headers that a partner may add to its deliveries, such as a token of its gateway.

use std::fmt;

use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};

const MAX_HEADERS: usize = 10;
const MAX_VALUE_BYTES: usize = 4096;

/// A checked set of extra headers: `authorization` and names that begin with `x-`, one value each. Whatever
/// steers the connection, describes the body or carries the signature cannot be set.
#[derive(Clone, Default)]
pub struct ExtraHeaders(HeaderMap);

/// Why a header is refused. Carries its name, never its value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderRefused {
    #[error("a delivery has at most {MAX_HEADERS} extra headers")]
    TooMany,
    #[error("only authorization and x- headers may be added, not {name:?}")]
    Name { name: String },
    #[error("the value of header {name} is not a visible text of at most {MAX_VALUE_BYTES} bytes")]
    Value { name: HeaderName },
    #[error("header {name} is named twice")]
    Twice { name: HeaderName },
}

impl ExtraHeaders {
    /// Checks names and values.
    pub fn parse<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, HeaderRefused> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name = parse_name(name)?;
            let value = parse_value(&name, value)?;
            if headers.len() == MAX_HEADERS {
                return Err(HeaderRefused::TooMany);
            }
            if headers.insert(name.clone(), value).is_some() {
                return Err(HeaderRefused::Twice { name });
            }
        }
        Ok(Self(headers))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        self.0.iter()
    }
}

impl fmt::Debug for ExtraHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

fn parse_name(text: &str) -> Result<HeaderName, HeaderRefused> {
    text.parse::<HeaderName>()
        .ok()
        .filter(|name| *name == AUTHORIZATION || name.as_str().starts_with("x-"))
        .ok_or_else(|| HeaderRefused::Name { name: text.to_owned() })
}

fn parse_value(name: &HeaderName, text: &str) -> Result<HeaderValue, HeaderRefused> {
    let refused = || HeaderRefused::Value { name: name.clone() };
    if text.len() > MAX_VALUE_BYTES {
        return Err(refused());
    }
    let mut value = HeaderValue::from_str(text).map_err(|_| refused())?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests;
