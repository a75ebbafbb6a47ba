package conformance

import com.google.gson.JsonObject
import io.grpc.Metadata
import kotlin.time.DurationUnit
import kotlin.time.TimeSource
import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.flow.flow
import kotlinx.coroutines.sync.Semaphore
import parley.v1.ChatServiceGrpcKt.ChatServiceCoroutineStub
import parley.v1.Start
import parley.v1.chatRequest
import parley.v1.hello
import parley.v1.sendFrame
import parley.v1.sendRequest

private val TEXT = "x".repeat(100)

/** How long one stream takes to have messages stored, with so many unanswered at most. */
suspend fun measure(
    stub: ChatServiceCoroutineStub,
    headers: Metadata,
    command: JsonObject,
): JsonObject {
    val conversation = command.text("conversation_id")!!
    val count = command["count"].asInt
    val places = Semaphore(command["outstanding"].asInt)
    val welcomed = CompletableDeferred<TimeSource.Monotonic.ValueTimeMark>()
    val requests = flow {
        emit(
            chatRequest {
                hello = hello {
                    noEcho = true
                    start = Start.START_LATEST
                }
            }
        )
        welcomed.await()
        for (number in 1L..count) {
            places.acquire()
            emit(
                chatRequest {
                    correlationId = number
                    send = sendFrame {
                        requests += sendRequest {
                            conversationId = conversation
                            text = TEXT
                        }
                    }
                }
            )
        }
    }

    var answered = 0
    var accepted = 0
    stub.chat(requests, headers).first { frame ->
        if (frame.welcomesCount > 0) welcomed.complete(TimeSource.Monotonic.markNow())
        accepted += frame.resultsList.count { it.hasAccepted() }
        repeat(frame.resultsCount + frame.errorsCount) { places.release() }
        answered += frame.resultsCount + frame.errorsCount
        answered == count
    }
    return jsonOf(
        "seconds" to welcomed.await().elapsedNow().toDouble(DurationUnit.SECONDS),
        "accepted" to accepted,
    )
}
