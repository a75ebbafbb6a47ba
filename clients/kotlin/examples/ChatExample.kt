package examples

import io.grpc.Grpc
import io.grpc.InsecureChannelCredentials
import io.grpc.Status
import io.grpc.StatusException
import java.util.concurrent.TimeUnit
import kotlinx.coroutines.flow.mapNotNull
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.runBlocking
import parley.v1.ChatServiceGrpcKt.ChatServiceCoroutineStub
import parley.v1.registerRequest

private const val ME = "hello-kotlin"
private const val PASSWORD = "correct horse battery staple"
private val TEXTS = listOf("Hello, Parley!", "Is anybody there?", "Good night.")

/** Sends three notes to itself through a session, and acknowledges them. Arguments: [host:port]. */
fun main(args: Array<String>) = runBlocking {
    val target = args.firstOrNull() ?: "127.0.0.1:50051"
    register(target)
    val session = Session.open(target, ME, PASSWORD, deviceId = "example")
    var lastSeq = 0L
    for (text in TEXTS) {
        lastSeq = session.send("$ME:$ME", text).await().seq
        println("stored as $lastSeq")
    }
    session.messages().mapNotNull { it.message }.first { message ->
        println("received ${message.seq}: ${message.text}")
        session.ack(message.conversationId, message.seq)
        message.seq == lastSeq
    }
    session.close()
    println("done")
}

private suspend fun register(target: String) {
    val channel =
        Grpc.newChannelBuilder(target, InsecureChannelCredentials.create())
            .proxyDetector { null }
            .build()
    try {
        val account = registerRequest {
            username = ME
            password = PASSWORD
        }
        ChatServiceCoroutineStub(channel).withDeadlineAfter(10, TimeUnit.SECONDS).register(account)
    } catch (refused: StatusException) {
        if (refused.status.code != Status.Code.ALREADY_EXISTS) throw refused
    } finally {
        channel.shutdownNow()
    }
}
