//! A list of replies, written in TOML.
//!
//! ```toml
//! [[step]]
//! count = 2                           # two requests; without a count, all that follow
//! status = 503
//! headers = { retry-after = "5" }
//!
//! [[step]]
//! count = 1
//! delay-ms = 250
//! fault = "reset-in-head"             # the names are those of `--fault`
//!
//! [[step]]
//! raw = "HTTP/1.1 200 OK\r\n\r\n"     # bytes instead of an answer
//! ```
//!
//! After the last step every request gets 204. The same requests in the same order get the same replies.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use serde::Deserialize;
use toml::Spanned;

use super::behaviour::{Act, Reply};
use super::fault::Fault;

/// Replies, one after the other. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script(Arc<[Step]>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    /// Nothing for all requests that follow.
    count: Option<u64>,
    reply: Reply,
}

/// Why a text is no script.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// It is not TOML, or a field is unknown or of the wrong type; the text shows the line.
    #[error(transparent)]
    Form(#[from] toml::de::Error),
    /// A value does not fit.
    #[error("line {line}: {field} of step {step}: {problem}")]
    Value {
        /// Where the step begins, from 1.
        line: usize,
        /// Which step, from 1.
        step: usize,
        /// Which field.
        field: &'static str,
        /// What is wrong.
        problem: &'static str,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    #[serde(default)]
    step: Vec<Spanned<Entry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Entry {
    count: Option<u64>,
    status: Option<u16>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    delay_ms: u64,
    fault: Option<Fault>,
    raw: Option<String>,
}

impl Script {
    /// Reads a script.
    ///
    /// # Errors
    /// With the line and the field that does not fit.
    pub fn parse(text: &str) -> Result<Self, ScriptError> {
        let read: Text = toml::from_str(text)?;
        let last = read.step.len();
        let steps = read.step.into_iter().enumerate().map(|(index, entry)| {
            let line = text.get(..entry.span().start).unwrap_or(text).matches('\n').count() + 1;
            let step = index + 1;
            let wrong = |(field, problem)| ScriptError::Value { line, step, field, problem };
            let entry = entry.into_inner();
            if entry.count.is_none() && step < last {
                return Err(wrong(("count", "only the last step may do without")));
            }
            entry.step().map_err(wrong)
        });
        Ok(Self(steps.collect::<Result<_, _>>()?))
    }

    /// A script of one reply, for so many requests or for all.
    pub fn of(count: Option<u64>, reply: Reply) -> Self {
        Self(Arc::new([Step { count, reply }]))
    }

    pub(super) fn reply(&self, number: u64) -> Reply {
        let mut begun = 0;
        let current = self.0.iter().find(|step| {
            begun = step.count.map_or(u64::MAX, |count| u64::saturating_add(begun, count));
            number <= begun
        });
        current.map(|step| step.reply.clone()).unwrap_or_default()
    }
}

impl Entry {
    fn step(self) -> Result<Step, (&'static str, &'static str)> {
        if self.count == Some(0) {
            return Err(("count", "a step is for one request at least"));
        }
        if self.status.is_some_and(|status| !(200..=599).contains(&status)) {
            return Err(("status", "expected a number from 200 to 599"));
        }
        for (name, value) in &self.headers {
            if HeaderName::try_from(name).is_err() || HeaderValue::try_from(value).is_err() {
                return Err(("headers", "a name or a value is none of HTTP"));
            }
        }
        let act = match (self.fault, self.raw) {
            (Some(_), Some(_)) => return Err(("raw", "a step has a fault or raw bytes, not both")),
            (Some(fault), None) => Act::Fault(fault),
            (None, Some(raw)) => Act::Raw(raw.into_bytes()),
            (None, None) => Act::Answer,
        };
        let status = self.status.unwrap_or(if act == Act::Answer { 204 } else { 200 });
        let delay = Duration::from_millis(self.delay_ms);
        let headers = self.headers.into_iter().collect();
        Ok(Step { count: self.count, reply: Reply { status, headers, delay, act } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_follow_each_other_and_then_all_is_well() {
        let script = Script::parse(
            r#"
            [[step]]
            count = 2
            status = 503
            headers = { retry-after = "5" }

            [[step]]
            count = 1
            delay-ms = 250
            fault = "reset-in-head"
            "#,
        )
        .unwrap();

        let busy = Reply { headers: vec![("retry-after".to_owned(), "5".to_owned())], ..Reply::of(503) };
        let reset = Reply { delay: Duration::from_millis(250), ..Reply::wrong(Fault::ResetInHead) };
        let expected = [busy.clone(), busy, reset, Reply::of(204), Reply::of(204)];
        assert_eq!([1, 2, 3, 4, 5].map(|number| script.reply(number)), expected);
        let endless = Script::parse("[[step]]\nfault = \"never\"").unwrap();
        assert_eq!(endless.reply(u64::MAX), Reply::wrong(Fault::Never));
        assert_eq!(Script::parse("").unwrap().reply(1), Reply::of(204));
    }

    #[test]
    fn what_is_no_script_is_told_with_its_line_and_field() {
        for (text, expected) in [
            (
                "[[step]]\nstatus = 200\n[[step]]\ncount = 1",
                "line 1: count of step 1: only the last step may do without",
            ),
            ("\n\n[[step]]\ncount = 0", "line 3: count of step 1: a step is for one request at least"),
            ("[[step]]\nstatus = 42", "line 1: status of step 1: expected a number from 200 to 599"),
            (
                "[[step]]\nheaders = { \"a b\" = \"c\" }",
                "line 1: headers of step 1: a name or a value is none of HTTP",
            ),
            (
                "[[step]]\nfault = \"reset\"\nraw = \"x\"",
                "line 1: raw of step 1: a step has a fault or raw bytes, not both",
            ),
        ] {
            assert_eq!(Script::parse(text).unwrap_err().to_string(), expected);
        }
        for (text, line, field) in [
            ("[[step]]\ncount = 1\nfualt = \"reset\"", "line 3", "fualt"),
            ("[[step]]\nfault = \"rest\"", "line 2", "reset-in-head"),
            ("[[step]]\nstatus = \"200\"", "line 2", "status"),
            ("[[step]\n", "line 1", ""),
        ] {
            let told = Script::parse(text).unwrap_err().to_string();
            assert!(told.contains(line) && told.contains(field), "{told}");
        }
    }
}
