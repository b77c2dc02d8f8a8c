carelog_domain::facts! {
    /// Facts that could hold a name.
    pub struct PatientGreeted {
        /// The name.
        pub name: serde_json::Value,
    }
}

fn main() {}
