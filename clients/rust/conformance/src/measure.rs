//! Sends a second through one stream, on the generated client.

use std::time::Instant;

use anyhow::{Context, Result, bail};
use parley_client::v1::chat_request::Payload;
use parley_client::v1::chat_service_client::ChatServiceClient;
use parley_client::v1::send_result::Outcome;
use parley_client::v1::{ChatRequest, ChatResponse, Hello, SendFrame, SendRequest, Start};
use serde_json::{Value, json};
use tokio::sync::mpsc::channel;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use crate::commands::authorized;

pub async fn measure(
    mut client: ChatServiceClient<Channel>,
    token: Option<&str>,
    conversation_id: String,
    outstanding: usize,
    count: usize,
) -> Result<Value> {
    let (frames, requests) = channel(outstanding.max(1));
    let hello = Hello { start: Start::Latest.into(), no_echo: true, ..Default::default() };
    frames.send(frame(0, Payload::Hello(hello))).await?;
    let request = authorized(ReceiverStream::new(requests), token)?;
    let mut responses = client.chat(request).await?.into_inner();
    while next(&mut responses).await?.welcomes.is_empty() {}

    let text = "x".repeat(100);
    let send = SendRequest { conversation_id, text, ..Default::default() };
    let begin = Instant::now();
    let (mut written, mut answered, mut accepted) = (0, 0, 0);
    while answered < count {
        while written < count && written - answered < outstanding {
            written += 1;
            let send = SendFrame { requests: vec![send.clone()] };
            frames.send(frame(written as i64, Payload::Send(send))).await?;
        }
        let results = next(&mut responses).await?.results;
        answered += results.len();
        accepted += results.iter().filter(|result| matches!(result.outcome, Some(Outcome::Accepted(_)))).count();
    }
    Ok(json!({"seconds": begin.elapsed().as_secs_f64(), "accepted": accepted}))
}

fn frame(correlation_id: i64, payload: Payload) -> ChatRequest {
    ChatRequest { correlation_id, payload: Some(payload) }
}

async fn next(responses: &mut Streaming<ChatResponse>) -> Result<ChatResponse> {
    let frame = responses.message().await?.context("the stream has ended")?;
    if let Some(error) = frame.errors.first() {
        bail!("a frame was refused: {error:?}");
    }
    Ok(frame)
}
