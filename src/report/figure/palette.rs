//! Colours that every reader can tell apart (Okabe and Ito, "Color Universal Design", 2008), and
//! the greys of everything that is not data.

use plotters::style::RGBColor;

pub const BLUE: RGBColor = RGBColor(0, 114, 178);
pub const ORANGE: RGBColor = RGBColor(230, 159, 0);
pub const GREEN: RGBColor = RGBColor(0, 158, 115);
pub const VERMILLION: RGBColor = RGBColor(213, 94, 0);
pub const SKY: RGBColor = RGBColor(86, 180, 233);
pub const PURPLE: RGBColor = RGBColor(204, 121, 167);
pub const INK: RGBColor = RGBColor(30, 30, 30);
pub const SOFT_INK: RGBColor = RGBColor(95, 95, 95);
pub const NEUTRAL: RGBColor = RGBColor(130, 130, 130);
pub const GUIDE: RGBColor = RGBColor(222, 222, 222);
pub const STRIPE: RGBColor = RGBColor(246, 246, 246);
pub const PAPER: RGBColor = RGBColor(255, 255, 255);
