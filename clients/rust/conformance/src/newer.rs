//! A frame of a newer contract, and Chat with such frames.
//!
//! prost keeps no fields that it does not know, so the generated `ChatRequest` cannot carry one. This is its copy, written
//! by hand, with one payload more; tonic's client takes it on Chat's own path. Read back, it is a `ChatRequest` like any.

use parley_client::v1::{ChatRequest, ChatResponse, chat_request};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

#[derive(Clone, PartialEq, prost::Message)]
pub struct NewerChatRequest {
    #[prost(int64, tag = "1")]
    pub correlation_id: i64,
    #[prost(oneof = "chat_request::Payload", tags = "2, 3, 4, 5, 6, 7, 8, 9, 10")]
    pub payload: Option<chat_request::Payload>,
    #[prost(string, optional, tag = "1000")]
    pub newer: Option<String>,
}

impl From<ChatRequest> for NewerChatRequest {
    fn from(ChatRequest { correlation_id, payload }: ChatRequest) -> Self {
        Self { correlation_id, payload, newer: None }
    }
}

/// What `ChatServiceClient::chat` does, for these frames.
pub async fn chat(
    channel: Channel,
    request: Request<UnboundedReceiver<NewerChatRequest>>,
) -> Result<Response<Streaming<ChatResponse>>, Status> {
    let mut client = Grpc::new(channel);
    client.ready().await.map_err(|error| Status::from_error(error.into()))?;
    let path = PathAndQuery::from_static("/parley.v1.ChatService/Chat");
    let codec = ProstCodec::<NewerChatRequest, ChatResponse>::default();
    client.streaming(request.map(UnboundedReceiverStream::new), path, codec).await
}
