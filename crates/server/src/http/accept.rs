//! Which of several forms a request wants, by its header `Accept` (RFC 9110, section 12.5.1).

use std::fmt;

use http::{HeaderMap, HeaderValue, header};

/// A form that there is, by its media type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offer<T> {
    /// The form.
    pub(super) form: T,
    /// The media type without parameters.
    pub(super) essence: &'static str,
    /// The parameter that tells it from others of the same type.
    pub(super) parameter: Option<(&'static str, &'static str)>,
}

impl<T> fmt::Display for Offer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.parameter {
            None => f.write_str(self.essence),
            Some((name, value)) => write!(f, "{}; {name}={value}", self.essence),
        }
    }
}

/// The form that weighs most: of two alike the one that is named more exactly, then the one that is named first, then
/// the first offer. The first offer where nothing is asked for, and nothing where none is taken.
pub(super) fn preferred<T: Copy>(headers: &HeaderMap, offers: &[Offer<T>]) -> Option<T> {
    let ranges: Vec<Range<'_>> = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .filter_map(Range::parse)
        .collect();
    if ranges.is_empty() {
        return offers.first().map(|offer| offer.form);
    }
    let mut best: Option<(T, Claim)> = None;
    for offer in offers {
        if let Some(claim) = claim(&ranges, offer)
            && best.as_ref().is_none_or(|(_, most)| claim.is_above(most))
        {
            best = Some((offer.form, claim));
        }
    }
    best.map(|(form, _)| form)
}

/// What an answer has to say of itself where the header decided.
pub(super) fn varies(headers: &mut HeaderMap) {
    headers.insert(header::VARY, HeaderValue::from_static("accept"));
}

/// One of the media ranges of `Accept`, with its weight.
struct Range<'a> {
    essence: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    weight: f32,
}

/// How much a request wants a form.
struct Claim {
    weight: f32,
    precision: u8,
    place: usize,
}

impl Claim {
    fn is_above(&self, other: &Self) -> bool {
        let place = |claim: &Self| (claim.precision, std::cmp::Reverse(claim.place));
        self.weight > other.weight || (self.weight >= other.weight && place(self) > place(other))
    }
}

impl<'a> Range<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let essence = parts.next().filter(|essence| !essence.is_empty())?;
        let pair = |part: &'a str| {
            let (name, value) = part.split_once('=')?;
            Some((name.trim(), value.trim().trim_matches('"')))
        };
        let parameters: Vec<_> = parts.filter_map(pair).collect();
        let weight = parameters.iter().find(|(name, _)| name.eq_ignore_ascii_case("q"));
        // One that is none counts as if it were not there.
        let weight = weight.and_then(|(_, text)| text.parse().ok());
        let weight = weight.filter(|weight| (0.0..=1.0).contains(weight)).unwrap_or(1.0);
        Some(Self { essence, parameters, weight })
    }

    /// How exactly it names a form; nothing where it does not.
    fn precision<T>(&self, offer: &Offer<T>) -> Option<u8> {
        let kind = offer.essence.split('/').next().unwrap_or_default();
        match self.essence.split_once('/') {
            Some(("*", "*")) => Some(0),
            Some((named, "*")) if named.eq_ignore_ascii_case(kind) => Some(1),
            _ if self.essence.eq_ignore_ascii_case(offer.essence) => self.precision_of_parameter(offer),
            _ => None,
        }
    }

    fn precision_of_parameter<T>(&self, offer: &Offer<T>) -> Option<u8> {
        let Some((name, value)) = offer.parameter else { return Some(2) };
        match self.parameters.iter().find(|(named, _)| named.eq_ignore_ascii_case(name)) {
            None => Some(2),
            Some((_, wanted)) if wanted.eq_ignore_ascii_case(value) => Some(3),
            Some(_) => None,
        }
    }
}

/// What the range says that names a form most exactly; nothing where that one refuses it.
fn claim<T>(ranges: &[Range<'_>], offer: &Offer<T>) -> Option<Claim> {
    let named = ranges.iter().enumerate().filter_map(|(place, range)| {
        Some(Claim { weight: range.weight, precision: range.precision(offer)?, place })
    });
    // Of several that are as exact the first counts.
    let most = named.reduce(|most, next| if next.precision > most.precision { next } else { most })?;
    (most.weight > 0.0).then_some(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFERS: [Offer<&str>; 5] = [
        Offer { form: "json", essence: "application/json", parameter: None },
        Offer { form: "csv", essence: "text/csv", parameter: None },
        Offer { form: "four", essence: "application/fhir+json", parameter: Some(("fhirVersion", "4.0")) },
        Offer { form: "five", essence: "application/fhir+json", parameter: Some(("fhirVersion", "5.0")) },
        Offer { form: "svg", essence: "image/svg+xml", parameter: None },
    ];

    fn preferred(accept: &str) -> Option<&'static str> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_str(accept).unwrap());
        super::preferred(&headers, &OFFERS)
    }

    #[test]
    fn the_heaviest_form_is_taken_and_the_most_exact_range_weighs_it() {
        assert_eq!(super::preferred(&HeaderMap::new(), &OFFERS), Some("json"));
        for (accept, form) in [
            ("*/*", Some("json")),
            ("text/html, */*;q=0.1", Some("json")),
            ("Text/CSV; charset=utf-8", Some("csv")),
            ("text/*;q=0.5, application/json;q=0.4", Some("csv")),
            ("application/*;q=0.5, application/json;q=0", Some("four")),
            ("*/*;q=0.5, application/json;q=0.1", Some("csv")),
            ("image/avif,image/webp,image/*;q=0.8", Some("svg")),
            ("text/csv;q=0.9, application/json;q=inf", Some("json")),
            ("text/html;q=nonsense", None),
            ("text/html", None),
            ("application/json;q=0", None),
        ] {
            assert_eq!(preferred(accept), form, "{accept}");
        }
    }

    #[test]
    fn parameters_tell_forms_of_one_type_apart() {
        for (accept, form) in [
            ("application/fhir+json", Some("four")),
            ("application/fhir+json; fhirVersion=5.0", Some("five")),
            ("application/fhir+json; FHIRVERSION=\"5.0\"", Some("five")),
            ("application/fhir+json; fhirVersion=3.0", None),
            ("application/fhir+json; fhirVersion=5.0; q=0.2, application/json", Some("json")),
            ("application/fhir+json; fhirVersion=5.0; q=0.2, application/json; q=0.1", Some("five")),
            ("application/fhir+json, application/fhir+json; fhirVersion=4.0; q=0.1", Some("five")),
        ] {
            assert_eq!(preferred(accept), form, "{accept}");
        }
    }

    #[test]
    fn of_two_alike_the_one_that_is_named_first_or_more_exactly_is_taken() {
        assert_eq!(preferred("application/fhir+json, application/json"), Some("four"));
        assert_eq!(preferred("application/json, application/fhir+json"), Some("json"));
        assert_eq!(preferred("*/*, text/csv"), Some("csv"));
    }
}
