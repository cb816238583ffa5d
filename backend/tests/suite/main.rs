//! The backend through its public door, on a real store: the same tests run on SQLite and, with
//! `COINWIRE_TEST_DATABASE=mysql://user@host:port`, on a MariaDB. Time stands still until a test moves it.
#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod accounts;
mod acks;
mod admission;
mod authorisation;
mod bus;
mod callbacks;
mod clock_steps;
mod coins;
mod commands;
mod disputes;
mod dropped;
mod elsewhere;
mod failing_disk;
mod machines;
mod manual_actions;
mod manufacturers;
mod neighbours;
mod operators;
mod orders;
mod payments;
mod people;
mod presence;
mod probes;
mod provider_seam;
mod refunds;
mod remote_actions;
mod resets;
mod restarts;
mod restored;
mod sales;
mod second_way;
mod secrets;
mod settings;
mod statements;
mod stores;
