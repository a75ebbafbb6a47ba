package conformance

import com.google.gson.JsonObject
import examples.Entry
import examples.Session
import io.grpc.StatusException
import kotlin.time.Duration.Companion.milliseconds
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Deferred
import kotlinx.coroutines.async
import kotlinx.coroutines.flow.firstOrNull
import kotlinx.coroutines.joinAll
import kotlinx.coroutines.withTimeoutOrNull
import parley.v1.Accepted

/** Drives the sessions of examples/Session.kt, by their names. */
class Sessions(private val scope: CoroutineScope) {
    private class Driven(val session: Session) {
        val sends = mutableMapOf<String, Deferred<Accepted>>()
        var next: Deferred<Entry?>? = null
    }

    private val driven = mutableMapOf<String, Driven>()

    suspend fun carryOut(what: String, command: JsonObject): JsonObject {
        val name = command.text("session")!!
        if (what == "session_open") {
            driven[name] = Driven(open(command))
            return jsonOf("opened" to true)
        }
        val one = driven.getValue(name)
        when (what) {
            "session_send" -> {
                val (conversationId, text) = listOf("conversation_id", "text").map { command.text(it)!! }
                one.sends[command.text("ticket")!!] = one.session.send(conversationId, text)
                return jsonOf("sending" to true)
            }
            "session_sent" ->
                return outcome(one.sends.getValue(command.text("ticket")!!), command, "error") {
                    jsonOf("accepted" to it.toJson())
                }
            "session_next" -> {
                val next =
                    one.next ?: scope.async { one.session.messages().firstOrNull() }
                one.next = next
                val answer = outcome(next, command, "end", ::print)
                if (next.isCompleted) one.next = null
                return answer
            }
            "session_ack" -> {
                one.session.ack(command.text("conversation_id")!!, command.number("seq")!!)
                return jsonOf("acked" to true)
            }
            "session_close" -> {
                one.session.close(command.number("timeout_ms")!!.milliseconds)
                return jsonOf("closed" to true)
            }
            else -> error("there is no command $what")
        }
    }

    private suspend fun open(command: JsonObject): Session {
        val (target, username, password, deviceId) =
            listOf("target", "username", "password", "device_id").map { command.text(it)!! }
        val heartbeat = command.number("heartbeat_ms")!!.milliseconds
        return Session.open(target, username, password, deviceId, heartbeat = heartbeat)
    }

    private fun print(entry: Entry?): JsonObject =
        entry?.message?.let { jsonOf("message" to it.toJson()) }
            ?: entry?.reset?.let { jsonOf("reset" to it.toJson()) }
            ?: jsonOf("end" to jsonOf("code" to "OK"))

    /** What became of what is waited for; a wait that is over takes nothing back. */
    private suspend fun <T> outcome(
        waited: Deferred<T>,
        command: JsonObject,
        refused: String,
        print: (T) -> JsonObject,
    ): JsonObject {
        withTimeoutOrNull(command.number("timeout_ms")!!.milliseconds) { joinAll(waited) }
        if (!waited.isCompleted) return jsonOf("nothing" to true)
        return try {
            print(waited.await())
        } catch (refusal: StatusException) {
            jsonOf(refused to describe(refusal))
        }
    }
}
