//! Every peer that this program has and this machine can run, through the public interface.

use std::sync::Arc;

use septet_peers::{Activations, Error, Level, Peer, Product, Threads, Weights, check, facts};

/// The peers that run here. Others are named with their reason, as with kernels that a CPU lacks.
fn available() -> impl Iterator<Item = Peer> {
    let runs = |&peer: &Peer| peer.available().map_err(|reason| println!("skipped {peer}: {reason}")).is_ok();
    Peer::ALL.iter().copied().filter(runs)
}

/// Row `row` of a matrix that every format can hold well: a wave of its own frequency.
fn wave(row: usize, out: &mut [f32]) {
    for (k, weight) in out.iter_mut().enumerate() {
        *weight = ((row + 1) as f32 * 0.1 * k as f32).sin();
    }
}

#[test]
fn every_peer_multiplies() {
    for peer in available() {
        let error = check::check(peer, 2).unwrap_or_else(|error| panic!("{error}"));
        println!("{peer}: relative error {error:.1e}");
        // Integers are rounded: an error of nothing would mean that nothing was compared.
        assert!(error > 0.0, "{peer}");
        assert!(peer.activations() == Activations::F32 || error > 1e-5, "{peer}");
    }
}

#[test]
fn stored_bytes_are_those_of_the_format_and_of_the_shape() {
    for peer in available() {
        let (rows, cols) = (64, 512);
        let weights = Weights::new(peer, rows, cols, 2, &wave).expect("a small matrix");
        assert_eq!(weights.stored_bytes() as f64 * 8.0, peer.bits_per_weight() * (rows * cols) as f64, "{peer}");
    }
}

#[test]
fn stored_weights_stand_for_the_source_and_repeat() {
    for peer in available() {
        let (rows, cols) = (320, 512);
        let weights = Weights::new(peer, rows, cols, 1, &wave).expect("a small matrix");
        let (mut first, mut again, mut exact) = (vec![0.0; cols], vec![0.0; cols], vec![0.0; cols]);
        for row in 0..64 {
            weights.row(row, &mut first);
            weights.row(row + 256, &mut again);
            assert_eq!(first, again, "{peer}");
            wave(row, &mut exact);
            let square = |x: f32| f64::from(x).powi(2);
            let difference: f64 = first.iter().zip(&exact).map(|(a, b)| square(a - b)).sum();
            let error = (difference / exact.iter().copied().map(square).sum::<f64>()).sqrt();
            let most = match peer.bits_per_weight() {
                32.0 => 0.0,
                16.0 => 0.001,
                // Ternary weights keep little of a wave but its sign.
                ..3.0 => 0.6,
                bits => 4.0 * (-bits).exp2(),
            };
            assert!(error <= most, "{peer}: {error}");
        }
    }
}

#[test]
fn what_a_peer_cannot_do_is_an_error_that_says_what_is_valid() {
    for peer in available() {
        let multiple = peer.column_multiple();
        if multiple > 1 {
            let error = Weights::new(peer, 8, multiple + 1, 1, &wave).expect_err("no whole block");
            assert!(error.to_string().contains(&format!("multiple of {multiple}")), "{error}");
        }
        for (rows, cols, copies) in [(0, 256, 1), (8, 0, 1), (8, 256, 0), (1 << 32, 256, 1), (8, 1 << 32, 1)] {
            assert!(matches!(Weights::new(peer, rows, cols, copies, &wave), Err(Error::Shape { .. })), "{peer}");
        }
        let weights = Arc::new(Weights::new(peer, 64, 256, 2, &wave).expect("a small matrix"));
        for threads in [0, 100_000] {
            let product = Product::new(&weights, 2, &Threads::free(threads));
            assert!(matches!(product, Err(Error::Threads { .. })), "{peer}, {threads} threads");
        }
        assert!(matches!(Product::new(&weights, 0, &Threads::free(1)), Err(Error::Shape { .. })));
        let mut product = Product::new(&weights, 2, &Threads::free(1)).expect("a product");
        let (x, mut out) = (vec![0.0; 512], vec![0.0; 128]);
        assert!(matches!(product.run(2, &x, &mut out), Err(Error::Copy { found: 2, copies: 2 })));
        assert!(matches!(product.run(0, &x[1..], &mut out), Err(Error::Length { operand: "activations", .. })));
        assert!(matches!(product.run(0, &x, &mut out[1..]), Err(Error::Length { operand: "output", .. })));
        product.run(1, &x, &mut out).expect("valid operands");
    }
}

#[test]
fn products_share_weights_and_move_between_threads() {
    for peer in available() {
        let weights = Arc::new(Weights::new(peer, 64, 256, 2, &wave).expect("a small matrix"));
        let mut products: Vec<Product> =
            [1, 2].map(|n| Product::new(&weights, 3, &Threads::free(n)).expect("a product")).into();
        let x: Vec<f32> = (0..3 * 256).map(|k| (k as f32).cos()).collect();
        let run = |product: &mut Product, copy| {
            let mut out = vec![f32::NAN; 3 * 64];
            product.run(copy, &x, &mut out).expect("a product");
            out
        };
        let here = run(&mut products[0], 0);
        let there = std::thread::scope(|scope| {
            let jobs: Vec<_> = products.iter_mut().map(|product| scope.spawn(|| run(product, 1))).collect();
            jobs.into_iter().map(|job| job.join().expect("no panic")).collect::<Vec<_>>()
        });
        let close = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-3);
        assert!(there.iter().all(|out| close(out, &here)), "{peer}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn bound_threads_leave_the_caller_where_it_was() {
    use rustix::thread::sched_getaffinity;
    let before = sched_getaffinity(None).expect("Linux tells");
    let cpus: Vec<usize> = (0..1024).filter(|&cpu| before.is_set(cpu)).take(2).collect();
    for peer in available() {
        let weights = Arc::new(Weights::new(peer, 64, 256, 1, &wave).expect("a small matrix"));
        let mut product = Product::new(&weights, 8, &Threads::bound(&cpus)).expect("a product");
        let (x, mut out) = (vec![1.0; 8 * 256], vec![0.0; 8 * 64]);
        for _ in 0..2 {
            product.run(0, &x, &mut out).expect("a product");
            product.rest();
        }
        assert_eq!(sched_getaffinity(None).expect("Linux tells"), before, "{peer}");
    }
}

#[test]
fn facts_have_names_and_values() {
    let facts = facts();
    for (name, value) in &facts {
        println!("{name}: {value}");
        assert!(!name.is_empty() && !value.is_empty() && !value.contains('\n'), "{name}: {value}");
    }
    // Every peer that cannot run says why.
    let absent = Peer::ALL.iter().filter(|peer| peer.available().is_err());
    assert!(absent.into_iter().all(|peer| facts.iter().any(|(name, _)| *name == peer.to_string())));
}
