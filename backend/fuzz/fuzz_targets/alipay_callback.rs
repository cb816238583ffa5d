//! Any callback under the name of Alipay.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| callback_fuzz::alipay::take(input));
