//! The rig: the module's image in an emulator, with a simulated modem, against the real server.

use crate::{
    firmware,
    program::{Program, binaries, binary},
};
use anyhow::Result;

/// Tests at a time. An emulated module idles, and so does whoever waits for it: there are more of them than processors.
const TESTS_AT_A_TIME: &str = "6";

/// Builds the image and the server, and runs the rig's tests: all, or those whose names hold a word.
pub fn run(words: &[&str]) -> Result<()> {
    firmware::build()?;
    binaries()?;
    // Chosen by target, not by package: the workspace's features stay as they are, and nothing is compiled again.
    Program::cargo(&["test", "--workspace", "--test", "rig", "--", "--ignored", "--show-output"])
        .args(&["--test-threads", TESTS_AT_A_TIME])
        .args(words)
        .env("COINWIRE_IMAGE", firmware::image())
        .env("COINWIRE_BIN", binary("debug", "coinwire"))
        .run()
}
