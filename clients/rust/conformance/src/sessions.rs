//! Drives the sessions of ../../examples/session.rs.

use std::collections::HashMap;
use std::pin::Pin;
use std::time::Duration;

use anyhow::{Context, Result};
use parley_client::v1::Accepted;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::timeout;
use tonic::Status;
use tonic::transport::Endpoint;

use crate::errors::describe;
use crate::json::Json;
use crate::session::{Event, Session};

#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Command {
    SessionOpen(Open),
    SessionSend { session: String, ticket: String, conversation_id: String, text: String },
    SessionSent { session: String, ticket: String, timeout_ms: u64 },
    SessionNext { session: String, timeout_ms: u64 },
    SessionAck { session: String, conversation_id: String, seq: Value },
    SessionClose { session: String, timeout_ms: u64 },
}

#[derive(Deserialize)]
pub struct Open {
    session: String,
    target: String,
    username: String,
    password: String,
    device_id: String,
    heartbeat_ms: u64,
}

type Answer = Pin<Box<dyn Future<Output = Result<Accepted, Status>>>>;

/// A session, and its sends that are under way, by ticket.
struct Driven {
    session: Session,
    sends: HashMap<String, Answer>,
}

/// Those that are open, by name.
#[derive(Default)]
pub struct Sessions {
    driven: HashMap<String, Driven>,
}

impl Sessions {
    pub async fn run(&mut self, json: &Json, command: Command) -> Result<Value> {
        match command {
            Command::SessionOpen(open) => self.open(open).await,
            Command::SessionSend { session, ticket, conversation_id, text } => {
                let driven = self.driven(&session)?;
                let answer = driven.session.send(&conversation_id, &text);
                driven.sends.insert(ticket, Box::pin(answer));
                Ok(json!({"sending": true}))
            }
            Command::SessionSent { session, ticket, timeout_ms } => {
                let sends = &mut self.driven(&session)?.sends;
                let answer = sends.get_mut(&ticket).context("no such send")?;
                let Ok(answer) = timeout(Duration::from_millis(timeout_ms), answer).await else {
                    return Ok(json!({"nothing": true}));
                };
                sends.remove(&ticket);
                Ok(match answer {
                    Ok(accepted) => json!({"accepted": json.print(&accepted)?}),
                    Err(refused) => json!({"error": describe(&refused)}),
                })
            }
            Command::SessionNext { session, timeout_ms } => {
                let next = self.driven(&session)?.session.next();
                Ok(match timeout(Duration::from_millis(timeout_ms), next).await {
                    Err(_) => json!({"nothing": true}),
                    Ok(Ok(Some(Event::Message(message)))) => json!({"message": json.print(&message)?}),
                    Ok(Ok(Some(Event::Reset(reset)))) => json!({"reset": json.print(&reset)?}),
                    Ok(Ok(None)) => json!({"end": {"code": "OK"}}),
                    Ok(Err(end)) => json!({"end": describe(&end)}),
                })
            }
            Command::SessionAck { session, conversation_id, seq } => {
                let seq = seq.as_i64().or_else(|| seq.as_str()?.parse().ok()).context("no seq")?;
                self.driven(&session)?.session.ack(&conversation_id, seq);
                Ok(json!({"acked": true}))
            }
            Command::SessionClose { session, timeout_ms } => {
                self.driven(&session)?.session.close(Duration::from_millis(timeout_ms)).await;
                Ok(json!({"closed": true}))
            }
        }
    }

    async fn open(&mut self, open: Open) -> Result<Value> {
        let endpoint = Endpoint::from_shared(format!("http://{}", open.target))?;
        let heartbeat = Duration::from_millis(open.heartbeat_ms);
        match Session::open(endpoint, &open.username, &open.password, &open.device_id, heartbeat).await {
            Err(refused) => Ok(json!({"error": describe(&refused)})),
            Ok(session) => {
                self.driven.insert(open.session, Driven { session, sends: HashMap::new() });
                Ok(json!({"opened": true}))
            }
        }
    }

    fn driven(&mut self, name: &str) -> Result<&mut Driven> {
        self.driven.get_mut(name).context("no such session")
    }
}
