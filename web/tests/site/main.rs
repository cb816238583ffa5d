//! The site through its front door: a browser, providers' callbacks, live streams, sockets.
#![allow(clippy::unwrap_used)]

mod callbacks;
mod consumer;
mod guard;
mod lay_open;
mod module;
mod operator;
mod orders;
mod serving;
mod support;
mod ways_on;
