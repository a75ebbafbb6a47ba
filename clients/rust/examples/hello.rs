//! Registers or logs in, sends three notes to itself through a session, and acknowledges them. Arguments: [host:port].

use std::env;
use std::time::Duration;

use parley_client::v1::RegisterRequest;
use parley_client::v1::chat_service_client::ChatServiceClient;
use tonic::Code;
use tonic::transport::Endpoint;

mod session;
use session::{Event, Session};

const ME: &str = "hello-tonic";
const PASSWORD: &str = "correct horse battery staple";
const TO_MYSELF: &str = "hello-tonic:hello-tonic";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:50051".into());
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
    let me = RegisterRequest { username: ME.to_owned(), password: PASSWORD.to_owned(), ..Default::default() };
    match ChatServiceClient::new(endpoint.connect_lazy()).register(me).await {
        Err(refused) if refused.code() != Code::AlreadyExists => return Err(refused.into()),
        _ => {}
    }

    let mut session = Session::open(endpoint, ME, PASSWORD, ME, Duration::from_secs(10)).await?;
    let notes = ["Hello, Parley!", "Is anybody there?", "Good night."].map(|text| session.send(TO_MYSELF, text));
    let mut last_seq = 0;
    for note in notes {
        last_seq = note.await?.seq;
        println!("stored as {last_seq}");
    }
    while let Some(event) = session.next().await? {
        match event {
            Event::Message(message) => {
                println!("{} from {}: {}", message.seq, message.sender, message.text);
                session.ack(&message.conversation_id, message.seq);
                if message.seq == last_seq {
                    break;
                }
            }
            Event::Reset(reset) => println!("void above {}", reset.seq),
        }
    }
    session.close(Duration::from_secs(10)).await;
    println!("done");
    Ok(())
}
