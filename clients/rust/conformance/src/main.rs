//! The conformance runner for Rust: reads commands, one JSON object a line, and answers each on one line. What it
//! speaks is in conformance/README.md.

mod calls;
mod commands;
mod errors;
mod json;
mod measure;
mod newer;
#[path = "../../examples/session.rs"]
mod session;
mod sessions;
mod streams;

use anyhow::Result;
use serde_json::{Value, json};
use tokio::io::{self, AsyncBufReadExt, AsyncWriteExt, BufReader};

use crate::commands::{Command, Runner};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    answer(json!({
        "runner": "rust",
        "version": env!("CARGO_PKG_VERSION"),
        "runtime": concat!("tonic 0.14, Rust ", env!("CARGO_PKG_RUST_VERSION"), " or newer"),
    }))
    .await?;
    let mut runner = Runner::new()?;
    let mut lines = BufReader::new(io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let answered = match serde_json::from_str::<Command>(&line) {
            Ok(command) => runner.run(command).await,
            Err(error) => Err(error.into()),
        };
        answer(answered.unwrap_or_else(|error| json!({"failed": format!("{error:#}")}))).await?;
    }
    Ok(())
}

async fn answer(value: Value) -> Result<()> {
    let mut stdout = io::stdout();
    stdout.write_all(format!("{value}\n").as_bytes()).await?;
    Ok(stdout.flush().await?)
}
