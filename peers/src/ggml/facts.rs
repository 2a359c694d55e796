//! What was compiled of ggml, and what it runs.

use llama_cpp_sys_2 as ffi;

use septet_kernels::{Level, SplitMix64};

use super::{matrix::Matrix, product::POLL, text};
use crate::{
    Peer,
    library::{Library, Request},
    peer::{Engine, Format, Rows},
};

/// What this library says of itself.
pub fn facts() -> Vec<(String, String)> {
    // SAFETY: a constant of ggml.
    let version = unsafe { text(ffi::ggml_version()) };
    let (crate_version, native) = (env!("SEPTET_PEERS_GGML_CRATE_VERSION"), env!("SEPTET_PEERS_GGML_NATIVE"));
    let build = format!("{}, {}", env!("SEPTET_PEERS_GGML_BUILD_TYPE"), env!("SEPTET_PEERS_GGML_FLAGS"));
    let features = features().iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ");
    let missing = match missing_instruction_sets() {
        missing if missing.is_empty() => "none".to_owned(),
        missing => {
            format!("{}: compiled below the abilities of this CPU, and slower than it could be", missing.join(", "))
        }
    };
    let threads = format!("no OpenMP; a pool for each product, polling level {POLL} (its default), asleep at rest");
    let mut facts: Vec<(String, String)> = [
        ("ggml version", format!("{version}, crate llama-cpp-sys-2 {crate_version}")),
        ("ggml native", native.to_owned()),
        ("ggml compiler", env!("SEPTET_PEERS_GGML_COMPILER").to_owned()),
        ("ggml build", build),
        ("ggml features", features),
        ("ggml instruction sets missing", missing),
        ("ggml threads", threads),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    let of_ggml = Peer::ALL.iter().filter(|peer| peer.library() == Library::Ggml && peer.available().is_ok());
    facts.extend(of_ggml.map(|&peer| (format!("{peer} kernel"), kernel(peer))));
    facts
}

/// The path that ggml takes for a peer. The layout is what it says of a small matrix; the rest
/// are the rules of `ggml_compute_forward_mul_mat` in the version that this crate is bound to.
fn kernel(peer: Peer) -> String {
    let Engine::Ggml(format, rows) = peer.engine() else { return String::new() };
    let source = |row: usize, out: &mut [f32]| {
        let mut random = SplitMix64::new(row as u64);
        out.fill_with(|| random.normal_f32());
    };
    let request = Request { peer, rows: 64, cols: 256, copies: 1 };
    let layout = match Matrix::new(&request, &source) {
        Ok(matrix) => matrix.layout(),
        Err(error) => return error.to_string(),
    };
    let has = |feature: &str| features().iter().any(|(name, _)| name == feature);
    let many_columns = match (rows, format) {
        (Rows::Repacked, _) => "gemv, gemm of its layout from 4 columns on",
        (_, Format::Q4_0 | Format::Iq4Nl | Format::Q8_0 | Format::F16) if has("LLAMAFILE") && has("AVX2") => {
            "dot products of rows, llamafile sgemm from 2 columns on"
        }
        (_, Format::Q4K | Format::Q3K | Format::Iq4Xs | Format::Iq3S | Format::Iq3Xxs) if has("AVX2") => {
            "dot products of rows, tiles of unpacked weights from 8 columns on"
        }
        (_, Format::Tq2_0) => "dot products of rows",
        _ => "chosen by ggml",
    };
    format!("{layout}: {many_columns}")
}

/// What ggml's CPU backend was compiled with, by its own account.
fn features() -> Vec<(String, String)> {
    // SAFETY: ggml documents the type of the function of this name; its list ends with a null name,
    // and it and its texts stay.
    unsafe {
        let registry = ffi::ggml_backend_cpu_reg();
        let function = ffi::ggml_backend_reg_get_proc_address(registry, c"ggml_backend_get_features".as_ptr());
        let function: ffi::ggml_backend_get_features_t = std::mem::transmute(function);
        let mut features = Vec::new();
        let Some(function) = function else { return features };
        let mut next = function(registry);
        while !next.is_null() && !(*next).name.is_null() {
            features.push((text((*next).name), text((*next).value)));
            next = next.add(1);
        }
        features
    }
}

/// Instruction sets that ggml can be compiled for: its name, whether it was, whether this CPU has it.
fn instruction_sets() -> Vec<(&'static str, bool, bool)> {
    // SAFETY: constants of the compilation.
    #[cfg(target_arch = "x86_64")]
    let sets = unsafe {
        [
            ("AVX", ffi::ggml_cpu_has_avx(), is_x86_feature_detected!("avx")),
            ("AVX2", ffi::ggml_cpu_has_avx2(), is_x86_feature_detected!("avx2")),
            ("FMA", ffi::ggml_cpu_has_fma(), is_x86_feature_detected!("fma")),
            ("F16C", ffi::ggml_cpu_has_f16c(), is_x86_feature_detected!("f16c")),
            ("BMI2", ffi::ggml_cpu_has_bmi2(), is_x86_feature_detected!("bmi2")),
            ("AVX_VNNI", ffi::ggml_cpu_has_avx_vnni(), is_x86_feature_detected!("avxvnni")),
            ("AVX512", ffi::ggml_cpu_has_avx512(), is_x86_feature_detected!("avx512f")),
            ("AVX512_VBMI", ffi::ggml_cpu_has_avx512_vbmi(), is_x86_feature_detected!("avx512vbmi")),
            ("AVX512_VNNI", ffi::ggml_cpu_has_avx512_vnni(), is_x86_feature_detected!("avx512vnni")),
            ("AVX512_BF16", ffi::ggml_cpu_has_avx512_bf16(), is_x86_feature_detected!("avx512bf16")),
        ]
    };
    // SAFETY: constants of the compilation.
    #[cfg(target_arch = "aarch64")]
    let sets = unsafe {
        use std::arch::is_aarch64_feature_detected as has;
        [
            ("NEON", ffi::ggml_cpu_has_neon(), has!("neon")),
            ("DOTPROD", ffi::ggml_cpu_has_dotprod(), has!("dotprod")),
            ("MATMUL_INT8", ffi::ggml_cpu_has_matmul_int8(), has!("i8mm")),
            ("FP16_VA", ffi::ggml_cpu_has_fp16_va(), has!("fp16")),
            ("SVE", ffi::ggml_cpu_has_sve(), has!("sve")),
        ]
    };
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let sets: [(&str, i32, bool); 0] = [];
    sets.into_iter().map(|(name, compiled, has)| (name, compiled != 0, has)).collect()
}

/// Those that this CPU has and ggml was not compiled for.
fn missing_instruction_sets() -> Vec<&'static str> {
    instruction_sets().into_iter().filter(|&(_, compiled, has)| has && !compiled).map(|(name, ..)| name).collect()
}

/// Those that ggml was compiled for and this CPU does not have.
pub fn foreign_instruction_sets() -> Vec<&'static str> {
    instruction_sets().into_iter().filter(|&(_, compiled, has)| compiled && !has).map(|(name, ..)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repacked_weights_are_interleaved_and_plain_ones_are_not() {
        for &peer in Peer::ALL {
            let Engine::Ggml(_, rows) = peer.engine() else { continue };
            let kernel = kernel(peer);
            match rows {
                Rows::Repacked if peer.available().is_err() => {
                    assert!(kernel.contains("does not multiply"), "{kernel}")
                }
                Rows::Repacked => assert!(!kernel.starts_with("CPU:"), "{peer}: {kernel}"),
                Rows::Plain => assert!(kernel.starts_with("CPU:"), "{peer}: {kernel}"),
            }
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn with_avx2_eight_rows_are_interleaved_or_a_tile_of_amx_holds_them() {
        if !is_x86_feature_detected!("avx2") || Peer::GgmlQ4_0Repacked.available().is_err() {
            return;
        }
        let kernel = kernel(Peer::GgmlQ4_0Repacked);
        assert!(kernel.starts_with("CPU_REPACK q4_0_8x8:") || kernel.starts_with("AMX:"), "{kernel}");
    }

    #[test]
    fn ggml_is_compiled_for_this_cpu() {
        assert_eq!(env!("SEPTET_PEERS_GGML_NATIVE"), "ON");
        assert_eq!(missing_instruction_sets(), Vec::<&str>::new());
    }
}
