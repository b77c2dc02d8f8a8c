//! What the writer of a receiver has to know, in words: the same in the AsyncAPI document and on the page of events.
//! Text between backticks is code.

/// A title and a paragraph.
pub(super) const SECTIONS: [(&str, &str); 6] = [
    (
        "Check the signature",
        "`webhook-signature` is a list of `v1,<base64>`, separated by spaces, as in Standard Webhooks. Each is \
         HMAC-SHA256 over `{webhook-id}.{webhook-timestamp}.{body}`, the body byte for byte as it arrived. The key is \
         what follows `whsec_` in the subscription's secret, decoded from base64. Take the request when one of them \
         matches, compared in constant time, and `webhook-timestamp` is within five minutes of your clock. While a \
         secret is being replaced, each of the two makes a signature.",
    ),
    (
        "Answer soon",
        "Answer with any 2xx within ten seconds, and work on the event afterwards. Redirects are not followed. Any \
         other answer, and none at all, is a failure.",
    ),
    (
        "Expect it again",
        "There are at most five attempts in about a day: at once, then after 1 minute, 11 minutes, 2 hours and 22 \
         hours, each give or take a fifth. `Retry-After` is obeyed. 410, or the answer header `webhook-delivery: \
         disable`, disables the subscription; 415, or `webhook-delivery: abort-message`, ends the one delivery.",
    ),
    (
        "Count on neither order nor once",
        "A delivery can arrive more than once, always under the same `webhook-id`: remember the ids that you have \
         worked on. Deliveries can arrive in any order; `sequence` says in which order the events happened.",
    ),
    (
        "Keep the checkpoint",
        "`carelog-checkpoint`, once one was signed, is the newest checkpoint of the clinic's log in base64: a signed note \
         (C2SP tlog-checkpoint) with the log's name, its number of events and the root of their tree. Keep the one with \
         the largest number. Whoever has one can prove later what the log held then: \
         `GET /v1/proofs/consistency?from=` with its number must lead from its root to that of any newer checkpoint. \
         `webhook-signature` does not cover the header; its own signature does.",
    ),
    (
        "Expect more",
        "New types of event and new properties appear without notice: ignore what you do not know. What is described \
         here stays: a property keeps its name, type and meaning, a required one is always there, a number stays \
         within its bounds, and an enum has the values that are listed and gets no others. What cannot keep to this \
         becomes a new type of event.",
    ),
];

/// The headers of every request: name, meaning, example.
pub(super) const HEADERS: [(&str, &str, &str); 3] = [
    (
        "webhook-id",
        "The delivery's id, a UUID; the same on every attempt.",
        "019cade2-11c0-7000-8000-000000000007",
    ),
    ("webhook-timestamp", "When this attempt was made, in seconds since 1970-01-01T00:00:00Z.", "1772443800"),
    (
        "webhook-signature",
        "One signature or more, separated by spaces.",
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    ),
];
