//! One line of text, placed alike by both backends.
//!
//! SVG viewers set text themselves and centre it on half the height of an x; on bitmaps, glyphs
//! are drawn here with their own side bearings and the same centre.

use std::convert::Infallible;
use std::iter::{Once, once};

use ab_glyph::{Font, ScaleFont, point};
use plotters::element::{Drawable, PointCollection};
use plotters::prelude::DrawingBackend;
use plotters_backend::text_anchor::{HPos, Pos, VPos};
use plotters_backend::{BackendColor, BackendCoord, BackendTextStyle, DrawingErrorKind, FontFamily};

use super::font::{FAMILY, scaled, width};

/// The SVG backend divides sizes by this to get an em.
const SVG_SIZE_PER_EM: f64 = 1.24;

/// A text at a point: vertically centred, and left, right or centre of it.
pub struct Lettering<'a> {
    pub text: &'a str,
    pub at: BackendCoord,
    pub side: HPos,
    /// Size in pixels.
    pub em: f64,
    pub color: (u8, u8, u8),
}

impl<'a> PointCollection<'a, BackendCoord> for &'a Lettering<'_> {
    type Point = &'a BackendCoord;
    type IntoIter = Once<&'a BackendCoord>;

    fn point_iter(self) -> Self::IntoIter {
        once(&self.at)
    }
}

impl<B: DrawingBackend> Drawable<B> for Lettering<'_> {
    fn draw<I: Iterator<Item = BackendCoord>>(
        &self,
        points: I,
        backend: &mut B,
        _: (u32, u32),
    ) -> Result<(), DrawingErrorKind<B::ErrorType>> {
        points.into_iter().try_for_each(|at| backend.draw_text(self.text, self, at))
    }
}

impl BackendTextStyle for Lettering<'_> {
    type FontError = Infallible;

    fn color(&self) -> BackendColor {
        BackendColor { alpha: 1.0, rgb: self.color }
    }

    fn size(&self) -> f64 {
        self.em * SVG_SIZE_PER_EM
    }

    fn anchor(&self) -> Pos {
        Pos::new(self.side, VPos::Center)
    }

    fn family(&self) -> FontFamily<'_> {
        FontFamily::Name(FAMILY)
    }

    /// A box without height, so that the backend leaves the vertical position to [`Self::draw`].
    fn layout_box(&self, text: &str) -> Result<((i32, i32), (i32, i32)), Infallible> {
        Ok(((0, 0), (width(text, self.em).round() as i32, 0)))
    }

    fn draw<E, F: FnMut(i32, i32, BackendColor) -> Result<(), E>>(
        &self,
        text: &str,
        (x, y): BackendCoord,
        mut draw: F,
    ) -> Result<Result<(), E>, Infallible> {
        let font = scaled(self.em);
        let half_x = font.outline_glyph(font.scaled_glyph('x')).map_or(0.0, |glyph| glyph.px_bounds().height() / 2.0);
        let mut pen = x as f32;
        for c in text.chars() {
            let mut glyph = font.scaled_glyph(c);
            glyph.position = point(pen, y as f32 + half_x.round());
            pen += font.h_advance(glyph.id);
            let Some(outline) = font.font().outline_glyph(glyph) else { continue };
            let corner = outline.px_bounds().min;
            let mut drawn = Ok(());
            outline.draw(|dx, dy, coverage| {
                if drawn.is_ok() && coverage > 0.0 {
                    let color = BackendColor { alpha: f64::from(coverage.min(1.0)), rgb: self.color };
                    drawn = draw(corner.x as i32 + dx as i32, corner.y as i32 + dy as i32, color);
                }
            });
            if drawn.is_err() {
                return Ok(drawn);
            }
        }
        Ok(Ok(()))
    }
}
