//! `bench` from the outside: exit codes, and what goes to which stream.

use std::process::{Command, Stdio};

use septet_kernels::{Isa, Level};

/// Exit code, stdout and stderr of `bench` with `args`.
fn bench(args: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_bench")).args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// Runs `bench` with bad input: exit code 3, nothing on stdout, and each of `parts` in the message.
fn refused(args: &[&str], parts: &[&str]) {
    let (code, out, err) = bench(args);
    assert_eq!((code, out.as_str()), (3, ""), "{args:?}: {err}");
    for part in parts {
        assert!(err.contains(part), "{args:?}: no `{part}` in\n{err}");
    }
}

#[test]
fn list_prints_axes_kernels_and_infeasible_points() {
    let (code, out, err) = bench(&["list"]);
    assert_eq!((code, err.as_str()), (0, ""));
    for part in ["format", "granularity", "epilogue", "gemv/w3p5/dense/lut/u4/scalar", "branch is scalar only"] {
        assert!(out.contains(part), "no `{part}` in\n{out}");
    }
}

#[test]
fn list_as_json_holds_the_selected_product() {
    let (code, out, _) = bench(&["list", "--json", "-a", "format=w3p5", "-a", "unpack=branch"]);
    assert_eq!(code, 0);
    let listing: serde_json::Value = serde_json::from_str(&out).unwrap();
    // Two unrolls: scalar has kernels in two of three layouts, six vector instruction sets have none.
    assert_eq!(listing["kernels"].as_array().unwrap().len(), 4);
    assert_eq!(listing["infeasible"].as_array().unwrap().len(), 38);
    assert_eq!(listing["axes"].as_array().unwrap().len(), 16);
}

#[test]
fn check_counts_what_it_checked() {
    let (code, out, err) = bench(&["check", "-a", "format=w3", "-a", "isa=scalar", "--seed", "7"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.ends_with("checked 10, skipped 0, failed 0, seed 7\n"), "{out}");
}

#[test]
fn a_check_of_nothing_is_no_pass() {
    refused(&["check", "-a", "unpack=branch", "-a", "isa=avx2"], &["no kernel lies in the selection", "bench list"]);
}

#[test]
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn asm_prints_counts_and_the_loop() {
    let (code, out, err) = bench(&["asm", "gemv/w3p5/dense/branch/u1/scalar"]);
    assert_eq!((code, err.as_str()), (0, ""));
    for part in ["; kernel           gemv/w3p5/dense/branch/u1/scalar\n", "2, 1.000 a weight", "imul"] {
        assert!(out.contains(part), "no `{part}` in\n{out}");
    }
    let (_, out, _) = bench(&["asm", "gemv/w3p5/dense/lut/u1/avx512", "--prefetch"]);
    assert!(out.contains("prefetcht0") && out.contains("vpdpbusd"), "{out}");
    let (_, out, _) = bench(&["asm", "gemv/w4/rows16/bit_parallel/u1/avx2", "--cols", "28672"]);
    assert!(out.contains("avx2, compiled for K = 28672\n") && out.contains("vpmaddubsw"), "{out}");
    refused(
        &["asm", "gemv/w4/rows16/bit_parallel/u1/avx2", "--cols", "4096"],
        &["is not compiled for K = 4096", "8192", "28672"],
    );
}

#[test]
fn an_unknown_kernel_has_nearest_names_and_a_reason() {
    refused(&["asm", "gemv/w3p5/dense/lutt/u4/avx512"], &["unknown unpack `lutt`", "/lut/u4/avx512", "bench list"]);
    refused(&["asm", "gemv/w4/dense/branch/u4/avx2"], &["branch is scalar only"]);
    refused(&["asm", "gemm/w3p5/dense/avx2"], &["gemm/<format>/rows16/<isa>", "bench list"]);
    refused(&["asm", "gemm/w3p5/rows16/avx2", "--prefetch"], &["no code that prefetches", "leave `--prefetch` and"]);
    refused(&["asm", "gemm/w3p5/rows16/avx2", "--cols", "8192"], &["nor for one K", "`--cols` out"]);
    refused(&["asm", "nonsense"], &["gemv/<format>/<layout>/<unpack>/<unroll>/<isa>", "bench list"]);
}

/// What a quantity reaches at a place, by thread count.
fn maxima(diagnosis: &serde_json::Value, quantity: &str, place: &str) -> Vec<f64> {
    let rows = diagnosis["ceilings"].as_array().unwrap().iter();
    let rows = rows.filter(|row| row["quantity"] == quantity && row["place"].as_str().unwrap().starts_with(place));
    rows.map(|row| row["maximum"].as_f64().unwrap()).collect()
}

#[test]
fn doctor_measures_every_ceiling_and_says_how() {
    let (code, out, err) = bench(&["doctor", "--quick", "--json"]);
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("measuring read bandwidth"), "{err}");
    let diagnosis: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&diagnosis["schema"], &diagnosis["quick"]), (&1.into(), &true.into()));
    for row in diagnosis["ceilings"].as_array().unwrap() {
        if row["status"] == "unavailable" {
            assert!(row["reason"].is_string() && row["remedy"].is_string(), "{row}");
            continue;
        }
        let [minimum, median, maximum] = ["minimum", "median", "maximum"].map(|key| row[key].as_f64().unwrap());
        assert!(0.0 < minimum && minimum <= median && median <= maximum, "{row}");
        assert!(!row["how"].as_str().unwrap().is_empty() && row["threads"].as_u64() > Some(0), "{row}");
    }
    for (quantity, place) in [("read_bandwidth", "DRAM"), ("timer_step", "Instant"), ("timer_cost", "Instant")] {
        assert!(!maxima(&diagnosis, quantity, place).is_empty(), "no {quantity} of {place} in\n{out}");
    }
    for isa in Isa::ALL.iter().filter(|isa| isa.vector_bytes() > 0 && isa.is_available()) {
        for quantity in ["int8_dot", "f32_fma", "vector_issue"] {
            assert!(!maxima(&diagnosis, quantity, isa.name()).is_empty(), "no {quantity} of {isa} in\n{out}");
        }
    }
    // One thread, and what it reached at best: this holds beside other tests, too.
    let [cache, memory] = ["L1", "DRAM"].map(|place| maxima(&diagnosis, "read_bandwidth", place).first().copied());
    assert!(cache.is_none() || cache >= memory, "{out}");
}

#[test]
fn doctor_prints_how_each_ceiling_was_measured() {
    let (code, out, err) = bench(&["doctor", "--quick"]);
    assert_eq!(code, 0, "{err}");
    for part in ["Machine\n", "/proc/cpuinfo", "loads, windows of", "GB/s", "readings in a row, 3 repetitions"] {
        assert!(out.contains(part), "no `{part}` in\n{out}");
    }
    refused(&["doctor", "--slow"], &["--slow"]);
}

#[test]
fn generate_ends_at_a_stop_string() {
    let line = ["generate", "Once upon a time", "--max-tokens", "20", "--stop", " girl", "--stop", "#"];
    let (code, out, err) = bench(&[&line[..], &["--greedy"]].concat());
    assert_eq!((code, out.as_str()), (0, "Once upon a time, there was a little\n"), "{err}");
    assert!(err.contains("a stop string came"), "{err}");
    assert_eq!(bench(&[&line[..], &["--top-k", "1"]].concat()).1, out);
}

#[test]
fn quantize_writes_a_model_that_generate_takes_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("tiny-w3p5").display().to_string();
    let (code, out, err) = bench(&["quantize", "--format", "w3p5", "-o", &model]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains("29 linear layers in w3p5, 3.625 bits a weight"), "{out}");

    let line = ["generate", "Once upon a time", "--greedy", "--max-tokens", "24"];
    let (_, expected, _) = bench(&line);
    let (code, text, err) = bench(&[&line[..], &["--model", &model]].concat());
    assert_eq!((code, text), (0, expected));
    assert!(err.starts_with("3.625-bit weights"), "{err}");

    refused(&["generate", "x", "--model", &model, "--format", "w4"], &["is stored as w3p5", "w4", "quantized from"]);
    refused(&["quantize", "-o", &model], &["tiny-w3p5", "empty folder"]);
    refused(&["quantize", "--format", "f32", "-o", &format!("{model}-f32")], &["f32", "a format for every layer"]);
    refused(&["quantize", "--layout", "rows5", "-o", "x"], &["rows5", "rows16"]);
}

#[test]
fn generate_keeps_keys_and_values_as_it_is_told() {
    let line = ["generate", "Once upon a time", "--greedy", "--max-tokens", "24"];
    let (_, expected, _) = bench(&line);
    for format in ["f32", "f16"] {
        assert_eq!(bench(&[&line[..], &["--kv-cache", format]].concat()).1, expected, "{format}");
    }
    assert!(bench(&[&line[..], &["--kv-cache", "int8"]].concat()).1.starts_with("Once upon a time"));
    refused(&["generate", "x", "--kv-cache", "f8"], &["f8", "int8"]);
}

#[test]
fn generate_refuses_numbers_that_mean_nothing() {
    for (option, found, valid) in [
        ("top-p", "1.5", "above 0 and at most 1"),
        ("min-p", "-0.1", "from 0 to 1"),
        ("repeat-penalty", "0", "a positive number"),
        ("temperature", "NaN", "greedy"),
    ] {
        let (flag, is) = (format!("--{option}"), format!("{option} is {found}"));
        refused(&["generate", "x", &flag, found], &[&is, valid]);
    }
    refused(&["generate", "x", "--top-k", "-1"], &["--top-k", "-1"]);
    refused(&["generate", "x", "--greedy", "--top-k", "5"], &["--greedy", "--top-k"]);
    refused(&["generate", "x", "--stop", ""], &["stop string is empty", "--stop"]);
}

#[test]
fn generate_asks_for_a_chat_template() {
    refused(&["generate", "x", "--chat"], &["models/tiny", "no chat template", "leave `--chat` out"]);
    refused(&["generate", "x", "--system", "y"], &["--chat"]);
}

#[test]
fn mistakes_on_the_command_line_exit_with_3_and_a_suggestion() {
    refused(&["list", "--jsno"], &["'--json'"]);
    refused(&["lst"], &["'list'"]);
    refused(&["check", "--seed", "x"], &["--seed"]);
    refused(&[], &["Usage"]);
}

#[test]
fn selections_name_what_there_is() {
    refused(&["list", "-a", "unpak=lut"], &["no axis `unpak`", "did you mean `unpack`?", "format, layout, unpack"]);
    refused(
        &["check", "-a", "isa=avx3"],
        &["no level `avx3`", "did you mean `avx2`?", "scalar, avx2, avxvnni, avx512bw, avx512vnni, avx512, neon"],
    );
    refused(&["check", "-a", "isa"], &["AXIS=LEVEL"]);
    refused(&["check", "-a", "prefetch=none"], &["every kernel", "axes: format, layout, unpack, unroll, isa"]);
}

#[test]
fn help_and_version_are_results() {
    for args in [&["--help"][..], &["--version"], &["check", "--help"]] {
        let (code, out, err) = bench(args);
        assert_eq!((code, err.as_str()), (0, ""), "{args:?}");
        assert!(!out.is_empty());
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(["check", "-a", "format=w3", "-a", "unpack=lut", "-a", "isa=scalar"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}
