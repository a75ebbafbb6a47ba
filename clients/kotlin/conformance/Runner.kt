package conformance

import com.google.gson.JsonArray
import com.google.gson.JsonObject
import com.google.protobuf.ByteString
import com.google.protobuf.UnknownFieldSet
import io.grpc.ManagedChannel
import io.grpc.StatusException
import java.io.FileDescriptor
import java.io.FileOutputStream
import java.io.PrintStream
import java.util.concurrent.TimeUnit
import kotlin.coroutines.cancellation.CancellationException
import kotlin.system.exitProcess
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeout
import parley.v1.ChatRequest
import parley.v1.ChatServiceGrpcKt
import parley.v1.PullRequest
import parley.v1.SubscribeRequest
import parley.v1.copy

private const val LONGEST_MILLIS = 30_000L
private const val NEWER_ARM = 1000

/**
 * Carries out the commands that come line by line, and says what came of each; it judges nothing.
 */
fun main() =
    runBlocking<Unit> {
        val runner = Runner(CoroutineScope(SupervisorJob() + Dispatchers.Default))
        val out = PrintStream(FileOutputStream(FileDescriptor.out), true, Charsets.UTF_8)
        out.println(whoAmI())
        for (line in System.`in`.bufferedReader().lineSequence()) {
            out.println(runner.answer(parseJson(line)))
        }
        exitProcess(0) // streams that are still open end with the program
    }

/** The jars of both packages name their versions in their manifests. */
private fun whoAmI(): JsonObject {
    val grpcVersion = ManagedChannel::class.java.`package`.implementationVersion
    return jsonOf(
        "runner" to "kotlin",
        "version" to ChatServiceGrpcKt::class.java.`package`.implementationVersion,
        "runtime" to
            "kotlin ${KotlinVersion.CURRENT}, java ${Runtime.version()}, grpc-java $grpcVersion",
    )
}

private class Runner(private val scope: CoroutineScope) {
    private val channels = Channels(scope)
    private val streams = mutableMapOf<String?, OpenStream>()
    private val sessions = Sessions(scope)

    suspend fun answer(command: JsonObject): JsonObject =
        try {
            carryOut(command)
        } catch (refused: StatusException) {
            jsonOf("error" to describe(refused))
        } catch (cancelled: CancellationException) {
            jsonOf("error" to describe(cancelled))
        } catch (unforeseen: Exception) {
            jsonOf("failed" to unforeseen)
        }

    private suspend fun carryOut(command: JsonObject): JsonObject =
        when (val what = command.text("do")) {
            "call" -> call(command)
            "page" -> page(command)
            "measure" -> measure(channels.stub(command), headers(command), command)
            "open" -> {
                streams[command.text("stream")] = open(command)
                jsonOf("opened" to true)
            }
            "write" ->
                jsonOf(
                    "written" to
                        stream(command)
                            .write(ChatRequest.newBuilder().merge(command["frame"]).build())
                )
            "write_newer" ->
                jsonOf(
                    "written" to stream(command).write(newer(command.number("correlation_id")!!))
                )
            "read" -> stream(command).read(command.number("timeout_ms")!!)
            "close" -> {
                stream(command).close()
                jsonOf("closed" to true)
            }
            "cancel" -> {
                stream(command).cancel()
                jsonOf("cancelled" to true)
            }
            else -> sessions.carryOut(what.orEmpty(), command)
        }

    private suspend fun call(command: JsonObject): JsonObject {
        val method = unaryMethods.getValue(command.text("method")!!)
        val deadline = command.number("deadline_ms") ?: LONGEST_MILLIS
        val stub = channels.stub(command).withDeadlineAfter(deadline, TimeUnit.MILLISECONDS)
        val response =
            withTimeout(command.number("cancel_after_ms") ?: Long.MAX_VALUE) {
                method.call(stub, { it.merge(command["request"]) }, headers(command))
            }
        return jsonOf("response" to response.toJson())
    }

    private suspend fun page(command: JsonObject): JsonObject {
        val stub = channels.stub(command)
        val seqs = JsonArray()
        var request = PullRequest.newBuilder().merge(command["request"]).build()
        do {
            val page =
                stub
                    .withDeadlineAfter(LONGEST_MILLIS, TimeUnit.MILLISECONDS)
                    .pull(request, headers(command))
            page.messagesList.forEach { seqs.add(it.seq.toString()) }
            request = request.copy { cursor = page.nextCursor }
        } while (page.hasMore)
        return jsonOf("seqs" to seqs, "next_cursor" to request.cursor.toString())
    }

    private fun open(command: JsonObject): OpenStream {
        val stub = channels.stub(command)
        if (command.text("method") == "Chat") return OpenStream.chat(scope, stub, headers(command))
        val request = SubscribeRequest.newBuilder().merge(command["request"]).build()
        return OpenStream.subscribe(scope, stub, request, headers(command))
    }

    private fun stream(command: JsonObject): OpenStream = streams.getValue(command.text("stream"))
}

/** A frame of a newer contract, with an arm that today's does not know. */
private fun newer(number: Long): ChatRequest {
    val arm =
        UnknownFieldSet.Field.newBuilder()
            .addLengthDelimited(ByteString.copyFromUtf8("newer"))
            .build()
    return ChatRequest.newBuilder()
        .setCorrelationId(number)
        .setUnknownFields(UnknownFieldSet.newBuilder().addField(NEWER_ARM, arm).build())
        .build()
}
