//! The site through its front door: a browser, providers' callbacks, live streams, sockets.
#![allow(clippy::unwrap_used)]

mod callbacks;
mod consumer;
mod guard;
mod module;
mod operator;
mod serving;
mod support;
