package conformance

import com.google.gson.JsonObject
import io.grpc.Metadata
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.ExperimentalCoroutinesApi
import kotlinx.coroutines.channels.Channel
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.buffer
import kotlinx.coroutines.flow.consumeAsFlow
import kotlinx.coroutines.flow.produceIn
import kotlinx.coroutines.selects.onTimeout
import kotlinx.coroutines.selects.select
import parley.v1.ChatRequest
import parley.v1.ChatResponse
import parley.v1.ChatServiceGrpcKt.ChatServiceCoroutineStub
import parley.v1.SubscribeRequest

/** A stream whose frames are read in the background and wait here until they are asked for. */
class OpenStream
private constructor(
    scope: CoroutineScope,
    private val requests: Channel<ChatRequest>,
    responses: Flow<ChatResponse>,
) {
    private val frames = responses.buffer(Channel.UNLIMITED).produceIn(scope)

    /**
     * Whether the frame was handed on: not when the stream has ended, which closes the channel,
     * too.
     */
    fun write(frame: ChatRequest): Boolean = requests.trySend(frame).isSuccess

    fun close() = requests.close()

    fun cancel() = frames.cancel()

    /** The next frame or the end, or nothing; a select loses no frame when the time is over. */
    @OptIn(ExperimentalCoroutinesApi::class) // onTimeout
    suspend fun read(timeoutMillis: Long): JsonObject = select {
        frames.onReceiveCatching { frame ->
            val end = frame.exceptionOrNull()
            when {
                frame.isSuccess -> jsonOf("frame" to frame.getOrThrow().toJson())
                end == null -> jsonOf("end" to jsonOf("code" to "OK"))
                else -> jsonOf("end" to describe(end))
            }
        }
        onTimeout(timeoutMillis) { jsonOf("nothing" to true) }
    }

    companion object {
        fun chat(
            scope: CoroutineScope,
            stub: ChatServiceCoroutineStub,
            headers: Metadata,
        ): OpenStream {
            val requests = Channel<ChatRequest>(Channel.UNLIMITED)
            return OpenStream(scope, requests, stub.chat(requests.consumeAsFlow(), headers))
        }

        fun subscribe(
            scope: CoroutineScope,
            stub: ChatServiceCoroutineStub,
            request: SubscribeRequest,
            headers: Metadata,
        ) = OpenStream(scope, Channel(), stub.subscribe(request, headers))
    }
}
