//! The words for the ways to pay.

/// Within WeChat: the page calls it.
pub(super) const JSAPI: &str = "jsapi";
/// Outside WeChat, in the phone's browser, which opens WeChat.
pub(super) const H5: &str = "h5";
/// A code on a screen, which WeChat's camera reads.
pub(super) const NATIVE: &str = "native";
