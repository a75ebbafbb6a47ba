//! The commands, and what the runner keeps between them: one channel a target, and the open streams by their names.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result};
use parley_client::v1::chat_service_client::ChatServiceClient;
use serde::Deserialize;
use serde_json::{Value, json};
use tonic::Request;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};

use crate::json::Json;
use crate::sessions::{self, Sessions};
use crate::streams::Stream;
use crate::{calls, measure};

/// One line of standard input.
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Command {
    Call(Call),
    Open {
        stream: String,
        target: String,
        method: String,
        token: Option<String>,
        #[serde(default)]
        request: Value,
    },
    Write {
        stream: String,
        frame: Value,
    },
    WriteNewer {
        stream: String,
        correlation_id: i64,
    },
    Read {
        stream: String,
        timeout_ms: u64,
    },
    Close {
        stream: String,
    },
    Cancel {
        stream: String,
    },
    Page {
        target: String,
        token: Option<String>,
        request: Value,
    },
    Measure {
        target: String,
        token: Option<String>,
        conversation_id: String,
        outstanding: usize,
        count: usize,
    },
    #[serde(untagged)]
    Session(sessions::Command),
}

#[derive(Deserialize)]
pub struct Call {
    pub target: String,
    pub method: String,
    pub token: Option<String>,
    #[serde(default)]
    pub request: Value,
    pub deadline_ms: Option<u64>,
    pub cancel_after_ms: Option<u64>,
}

pub struct Runner {
    json: Json,
    channels: HashMap<String, Channel>,
    streams: HashMap<String, Stream>,
    sessions: Sessions,
}

impl Runner {
    pub fn new() -> Result<Self> {
        Ok(Self {
            json: Json::new()?,
            channels: HashMap::new(),
            streams: HashMap::new(),
            sessions: Sessions::default(),
        })
    }

    /// Carries out one command and gives its answer; an `Err` is something that the runner was not made for.
    pub async fn run(&mut self, command: Command) -> Result<Value> {
        match command {
            Command::Call(call) => {
                let client = self.client(&call.target)?;
                calls::call(&self.json, client, &call).await
            }
            Command::Open { stream, target, method, token, request } => {
                let token = token.as_deref();
                let opened = match method.as_str() {
                    "Chat" => Stream::chat(self.channel(&target)?, token)?,
                    "Subscribe" => {
                        let request = authorized(self.json.parse(&request)?, token)?;
                        Stream::subscribe(self.client(&target)?, request)
                    }
                    _ => anyhow::bail!("{method} is no stream"),
                };
                self.streams.insert(stream, opened);
                Ok(json!({"opened": true}))
            }
            Command::Write { stream, frame } => {
                let frame = self.json.parse(&frame)?;
                Ok(json!({"written": self.stream(&stream)?.write(frame)}))
            }
            Command::WriteNewer { stream, correlation_id } => {
                Ok(json!({"written": self.stream(&stream)?.write_newer(correlation_id)}))
            }
            Command::Read { stream, timeout_ms } => {
                let open = self.streams.get_mut(&stream).context("no such stream")?;
                open.read(&self.json, Duration::from_millis(timeout_ms)).await
            }
            Command::Close { stream } => {
                self.stream(&stream)?.close();
                Ok(json!({"closed": true}))
            }
            Command::Cancel { stream } => {
                self.stream(&stream)?.cancel();
                Ok(json!({"cancelled": true}))
            }
            Command::Page { target, token, request } => {
                let request = self.json.parse(&request)?;
                calls::page(self.client(&target)?, token.as_deref(), request).await
            }
            Command::Measure { target, token, conversation_id, outstanding, count } => {
                let client = self.client(&target)?;
                measure::measure(client, token.as_deref(), conversation_id, outstanding, count).await
            }
            Command::Session(command) => self.sessions.run(&self.json, command).await,
        }
    }

    fn stream(&mut self, name: &str) -> Result<&mut Stream> {
        self.streams.get_mut(name).context("no such stream")
    }

    fn client(&mut self, target: &str) -> Result<ChatServiceClient<Channel>> {
        Ok(ChatServiceClient::new(self.channel(target)?))
    }

    /// A lazy channel connects at the first call, and again at the first one after its connection broke, at once.
    fn channel(&mut self, target: &str) -> Result<Channel> {
        if let Some(channel) = self.channels.get(target) {
            return Ok(channel.clone());
        }
        let endpoint = Endpoint::from_shared(format!("http://{target}"))?;
        let channel = endpoint.connect_timeout(Duration::from_secs(5)).connect_lazy();
        self.channels.insert(target.to_owned(), channel.clone());
        Ok(channel)
    }
}

/// A request with the token in its metadata.
pub fn authorized<T>(message: T, token: Option<&str>) -> Result<Request<T>> {
    let mut request = Request::new(message);
    if let Some(token) = token {
        let value = MetadataValue::try_from(format!("Bearer {token}"))?;
        request.metadata_mut().insert("authorization", value);
    }
    Ok(request)
}
