//! Measures the engine: `cargo run --release -p muxi-local-llm --example figures -- FILE.gguf`,
//! with the environment of `process_environment`.

#![expect(clippy::print_stdout, reason = "the figures are the output")]

use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use muxi_local_llm::engine::{ChatRequest, Engine, EngineOptions, Message, Piece, Role};
use tokio_util::sync::CancellationToken;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os().nth(1).map(PathBuf::from).ok_or("name a model file")?;
    let started = Instant::now();
    let engine = Engine::load(&path, EngineOptions::default())?;
    println!("load: {:.2} s, resident {}", started.elapsed().as_secs_f64(), resident()?);

    let long =
        "The quick brown fox jumps over the lazy dog near the bank of the river. ".repeat(20);
    measure(&engine, "long prompt", &long, 2)?;
    measure(&engine, "long prompt again", &long, 2)?;
    measure(&engine, "story", "Tell me a long story about a fox.", 128)?;
    println!("resident {}", resident()?);
    Ok(())
}

fn measure(
    engine: &Engine,
    name: &str,
    question: &str,
    max_tokens: usize,
) -> Result<(), Box<dyn Error>> {
    let request = ChatRequest {
        messages: vec![Message::new(Role::User, question)],
        tools: Vec::new(),
        max_tokens,
        temperature: 0.0,
        top_p: 1.0,
        seed: 0,
        stop: Vec::new(),
    };
    let started = Instant::now();
    let mut pieces = engine.generate(request, CancellationToken::new())?;
    let mut first = None;
    while let Some(piece) = pieces.blocking_recv() {
        let first = *first.get_or_insert_with(|| started.elapsed().as_secs_f64());
        if let Piece::Finished { usage, .. } = piece? {
            let rest = started.elapsed().as_secs_f64() - first;
            println!(
                "{name}: first piece of {usage:?} after {first:.2} s, all after {:.2} s",
                first + rest
            );
        }
    }
    Ok(())
}

fn resident() -> Result<String, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    Ok(line.ok_or("no VmRSS")?.trim().to_owned())
}
