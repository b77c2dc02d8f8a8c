//! What can happen to the accounting of disclosures that a patient gets.

use crate::ids::SuspensionId;
use crate::personal::personal_structs;
use crate::{Timestamp, closed_enum, events, facts};

closed_enum! {
    /// What kind of agency may ask that a patient gets no account of disclosures to it (45 CFR 164.528(a)(2)).
    pub enum AgencyKind {
        /// It oversees health care (45 CFR 164.512(d)).
        HealthOversight = "health_oversight",
        /// It enforces the law (45 CFR 164.512(f)).
        LawEnforcement = "law_enforcement",
    }
}

closed_enum! {
    /// How an agency asked.
    pub enum StatementForm {
        /// In writing, with a time.
        Written = "written",
        /// By word of mouth, which holds for 30 days at most.
        Oral = "oral",
    }
}

personal_structs! {
    /// An agency's statement that an account of disclosures to it would be likely to impede what it does.
    pub struct AgencyStatement {
        /// The agency, as recipients are named when disclosures are written down.
        pub agency: String,
        /// Who spoke or signed for it.
        #[serde(default)]
        pub official: Option<String>,
        /// What was said.
        #[serde(default)]
        pub statement: Option<String>,
    }
}

facts! {
    /// For a time the patient gets no account of disclosures to an agency.
    pub struct AccountingSuspended {
        /// Which suspension.
        pub suspension_id: SuspensionId,
        /// What kind of agency asked for it.
        pub agency_kind: AgencyKind,
        /// How it asked.
        pub form: StatementForm,
        /// When it asked.
        pub stated_at: Timestamp,
        /// Until when.
        pub ends_at: Timestamp,
    }
    personal Clinical: AgencyStatement;
}

facts! {
    /// The patient gets the account of disclosures to the agency again, before the time was over.
    pub struct AccountingResumed {
        /// Which suspension ended.
        pub suspension_id: SuspensionId,
    }
}

events! {
    /// What can happen to the accounting of disclosures that a patient gets.
    pub enum AccountingEvent in Accounting {
        /// For a time the patient gets no account of disclosures to an agency.
        Suspended(AccountingSuspended) = AccountingSuspended,
        /// The patient gets the whole account again.
        Resumed(AccountingResumed) = AccountingResumed,
    }
}
