//! An open Chat or Subscribe: frames out, frames in, and its end. A task reads in the background, so that `open` does not
//! wait for the server and a read that times out loses nothing.

use std::time::Duration;

use anyhow::{Context, Result};
use parley_client::v1::chat_service_client::ChatServiceClient;
use parley_client::v1::{ChatRequest, ChatResponse, SubscribeRequest};
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};

use crate::commands::authorized;
use crate::errors::describe;
use crate::json::Json;
use crate::newer::{self, NewerChatRequest};

/// A frame, or how the stream ended, which may be with OK.
type Event = Result<ChatResponse, Status>;

pub struct Stream {
    /// None after the half-close, and in a Subscribe.
    frames: Option<UnboundedSender<NewerChatRequest>>,
    events: UnboundedReceiver<Event>,
    reader: JoinHandle<()>,
}

impl Stream {
    pub fn chat(channel: Channel, token: Option<&str>) -> Result<Self> {
        let (frames, requests) = unbounded_channel();
        let request = authorized(requests, token)?;
        Ok(Self::open(Some(frames), newer::chat(channel, request)))
    }

    pub fn subscribe(mut client: ChatServiceClient<Channel>, request: Request<SubscribeRequest>) -> Self {
        Self::open(None, async move { client.subscribe(request).await })
    }

    fn open<F>(frames: Option<UnboundedSender<NewerChatRequest>>, call: F) -> Self
    where
        F: Future<Output = Result<Response<Streaming<ChatResponse>>, Status>> + Send + 'static,
    {
        let (sender, events) = unbounded_channel();
        let reader = tokio::spawn(async move {
            let end = receive(call, &sender).await.err().unwrap_or_else(|| Status::ok(""));
            // It fails when the runner has ended: then nobody wants to know.
            let _ = sender.send(Err(end));
        });
        Self { frames, events, reader }
    }

    /// Whether the stream still takes frames.
    pub fn write(&mut self, frame: ChatRequest) -> bool {
        self.write_frame(frame.into())
    }

    pub fn write_newer(&mut self, correlation_id: i64) -> bool {
        let newer = Some("newer".to_owned());
        self.write_frame(NewerChatRequest { correlation_id, payload: None, newer })
    }

    fn write_frame(&mut self, frame: NewerChatRequest) -> bool {
        let open = !self.reader.is_finished();
        open && self.frames.as_ref().is_some_and(|frames| frames.send(frame).is_ok())
    }

    pub async fn read(&mut self, json: &Json, limit: Duration) -> Result<Value> {
        let Ok(event) = timeout(limit, self.events.recv()).await else {
            return Ok(json!({"nothing": true}));
        };
        Ok(match event.context("the stream's end was read before")? {
            Ok(frame) => json!({"frame": json.print(&frame)?}),
            Err(status) => json!({"end": describe(&status)}),
        })
    }

    pub fn close(&mut self) {
        self.frames = None;
    }

    /// A stream is cancelled by dropping it, here with the task that reads it. That leaves no status.
    pub fn cancel(&mut self) {
        if self.reader.is_finished() {
            return;
        }
        self.reader.abort();
        self.frames = None;
        let (sender, events) = unbounded_channel();
        self.events = events;
        let _ = sender.send(Err(Status::cancelled("The caller dropped the stream.")));
    }
}

async fn receive<F>(call: F, events: &UnboundedSender<Event>) -> Result<(), Status>
where
    F: Future<Output = Result<Response<Streaming<ChatResponse>>, Status>>,
{
    let mut responses = call.await?.into_inner();
    while let Some(frame) = responses.message().await? {
        let _ = events.send(Ok(frame));
    }
    Ok(())
}
