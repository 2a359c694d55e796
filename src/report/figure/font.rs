//! One font, part of the program and of every SVG, so that figures look the same on every machine.

use std::sync::LazyLock;

use ab_glyph::{Font, FontRef, PxScale, PxScaleFont, ScaleFont};

use super::base64::base64;

/// DejaVu Sans, Basic Latin and a few symbols; its licence lies beside it.
const BYTES: &[u8] = include_bytes!("../../../assets/DejaVuSans-subset.ttf");

/// Name of the font within an SVG.
pub const FAMILY: &str = "DejaVu Sans";

static FONT: LazyLock<FontRef<'static>> =
    LazyLock::new(|| FontRef::try_from_slice(BYTES).expect("the embedded font is valid"));

/// The font with an em of this many pixels.
pub fn scaled(em: f64) -> PxScaleFont<&'static FontRef<'static>> {
    // The library scales the height of a line, which differs from the em.
    let line = FONT.height_unscaled() / FONT.units_per_em().unwrap_or(1.0);
    FONT.as_scaled(PxScale::from(em as f32 * line))
}

/// Width of a text, in the unit of `em`.
pub fn width(text: &str, em: f64) -> f64 {
    let font = scaled(em);
    text.chars().map(|c| f64::from(font.h_advance(font.glyph_id(c)))).sum()
}

/// Breaks a text at spaces so that each line is at most `limit` wide; single words may be wider.
pub fn wrap(text: &str, em: f64, limit: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if width(&format!("{line} {word}"), em) <= limit => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// The SVG with the font inside.
pub fn embed(svg: &str) -> String {
    let style = format!(
        "\n<style>@font-face{{font-family:\"{FAMILY}\";src:url(data:font/ttf;base64,{})}}</style>",
        base64(BYTES)
    );
    let start = svg.find("<svg").and_then(|tag| svg[tag..].find('>').map(|end| tag + end + 1));
    let (head, tail) = svg.split_at(start.unwrap_or(0));
    format!("{head}{style}{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrapped_lines_fit_and_lose_nothing() {
        let text = "unpack=lut × unroll=4 × prefetch=software × epilogue=fused";
        let lines = wrap(text, 11.0, 150.0);
        assert!(lines.len() > 1 && lines.iter().all(|line| width(line, 11.0) <= 150.0));
        assert_eq!(lines.join(" "), text);
    }

    /// Symbols that reports print have glyphs: a missing one would be drawn as a box.
    #[test]
    fn symbols_are_in_the_subset() {
        for symbol in "×–−±′≥≤·→µ/=%[]()".chars() {
            assert_ne!(FONT.glyph_id(symbol).0, 0, "{symbol}");
        }
    }
}
