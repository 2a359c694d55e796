//! Facts about the build that a run's manifest carries.

use std::{env, fs, path::Path, process::Command};

use sha2::{Digest, Sha256};

/// What the program is made of.
const SOURCES: [&str; 10] =
    ["Cargo.toml", "Cargo.lock", ".cargo", "build.rs", "src", "kernels", "peers", "assets", "data", "models"];

fn main() {
    let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let version = Command::new(rustc).arg("-V").output().map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned());
    let variable = |name: &str| env::var(name).unwrap_or_default();
    let lock = fs::read("Cargo.lock").unwrap_or_default();
    // Only a release build asks git, and is built again for each commit: its numbers may be cited.
    let release = variable("PROFILE") == "release";
    let commit = if release { git(&["rev-parse", "HEAD"]) } else { None }.unwrap_or_default();
    let dirty = if release { dirty() } else { None }.unwrap_or_default();
    let facts = [
        ("SEPTET_RUSTC", version.unwrap_or_default()),
        ("SEPTET_TARGET", variable("TARGET")),
        ("SEPTET_PROFILE", format!("{} opt-level {}", variable("PROFILE"), variable("OPT_LEVEL"))),
        ("SEPTET_RUSTFLAGS", variable("CARGO_ENCODED_RUSTFLAGS").replace('\u{1f}', " ")),
        ("SEPTET_LOCK_SHA256", hex(&lock)),
        ("SEPTET_GIT_COMMIT", commit),
        ("SEPTET_GIT_DIRTY", dirty),
    ];
    for (name, value) in facts {
        println!("cargo:rustc-env={name}={value}");
    }
    for path in SOURCES.into_iter().filter(|path| Path::new(path).exists()) {
        println!("cargo:rerun-if-changed={path}");
    }
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]).filter(|log| release && Path::new(log).exists()) {
        println!("cargo:rerun-if-changed={log}");
    }
}

/// `clean`, or a hash of what differs from the commit in the sources.
fn dirty() -> Option<String> {
    let differs = |arguments: &[&str]| git(&[arguments, &["--"], &SOURCES].concat());
    if differs(&["status", "--porcelain"])?.is_empty() {
        return Some("clean".to_owned());
    }
    Some(format!("dirty {}", &hex(differs(&["diff", "HEAD"])?.as_bytes())[..12]))
}

/// What git says, if there is a git and this is a checkout.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// SHA-256 in hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
