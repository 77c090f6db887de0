//! The engine with the real model.

mod common;

use std::fs::File;
use std::time::{Duration, Instant};

use candle_core::quantized::gguf_file::Content;
use common::{ask, collect, engine, model_path, models_dir, source};
use muxi_local_llm::engine::{
    ChatRequest, Engine, EngineError, EngineOptions, FinishReason, Piece, Role,
};
use muxi_local_llm::files;
use tokio_util::sync::CancellationToken;

#[test]
fn the_import_leaves_no_tensor_that_runs_slowly() {
    let before = Content::read(&mut File::open(source()).unwrap()).unwrap();
    let after = Content::read(&mut File::open(model_path()).unwrap()).unwrap();
    assert!(!files::slow_tensors(&before).is_empty(), "the source needs no conversion any more");
    assert_eq!(files::slow_tensors(&after), Vec::<&str>::new());
    assert_eq!(after.tensor_infos.len(), before.tensor_infos.len());
    assert_eq!(after.metadata.len(), before.metadata.len());
}

#[test]
fn importing_again_finds_the_model_intact() {
    let again = files::import(&source(), models_dir()).unwrap();
    assert!(again.already_present);
    assert_eq!(again.path, model_path());
}

#[test]
fn a_greeting_gets_a_fluent_answer() {
    let answer = collect(
        engine().generate(ask("Hello! How are you?", 64), CancellationToken::new()).unwrap(),
    );
    eprintln!("{answer:?}");
    assert!(answer.text.split_whitespace().count() >= 3, "{answer:?}");
}

#[test]
fn figures() {
    let started = Instant::now();
    let engine = engine();
    eprintln!("load {:?}", started.elapsed());
    let long = "The quick brown fox jumps over the lazy dog near the river bank. ".repeat(22);
    let run = |q: &str, n| {
        let started = Instant::now();
        let mut pieces = engine.generate(ask(q, n), CancellationToken::new()).unwrap();
        let mut first = None;
        loop {
            match pieces.blocking_recv().unwrap().unwrap() {
                Piece::Text(_) => {
                    first.get_or_insert_with(|| started.elapsed());
                }
                Piece::Finished { prompt_tokens, completion_tokens, .. } => {
                    let first = first.unwrap();
                    let rest = started.elapsed() - first;
                    eprintln!(
                        "prompt {prompt_tokens} first {first:?} = {:.1} t/s; answer {completion_tokens} = {:.1} t/s",
                        prompt_tokens as f64 / first.as_secs_f64(),
                        (completion_tokens - 1) as f64 / rest.as_secs_f64()
                    );
                    return;
                }
            }
        }
    };
    run(&long, 2);
    run(&long, 2);
    run("Tell me a story about a fox.", 128);
    eprintln!(
        "{}",
        std::fs::read_to_string("/proc/self/status")
            .unwrap()
            .lines()
            .filter(|l| l.starts_with("Vm"))
            .collect::<Vec<_>>()
            .join("\n")
    );
}
