//! One [`Grid`](super::grid::Grid), three notations.

mod csv;
mod latex;
mod markdown;

pub use csv::csv;
pub use latex::latex;
pub use markdown::{aligned, markdown};

#[cfg(test)]
mod tests {
    use super::super::grid::{Entry, Grid};
    use super::*;

    fn grid() -> Grid {
        let mut grid = Grid::new("Steps", &["Step", "Ratio >"]);
        grid.push(["unpack=lut|x".into(), Entry::strong_if(true, "1.42 [1.40, 1.44]")]);
        grid.push(["50% & <#_{}~^\\$".into(), "×, –, −, ≥, →, µ, ′".into()]);
        grid.notes.push("10 blocks; margin 1 %.".into());
        grid
    }

    #[test]
    fn markdown_escapes_markup() {
        insta::assert_snapshot!(markdown(&grid()));
    }

    #[test]
    fn aligned_columns_are_markdown_too() {
        insta::assert_snapshot!(aligned(&grid()));
    }

    #[test]
    fn latex_escapes_everything_special() {
        insta::assert_snapshot!(latex(&grid(), "run 1"));
    }

    #[test]
    fn csv_quotes_commas() {
        insta::assert_snapshot!(csv(&grid()));
    }
}
