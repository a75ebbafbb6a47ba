package conformance

import com.google.gson.JsonArray
import com.google.gson.JsonObject
import com.google.protobuf.kotlin.isA
import com.google.protobuf.kotlin.unpack
import com.google.protobuf.util.Durations
import com.google.rpc.BadRequest
import com.google.rpc.ErrorInfo
import com.google.rpc.RetryInfo
import io.grpc.Status
import io.grpc.StatusException
import io.grpc.protobuf.StatusProto
import kotlin.coroutines.cancellation.CancellationException

/**
 * How a failed call looks in Kotlin: a StatusException, or a CancellationException if the caller
 * cancelled it.
 */
fun describe(failure: Throwable): JsonObject =
    when (failure) {
        is StatusException -> describe(failure)
        is CancellationException ->
            jsonOf("code" to Status.Code.CANCELLED, "message" to failure.message, "log" to failure)
        else -> throw failure
    }

private fun describe(refused: StatusException): JsonObject {
    val error =
        jsonOf(
            "code" to refused.status.code,
            "message" to refused.status.description.orEmpty(),
            "log" to generateSequence<Throwable>(refused) { it.cause }.joinToString("\nCaused by: "),
        )
    for (detail in StatusProto.fromThrowable(refused)?.detailsList.orEmpty()) {
        when {
            detail.isA<ErrorInfo>() -> error.addInfo(detail.unpack())
            detail.isA<BadRequest>() -> {
                val fields = JsonArray()
                detail.unpack<BadRequest>().fieldViolationsList.forEach { fields.add(it.field) }
                error.add("fields", fields)
            }
            detail.isA<RetryInfo>() ->
                error.addProperty(
                    "retry_delay_ms",
                    Durations.toMillis(detail.unpack<RetryInfo>().retryDelay),
                )
        }
    }
    return error
}

private fun JsonObject.addInfo(info: ErrorInfo) {
    if (info.domain == "parley.v1") {
        addProperty("reason", info.reason)
        add("metadata", jsonOf(*info.metadataMap.toList().toTypedArray()))
    }
}
