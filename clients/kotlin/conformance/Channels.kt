package conformance

import com.google.gson.JsonObject
import io.grpc.ConnectivityState
import io.grpc.Grpc
import io.grpc.InsecureChannelCredentials
import io.grpc.ManagedChannel
import io.grpc.Metadata
import kotlin.time.Duration.Companion.milliseconds
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.delay
import kotlinx.coroutines.isActive
import kotlinx.coroutines.launch
import parley.v1.ChatServiceGrpcKt.ChatServiceCoroutineStub

private val AUTHORIZATION = Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER)
private val RECONNECT_PAUSE = 500.milliseconds

/** One channel a target, kept. */
class Channels(private val scope: CoroutineScope) {
    private val channels = mutableMapOf<String, ManagedChannel>()

    fun stub(command: JsonObject): ChatServiceCoroutineStub =
        ChatServiceCoroutineStub(
            command.text("target")!!.let { channels.getOrPut(it) { connect(it) } }
        )

    /**
     * grpc-java has no setting for the longest pause between two attempts to connect, so the pause
     * is cut.
     */
    private fun connect(target: String): ManagedChannel {
        val channel =
            Grpc.newChannelBuilder(target, InsecureChannelCredentials.create())
                .proxyDetector { null }
                .build()
        scope.launch {
            while (isActive) {
                delay(RECONNECT_PAUSE)
                if (channel.getState(false) == ConnectivityState.TRANSIENT_FAILURE)
                    channel.resetConnectBackoff()
            }
        }
        return channel
    }
}

/** The metadata of a call with the command's token. */
fun headers(command: JsonObject): Metadata =
    Metadata().apply { command.text("token")?.let { put(AUTHORIZATION, "Bearer $it") } }
