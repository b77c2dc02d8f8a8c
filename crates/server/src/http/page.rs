//! Lists in pages: an opaque cursor, a limit, and a link to what follows.

use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderValue, StatusCode, Uri, header};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::command::json;
use super::problem::Problem;

/// Items of a page where the client asks for no number.
const DEFAULT_LIMIT: u16 = 50;
const MAX_LIMIT: u16 = 200;

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Page<T> {
    /// The items, in the order of the list.
    pub items: Vec<T>,
    /// Give it as `after` to see the next page; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A read that has to show an earlier command.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Fresh {
    /// The `position` of a command that the answer has to show.
    pub wait_for: Option<String>,
}

/// Which part of a list is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    limit: i64,
    cursor: Option<Cursor>,
}

impl Window {
    /// Reads limit and cursor.
    ///
    /// # Errors
    /// When one of them does not fit.
    pub(super) fn read(asked: Option<u16>, after: Option<&str>) -> Result<Self, Problem> {
        Ok(Self { limit: limit(asked)?, cursor: Cursor::read(after)? })
    }

    pub(super) const fn cursor(&self) -> Option<Cursor> {
        self.cursor
    }

    /// One more than asked for, which tells whether there is a next page.
    pub(super) const fn limit_and_one(&self) -> i64 {
        self.limit + 1
    }

    pub(super) fn of_records(&self) -> carelog_records::queries::Page {
        carelog_records::queries::Page {
            before: self.cursor.map(|cursor| cursor.number),
            limit: u16::try_from(self.limit_and_one()).unwrap_or(MAX_LIMIT),
        }
    }

    /// Cuts the surplus row off, and says where the next page begins.
    pub(super) fn cut<T>(&self, rows: Vec<T>, place: impl Fn(&T) -> i64) -> (Vec<T>, Option<String>) {
        self.cut_at(rows, |row| Cursor { number: place(row), id: Uuid::nil() })
    }

    /// The same for lists whose order needs an id.
    pub(super) fn cut_at<T>(
        &self,
        mut rows: Vec<T>,
        place: impl Fn(&T) -> Cursor,
    ) -> (Vec<T>, Option<String>) {
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let has_more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| has_more).map(|row| place(row).write());
        (rows, next)
    }
}

/// The size of a page.
///
/// # Errors
/// When it is not between 1 and 200.
fn limit(asked: Option<u16>) -> Result<i64, Problem> {
    let limit = asked.unwrap_or(DEFAULT_LIMIT);
    if (1..=MAX_LIMIT).contains(&limit) {
        return Ok(i64::from(limit));
    }
    Err(Problem::invalid_query("limit: expected a number from 1 to 200"))
}

/// A place in a list: a number and an id, as far as the list's order needs them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) number: i64,
    pub(super) id: Uuid,
}

impl Cursor {
    pub(super) fn write(self) -> String {
        let mut bytes = [0; 24];
        let (number, id) = bytes.split_at_mut(8);
        number.copy_from_slice(&self.number.to_be_bytes());
        id.copy_from_slice(self.id.as_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads a cursor, where there is one.
    ///
    /// # Errors
    /// When it is none of ours.
    pub(super) fn read(text: Option<&str>) -> Result<Option<Self>, Problem> {
        let Some(text) = text else { return Ok(None) };
        let bytes: Option<[u8; 24]> =
            URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
        let parts = bytes.as_ref().and_then(|bytes| bytes.split_first_chunk::<8>());
        let Some((number, id)) = parts.and_then(|(number, id)| Some((*number, Uuid::from_slice(id).ok()?)))
        else {
            return Err(Problem::invalid_query("after: expected the cursor of an earlier page"));
        };
        Ok(Some(Self { number: i64::from_be_bytes(number), id }))
    }
}

impl<T: Serialize> Page<T> {
    /// The page with a link to the next one.
    pub(super) fn respond(&self, uri: &Uri) -> Response {
        linked(uri, self.next.as_deref(), self)
    }
}

/// A body with a link to the next page, where there is one.
pub(super) fn linked<B: Serialize>(uri: &Uri, next: Option<&str>, body: &B) -> Response {
    let mut response = json(StatusCode::OK, body);
    if let Some(next) = next
        && let Ok(link) = HeaderValue::from_str(&format!("<{}>; rel=\"next\"", following(uri, next)))
    {
        response.headers_mut().insert(header::LINK, link);
    }
    response
}

/// Where the next page is: the same question, after the cursor.
pub(super) fn following(uri: &Uri, next: &str) -> String {
    let kept = uri.query().unwrap_or_default().split('&').filter(|pair| {
        let name = pair.split('=').next().unwrap_or_default();
        !matches!(name, "" | "after" | "wait_for")
    });
    let after = format!("after={next}");
    let query: Vec<&str> = kept.chain([after.as_str()]).collect();
    format!("{}?{}", uri.path(), query.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back() {
        let cursor = Cursor { number: -5, id: Uuid::from_u128(9) };

        assert_eq!(Cursor::read(Some(&cursor.write())).unwrap(), Some(cursor));
        assert_eq!(Cursor::read(None).unwrap(), None);
        assert_eq!(Cursor::read(Some("x")).unwrap_err().code(), "invalid_query");
    }

    #[test]
    fn the_next_page_keeps_the_filter() {
        let uri: Uri = "/v1/patients?after=old&limit=2&wait_for=x".parse().unwrap();

        assert_eq!(following(&uri, "new"), "/v1/patients?limit=2&after=new");
    }
}
