//! Any callback under the name of WeChat Pay.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| callback_fuzz::wechat::take(input));
