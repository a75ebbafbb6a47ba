//! Unary calls by the name of their method, and the reading of a log page by page.

use std::time::Duration;

use anyhow::Result;
use parley_client::v1::PullRequest;
use parley_client::v1::chat_service_client::ChatServiceClient;
use prost::Name;
use serde_json::{Value, json};
use tokio::time::sleep;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use crate::commands::{Call, authorized};
use crate::errors::describe;
use crate::json::Json;

type Client = ChatServiceClient<Channel>;

/// Without a deadline of the command's, so that the runner never hangs.
const DEADLINE: Duration = Duration::from_secs(30);

/// Runs the call with the stub's method of that name.
macro_rules! by_name {
    ($json:ident, $client:ident, $call:ident, $($name:literal => $method:ident,)*) => {
        match $call.method.as_str() {
            $($name => {
                let mut client = $client;
                unary($json, $call, |request| async move { client.$method(request).await }).await
            })*
            other => anyhow::bail!("no unary method {other}"),
        }
    };
}

pub async fn call(json: &Json, client: Client, call: &Call) -> Result<Value> {
    by_name!(json, client, call,
        "GetServerInfo" => get_server_info,
        "Register" => register,
        "Login" => login,
        "RefreshToken" => refresh_token,
        "Logout" => logout,
        "GetUser" => get_user,
        "UpdateUser" => update_user,
        "ChangePassword" => change_password,
        "DeleteAccount" => delete_account,
        "CreateConversation" => create_conversation,
        "GetConversation" => get_conversation,
        "ListConversations" => list_conversations,
        "UpdateConversation" => update_conversation,
        "DeleteConversation" => delete_conversation,
        "AddMembers" => add_members,
        "RemoveMembers" => remove_members,
        "UpdateMember" => update_member,
        "ListMembers" => list_members,
        "MarkRead" => mark_read,
        "Send" => send,
        "BatchSend" => batch_send,
        "Pull" => pull,
        "Ack" => ack,
        "ListDeadLetters" => list_dead_letters,
        "RedriveDeadLetters" => redrive_dead_letters,
        "DeleteDeadLetters" => delete_dead_letters,
        "GetPresence" => get_presence,
    )
}

async fn unary<Q, A, F>(json: &Json, call: &Call, run: impl FnOnce(Request<Q>) -> F) -> Result<Value>
where
    Q: Name + Default,
    A: Name,
    F: Future<Output = Result<Response<A>, Status>>,
{
    let mut request = authorized(json.parse(&call.request)?, call.token.as_deref())?;
    request.set_timeout(call.deadline_ms.map_or(DEADLINE, Duration::from_millis));
    let cancelled = async {
        match call.cancel_after_ms {
            Some(delay) => sleep(Duration::from_millis(delay)).await,
            None => std::future::pending().await,
        }
    };
    let outcome = tokio::select! {
        outcome = run(request) => outcome,
        // A call is cancelled by dropping it, which leaves no status.
        () = cancelled => Err(Status::cancelled("The caller dropped the call.")),
    };
    Ok(match outcome {
        Ok(response) => json!({"response": json.print(response.get_ref())?}),
        Err(status) => json!({"error": describe(&status)}),
    })
}

pub async fn page(mut client: Client, token: Option<&str>, mut next: PullRequest) -> Result<Value> {
    let mut seqs = Vec::new();
    loop {
        let mut request = authorized(next.clone(), token)?;
        request.set_timeout(DEADLINE);
        let page = match client.pull(request).await {
            Ok(response) => response.into_inner(),
            Err(status) => return Ok(json!({"error": describe(&status)})),
        };
        seqs.extend(page.messages.iter().map(|message| message.seq.to_string()));
        if !page.has_more {
            return Ok(json!({"seqs": seqs, "next_cursor": page.next_cursor.to_string()}));
        }
        next.cursor = page.next_cursor;
    }
}
