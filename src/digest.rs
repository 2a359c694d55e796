//! Content hashes: what ties a result to the exact bytes that it came from.

use sha2::{Digest, Sha256};

/// SHA-256 of `parts`, one after the other, as hexadecimal digits.
pub fn sha256<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_sha256_however_the_bytes_are_cut() {
        // FIPS 180-4, "abc".
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256([b"abc".as_slice()]), expected);
        assert_eq!(sha256([b"a".as_slice(), b"", b"bc"]), expected);
    }
}
