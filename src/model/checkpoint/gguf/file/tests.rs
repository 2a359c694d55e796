use super::super::writer::{
    ARRAY, BOOL, F32, F64, I8, I16, I32, I64, TENSOR_F32, TENSOR_IQ3_S, TENSOR_Q8_0, TEXT, U8, U16, U32, U64,
    aligned_file, array, described, file, pair, text,
};
use super::{Encoding, Error, FileBytes, Gguf, LONGEST_NAME, Path, RowOrder};

/// A file with a value of every kind, an array of each sort, and two tensors with padding after each.
fn example() -> Vec<u8> {
    let values = [
        pair("u8", U8, 200_u8.to_le_bytes()),
        pair("i8", I8, (-100_i8).to_le_bytes()),
        pair("u16", U16, 60_000_u16.to_le_bytes()),
        pair("i16", I16, 30_000_i16.to_le_bytes()),
        pair("u32", U32, 4_000_000_000_u32.to_le_bytes()),
        pair("i32", I32, 7_i32.to_le_bytes()),
        pair("u64", U64, u64::MAX.to_le_bytes()),
        pair("i64", I64, i64::MAX.to_le_bytes()),
        pair("f32", F32, 0.5_f32.to_le_bytes()),
        pair("f64", F64, 1e-5_f64.to_le_bytes()),
        pair("no", BOOL, [0]),
        pair("yes", BOOL, [1]),
        pair("text", TEXT, text("naïve \"▁\"")),
        pair("texts", ARRAY, array(TEXT, &[text("a"), text(""), text("▁b")])),
        pair("floats", ARRAY, array(F32, &[vec![0, 0, 192, 63], vec![0, 0, 128, 255]])),
        pair("integers", ARRAY, array(I8, &[vec![1], vec![254]])),
        pair("large", ARRAY, array(U64, &[vec![0; 8], vec![255; 8]])),
        pair("empty", ARRAY, array(U8, &[])),
    ];
    let tensors = [described("matrix", &[3, 2], TENSOR_F32, 0), described("blocks", &[32], TENSOR_Q8_0, 32)];
    let data: Vec<u8> = (0..96).collect();
    file(&values, &tensors, &data)
}

fn parse(bytes: Vec<u8>) -> Result<Gguf, Error> {
    Gguf::parse(FileBytes::owned("m.gguf".into(), bytes))
}

fn message<T>(result: Result<T, Error>) -> String {
    result.err().expect("refused").to_string()
}

fn value<T>(result: Result<Option<T>, Error>) -> T {
    result.expect("of this type").expect("there")
}

/// Asks for all that a file has, in every way.
fn read_all(gguf: &Gguf) {
    for key in gguf.keys() {
        let _ = (gguf.integer(key), gguf.float(key), gguf.boolean(key), gguf.text(key));
        let _ = (gguf.texts(key), gguf.floats(key), gguf.integers(key));
    }
    for name in gguf.tensors() {
        if let Ok(tensor) = gguf.tensor(name, RowOrder::Plain) {
            let _ = tensor.expect("the tensor is there").values();
        }
    }
}

#[test]
fn scalars_of_every_kind_are_read() {
    let gguf = parse(example()).expect("valid");
    assert_eq!(gguf.file(), Path::new("m.gguf"));
    for (key, expected) in [
        ("u8", 200),
        ("u16", 60_000),
        ("i16", 30_000),
        ("u32", 4_000_000_000),
        ("i32", 7),
        ("u64", u64::MAX),
        ("i64", i64::MAX as u64),
    ] {
        assert_eq!(value(gguf.integer(key)), expected, "{key}");
        assert_eq!(value(gguf.float(key)), expected as f64, "{key}");
    }
    assert_eq!([value(gguf.float("f32")), value(gguf.float("f64")), value(gguf.float("i8"))], [0.5, 1e-5, -100.0]);
    assert_eq!([value(gguf.boolean("no")), value(gguf.boolean("yes"))], [false, true]);
    assert_eq!(value(gguf.text("text")), "naïve \"▁\"");
    assert_eq!(gguf.keys().count(), 18);
}

#[test]
fn arrays_are_read() {
    let gguf = parse(example()).expect("valid");
    assert_eq!(value(gguf.texts("texts")), ["a", "", "▁b"]);
    assert_eq!(value(gguf.floats("floats")), [1.5, f32::NEG_INFINITY]);
    assert_eq!(value(gguf.floats("integers")), [1.0, -2.0]);
    assert_eq!(value(gguf.integers("integers")), [1, -2]);
    assert!(value(gguf.texts("empty")).is_empty());
}

#[test]
fn what_is_not_there_is_no_error() {
    let gguf = parse(example()).expect("valid");
    assert!(matches!(gguf.integer("x"), Ok(None)) && matches!(gguf.texts("x"), Ok(None)));
    assert!(matches!(gguf.tensor("x", RowOrder::Plain), Ok(None)));
}

#[test]
fn another_type_is_refused_by_its_key() {
    let gguf = parse(example()).expect("valid");
    let long = parse(file(&[pair("long", TEXT, text("\u{1b}x".repeat(1000)))], &[], &[])).expect("valid");
    let cut = format!("key `long`: is \"{}…\"; valid: a boolean", "\\u{1b}x".repeat(40));
    for (found, expected) in [
        (message(long.boolean("long")), cut.as_str()),
        (message(gguf.integer("i8")), "key `i8`: is -100; valid: an integer of at least 0"),
        (message(gguf.integer("f32")), "key `f32`: is 0.5; valid: an integer of at least 0"),
        (message(gguf.integer("yes")), "key `yes`: is true; valid: an integer of at least 0"),
        (message(gguf.integer("texts")), "key `texts`: is an array of 3 strings; valid: an integer of at least 0"),
        (message(gguf.float("text")), r#"key `text`: is "naïve \"▁\""; valid: a number"#),
        (message(gguf.float("no")), "key `no`: is false; valid: a number"),
        (message(gguf.boolean("u8")), "key `u8`: is 200; valid: a boolean"),
        (message(gguf.text("u8")), "key `u8`: is 200; valid: a string"),
        (message(gguf.texts("text")), r#"key `text`: is "naïve \"▁\""; valid: an array of strings"#),
        (message(gguf.texts("integers")), "key `integers`: holds 1 at index 0; valid: an array of strings"),
        (message(gguf.floats("texts")), r#"key `texts`: holds "a" at index 0; valid: an array of numbers"#),
        (
            message(gguf.integers("floats")),
            "key `floats`: holds 1.5 at index 0; valid: an array of integers below 2^63",
        ),
        (
            message(gguf.integers("large")),
            "key `large`: holds 18446744073709551615 at index 1; valid: an array of integers below 2^63",
        ),
    ] {
        assert_eq!(found, format!("m.gguf: {expected}"));
    }
}

#[test]
fn values_that_are_none_are_refused_when_asked_for() {
    let values = [
        pair("bool", BOOL, [2]),
        pair("text", TEXT, text(b"a\xff")),
        pair("texts", ARRAY, array(TEXT, &[text("a"), text(b"\xc3")])),
        pair("bools", ARRAY, array(BOOL, &[vec![7]])),
    ];
    let gguf = parse(file(&values, &[], &[])).expect("valid");
    let remedy = "of the file; valid: UTF-8: the file is damaged or was written wrongly";
    for (found, expected) in [
        (
            message(gguf.boolean("bool")),
            "key `bool`: holds the byte 2; valid for a boolean: 0 or 1: the file is damaged".to_owned(),
        ),
        (message(gguf.text("text")), format!("key `text`: is not UTF-8 at byte 66 {remedy}")),
        (message(gguf.texts("texts")), format!("key `texts`: element 1 is not UTF-8 at byte 113 {remedy}")),
        (
            message(gguf.floats("bools")),
            "key `bools`: element 0 holds the byte 7; valid for a boolean: 0 or 1: the file is damaged".to_owned(),
        ),
    ] {
        assert_eq!(found, format!("m.gguf: {expected}"));
    }
}

#[test]
fn tensors_lie_where_their_descriptions_say() {
    let gguf = parse(example()).expect("valid");
    assert_eq!(gguf.tensors().collect::<Vec<_>>(), ["blocks", "matrix"]);
    let data: Vec<u8> = (0..96).collect();
    let values = |name: &str, encoding: Encoding, bytes: &[u8], rows, cols| {
        let tensor = value(gguf.tensor(name, RowOrder::Plain));
        assert_eq!((tensor.rows(), tensor.cols()), (rows, cols));
        let mut expected = vec![0.0; rows * cols];
        encoding.decode(bytes, &mut expected);
        assert_eq!(tensor.values().expect("finite"), expected);
    };
    values("matrix", Encoding::F32, &data[..24], 2, 3);
    values("blocks", Encoding::Q8_0, &data[32..66], 1, 32);
}

#[test]
fn the_alignment_may_be_another() {
    for alignment in [8, 24, 64] {
        let values = [pair("general.alignment", U32, (alignment as u32).to_le_bytes())];
        let tensors = [described("t", &[1], TENSOR_F32, alignment as u64)];
        let mut data = vec![0; alignment];
        data.extend(2.5_f32.to_le_bytes());
        let gguf = parse(aligned_file(alignment, &values, &tensors, &data)).expect("valid");
        let tensor = value(gguf.tensor("t", RowOrder::Plain));
        assert_eq!(tensor.values().expect("finite"), [2.5], "{alignment}");
    }
}

#[test]
fn a_file_may_be_of_version_2_and_hold_no_tensors() {
    let mut bytes = file(&[pair("split.count", U16, 1_u16.to_le_bytes())], &[], &[]);
    bytes[4] = 2;
    assert_eq!(parse(bytes).expect("valid").tensors().count(), 0);
}

#[test]
fn other_files_and_versions_are_refused() {
    let with_version = |version: [u8; 4]| {
        let mut bytes = example();
        bytes[4..8].copy_from_slice(&version);
        message(parse(bytes))
    };
    for (found, expected) in [
        (
            message(parse(b"PK\x03\x04, a ZIP archive".to_vec())),
            "begins with the bytes [50, 4b, 03, 04]; valid: \"GGUF\": this is no GGUF file",
        ),
        (message(parse(Vec::new())), "truncated: 4 bytes needed at byte 0, 0 there: download the file again"),
        (with_version([1, 0, 0, 0]), "is of version 1; valid: 2 and 3: convert the model again"),
        (with_version([0; 4]), "is of version 0; valid: 2 and 3: convert the model again to one of them"),
        (with_version([4, 0, 0, 0]), "is of version 4; valid: 2 and 3: convert the model again to one of them"),
        (
            with_version([0, 0, 0, 3]),
            "is of a big-endian file; valid: little-endian: convert the model again for this byte order",
        ),
    ] {
        assert_eq!(found, format!("m.gguf: header: {expected}"));
    }
}

#[test]
fn bad_metadata_is_refused() {
    let refused = |values: &[Vec<u8>]| message(parse(file(values, &[], &[])));
    let aligned = |alignment: u64| refused(&[pair("general.alignment", U64, alignment.to_le_bytes())]);
    let long = "k".repeat(LONGEST_NAME + 1);
    for (found, expected) in [
        (
            refused(&[pair("k", U8, [0]), pair("k", I8, [0])]),
            "key `k`: is there twice; valid: once: convert the model again",
        ),
        (
            refused(&[pair("k", 13, [0])]),
            "key `k`: has a value of type 13; valid: types 0 to 12: the file is damaged or too new",
        ),
        (
            refused(&[pair("k", ARRAY, array(ARRAY, &[]))]),
            "key `k`: is an array of arrays; valid: arrays of numbers, booleans or strings: convert the model again",
        ),
        (
            refused(&[pair("split.count", U16, [3, 0])]),
            "key `split.count`: is 3: the model is split into files; valid: 1: merge them with `llama-gguf-split --merge`",
        ),
        (
            refused(&[pair("k", U8, [0]), text(b"\xff\xff")]),
            "key 2 of 2: is not UTF-8 at byte 46 of the file; valid: UTF-8: the file is damaged or was written wrongly",
        ),
        (
            refused(&[pair(&long, U8, [0])]),
            "key 1 of 1: has a name of 65536 bytes; valid: at most 65535: convert the model again",
        ),
        (aligned(0), "key `general.alignment`: is 0; valid: a positive multiple of 8: convert the model again"),
        (aligned(12), "key `general.alignment`: is 12; valid: a positive multiple of 8: convert the model again"),
    ] {
        assert_eq!(found, format!("m.gguf: {expected}"));
    }
}

#[test]
fn bad_tensors_are_refused() {
    let refused = |tensors: &[Vec<u8>]| message(parse(file(&[], tensors, &[0; 64])));
    let one = |dimensions: &[u64], kind, offset| refused(&[described("t", dimensions, kind, offset)]);
    for (found, expected) in [
        (
            refused(&[described("t", &[1], TENSOR_F32, 0), described("t", &[1], TENSOR_F32, 32)]),
            "is there twice; valid: once: convert the model again",
        ),
        (one(&[], TENSOR_F32, 0), "has 0 dimensions; valid: 1 to 4: convert the model again"),
        (one(&[1; 5], TENSOR_F32, 0), "has 5 dimensions; valid: 1 to 4: convert the model again"),
        (one(&[3, 0], TENSOR_F32, 0), "has shape [0, 3]; valid: dimensions of at least 1: convert the model again"),
        (
            one(&[1 << 32, 1 << 32], TENSOR_F32, 0),
            "has shape [4294967296, 4294967296], more than memory can hold: the file is damaged: download it again",
        ),
        (
            one(&[1 << 62, 1], TENSOR_F32, 0),
            "has shape [1, 4611686018427387904], more than memory can hold: the file is damaged: download it again",
        ),
        (
            one(&[16, 2], TENSOR_Q8_0, 0),
            "has rows of 16 values in Q8_0; valid: multiples of its blocks of 32: convert the model again",
        ),
        (
            one(&[256], TENSOR_IQ3_S, 0),
            "has type IQ3_S; valid: F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K: convert \
             the model again to one of them",
        ),
        (one(&[1], TENSOR_F32, 8), "begins at byte 8 of the data; valid: multiples of 32: convert the model again"),
        (
            one(&[9], TENSOR_F32, 32),
            "truncated: its 36 bytes begin at byte 32 of the data, and the file, of 128 bytes, ends before they do: \
             download the file again",
        ),
        (
            one(&[1], TENSOR_F32, u64::MAX - 31),
            "truncated: its 4 bytes begin at byte 18446744073709551584 of the data, and the file, of 128 bytes, ends \
             before they do: download the file again",
        ),
    ] {
        assert_eq!(found, format!("m.gguf: tensor `t`: {expected}"));
    }
    let long = "t".repeat(LONGEST_NAME + 1);
    assert_eq!(
        refused(&[described(&long, &[1], TENSOR_F32, 0)]),
        "m.gguf: tensor 1 of 1: has a name of 65536 bytes; valid: at most 65535: convert the model again"
    );
}

#[test]
fn counts_beyond_the_file_end_with_it() {
    let counted = |tensors: u64, values: u64| {
        [b"GGUF\x03\0\0\0".as_slice(), &tensors.to_le_bytes(), &values.to_le_bytes()].concat()
    };
    let texts = [TEXT.to_le_bytes().as_slice(), &u64::MAX.to_le_bytes()].concat();
    // Times the 8 bytes of an element, this overflows to 8.
    let floats = [F64.to_le_bytes().as_slice(), &(u64::MAX / 8 + 2).to_le_bytes()].concat();
    let aligned = pair("general.alignment", U64, (u64::MAX - 7).to_le_bytes());
    for (bytes, place) in [
        (counted(0, u64::MAX), "key 1 of 18446744073709551615"),
        (counted(u64::MAX, 0), "tensor 1 of 18446744073709551615"),
        (file(&[u64::MAX.to_le_bytes().to_vec()], &[], &[]), "key 1 of 1"),
        (file(&[pair("k", TEXT, u64::MAX.to_le_bytes())], &[], &[]), "key `k`"),
        (file(&[pair("k", ARRAY, texts)], &[], &[]), "key `k`"),
        (file(&[pair("k", ARRAY, floats)], &[], &[]), "key `k`"),
        (file(&[aligned], &[described("t", &[1], TENSOR_F32, 0)], &[0; 4]), "tensor `t`"),
    ] {
        let message = message(parse(bytes));
        assert!(message.starts_with(&format!("m.gguf: {place}: truncated: ")), "{message}");
    }
}

#[test]
fn a_truncated_file_is_refused_at_every_length() {
    let example = example();
    // Of the 64 bytes after the offset of the second tensor, 34 are its own, the rest is padding.
    let needed = example.len() - 30;
    for length in 0..example.len() {
        match parse(example[..length].to_vec()) {
            Ok(gguf) => {
                assert!(length >= needed, "{length} bytes of {needed}");
                read_all(&gguf);
            }
            Err(error) => {
                assert!(length < needed, "{error}");
                assert!(error.to_string().contains(": truncated: "), "{error}");
            }
        }
    }
}

#[test]
fn no_damaged_byte_makes_the_reader_panic() {
    let example = example();
    for index in 0..example.len() {
        for damage in [0xff, 1, 2, 4, 8, 16, 32, 64, 128] {
            let mut bytes = example.clone();
            bytes[index] ^= damage;
            if let Ok(gguf) = parse(bytes) {
                read_all(&gguf);
            }
        }
    }
}

#[test]
fn a_real_file_is_read() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/models/stories260K/stories260K-f32.gguf");
    let Ok(bytes) = std::fs::read(&file) else {
        eprintln!("skipped: {} not found", file.display());
        return;
    };
    let gguf = Gguf::parse(FileBytes::owned(file, bytes)).expect("valid");
    read_all(&gguf);
    assert_eq!(gguf.tensors().count(), 47);
    assert_eq!(value(gguf.integer("llama.block_count")), 5);
    let tokens = value(gguf.texts("tokenizer.ggml.tokens"));
    assert_eq!(tokens.len(), 512);
    assert_eq!(value(gguf.floats("tokenizer.ggml.scores")).len(), tokens.len());
    let embedding = value(gguf.tensor("token_embd.weight", RowOrder::Plain));
    assert_eq!((embedding.rows(), embedding.cols()), (512, 64));
}

#[test]
fn tensors_that_share_bytes_are_refused() {
    let tensors = [described("a", &[16], TENSOR_F32, 0), described("b", &[8], TENSOR_F32, 32)];
    let found = message(parse(file(&[], &tensors, &[0; 64])));
    assert!(found.starts_with("m.gguf: tensor `b`: begins within `a`"), "{found}");
    let apart = [described("a", &[8], TENSOR_F32, 0), described("b", &[8], TENSOR_F32, 32)];
    assert_eq!(parse(file(&[], &apart, &[0; 64])).expect("apart").tensors().count(), 2);
}
