carelog_domain::facts! {
    /// Facts that could hold a name.
    pub struct PatientGreeted {
        /// The name.
        pub name: Option<String>,
    }
}

fn main() {}
