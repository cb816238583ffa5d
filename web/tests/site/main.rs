//! The site through its front door: a browser, providers' callbacks, live streams, sockets.
#![allow(clippy::unwrap_used)]

mod callbacks;
mod consumer;
mod expired_forms;
mod guard;
mod module;
mod navigation;
mod operator;
mod orders;
mod roles;
mod serving;
mod support;
mod ways;
