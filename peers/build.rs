//! Facts about the peers' builds: versions from the lock file, and how ggml was compiled.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let lock = Path::new("../Cargo.lock");
    if lock.exists() {
        println!("cargo:rerun-if-changed={}", lock.display());
    }
    let lock = fs::read_to_string(lock).unwrap_or_default();
    fact("GEMM_VERSION", &locked_version(&lock, "gemm"));
    fact("GGML_CRATE_VERSION", &locked_version(&lock, "llama-cpp-sys-2"));
    // Cargo gives the folder in which the crate that links `llama` built it, if the feature is on.
    let build = env::var_os("DEP_LLAMA_ROOT").map(|root| PathBuf::from(root).join("build"));
    let read = |name: &str| build.as_ref().and_then(|build| fs::read_to_string(build.join(name)).ok());
    let cache = read("CMakeCache.txt").unwrap_or_default();
    let native = cached(&cache, "GGML_NATIVE");
    if build.is_some() && native != "ON" {
        println!(
            "cargo:warning=ggml is compiled for a baseline CPU (GGML_NATIVE is {native}), so its timings are not \
             its best. Run `cargo clean -p llama-cpp-sys-2` and build inside the checkout, where .cargo/config.toml \
             asks for the CPU of this machine."
        );
    }
    fact("GGML_NATIVE", &native);
    fact("GGML_BUILD_TYPE", &cached(&cache, "CMAKE_BUILD_TYPE"));
    fact("GGML_COMPILER", &compiler(&cached(&cache, "CMAKE_C_COMPILER")));
    fact("GGML_FLAGS", &flags(&read("compile_commands.json").unwrap_or_default()));
}

/// Hands a fact to the crate as a variable of its compilation.
fn fact(name: &str, value: &str) {
    let value = if value.is_empty() { "unknown" } else { value };
    println!("cargo:rustc-env=SEPTET_PEERS_{name}={value}");
}

/// The version of `package` in a lock file, or nothing.
fn locked_version(lock: &str, package: &str) -> String {
    let name = format!("name = \"{package}\"");
    let after = lock.lines().skip_while(|line| *line != name).nth(1).unwrap_or_default();
    after.trim_start_matches("version = ").trim_matches('"').to_owned()
}

/// The value of `variable` in a CMake cache (`NAME:TYPE=VALUE`), or nothing.
fn cached(cache: &str, variable: &str) -> String {
    let value = |line: &str| line.strip_prefix(variable)?.strip_prefix(':')?.split_once('=').map(|(_, v)| v.to_owned());
    cache.lines().find_map(value).unwrap_or_default()
}

/// What a C compiler says of itself: the first line of `--version`.
fn compiler(path: &str) -> String {
    let output = Command::new(path).arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().next().unwrap_or_default().to_owned()
}

/// The options that decide about code and speed, of the file that holds ggml's products.
fn flags(commands: &str) -> String {
    let command = commands.lines().find(|line| line.contains("\"command\"") && line.contains("ggml-cpu.c.o"));
    let decides = |option: &&str| ["-O", "-m", "-DGGML_", "/O", "/arch"].iter().any(|start| option.starts_with(start));
    command.unwrap_or_default().split_whitespace().filter(decides).collect::<Vec<_>>().join(" ")
}
