//! A device's session with Parley: one file to copy into a program that has the crate `parley-client`.
//!
//! A session keeps one `Chat` stream open. It sends again what has no answer, resumes from what came, refreshes its
//! tokens and ends only when it is closed or when the server will never have it back. docs/clients.md has the rules;
//! `State` is these rules without I/O, `Session` is what a program uses, `Driver` reads, writes and waits.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use parley_client::v1::chat_request::Payload;
use parley_client::v1::chat_service_client::ChatServiceClient;
use parley_client::v1::send_result::Outcome;
use parley_client::v1::{
    Accepted, AckFrame, Authenticate, ChatRequest, ChatResponse, Hello, LoginRequest, Message, Position,
    RefreshTokenRequest, Reset, SendFrame, SendRequest, Start,
};
use prost::Message as _;
use prost_types::Timestamp;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, RpcStatusExt, StatusExt};
use uuid::Uuid;

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LAST_PAUSE: Duration = Duration::from_secs(15);
const ACK_PAUSE: Duration = Duration::from_secs(1);
const CALL_LIMIT: Duration = Duration::from_secs(10);
/// Sends without a final answer; one more is refused.
const MAX_UNANSWERED: usize = 1_000;
/// Entries that came and are not acknowledged; the server holds back what is beyond.
const WINDOW: usize = 1_000;
/// The server ends a stream with a frame of more than 256 KiB; the rest is room for the frame around the send.
const MAX_SEND_BYTES: usize = 256 * 1024 - 64;
/// In a frame.
const MAX_HELLO_POSITIONS: usize = 2_000;
const MAX_ACK_POSITIONS: usize = 1_000;
/// The correlation_id of frames whose refusal changes nothing here: acks and tokens.
const QUIET: i64 = 1;

/// What `next` gives, each once and in order.
#[derive(Debug)]
pub enum Event {
    /// A new entry of a conversation.
    Message(Message),
    /// The server was set back: what came of this conversation above this seq is void.
    Reset(Reset),
}

/// The program's side. Dropping it ends the stream at once; `close` ends it in good order.
pub struct Session {
    driver: Arc<Driver>,
    task: JoinHandle<()>,
}

impl Session {
    /// Logs in, and keeps a stream open until `close`. Waits for a server that is away; fails where the login is
    /// refused for good.
    ///
    /// `device_id` is the same for the same device each time: acks are kept by it. The server gives a sign of life each
    /// `heartbeat`, 1 s to 10 min; silence of three times that is a break.
    pub async fn open(
        endpoint: Endpoint,
        username: &str,
        password: &str,
        device_id: &str,
        heartbeat: Duration,
    ) -> Result<Session, Status> {
        let endpoint = endpoint.connect_timeout(CALL_LIMIT);
        let (username, password) = (username.to_owned(), password.to_owned());
        let login = LoginRequest { username, password, device_id: device_id.to_owned() };
        let login = call(&endpoint, login, async |mut client, login| client.login(login).await).await?;
        let mut state = State { device_id: device_id.to_owned(), heartbeat, ..Default::default() };
        state.take_tokens(login.access_token, login.refresh_token, login.access_expire_time);
        let (wake, filled, renewing) = Default::default();
        let driver = Arc::new(Driver { endpoint, heartbeat, state: state.into(), wake, filled, renewing });
        let task = tokio::spawn(driver.clone().run());
        Ok(Session { driver, task })
    }

    /// Sends a message: now, or as soon as there is a stream; those to one conversation keep their order. The future
    /// gives where it is stored, or why it had no effect and never will. Dropping the future takes nothing back.
    pub fn send(&self, conversation_id: &str, text: &str) -> impl Future<Output = Result<Accepted, Status>> + use<> {
        self.send_request(SendRequest {
            conversation_id: conversation_id.to_owned(),
            text: text.to_owned(),
            ..Default::default()
        })
    }

    /// The same, for the other fields of SendRequest; with a request_id that the program keeps.
    pub fn send_request(&self, mut request: SendRequest) -> impl Future<Output = Result<Accepted, Status>> + use<> {
        if request.request_id.is_empty() {
            request.request_id = Uuid::new_v4().to_string(); // of all attempts
        }
        let answer = self.driver.state().send(request);
        self.driver.wake.notify_one();
        async move { answer.await.unwrap_or_else(|_| Err(Status::cancelled("the session was dropped"))) }
    }

    /// The next message or reset, for one reader at a time; None after `close`. An error is why the session has ended.
    pub async fn next(&self) -> Result<Option<Event>, Status> {
        loop {
            if let Some(next) = self.driver.state().next() {
                return next;
            }
            self.driver.filled.notified().await;
        }
    }

    /// Says that all up to `seq` that `next` gave is dealt with: it never comes to this device again.
    pub fn ack(&self, conversation_id: &str, seq: i64) {
        self.driver.state().ack(conversation_id, seq);
        self.driver.wake.notify_one();
    }

    /// Waits for the answers to all sends, tells the last acks and ends the stream; at once after the limit.
    pub async fn close(&mut self, limit: Duration) {
        self.driver.state().is_closing = true;
        self.driver.wake.notify_one();
        if !self.task.is_finished() && timeout(limit, &mut self.task).await.is_err() {
            self.task.abort();
        }
        self.driver.finish(Status::cancelled("the session is closed"));
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Reads, writes and waits.
struct Driver {
    endpoint: Endpoint,
    heartbeat: Duration,
    state: Mutex<State>,
    /// There may be something to write.
    wake: Notify,
    /// There is something for `next`.
    filled: Notify,
    /// One exchange of a refresh token at a time.
    renewing: tokio::sync::Mutex<()>,
}

impl Driver {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds the state")
    }

    async fn run(self: Arc<Self>) {
        let end = self.keep_stream().await;
        self.finish(end);
    }

    fn finish(&self, end: Status) {
        self.state().finish(end);
        self.filled.notify_one();
    }

    /// Opens one stream after the other; gives why there will be no other.
    async fn keep_stream(self: &Arc<Self>) -> Status {
        let mut pause = Pause::default();
        loop {
            let token = self.state().access_token.clone();
            let end = self.run_stream(&token).await;
            if self.state().is_settled(&end) {
                return Status::cancelled("the session is closed");
            }
            let Stream { is_welcomed, leave_at, .. } = self.state().end_stream();
            if is_welcomed {
                pause = Pause::default();
            }
            let is_expired = end.code() == Code::Unauthenticated;
            if !is_expired && !is_passing(&end) {
                return end; // the next stream would meet the same
            }
            sleep(match leave_at {
                Some(at) => at.saturating_duration_since(Instant::now()),
                None if is_expired && is_welcomed => Duration::ZERO,
                None => pause.next(retry_delay(&end)),
            })
            .await;
            // After the pause, in which a short token ends, also one that was renewed since the stream began.
            let token = self.state().access_token.clone();
            if is_expired && let Err(ended) = self.refresh(&token).await {
                return ended;
            }
        }
    }

    /// Serves one stream; gives how it ended.
    async fn run_stream(self: &Arc<Self>, token: &str) -> Status {
        let (frames, requests) = mpsc::unbounded_channel();
        let _ = frames.send(self.state().open());
        let mut frames = Some(frames);
        let mut request = Request::new(UnboundedReceiverStream::new(requests));
        match MetadataValue::try_from(format!("Bearer {token}")) {
            Ok(bearer) => request.metadata_mut().insert("authorization", bearer),
            Err(_) => return Status::invalid_argument("the access token is none"),
        };
        // A connection for each stream and call: none meets one that hangs.
        let mut client = ChatServiceClient::new(self.endpoint.connect_lazy());
        let silent = || Status::unavailable("the server is silent");
        let mut responses = match timeout(3 * self.heartbeat, client.chat(request)).await {
            Ok(Ok(response)) => response.into_inner(),
            Ok(Err(status)) => return status,
            Err(_) => return silent(),
        };
        let mut silent_at = Instant::now() + 3 * self.heartbeat;
        loop {
            let due = self.state().due_time().map_or(silent_at, |due| due.min(silent_at));
            tokio::select! {
                frame = responses.message() => match frame {
                    Ok(Some(frame)) => {
                        silent_at = Instant::now() + 3 * self.heartbeat;
                        if let Err(refused) = self.receive(frame) {
                            return refused;
                        }
                    }
                    Ok(None) => return Status::ok("the server ended the stream"),
                    Err(status) => return status,
                },
                () = self.wake.notified() => {}
                () = sleep_until(due) => if silent_at <= Instant::now() { return silent() },
            }
            self.refresh_early();
            let mut state = self.state();
            for frame in state.take_frames(Instant::now()) {
                if let Some(frames) = &frames {
                    let _ = frames.send(frame); // reading says how a stream ends
                }
            }
            if state.is_done() {
                state.stream.is_half_closed = true;
                frames = None; // the server finishes, and ends its half
            }
        }
    }

    fn receive(&self, frame: ChatResponse) -> Result<(), Status> {
        let taken = self.state().receive(frame, Instant::now());
        self.filled.notify_one();
        taken
    }

    /// Exchanges the tokens when it is time. Should it fail, the stream's end says that the token has ended.
    fn refresh_early(self: &Arc<Self>) {
        let mut state = self.state();
        if state.stale_at.take_if(|at| *at <= Instant::now()).is_some() {
            let (driver, token) = (self.clone(), state.access_token.clone());
            tokio::spawn(async move { driver.refresh(&token).await });
        }
    }

    /// Exchanges the tokens, unless that was done since `token` was in force.
    async fn refresh(&self, token: &str) -> Result<(), Status> {
        let _turn = self.renewing.lock().await;
        let renewal = self.state().renewal.clone();
        if self.state().access_token == token {
            let fresh = async |mut client: Client, renewal| client.refresh_token(renewal).await;
            let fresh = call(&self.endpoint, renewal, fresh).await?;
            let mut state = self.state();
            state.take_tokens(fresh.access_token, fresh.refresh_token, fresh.access_expire_time);
            state.stream.has_fresh_token = true;
            self.wake.notify_one();
        }
        Ok(())
    }
}

type Client = ChatServiceClient<Channel>;

/// Makes a call that may be repeated, as often as it takes.
async fn call<Q: Clone, A>(
    endpoint: &Endpoint,
    request: Q,
    run: impl AsyncFn(Client, Request<Q>) -> Result<Response<A>, Status>,
) -> Result<A, Status> {
    let mut pause = Pause::default();
    loop {
        let mut timed = Request::new(request.clone());
        timed.set_timeout(CALL_LIMIT);
        match run(ChatServiceClient::new(endpoint.connect_lazy()), timed).await {
            Ok(response) => return Ok(response.into_inner()),
            Err(failed) if is_passing(&failed) => sleep(pause.next(retry_delay(&failed))).await,
            Err(refused) => return Err(refused),
        }
    }
}

/// Whether the same call, or another stream, may do better. Without an ErrorInfo most of these codes are a proxy's, or
/// the connection's: tonic says UNKNOWN when one breaks. FAILED_PRECONDITION is a hello that came too late.
fn is_passing(end: &Status) -> bool {
    use Code::*;
    let passing =
        [Ok, Unavailable, Internal, Unknown, Cancelled, Aborted, DeadlineExceeded, DataLoss, FailedPrecondition];
    retry_delay(end).is_some() || passing.contains(&end.code())
}

fn retry_delay(end: &Status) -> Option<Duration> {
    end.get_error_details().retry_info().and_then(|info| info.retry_delay)
}

fn to_status(error: tonic_types::Status) -> Status {
    Status::with_details(error.code.into(), &error.message, error.encode_to_vec().into())
}

/// Looks like the server's own refusals.
fn refusal(code: Code, reason: &str, message: &str) -> Status {
    Status::with_error_details(code, message, ErrorDetails::with_error_info(reason, "parley.v1", HashMap::new()))
}

/// Growing pauses, all of them random: those who lost a server together do not come back together.
struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(FIRST_PAUSE)
    }
}

impl Pause {
    fn next(&mut self, at_least: Option<Duration>) -> Duration {
        let random = Uuid::new_v4().as_u128() as f64 / u128::MAX as f64;
        let wait = at_least.unwrap_or_default() + self.0.mul_f64(random);
        self.0 = (2 * self.0).min(LAST_PAUSE);
        wait
    }
}

/// The sends of one conversation, in order. The first may be under way; the others wait for its answer.
#[derive(Default)]
struct Line {
    sends: VecDeque<(SendRequest, oneshot::Sender<Result<Accepted, Status>>)>,
    is_under_way: bool,
    due: Option<Instant>,
    pause: Pause,
}

/// What outlives a stream, and the rules of docs/clients.md, without I/O.
#[derive(Default)]
struct State {
    device_id: String,
    heartbeat: Duration,
    access_token: String,
    /// With one request_id for all attempts: a second use of the token with another one ends the login.
    renewal: RefreshTokenRequest,
    stale_at: Option<Instant>,
    /// The server's clock in seconds, as of a time; known from the first welcome on.
    server_time: Option<(f64, Instant)>,
    lines: HashMap<String, Line>,
    last_id: i64,
    epoch: i64,
    /// By conversation: the highest seq that came, that the program took, and that it acknowledged.
    positions: HashMap<String, i64>,
    taken: HashMap<String, i64>,
    acks: HashMap<String, i64>,
    /// Conversations whose ack the server is to be told.
    untold: HashSet<String>,
    inbox: VecDeque<Event>,
    is_closing: bool,
    end: Option<Status>,
    stream: Stream,
}

/// What ends with a stream.
#[derive(Default)]
struct Stream {
    hello_id: i64,
    epoch: i64,
    is_welcomed: bool,
    /// All resets are known.
    is_live: bool,
    is_half_closed: bool,
    has_fresh_token: bool,
    /// When to come back after a go_away.
    leave_at: Option<Instant>,
    /// correlation_id -> conversation_id.
    under_way: HashMap<i64, String>,
    resets: HashSet<String>,
    /// Of the next acks; how many entries they cover.
    tell_at: Option<Instant>,
    ack_count: i64,
}

impl State {
    // What the program says.

    fn send(&mut self, request: SendRequest) -> oneshot::Receiver<Result<Accepted, Status>> {
        let (reply, answer) = oneshot::channel();
        let waiting: usize = self.lines.values().map(|line| line.sends.len()).sum();
        let refusal = match &self.end {
            Some(end) => Some(end.clone()),
            None if self.is_closing => Some(Status::cancelled("the session is closed")),
            None if request.encoded_len() > MAX_SEND_BYTES => {
                Some(refusal(Code::InvalidArgument, "MESSAGE_TOO_LARGE", "a frame has at most 256 KiB"))
            }
            None if waiting >= MAX_UNANSWERED => {
                Some(refusal(Code::ResourceExhausted, "OUTBOX_FULL", "1,000 sends wait for an answer"))
            }
            None => None,
        };
        if let Some(refusal) = refusal {
            let _ = reply.send(Err(refusal));
        } else {
            self.lines.entry(request.conversation_id.clone()).or_default().sends.push_back((request, reply));
        }
        answer
    }

    fn next(&mut self) -> Option<Result<Option<Event>, Status>> {
        match self.inbox.pop_front() {
            None if self.is_closing => self.end.as_ref().map(|_| Ok(None)),
            None => self.end.clone().map(Err),
            Some(event) => {
                if let Event::Message(message) = &event {
                    self.taken.insert(message.conversation_id.clone(), message.seq);
                }
                Some(Ok(Some(event)))
            }
        }
    }

    fn ack(&mut self, conversation_id: &str, seq: i64) {
        let seq = seq.min(self.taken.get(conversation_id).copied().unwrap_or(0));
        let before = self.acks.get(conversation_id).copied().unwrap_or(0);
        if seq > before {
            self.acks.insert(conversation_id.to_owned(), seq);
            self.untold.insert(conversation_id.to_owned());
            self.stream.ack_count += seq - before;
        }
    }

    fn finish(&mut self, end: Status) {
        for (_, reply) in self.lines.drain().flat_map(|(_, line)| line.sends) {
            let _ = reply.send(Err(end.clone()));
        }
        self.end.get_or_insert(end);
    }

    // The login.

    fn take_tokens(&mut self, access_token: String, refresh_token: String, expire: Option<Timestamp>) {
        self.access_token = access_token;
        self.renewal = RefreshTokenRequest { refresh_token, request_id: Uuid::new_v4().to_string() };
        self.note_life(expire);
    }

    /// The exchange is due a minute before the access token ends, or half-way, by the server's clock.
    fn note_life(&mut self, expire: Option<Timestamp>) {
        if let (Some((server_time, at)), Some(expire)) = (self.server_time, expire) {
            let now = Instant::now();
            let life = to_seconds(expire) - server_time - (now - at).as_secs_f64();
            self.stale_at = Some(now + Duration::from_secs_f64((life - 60.0).max(life / 2.0).max(1.0)));
        }
    }

    // The stream.

    /// Begins a stream; gives its first frame.
    fn open(&mut self) -> ChatRequest {
        self.last_id += 1;
        let hello_id = QUIET + self.last_id;
        self.stream = Stream { hello_id, ..Default::default() };
        let positions = self.positions.iter().take(MAX_HELLO_POSITIONS);
        let hello = Hello {
            device_id: self.device_id.clone(),
            start: Start::FromAcks.into(),
            positions: positions.map(|(id, seq)| position(id, *seq)).collect(),
            heartbeat: self.heartbeat.try_into().ok(),
            epoch: self.epoch,
            window_messages: WINDOW.saturating_sub(self.inbox.len()).max(1) as i64,
            ..Default::default()
        };
        ChatRequest { correlation_id: hello_id, payload: Some(Payload::Hello(hello)) }
    }

    /// What is under way has no answer: it goes out again, before anything newer. Acks may be lost: all go out again.
    fn end_stream(&mut self) -> Stream {
        self.lines.values_mut().for_each(|line| line.is_under_way = false);
        self.untold = self.acks.keys().cloned().collect();
        std::mem::take(&mut self.stream)
    }

    /// Whether the program closes the session, and with this end of the stream all is answered and told.
    fn is_settled(&self, end: &Status) -> bool {
        let is_told = self.acks.is_empty() || (self.untold.is_empty() && end.code() == Code::Ok);
        self.is_closing && self.lines.is_empty() && is_told
    }

    fn receive(&mut self, frame: ChatResponse, now: Instant) -> Result<(), Status> {
        for welcome in frame.welcomes {
            (self.stream.is_welcomed, self.stream.epoch) = (true, welcome.epoch);
            self.server_time = welcome.server_time.map(|time| (to_seconds(time), now));
            self.note_life(welcome.access_expire_time);
        }
        for reset in frame.resets {
            self.stream.resets.insert(reset.conversation_id.clone());
            self.void(reset);
        }
        if !frame.messages.is_empty() || !frame.caught_up.is_empty() {
            self.begin_live(now);
        }
        for message in frame.messages {
            if self.advance(&message.conversation_id, message.seq) {
                self.inbox.push_back(Event::Message(message)); // else it came before
            }
        }
        for mark in frame.caught_up.iter().filter(|mark| !mark.conversation_id.is_empty()) {
            self.advance(&mark.conversation_id, mark.seq);
        }
        for result in frame.results {
            match result.outcome {
                Some(Outcome::Accepted(accepted)) => self.settle(result.correlation_id, Ok(accepted)),
                Some(Outcome::Error(error)) => self.refuse(result.correlation_id, error, now),
                None => {}
            }
        }
        for away in frame.go_aways {
            let delay = away.reconnect_delay.and_then(|delay| delay.try_into().ok());
            self.stream.leave_at = Some(now + delay.unwrap_or_default());
        }
        for refused in frame.errors {
            let error = refused.error.unwrap_or_default();
            if refused.correlation_id != self.stream.hello_id {
                self.refuse(refused.correlation_id, error, now);
            } else if !self.stream.is_welcomed {
                return Err(to_status(error));
            } else if let Some(info) = error.get_details_error_info() {
                self.forget(info.metadata.get("conversation_id").map_or("", String::as_str));
            }
        }
        Ok(())
    }

    /// The first entry or mark: all resets came. Not before: a stream that breaks between two must bring all again.
    fn begin_live(&mut self, now: Instant) {
        if std::mem::replace(&mut self.stream.is_live, true) {
            return;
        }
        if std::mem::replace(&mut self.epoch, self.stream.epoch) != self.epoch {
            // What the user is in has a reset; what else was known is gone.
            let gone = |id: &&String| !self.stream.resets.contains(*id);
            for conversation_id in self.positions.keys().filter(gone).cloned().collect::<Vec<_>>() {
                self.void(Reset { conversation_id: conversation_id.clone(), seq: 0, epoch: self.epoch });
                self.forget(&conversation_id);
            }
        }
        self.stream.tell_at = Some(now);
    }

    /// Moves a position up; false when the seq is not above it.
    fn advance(&mut self, conversation_id: &str, seq: i64) -> bool {
        let position = self.positions.entry(conversation_id.to_owned()).or_default();
        let is_new = seq > *position;
        *position = seq.max(*position);
        is_new
    }

    /// What came above the reset's seq is void, whether the program took it yet or not.
    fn void(&mut self, reset: Reset) {
        for seqs in [&mut self.positions, &mut self.taken, &mut self.acks] {
            seqs.entry(reset.conversation_id.clone()).and_modify(|seq| *seq = reset.seq.min(*seq));
        }
        self.inbox.retain(|event| match event {
            Event::Message(message) => message.conversation_id != reset.conversation_id || message.seq <= reset.seq,
            Event::Reset(_) => true,
        });
        self.inbox.push_back(Event::Reset(reset));
    }

    fn forget(&mut self, conversation_id: &str) {
        for seqs in [&mut self.positions, &mut self.taken, &mut self.acks] {
            seqs.remove(conversation_id);
        }
        self.untold.remove(conversation_id);
    }

    /// Takes the final answer to a send.
    fn settle(&mut self, correlation_id: i64, answer: Result<Accepted, Status>) {
        let Some(conversation_id) = self.stream.under_way.remove(&correlation_id) else { return };
        let Some(Line { mut sends, .. }) = self.lines.remove(&conversation_id) else { return };
        if let Some((_, reply)) = sends.pop_front() {
            let _ = reply.send(answer);
        }
        if !sends.is_empty() {
            self.lines.insert(conversation_id, Line { sends, ..Default::default() });
        }
    }

    /// With RetryInfo a send is refused for now, else for good. Refused acks and tokens change nothing.
    fn refuse(&mut self, correlation_id: i64, error: tonic_types::Status, now: Instant) {
        let error = to_status(error);
        let Some(retry) = retry_delay(&error) else { return self.settle(correlation_id, Err(error)) };
        let conversation_id = self.stream.under_way.remove(&correlation_id);
        if let Some(line) = conversation_id.and_then(|id| self.lines.get_mut(&id)) {
            line.is_under_way = false;
            line.due = Some(now + line.pause.next(Some(retry)));
        }
    }

    /// What is to be written now.
    fn take_frames(&mut self, now: Instant) -> Vec<ChatRequest> {
        let mut frames = Vec::new();
        let may_begin = self.may_begin();
        for (conversation_id, line) in self.lines.iter_mut().filter(|(_, line)| may_begin && !line.is_under_way) {
            if let (Some((request, _)), true) = (line.sends.front(), line.due.is_none_or(|due| due <= now)) {
                line.is_under_way = true;
                self.last_id += 1;
                self.stream.under_way.insert(QUIET + self.last_id, conversation_id.clone());
                frames.push((QUIET + self.last_id, Payload::Send(SendFrame { requests: vec![request.clone()] })));
            }
        }
        if self.may_begin() && std::mem::take(&mut self.stream.has_fresh_token) {
            let access_token = self.access_token.clone();
            frames.push((QUIET, Payload::Authenticate(Authenticate { access_token })));
        }
        let is_last = self.stream.is_live && self.is_done();
        if !self.untold.is_empty() && (is_last || self.tell_time().is_some_and(|at| at <= now)) {
            let untold: Vec<_> = self.untold.drain().collect();
            for part in untold.chunks(MAX_ACK_POSITIONS) {
                let positions = part.iter().map(|id| position(id, self.acks[id])).collect();
                frames.push((QUIET, Payload::Ack(AckFrame { positions })));
            }
            (self.stream.ack_count, self.stream.tell_at) = (0, Some(now + ACK_PAUSE));
        }
        let frame = |(correlation_id, payload)| ChatRequest { correlation_id, payload: Some(payload) };
        frames.into_iter().map(frame).collect()
    }

    fn may_begin(&self) -> bool {
        self.stream.is_welcomed && self.stream.leave_at.is_none() && !self.stream.is_half_closed
    }

    /// Acks go once a second, and at once when half of the window waits; not before all resets are known, since one
    /// above a reset would skip new entries.
    fn tell_time(&self) -> Option<Instant> {
        let is_due = self.stream.is_live && !self.stream.is_half_closed && !self.untold.is_empty();
        let is_late = self.stream.ack_count >= WINDOW as i64 / 2;
        self.stream.tell_at.filter(|_| is_due).map(|at| if is_late { Instant::now() } else { at })
    }

    /// When there is something to write that is not to be written yet, or the token is to be exchanged.
    fn due_time(&self) -> Option<Instant> {
        let waiting = self.lines.values().filter(|line| self.may_begin() && !line.is_under_way);
        waiting.filter_map(|line| line.due).chain(self.tell_time()).chain(self.stale_at).min()
    }

    /// Whether our half of the stream may end: all is answered, and the server or the program wants to go.
    fn is_done(&self) -> bool {
        let is_over = self.is_closing && self.stream.is_live && self.lines.is_empty();
        is_over || (self.stream.leave_at.is_some() && self.stream.under_way.is_empty())
    }
}

fn position(conversation_id: &str, seq: i64) -> Position {
    Position { conversation_id: conversation_id.to_owned(), seq }
}

fn to_seconds(time: Timestamp) -> f64 {
    time.seconds as f64 + f64::from(time.nanos) / 1e9
}
