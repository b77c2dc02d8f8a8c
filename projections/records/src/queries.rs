//! Reads of current state.
//!
//! Every function names the organization and is meant for a connection that is bound to it, so that row-level
//! security holds as well; [`find_api_key`], [`list_organizations`], [`organizations_with_erasures`],
//! [`list_late_uploads`], [`list_files_of_erased`], [`organizations_with_files`], [`list_undocumented_forms`],
//! [`list_erased_patients`] and [`files_settled`] alone look across organizations. Lists run from the newest row to the
//! oldest; the cursor is the `created_position` of the last row that was shown.

mod api_keys;
mod appointments;
mod cells;
mod files;
mod forms;
mod members;
mod organizations;
mod page;
mod patients;
mod plans;
mod specialists;

pub(crate) use api_keys::load_api_keys;
pub use api_keys::{find_api_key, list_api_keys};
pub(crate) use appointments::load_appointments;
pub use appointments::{AppointmentFilter, get_appointment, list_appointments};
pub use cells::QueryError;
pub(crate) use files::load_files;
pub use files::{
    FileFilter, files_alive, files_settled, get_file, has_files, list_files, list_files_of_erased,
    list_late_uploads, organizations_with_files,
};
pub(crate) use forms::load_forms;
pub use forms::{FormFilter, get_form, list_forms, list_undocumented_forms};
pub(crate) use members::load_members;
pub use members::{get_member, list_members};
pub use organizations::{get_integration, get_organization, list_integrations, list_organizations};
pub(crate) use organizations::{load_integrations, load_organizations};
pub use page::{MAX_LIMIT, Page};
pub use patients::{
    get_patient, list_consents, list_erased_patients, list_patients, organizations_with_erasures,
};
pub(crate) use patients::{load_consents, load_patients};
pub use plans::{PlanFilter, get_plan, list_plan_exercises, list_plans};
pub(crate) use plans::{load_exercises, load_plans};
pub(crate) use specialists::load_specialists;
pub use specialists::{get_specialist, list_specialists};
