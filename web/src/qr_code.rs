//! Codes to scan, as SVG.

use crate::failure::Failure;
use qrcode::{EcLevel, QrCode, render::svg};

/// Least side length of a code, in SVG units.
const SIDE: u32 = 240;

/// A text as a code, for use inside a page.
pub(crate) fn svg(text: &str, level: EcLevel) -> Result<String, Failure> {
    let code = QrCode::with_error_correction_level(text, level)
        .map_err(|_| Failure::Malformed("the text is too long for a code"))?;
    let svg = code
        .render::<svg::Color>()
        .min_dimensions(SIDE, SIDE)
        .dark_color(svg::Color("#000"))
        .light_color(svg::Color("#fff"))
        .build();
    // Inside a page there is no XML prologue.
    Ok(svg.split_once("?>").map_or(svg.as_str(), |(_, rest)| rest).to_owned())
}
