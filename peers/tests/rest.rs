//! Threads of a product that rests use no CPU time. Alone in its process, whose CPU time it measures.

#![cfg(target_os = "linux")]

use std::{fs, sync::Arc, thread, time::Duration};

use septet_peers::{Level, Peer, Product, Threads, Weights};

/// CPU time of this process in hundredths of a second: fields 14 and 15 of `/proc/self/stat`.
fn cpu_ticks() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").expect("Linux has it");
    let (_, after_name) = stat.rsplit_once(')').expect("the second field is a name in brackets");
    after_name.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number")).sum()
}

#[test]
fn a_product_at_rest_uses_no_cpu_time() {
    for peer in Peer::ALL.iter().copied().filter(|peer| peer.available().is_ok()) {
        let row = |row: usize, out: &mut [f32]| out.fill(row as f32);
        let weights = Arc::new(Weights::new(peer, 512, 512, 1, &row).expect("a small matrix"));
        let mut product = Product::new(&weights, 16, &Threads::free(2)).expect("a product");
        let (x, mut out) = (vec![1.0; 16 * 512], vec![0.0; 16 * 512]);
        // The second time it wakes from rest.
        for _ in 0..2 {
            product.run(0, &x, &mut out).expect("a product");
            product.rest();
            let before = cpu_ticks();
            thread::sleep(Duration::from_millis(100));
            let ticks = cpu_ticks() - before;
            assert!(ticks <= 2, "{peer}: {ticks} of 10 hundredths of a second");
        }
    }
}
