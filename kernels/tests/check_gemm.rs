//! Every GEMM kernel that this CPU runs is bit-equal to the reference in every column.

use septet_kernels::{
    Format, Level,
    check::Outcome,
    gemm::{
        check::{GemmCases, check},
        kernels,
    },
};

#[test]
fn every_kernel_equals_the_reference() {
    let seed = 20_261_121;
    let (mut checked, mut skipped) = (0, 0);
    for &format in Format::ALL {
        let cases = GemmCases::new(format, seed);
        for kernel in kernels().iter().filter(|k| k.variant.format == format) {
            match check(kernel, &cases) {
                Outcome::Equal { cases, .. } => {
                    assert!(cases > 0, "{}: no case was offered", kernel.variant);
                    checked += 1;
                }
                Outcome::Skipped(reason) => {
                    skipped += 1;
                    println!("skipped {}: {reason}", kernel.variant);
                }
                Outcome::Failed(mismatch) => panic!("seed {seed}: {} {mismatch:?}", kernel.variant),
            }
        }
    }
    println!("checked {checked}, skipped {skipped}, seed {seed}");
    assert!(checked > 0, "nothing was checked");
}
