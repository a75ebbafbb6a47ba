package examples

import com.google.protobuf.kotlin.isA
import com.google.protobuf.kotlin.unpack
import com.google.protobuf.util.Durations
import com.google.rpc.RetryInfo
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
import kotlin.time.Duration.Companion.seconds
import kotlinx.coroutines.FlowPreview
import kotlinx.coroutines.TimeoutCancellationException
import kotlinx.coroutines.channels.Channel
import kotlinx.coroutines.delay
import kotlinx.coroutines.flow.consumeAsFlow
import kotlinx.coroutines.flow.timeout
import kotlinx.coroutines.runBlocking
import parley.v1.ChatRequest
import parley.v1.ChatResponse
import parley.v1.ChatServiceGrpcKt.ChatServiceCoroutineStub
import parley.v1.SendRequest
import parley.v1.Start
import parley.v1.ackFrame
import parley.v1.chatRequest
import parley.v1.hello
import parley.v1.loginRequest
import parley.v1.position
import parley.v1.registerRequest
import parley.v1.sendFrame
import parley.v1.sendRequest

private const val ME = "hello-kotlin"
private const val PASSWORD = "correct horse battery staple"
private const val NOTES = "$ME:$ME"
private const val HEARTBEAT_SECONDS = 10L
private const val FIRST_PAUSE_MILLIS = 500L
private const val LAST_PAUSE_MILLIS = 15_000L
private val AUTHORIZATION = Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER)

/**
 * Sends notes to itself over Chat, loses the stream before they are answered, resumes, sends again
 * what has no answer, and acknowledges what came. Arguments: [host:port].
 */
fun main(args: Array<String>) {
    val target = args.firstOrNull() ?: "127.0.0.1:50051"
    val channel = Grpc.newChannelBuilder(target, InsecureChannelCredentials.create()).build()
    try {
        runBlocking {
            ChatExample(channel).run("Hello, Parley!", "Is anybody there?", "Good night.")
        }
    } finally {
        channel.shutdownNow()
    }
}

private class ChatExample(private val channel: ManagedChannel) {
    private val stub = ChatServiceCoroutineStub(channel)

    /** What has no final answer, by request_id. Each stream sends it again; it is stored once. */
    private val outbox = LinkedHashMap<String, SendRequest>()

    /** The highest seq that came, by conversation. What is not above it came before. */
    private val positions = mutableMapOf<String, Long>()

    private var epoch = 0L
    private var lastStoredSeq = 0L
    private var pauseMillis = FIRST_PAUSE_MILLIS
    private var wasBroken = false

    suspend fun run(vararg notes: String) {
        for (note in notes) {
            val request = sendRequest {
                conversationId = NOTES
                text = note
                requestId = UUID.randomUUID().toString()
            }
            outbox[request.requestId] = request
        }
        var token = logIn()
        while (true) {
            val end = converse(token) ?: break
            val retryDelayMillis = retryDelayMillis(end)
            when (end.status.code) {
                Status.Code.UNAVAILABLE,
                Status.Code.CANCELLED,
                Status.Code.INTERNAL,
                Status.Code.UNKNOWN,
                Status.Code.ABORTED,
                Status.Code.DEADLINE_EXCEEDED -> {}
                Status.Code.UNAUTHENTICATED -> token = logIn()
                else -> if (retryDelayMillis == 0L) throw end // the next stream would meet the same
            }
            val waitMillis = retryDelayMillis + Random.nextLong(pauseMillis)
            pauseMillis = minOf(2 * pauseMillis, LAST_PAUSE_MILLIS)
            println("the stream ended: ${end.message}; again in $waitMillis ms")
            delay(waitMillis)
            channel.resetConnectBackoff() // the pause was ours; gRPC's own can be of two minutes
        }
        println("done")
    }

    private suspend fun logIn(): String {
        val timed = stub.withDeadlineAfter(10, TimeUnit.SECONDS)
        return try {
            val request = registerRequest {
                username = ME
                password = PASSWORD
            }
            timed.register(request).accessToken
        } catch (_: StatusException) {
            // Most likely the name is taken, by this example; else Login fails, too, and says why.
            val request = loginRequest {
                username = ME
                password = PASSWORD
            }
            timed.login(request).accessToken
        }
    }

    /** Opens a stream and follows it; gives why it ended too early, or null when all is done. */
    private suspend fun converse(token: String): StatusException? =
        try {
            follow(Metadata().apply { put(AUTHORIZATION, "Bearer $token") })
            if (outbox.isEmpty()) null else Status.UNAVAILABLE.asException()
        } catch (end: StatusException) {
            end
        } catch (_: TimeoutCancellationException) {
            Status.UNAVAILABLE.withDescription("no heartbeat").asException()
        }

    @OptIn(FlowPreview::class) // Flow.timeout
    private suspend fun follow(headers: Metadata) {
        val requests = Channel<ChatRequest>(Channel.UNLIMITED)
        val unanswered = outbox.values.toList()
        var welcomedEpoch = 0L
        requests.send(greeting())
        stub
            .chat(requests.consumeAsFlow(), headers)
            .timeout((3 * HEARTBEAT_SECONDS).seconds)
            .collect { frame ->
                if (frame.resultsCount > 0 && !wasBroken) {
                    wasBroken = true
                    println("losing the answer, as if the network broke here")
                    throw Status.CANCELLED.withDescription("on purpose").asException()
                }
                for (welcome in frame.welcomesList) {
                    welcomedEpoch = welcome.epoch
                    pauseMillis = FIRST_PAUSE_MILLIS
                    if (unanswered.isNotEmpty()) requests.send(sendAll(unanswered))
                }
                frame.resetsList.forEach { positions.merge(it.conversationId, it.seq, ::minOf) }
                // Not before: all resets have come by now.
                if (frame.messagesCount + frame.caughtUpCount > 0) epoch = welcomedEpoch
                // After the half-close nothing is taken any more: what comes then is acknowledged
                // next time.
                receive(frame)?.let { requests.trySend(it) }
                settle(frame, unanswered)
                // The server ends its half with OK.
                if (outbox.isEmpty() && positions.getOrDefault(NOTES, 0) >= lastStoredSeq)
                    requests.close()
            }
    }

    private fun greeting() = chatRequest {
        correlationId = 1
        hello = hello {
            deviceId = "example"
            start = Start.START_FROM_ACKS
            epoch = this@ChatExample.epoch
            heartbeat = Durations.fromSeconds(HEARTBEAT_SECONDS)
            positions += this@ChatExample.positions.map { (id, seq) -> place(id, seq) }
        }
    }

    private fun sendAll(notes: List<SendRequest>) = chatRequest {
        correlationId = 2
        send = sendFrame { requests += notes }
    }

    /** Prints what is new, and gives the frame that acknowledges it. */
    private fun receive(frame: ChatResponse): ChatRequest? {
        val fresh =
            frame.messagesList.filter { it.seq > positions.getOrDefault(it.conversationId, 0) }
        for (message in fresh) {
            println("received ${message.seq} from ${message.sender}: ${message.text}")
            positions[message.conversationId] = message.seq
        }
        for (mark in frame.caughtUpList) {
            // Empty: the user has no conversation yet.
            if (mark.conversationId.isNotEmpty())
                positions.merge(mark.conversationId, mark.seq, ::maxOf)
        }
        if (fresh.isEmpty()) return null
        return chatRequest {
            correlationId = 3
            ack = ackFrame { positions += fresh.map { place(it.conversationId, it.seq) } }
        }
    }

    private fun settle(frame: ChatResponse, unanswered: List<SendRequest>) {
        for (result in frame.resultsList) {
            if (result.hasError()) throw StatusProto.toStatusException(result.error)
            outbox.remove(unanswered[result.index].requestId)
            lastStoredSeq = maxOf(lastStoredSeq, result.accepted.seq)
            println(
                "stored as ${result.accepted.seq}${if (result.accepted.deduplicated) ", by an earlier stream" else ""}"
            )
        }
        frame.errorsList.firstOrNull()?.let { throw StatusProto.toStatusException(it.error) }
    }
}

private fun place(id: String, seq: Long) = position {
    conversationId = id
    this.seq = seq
}

private fun retryDelayMillis(end: StatusException): Long =
    StatusProto.fromThrowable(end)
        ?.detailsList
        .orEmpty()
        .firstOrNull { it.isA<RetryInfo>() }
        ?.let { Durations.toMillis(it.unpack<RetryInfo>().retryDelay) } ?: 0
