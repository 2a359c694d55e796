//! Facts about the build that a run's manifest carries.

use std::{env, fs, process::Command};

use sha2::{Digest, Sha256};

fn main() {
    let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let version = Command::new(rustc).arg("-V").output().map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned());
    let variable = |name: &str| env::var(name).unwrap_or_default();
    let lock = fs::read("Cargo.lock").unwrap_or_default();
    let lock: String = Sha256::digest(&lock).iter().map(|byte| format!("{byte:02x}")).collect();
    let facts = [
        ("SEPTET_RUSTC", version.unwrap_or_default()),
        ("SEPTET_TARGET", variable("TARGET")),
        ("SEPTET_PROFILE", format!("{} opt-level {}", variable("PROFILE"), variable("OPT_LEVEL"))),
        ("SEPTET_RUSTFLAGS", variable("CARGO_ENCODED_RUSTFLAGS").replace('\u{1f}', " ")),
        ("SEPTET_LOCK_SHA256", lock),
    ];
    for (name, value) in facts {
        println!("cargo:rustc-env={name}={value}");
    }
    println!("cargo:rerun-if-changed=Cargo.lock");
    println!("cargo:rerun-if-changed=build.rs");
}
