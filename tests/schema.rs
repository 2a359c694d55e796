//! The published schemas are those of the program, and `bench schema` gives them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use septet::record::schema::SCHEMAS;

fn bench(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bench")).args(args).output().unwrap()
}

fn published() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schema")
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn the_published_schemas_are_those_of_the_program() {
    let folder = tempfile::tempdir().unwrap();
    assert!(bench(&["schema", "--out", folder.path().to_str().unwrap()]).status.success());
    assert_eq!(names(folder.path()), names(&published()));
    for name in names(folder.path()) {
        let [made, there] = [folder.path(), &published()].map(|dir| fs::read_to_string(dir.join(&name)).unwrap());
        assert_eq!(made, there, "{name}: `bench schema --out docs/schema` writes it");
    }
}

#[test]
fn one_is_printed_and_all_are_listed() {
    let output = bench(&["schema", "samples.csv"]);
    assert_eq!(output.stdout, fs::read(published().join("samples.csv.schema.json")).unwrap());
    let listed = String::from_utf8(bench(&["schema"]).stdout).unwrap();
    assert_eq!(listed.lines().count(), SCHEMAS.len());
    assert!(SCHEMAS.iter().all(|schema| listed.contains(schema.file)), "{listed}");
}

#[test]
fn a_file_without_a_schema_is_refused() {
    let output = bench(&["schema", "sample.csv"]);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(3), &b""[..]));
    assert!(message.contains("did you mean `samples.csv`?") && message.contains("manifest.json"), "{message}");
    let output = bench(&["schema", "--out", "/dev/null/x"]);
    assert_eq!(output.status.code(), Some(3));
}

/// What was recorded has the properties of its schema: all that are required, and no other.
#[test]
fn committed_manifests_have_the_properties_of_their_schema() {
    let text = fs::read_to_string(published().join("manifest.json.schema.json")).unwrap();
    let schema: serde_json::Value = serde_json::from_str(&text).unwrap();
    let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
    let mut looked_at = 0;
    for entry in fs::read_dir(results).unwrap() {
        let path = entry.unwrap().path().join("reference/manifest.json");
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let manifest: serde_json::Value = serde_json::from_str(&text).unwrap();
        fits(&schema, &schema, &manifest, &path.display().to_string());
        looked_at += 1;
    }
    assert!(looked_at > 0);
}

/// Whether objects have what `schema` requires and nothing that it does not know, all the way down.
fn fits(root: &serde_json::Value, schema: &serde_json::Value, value: &serde_json::Value, at: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        let pointer = reference.trim_start_matches('#');
        return fits(root, root.pointer(pointer).unwrap_or_else(|| panic!("no {reference}")), value, at);
    }
    if let (Some(properties), Some(object)) = (schema["properties"].as_object(), value.as_object()) {
        for (name, value) in object {
            let of_name = properties.get(name).unwrap_or_else(|| panic!("{at}: `{name}` is not in the schema"));
            fits(root, of_name, value, &format!("{at}/{name}"));
        }
        for name in schema["required"].as_array().into_iter().flatten() {
            assert!(object.contains_key(name.as_str().unwrap()), "{at}: {name} is missing");
        }
    }
    for value in value.as_array().into_iter().flatten() {
        fits(root, &schema["items"], value, at);
    }
}
