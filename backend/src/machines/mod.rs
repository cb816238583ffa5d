//! Machines: what a module is wired to, with code, site and prices; and the operator's view of the fleet. Changes by
//! people are in `flows/operate`.

pub mod fleet;
pub mod list;
pub(crate) mod machine;
pub(crate) mod price;
pub mod prices;
pub mod remote;
pub(crate) mod rows;
pub mod shapes;

pub use fleet::fault_names;
pub use list::MachineRow;
pub use remote::RemoteView;
