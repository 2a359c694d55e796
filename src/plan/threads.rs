//! Which numbers of threads are worth measuring.

/// All up to 4, then powers of two, and `cores`.
pub fn thread_counts(cores: usize) -> Vec<usize> {
    (1..=cores).filter(|&n| n <= 4 || n.is_power_of_two() || n == cores).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thread_counts_end_with_all_cores() {
        assert_eq!(thread_counts(1), [1]);
        assert_eq!(thread_counts(3), [1, 2, 3]);
        assert_eq!(thread_counts(8), [1, 2, 3, 4, 8]);
        assert_eq!(thread_counts(24), [1, 2, 3, 4, 8, 16, 24]);
    }
}
