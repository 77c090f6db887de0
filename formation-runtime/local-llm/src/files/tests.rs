use super::*;

fn name(text: &str) -> ModelName {
    text.parse().unwrap()
}

fn reason(state: ModelState) -> String {
    match state {
        ModelState::Missing { reason } | ModelState::Failed { reason } => reason,
        ModelState::Ready { path, .. } => panic!("{} is ready", path.display()),
    }
}

fn put_model(dir: &Path, bytes: &[u8], manifest: &Manifest) {
    fs::write(dir.join(converted_file(SMOLLM2.name)), bytes).unwrap();
    fs::write(dir.join(manifest_file(SMOLLM2.name)), serde_json::to_vec(manifest).unwrap())
        .unwrap();
}

fn manifest(bytes: u64) -> Manifest {
    Manifest { source_sha256: SMOLLM2.source_sha256.to_owned(), sha256: "0".repeat(64), bytes }
}

#[test]
fn model_names_are_read_and_written() {
    for text in ["local/smollm2-135m-instruct", "llama_cpp/Qwen2.5-0.5B_q8.gguf"] {
        assert_eq!(name(text).to_string(), text);
    }
    assert_eq!(name("smollm2-135m-instruct"), name("local/smollm2-135m-instruct"));
}

#[test]
fn names_that_are_no_models_are_refused() {
    let refused = [
        "",
        "local/",
        "local/gpt-4o",
        "llama_cpp/",
        "llama_cpp/.gguf",
        "llama_cpp/model.bin",
        "llama_cpp/../secrets.gguf",
        "llama_cpp/a/b.gguf",
        "llama_cpp/a\\b.gguf",
        "llama_cpp/.hidden.gguf",
        "llama_cpp/a\0.gguf",
    ];
    for text in refused {
        assert!(text.parse::<ModelName>().is_err(), "{text:?}");
    }
}

#[test]
fn a_missing_model_says_what_mends_it() {
    let dir = tempfile::tempdir().unwrap();
    for models_dir in [dir.path().to_owned(), dir.path().join("not-there")] {
        let state = state(&models_dir, &name("local/smollm2-135m-instruct"));
        assert!(matches!(state, ModelState::Missing { .. }), "{state:?}");
        let reason = reason(state);
        for mend in ["models import", "scripts/quickstart.sh", SMOLLM2.source_file] {
            assert!(reason.contains(mend), "{reason}");
        }
    }
    let missing = reason(state(dir.path(), &name("llama_cpp/mine.gguf")));
    assert!(missing.contains("mine.gguf") && missing.contains("copy it there"), "{missing}");
}

#[test]
fn only_a_complete_model_is_ready() {
    let dir = tempfile::tempdir().unwrap();
    let smollm2 = name("local/smollm2-135m-instruct");
    put_model(dir.path(), b"weights", &manifest(7));
    let path = dir.path().join(converted_file(SMOLLM2.name));
    assert_eq!(state(dir.path(), &smollm2), ModelState::Ready { path: path.clone(), bytes: 7 });

    fs::write(&path, b"weigh").unwrap();
    let truncated = reason(state(dir.path(), &smollm2));
    assert!(truncated.contains("5 bytes instead of 7"), "{truncated}");

    fs::remove_file(&path).unwrap();
    let removed = reason(state(dir.path(), &smollm2));
    assert!(removed.contains("cannot be read") && removed.contains("models import"), "{removed}");

    fs::write(dir.path().join(manifest_file(SMOLLM2.name)), b"{}").unwrap();
    assert!(reason(state(dir.path(), &smollm2)).contains("manifest"));
}

#[test]
fn the_list_names_the_catalogue_and_the_files_put_there_by_hand() {
    let dir = tempfile::tempdir().unwrap();
    put_model(dir.path(), b"weights", &manifest(7));
    for file in ["b.gguf", "a.gguf", "notes.txt", ".partial.gguf"] {
        fs::write(dir.path().join(file), b"").unwrap();
    }
    let names: Vec<_> = list(dir.path()).iter().map(ToString::to_string).collect();
    assert_eq!(names, ["local/smollm2-135m-instruct", "llama_cpp/a.gguf", "llama_cpp/b.gguf"]);
}

#[test]
fn another_file_is_not_imported() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("download.gguf");
    fs::write(&source, b"not the model").unwrap();
    let models_dir = dir.path().join("models");
    let error = import(&source, &models_dir).unwrap_err();
    assert!(matches!(error, ImportError::WrongFile { .. }), "{error}");
    assert!(error.to_string().contains(SMOLLM2.source_sha256), "{error}");
    assert!(!models_dir.exists(), "a refused import leaves nothing behind");

    let error = import(&dir.path().join("nowhere.gguf"), &models_dir).unwrap_err();
    assert!(matches!(error, ImportError::Read { .. }), "{error}");
}
