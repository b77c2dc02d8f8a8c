carelog_domain::facts! {
    /// Facts that could hold a name.
    pub struct PatientGreeted {
        /// The name.
        pub name: &'static str,
    }
}

fn main() {}
