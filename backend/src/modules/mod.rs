//! Modules: their rows, keys, commands, settings, and what is known of them.
//!
//! `commands` queues commands, `numbers` derives the numbers of credits; `settings` has the wanted settings of a
//! module, `remote_actions` what it shall do once; `coins` decides how far a total of coins is believed;
//! `learning_results` and `diagnostics` keep what else a status reports; `admission` says who may connect;
//! `stale_store` notices that a module knows of more credits than the store.

pub mod admission;
pub(crate) mod coin_correction;
pub(crate) mod coins;
pub(crate) mod command;
pub(crate) mod commands;
pub(crate) mod diagnosis;
pub(crate) mod diagnostics;
pub(crate) mod dropped;
pub(crate) mod keys;
pub(crate) mod learning_result;
pub(crate) mod learning_results;
pub(crate) mod locks;
pub(crate) mod module;
pub(crate) mod numbers;
pub(crate) mod pending_queries;
pub(crate) mod pulse;
pub mod registry;
pub(crate) mod remote_actions;
pub(crate) mod rows;
pub(crate) mod secrets;
pub(crate) mod settings;
pub(crate) mod stale_store;

pub use admission::{Admission, Disabled};
pub(crate) use commands::credit_unanswered;
pub use diagnostics::DiagnosticsView;
pub use learning_result::Verdict;
pub use learning_results::LearningResultView;
pub use numbers::credit_id;
pub use registry::ModuleRow;
pub use remote_actions::{LearnOptions, Progress, RemoteAction, RemoteActionView};
pub use settings::ModuleSettings;
pub use stale_store::StaleStoreView;
