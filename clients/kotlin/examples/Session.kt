package examples

import com.google.protobuf.Any
import com.google.protobuf.Timestamp
import com.google.protobuf.kotlin.isA
import com.google.protobuf.kotlin.unpack
import com.google.protobuf.util.Durations
import com.google.protobuf.util.Timestamps
import com.google.rpc.ErrorInfo
import com.google.rpc.RetryInfo
import io.grpc.ChannelCredentials
import io.grpc.Grpc
import io.grpc.InsecureChannelCredentials
import io.grpc.ManagedChannel
import io.grpc.Metadata
import io.grpc.Status
import io.grpc.StatusException
import io.grpc.protobuf.StatusProto
import java.util.UUID
import java.util.concurrent.TimeUnit
import kotlin.random.Random
import kotlin.time.Duration
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.Duration.Companion.seconds
import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Deferred
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.FlowPreview
import kotlinx.coroutines.Job
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.TimeoutCancellationException
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.channels.Channel
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.delay
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.consumeAsFlow
import kotlinx.coroutines.flow.flow
import kotlinx.coroutines.flow.timeout
import kotlinx.coroutines.launch
import kotlinx.coroutines.sync.Mutex
import kotlinx.coroutines.sync.withLock
import kotlinx.coroutines.withTimeoutOrNull
import parley.v1.Accepted
import parley.v1.ChatRequest
import parley.v1.ChatResponse
import parley.v1.ChatServiceGrpcKt.ChatServiceCoroutineStub
import parley.v1.Message
import parley.v1.RefreshTokenRequest
import parley.v1.Reset
import parley.v1.SendRequest
import parley.v1.Start
import parley.v1.ackFrame
import parley.v1.authenticate
import parley.v1.chatRequest
import parley.v1.copy
import parley.v1.hello
import parley.v1.loginRequest
import parley.v1.position
import parley.v1.refreshTokenRequest
import parley.v1.reset
import parley.v1.sendFrame
import parley.v1.sendRequest

private const val FIRST_PAUSE_MILLIS = 500L
private const val LAST_PAUSE_MILLIS = 15_000L
private const val ACK_MILLIS = 1_000L
private const val CALL_MILLIS = 10_000L
private const val NEVER = Long.MAX_VALUE
/** Sends without a final answer; one more is refused. */
private const val MAX_UNANSWERED = 1_000
/** Entries that came and are not acknowledged; the server holds back what is beyond. */
private const val WINDOW = 1_000
/** The server ends a stream with a frame above 256 KiB; the rest is for what is around a send. */
private const val MAX_SEND_BYTES = 256 * 1024 - 64
private const val MAX_HELLO_POSITIONS = 2_000
private const val MAX_ACK_POSITIONS = 1_000
/** The correlation_id of frames whose refusal changes nothing here: acks and tokens. */
private const val QUIET = 1L
private val AUTHORIZATION = Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER)
private val LOOPBACK = Regex("""(localhost|127\.[0-9.]+|\[::1]):\d+""")
/** Most of these, without an ErrorInfo, are a proxy's or the connection's. */
private val PASSING =
    setOf(
        Status.Code.OK,
        Status.Code.UNAVAILABLE,
        Status.Code.INTERNAL,
        Status.Code.UNKNOWN,
        Status.Code.CANCELLED,
        Status.Code.ABORTED,
        Status.Code.DEADLINE_EXCEEDED,
        Status.Code.DATA_LOSS,
        Status.Code.FAILED_PRECONDITION, // hello came too late
    )

/**
 * What [Session.messages] gives: a message, or else a reset. The server was set back then, and what
 * came of that conversation above its seq is void.
 */
class Entry(val message: Message?, val reset: Reset?)

/**
 * A device's session with Parley that outlives its connections: one file to copy, on the stubs
 * alone. Thread-safe: what it keeps is looked at under its monitor. docs/clients.md has the rules.
 */
class Session
private constructor(
    private val target: String,
    private val credentials: ChannelCredentials,
    private val deviceId: String,
    private val heartbeat: Duration,
) {
    private val scope = CoroutineScope(SupervisorJob() + Dispatchers.Default)
    private lateinit var running: Job
    private val wake = Channel<Unit>(Channel.CONFLATED) // there may be something to write
    private val filled = Channel<Unit>(Channel.CONFLATED) // there may be something to read

    private val renewing = Mutex()
    private var accessToken = ""
    /** With one request_id for all attempts: a second use with another one ends the login. */
    private var renewal = RefreshTokenRequest.getDefaultInstance()
    private var staleAt = NEVER
    /** The server's clock less ours; known from the first welcome on. */
    private var clockAheadMillis: Long? = null

    private val outbox = mutableMapOf<String, Line>()
    private val inbox = ArrayDeque<Entry>()
    /** By conversation: the highest seq that came, that the program took, that it acknowledged. */
    private val positions = mutableMapOf<String, Long>()
    private val taken = mutableMapOf<String, Long>()
    private val acks = mutableMapOf<String, Long>()
    /** Conversations whose ack the server is to be told. */
    private val untold = mutableSetOf<String>()
    private var ackCount = 0L
    private var epoch = 0L
    private var lastId = QUIET
    private var isClosing = false
    private var end: StatusException? = null

    companion object {
        /**
         * Logs in, and keeps a stream open until [close]. Waits for a server that is away.
         *
         * @param target host:port.
         * @param deviceId the same for the same device each time: acks are kept by it.
         * @param heartbeat how often the server says that it is there, 1 s to 10 min; silence of
         *   three times that is a break.
         * @throws StatusException the login is refused for good.
         */
        suspend fun open(
            target: String,
            username: String,
            password: String,
            deviceId: String,
            credentials: ChannelCredentials = InsecureChannelCredentials.create(),
            heartbeat: Duration = 10.seconds,
        ): Session {
            val session = Session(target, credentials, deviceId, heartbeat)
            val request = loginRequest {
                this.username = username
                this.password = password
                this.deviceId = deviceId
            }
            val login = session.call { it.login(request) }
            session.takeTokens(login.accessToken, login.refreshToken, login.accessExpireTime)
            session.running = session.scope.launch { session.run() }
            return session
        }
    }

    /**
     * Sends a message: now, or as soon as there is a stream; those to one conversation keep their
     * order. The answer is where it is stored, or a [StatusException]: it had no effect and never
     * will, or the session has ended.
     */
    fun send(conversationId: String, text: String): Deferred<Accepted> =
        send(
            sendRequest {
                this.conversationId = conversationId
                this.text = text
            }
        )

    /** The same, for the other fields of SendRequest; with a request_id that the program keeps. */
    fun send(message: SendRequest): Deferred<Accepted> {
        val request = // one id for all attempts
            if (message.requestId.isNotEmpty()) message
            else message.copy { requestId = UUID.randomUUID().toString() }
        val answer = CompletableDeferred<Accepted>()
        synchronized(this) {
            val refusal =
                end
                    ?: when {
                        isClosing -> closed()
                        request.serializedSize > MAX_SEND_BYTES ->
                            refusal(
                                Status.Code.INVALID_ARGUMENT,
                                "MESSAGE_TOO_LARGE",
                                "a frame has at most 256 KiB",
                            )
                        outbox.values.sumOf { it.sends.size } >= MAX_UNANSWERED ->
                            refusal(
                                Status.Code.RESOURCE_EXHAUSTED,
                                "OUTBOX_FULL",
                                "1,000 sends wait for an answer",
                            )
                        else -> null
                    }
            if (refusal != null) answer.completeExceptionally(refusal)
            else outbox.getOrPut(request.conversationId) { Line() }.sends += request to answer
        }
        wake.trySend(Unit)
        return answer
    }

    /**
     * Gives messages and resets, each once and in order, until [close]; for one reader at a time.
     *
     * @throws StatusException why the session has ended; UNAUTHENTICATED: the login has.
     */
    fun messages(): Flow<Entry> = flow {
        while (true) {
            val entry = synchronized(this@Session) { take() ?: end?.let { return@flow finish(it) } }
            if (entry != null) emit(entry) else filled.receive()
        }
    }

    /** Says that all up to [seq] that [messages] gave is dealt with: it never comes again. */
    fun ack(conversationId: String, seq: Long) {
        synchronized(this) {
            val known = minOf(seq, taken[conversationId] ?: 0)
            val before = acks[conversationId] ?: 0
            if (known > before) {
                acks[conversationId] = known
                ackCount += known - before
                untold += conversationId
            }
        }
        wake.trySend(Unit)
    }

    /** Waits for the answers to all sends, tells the last acks and ends; at once after the limit. */
    suspend fun close(limit: Duration = 10.seconds) {
        synchronized(this) { isClosing = true }
        wake.trySend(Unit)
        withTimeoutOrNull(limit) { running.join() }
        running.cancelAndJoin()
        end(closed())
    }

    private fun take(): Entry? =
        inbox.removeFirstOrNull()?.also { entry ->
            entry.message?.let { taken[it.conversationId] = it.seq }
        }

    private fun finish(end: StatusException) {
        filled.trySend(Unit) // the next reader ends, too
        if (!isClosing) throw end
    }

    private fun end(why: StatusException) {
        synchronized(this) {
            if (end == null) {
                end = why
                outbox.values.flatMap { it.sends }.forEach { it.second.completeExceptionally(why) }
                outbox.clear()
            }
        }
        scope.coroutineContext[Job]?.cancel()
        filled.trySend(Unit)
    }

    // The streams, one after the other.

    private suspend fun run() {
        val why =
            try {
                keepStream()
            } catch (refused: StatusException) {
                refused
            }
        end(why)
    }

    /** Gives why there will be no other stream. */
    private suspend fun keepStream(): StatusException {
        var pause = Pause()
        while (true) {
            val stream = Stream()
            val ended = stream.follow(synchronized(this) { accessToken })
            if (isSettled(ended)) return closed()
            if (stream.isWelcomed) pause = Pause()
            val isExpired = ended.status.code == Status.Code.UNAUTHENTICATED
            if (!isExpired && !isPassing(ended)) return ended // the next would meet the same
            if (stream.leaveAt != NEVER) delay(stream.leaveAt - now())
            else if (!isExpired || !stream.isWelcomed) delay(pause.next(retryMillis(ended)))
            // After the pause, in which a short token ends, also one that was renewed since the stream began.
            if (isExpired) refresh(synchronized(this) { accessToken })
        }
    }

    /** Whether the program closes the session, and with this end all is answered and told. */
    private fun isSettled(ended: StatusException): Boolean =
        synchronized(this) {
            val isTold = acks.isEmpty() || untold.isEmpty() && ended.status.isOk
            untold += acks.keys // those of the stream may be lost
            isClosing && outbox.isEmpty() && isTold
        }

    /** A channel for each stream and call: none meets a connection that hangs. */
    private fun connect(): ManagedChannel =
        Grpc.newChannelBuilder(target, credentials)
            .apply { if (LOOPBACK.matches(target)) proxyDetector { null } } // none leads back here
            .build()

    // The login.

    /** Makes a call that may be repeated, as often as it takes. */
    private suspend fun <T> call(method: suspend (ChatServiceCoroutineStub) -> T): T {
        val pause = Pause()
        while (true) {
            val channel = connect()
            try {
                val stub = ChatServiceCoroutineStub(channel)
                return method(stub.withDeadlineAfter(CALL_MILLIS, TimeUnit.MILLISECONDS))
            } catch (failed: StatusException) {
                if (!isPassing(failed)) throw failed
                delay(pause.next(retryMillis(failed)))
            } finally {
                channel.shutdownNow()
            }
        }
    }

    /** Exchanges the tokens, unless that was done since [token] was in force. */
    private suspend fun refresh(token: String) =
        renewing.withLock {
            if (synchronized(this) { accessToken } == token) {
                val fresh = call { it.refreshToken(renewal) }
                takeTokens(fresh.accessToken, fresh.refreshToken, fresh.accessExpireTime)
            }
        }

    private fun takeTokens(access: String, refresh: String, expire: Timestamp) {
        synchronized(this) {
            accessToken = access
            renewal = refreshTokenRequest {
                refreshToken = refresh
                requestId = UUID.randomUUID().toString()
            }
            noteLife(expire)
        }
        wake.trySend(Unit)
    }

    /** The exchange is due a minute before the token ends, or half-way, by the server's clock. */
    private fun noteLife(expire: Timestamp) {
        val life = Timestamps.toMillis(expire) - (clockAheadMillis ?: return) - now()
        staleAt = now() + maxOf(1_000, life - 60_000, life / 2)
    }

    /** One stream. */
    private inner class Stream {
        var isWelcomed = false
        var leaveAt = NEVER
        private var isLive = false // all resets are known
        private var isHalfClosed = false
        private var streamEpoch = 0L
        private var helloId = 0L
        private var toldToken = ""
        private var tellAt = NEVER
        private val underWay = mutableMapOf<Long, String>()
        private val resets = mutableSetOf<String>()

        /** Serves the stream; gives how it ended. */
        @OptIn(FlowPreview::class) // Flow.timeout
        suspend fun follow(token: String): StatusException {
            toldToken = token
            val requests = Channel<ChatRequest>(Channel.UNLIMITED)
            val headers = Metadata().apply { put(AUTHORIZATION, "Bearer $token") }
            val channel = connect()
            try {
                requests.send(synchronized(this@Session) { greeting() })
                coroutineScope {
                    val writer = launch { write(requests) }
                    ChatServiceCoroutineStub(channel)
                        .chat(requests.consumeAsFlow(), headers)
                        .timeout(heartbeat * 3)
                        .collect { frame ->
                            synchronized(this@Session) { receive(frame) }
                            filled.trySend(Unit)
                            wake.trySend(Unit)
                        }
                    writer.cancel()
                }
                return Status.OK.asException()
            } catch (ended: StatusException) {
                return ended
            } catch (_: TimeoutCancellationException) {
                return Status.UNAVAILABLE.withDescription("the server is silent").asException()
            } finally {
                channel.shutdownNow()
                // What is under way has no answer: it goes out again, before anything newer.
                synchronized(this@Session) { outbox.values.forEach { it.isUnderWay = false } }
            }
        }

        // What goes out.

        private suspend fun write(requests: Channel<ChatRequest>) {
            while (true) {
                val dueAt =
                    synchronized(this@Session) {
                        frames().forEach { requests.trySend(it) } // reading says how a stream ends
                        isHalfClosed = isDone()
                        refreshEarly()
                        minOf(staleAt, dueAt())
                    }
                if (isHalfClosed) break
                withTimeoutOrNull((dueAt - now()).milliseconds) { wake.receive() }
            }
            requests.close()
        }

        private fun refreshEarly() {
            if (now() < staleAt) return
            staleAt = NEVER
            val token = accessToken
            scope.launch { runCatching { refresh(token) } } // else the stream's end says so
        }

        private fun greeting() = chatRequest {
            helloId = ++lastId
            correlationId = helloId
            hello = hello {
                deviceId = this@Session.deviceId
                start = Start.START_FROM_ACKS
                heartbeat = Durations.fromMillis(this@Session.heartbeat.inWholeMilliseconds)
                epoch = this@Session.epoch
                windowMessages = maxOf(1L, WINDOW.toLong() - inbox.size)
                positions +=
                    this@Session.positions.entries.take(MAX_HELLO_POSITIONS).map { (id, seq) ->
                        place(id, seq)
                    }
            }
        }

        private fun frames(): List<ChatRequest> = buildList {
            if (mayBegin()) {
                for ((id, line) in outbox) {
                    if (!line.isUnderWay && line.dueAt <= now()) add(send(id, line))
                }
                if (accessToken != toldToken) {
                    toldToken = accessToken
                    add(quiet { authenticate = authenticate { accessToken = toldToken } })
                }
            }
            if (now() >= tellAt() || isLive && isDone()) {
                untold.chunked(MAX_ACK_POSITIONS).forEach { ids ->
                    val places = ids.map { place(it, acks.getValue(it)) }
                    add(quiet { ack = ackFrame { positions += places } })
                }
                untold.clear()
                ackCount = 0
                tellAt = now() + ACK_MILLIS
            }
        }

        private fun send(id: String, line: Line) = chatRequest {
            line.isUnderWay = true
            correlationId = ++lastId
            underWay[correlationId] = id
            send = sendFrame { requests += line.sends.first().first }
        }

        private fun mayBegin() = isWelcomed && leaveAt == NEVER

        /** Whether our half may end: all is answered, and the server or the program wants to go. */
        private fun isDone() =
            if (leaveAt != NEVER) underWay.isEmpty()
            else isClosing && isLive && outbox.isEmpty()

        /**
         * Acks go once a second, and at once when half of the window waits; not before all resets
         * are known, since one above a reset would skip new entries.
         */
        private fun tellAt() =
            if (!isLive || untold.isEmpty()) NEVER
            else if (ackCount >= WINDOW / 2) now() else tellAt

        /** When there is something to write that is not to be written yet. */
        private fun dueAt(): Long {
            val waiting = outbox.values.filter { mayBegin() && !it.isUnderWay }.map { it.dueAt }
            return minOf(tellAt(), waiting.minOrNull() ?: NEVER)
        }

        // What comes in.

        private fun receive(frame: ChatResponse) {
            for (welcome in frame.welcomesList) {
                isWelcomed = true
                streamEpoch = welcome.epoch
                clockAheadMillis = Timestamps.toMillis(welcome.serverTime) - now()
                noteLife(welcome.accessExpireTime)
            }
            for (reset in frame.resetsList) {
                resets += reset.conversationId
                void(reset)
            }
            if (frame.messagesCount + frame.caughtUpCount > 0) beginLive()
            for (message in frame.messagesList) {
                if (message.seq > (positions[message.conversationId] ?: 0)) { // else it came before
                    positions[message.conversationId] = message.seq
                    inbox += Entry(message, null)
                }
            }
            for (mark in frame.caughtUpList.filter { it.conversationId.isNotEmpty() })
                positions.merge(mark.conversationId, mark.seq, ::maxOf)
            for (result in frame.resultsList) {
                if (result.hasError()) refuse(result.correlationId, result.error)
                else settle(result.correlationId)?.complete(result.accepted)
            }
            for (away in frame.goAwaysList)
                leaveAt = now() + Durations.toMillis(away.reconnectDelay)
            for (refused in frame.errorsList) refuse(refused.correlationId, refused.error)
        }

        /**
         * The first entry or mark: all resets came. Not before: a stream that breaks between two
         * must bring all again.
         */
        private fun beginLive() {
            if (isLive) return
            isLive = true
            tellAt = now()
            if (epoch != streamEpoch) {
                // What the user is in has a reset; what else was known is gone.
                for (id in positions.keys - resets) {
                    void(reset { conversationId = id; epoch = streamEpoch })
                    forget(id)
                }
            }
            epoch = streamEpoch
        }

        /** What came above the reset's seq is void, whether the program took it yet or not. */
        private fun void(reset: Reset) {
            for (seqs in listOf(positions, taken, acks))
                seqs.computeIfPresent(reset.conversationId) { _, seq -> minOf(seq, reset.seq) }
            inbox.removeAll {
                it.message?.conversationId == reset.conversationId && it.message.seq > reset.seq
            }
            inbox += Entry(null, reset)
        }

        private fun forget(conversationId: String) {
            for (seqs in listOf(positions, taken, acks)) seqs -= conversationId
            untold -= conversationId
        }

        /** Takes a send out that has its final answer; gives who waits for it, if it is one. */
        private fun settle(correlationId: Long): CompletableDeferred<Accepted>? {
            val id = underWay.remove(correlationId) ?: return null
            val sends = outbox.remove(id)?.sends ?: return null
            val answer = sends.removeFirst().second
            if (sends.isNotEmpty()) outbox[id] = Line(sends)
            return answer
        }

        /**
         * With RetryInfo a send is refused for now, else for good. Refused acks and tokens change
         * nothing; a refused hello ends the stream, or after the welcome is about one position.
         */
        private fun refuse(correlationId: Long, error: com.google.rpc.Status) {
            val refusal = StatusProto.toStatusException(error)
            val retryMillis = retryMillis(refusal)
            if (correlationId == helloId && !isWelcomed) throw refusal
            else if (correlationId == helloId) forget(conversationOf(error))
            else if (retryMillis == null) settle(correlationId)?.completeExceptionally(refusal)
            else
                outbox[underWay.remove(correlationId)]?.apply {
                    isUnderWay = false
                    dueAt = now() + pause.next(retryMillis)
                }
        }
    }
}

/** The sends of a conversation, in order; the first may be under way, the others wait for it. */
private class Line(
    val sends: ArrayDeque<Pair<SendRequest, CompletableDeferred<Accepted>>> = ArrayDeque()
) {
    val pause = Pause()
    var isUnderWay = false
    var dueAt = 0L
}

/** Growing pauses, all of them random: those who lost a server together come back apart. */
private class Pause {
    private var limitMillis = FIRST_PAUSE_MILLIS

    fun next(atLeastMillis: Long?): Long {
        val millis = (atLeastMillis ?: 0) + Random.nextLong(limitMillis)
        limitMillis = minOf(2 * limitMillis, LAST_PAUSE_MILLIS)
        return millis
    }
}

private val START_NANOS = System.nanoTime()

/** Milliseconds since the program began, never backwards. */
private fun now(): Long = (System.nanoTime() - START_NANOS) / 1_000_000

private fun place(id: String, seq: Long) = position {
    conversationId = id
    this.seq = seq
}

private fun quiet(payload: parley.v1.ChatRequestKt.Dsl.() -> Unit) = chatRequest {
    correlationId = QUIET
    payload()
}

private fun closed() = Status.CANCELLED.withDescription("the session is closed").asException()

/** Looks like the server's own refusals. */
private fun refusal(code: Status.Code, reason: String, why: String): StatusException {
    val info = ErrorInfo.newBuilder().setReason(reason).setDomain("parley.v1").build()
    return StatusProto.toStatusException(
        com.google.rpc.Status.newBuilder()
            .setCode(code.value())
            .setMessage(why)
            .addDetails(Any.pack(info))
            .build()
    )
}

/** Whether the same call, or another stream, may do better. */
private fun isPassing(end: StatusException) =
    end.status.code in PASSING || retryMillis(end) != null

private fun retryMillis(end: StatusException): Long? =
    StatusProto.fromThrowable(end)
        ?.detailsList
        .orEmpty()
        .firstOrNull { it.isA<RetryInfo>() }
        ?.let { Durations.toMillis(it.unpack<RetryInfo>().retryDelay) }

private fun conversationOf(error: com.google.rpc.Status): String =
    error.detailsList
        .firstOrNull { it.isA<ErrorInfo>() }
        ?.unpack<ErrorInfo>()
        ?.metadataMap
        ?.get("conversation_id")
        .orEmpty()
