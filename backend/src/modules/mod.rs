//! Modules: their rows, keys, commands, settings, and what is known of them.
//!
//! `commands` queues commands and `numbers` has the numbers by which credits are known; `settings` are wanted of a module,
//! `errands` done once; `coins` says how far a total of coins is believed; `lessons` and `diagnostics` keep what a status
//! tells beside; `admission` says who may connect; `behind` notices that a module knows more credits than the store.

pub mod admission;
pub(crate) mod behind;
pub(crate) mod coin_correction;
pub(crate) mod coins;
pub(crate) mod command;
pub(crate) mod commands;
pub(crate) mod diagnosis;
pub(crate) mod diagnostics;
pub mod dropped;
pub(crate) mod errands;
pub(crate) mod keys;
pub(crate) mod lesson;
pub(crate) mod lessons;
pub mod locks;
pub(crate) mod module;
pub(crate) mod numbers;
pub(crate) mod pulse;
pub(crate) mod questions;
pub mod registry;
pub mod rows;
pub mod secrets;
pub(crate) mod settings;

pub use admission::Admission;
pub use admission::Disabled;
pub use behind::BehindView;
pub(crate) use commands::is_silent_about;
pub use diagnostics::DiagnosticsView;
pub use errands::Errand;
pub use errands::ErrandView;
pub use errands::LearnOptions;
pub use lessons::LessonView;
pub use lessons::ProfileView;
pub use numbers::credit_id;
pub use registry::ModuleRow;
pub use settings::ModuleSettings;
