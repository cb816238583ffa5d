//! Modules: their rows, keys, commands, settings, and what is known of them.
//!
//! `commands` queues commands and `numbers` has the numbers by which credits are known; `settings` are wanted of a module,
//! `remote_actions` done once; `coins` says how far a total of coins is believed; `learning_results` and `diagnostics` keep what a status
//! tells beside; `admission` says who may connect; `stale_store` notices that a module knows more credits than the store.

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
