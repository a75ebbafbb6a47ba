//! Registers or logs in, sends, chats with resume after a broken stream, and acknowledges. Arguments: [host:port].

use std::collections::HashMap;
use std::{env, time::Duration};

use anyhow::Result;
use parley_client::v1::chat_request::Payload;
use parley_client::v1::chat_service_client::ChatServiceClient;
use parley_client::v1::send_result::Outcome;
use parley_client::v1::{
    AckFrame, ChatRequest, Hello, LoginRequest, Position, RegisterRequest, SendFrame, SendRequest,
};
use prost::Message;
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::time::sleep;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::{Interceptor, interceptor::InterceptedService};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_types::{RpcStatusExt, StatusExt};
use uuid::Uuid;

const ME: &str = "hello-tonic";
const PASSWORD: &str = "correct horse battery staple";
const TO_MYSELF: &str = "hello-tonic:hello-tonic";

/// What outlives a stream.
#[derive(Default)]
struct Session {
    /// Sends without an answer; they are sent again with the same request_id, so that each takes effect once.
    unanswered: Vec<SendRequest>,
    /// The highest seq that came, of each conversation.
    positions: HashMap<String, i64>,
    /// The seq of the last message that was accepted.
    last_seq: i64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:50051".into());
    let channel = Endpoint::from_shared(format!("http://{address}"))?.connect().await?;
    let bearer = log_in(channel.clone()).await?;
    let mut parley = ChatServiceClient::with_interceptor(channel, move |mut request: Request<()>| {
        request.metadata_mut().insert("authorization", bearer.clone());
        Ok(request)
    });

    let request = note("Sent by a call");
    for _ in 0..2 {
        let sent = parley.send(request.clone()).await?.into_inner();
        let seq = sent.message.unwrap_or_default().seq;
        println!("stored as {seq}{}", again(sent.deduplicated));
    }

    let unanswered = vec![note("Sent by the stream"), note("This one, too")];
    let mut session = Session { unanswered, ..Default::default() };
    let mut pause = Duration::from_millis(500);
    let mut cut = true;
    while let Err(status) = chat(&mut parley, &mut session, cut).await {
        if !is_passing(&status) {
            return Err(status.into());
        }
        // At random, so that not all come back at once.
        let wait = pause.mul_f64(f64::from(Uuid::new_v4().as_fields().0) / f64::from(u32::MAX));
        println!("the stream broke: {}; again in {wait:?}", status.message());
        sleep(wait).await;
        pause = (pause * 2).min(Duration::from_secs(15));
        cut = false;
    }
    println!("done");
    Ok(())
}

/// Whether to come back after this error.
fn is_passing(status: &Status) -> bool {
    let is_broken =
        matches!(status.code(), Code::Unavailable | Code::Cancelled | Code::Internal | Code::Unknown | Code::Aborted);
    is_broken || status.get_error_details().retry_info().is_some()
}

async fn log_in(channel: Channel) -> Result<MetadataValue<Ascii>> {
    let mut parley = ChatServiceClient::new(channel);
    let (username, password) = (ME.to_owned(), PASSWORD.to_owned());
    let me = RegisterRequest { username: username.clone(), password: password.clone(), ..Default::default() };
    let token = match parley.register(me).await {
        Ok(registered) => registered.into_inner().access_token,
        Err(status) if status.code() == Code::AlreadyExists => {
            let me = LoginRequest { username, password, ..Default::default() };
            parley.login(me).await?.into_inner().access_token
        }
        Err(status) => return Err(status.into()),
    };
    Ok(format!("Bearer {token}").parse()?)
}

fn note(text: &str) -> SendRequest {
    SendRequest {
        conversation_id: TO_MYSELF.to_owned(),
        text: text.to_owned(),
        request_id: Uuid::new_v4().to_string(),
        ..Default::default()
    }
}

type Client<I> = ChatServiceClient<InterceptedService<Channel, I>>;

/// One stream, until all is answered and acknowledged; with `cut` it breaks off in the middle.
async fn chat<I: Interceptor>(parley: &mut Client<I>, session: &mut Session, cut: bool) -> Result<(), Status> {
    let (frames, requests) = mpsc::unbounded_channel();
    // The same device_id each time: what this device did not acknowledge comes again.
    let hello = Hello { device_id: "hello-tonic".to_owned(), ..Default::default() };
    write(&frames, 1, Payload::Hello(hello));
    let sends = SendFrame { requests: session.unanswered.clone() };
    if !sends.requests.is_empty() {
        write(&frames, 2, Payload::Send(sends.clone()));
    }
    let mut frames = Some(frames);
    let requests = UnboundedReceiverStream::new(requests);
    let mut responses = parley.chat(requests).await?.into_inner();
    while let Some(frame) = responses.message().await? {
        if let Some(error) = frame.errors.into_iter().find_map(|refused| refused.error) {
            return Err(to_status(error));
        }
        for result in frame.results {
            session.settle(&sends.requests[result.index as usize], result.outcome)?;
        }
        for message in frame.messages {
            let (conversation_id, seq) = (message.conversation_id, message.seq);
            let position = session.positions.entry(conversation_id.clone()).or_default();
            if seq <= *position {
                continue; // it came before
            }
            if cut {
                return Err(Status::unavailable("cut off, to show how it resumes"));
            }
            println!("{seq} from {}: {}", message.sender, message.text);
            *position = seq;
            if let Some(frames) = &frames {
                let positions = vec![Position { conversation_id, seq }];
                write(frames, 3, Payload::Ack(AckFrame { positions }));
            }
        }
        if session.is_done() {
            frames = None; // our half of the stream ends; the server finishes, and ends its half
        }
    }
    if session.is_done() { Ok(()) } else { Err(Status::unavailable("the server ended the stream")) }
}

fn write(frames: &UnboundedSender<ChatRequest>, correlation_id: i64, payload: Payload) {
    // It fails when the stream has ended; reading says why.
    let _ = frames.send(ChatRequest { correlation_id, payload: Some(payload) });
}

impl Session {
    fn settle(&mut self, request: &SendRequest, outcome: Option<Outcome>) -> Result<(), Status> {
        match outcome {
            Some(Outcome::Accepted(accepted)) => {
                println!("stored as {}{}", accepted.seq, again(accepted.deduplicated));
                self.last_seq = accepted.seq;
            }
            Some(Outcome::Error(error)) if error.get_details_retry_info().is_some() => {
                return Err(to_status(error)); // refused for now: it stays unanswered
            }
            Some(Outcome::Error(error)) => println!("refused: {}", error.message),
            None => {}
        }
        self.unanswered.retain(|unanswered| unanswered.request_id != request.request_id);
        Ok(())
    }

    fn is_done(&self) -> bool {
        let position = self.positions.get(TO_MYSELF).copied().unwrap_or_default();
        self.unanswered.is_empty() && position >= self.last_seq
    }
}

fn again(deduplicated: bool) -> &'static str {
    if deduplicated { ", as before" } else { "" }
}

fn to_status(error: tonic_types::Status) -> Status {
    Status::with_details(error.code.into(), &error.message, error.encode_to_vec().into())
}
