package conformance

import com.google.gson.JsonElement
import com.google.gson.JsonObject
import com.google.gson.JsonParser
import com.google.protobuf.Message
import com.google.protobuf.TypeRegistry
import com.google.protobuf.util.JsonFormat
import com.google.rpc.ErrorDetailsProto

// Messages to JSON and back; the details of a google.rpc.Status are written with their types.

private val details =
    TypeRegistry.newBuilder().add(ErrorDetailsProto.getDescriptor().messageTypes).build()
private val printer =
    JsonFormat.printer().usingTypeRegistry(details).omittingInsignificantWhitespace()
private val parser = JsonFormat.parser().usingTypeRegistry(details)

fun parseJson(line: String): JsonObject = JsonParser.parseString(line).asJsonObject

fun Message.toJson(): JsonObject = parseJson(printer.print(this))

/** The builder with the JSON's fields in it. */
fun <B : Message.Builder> B.merge(json: JsonElement): B = apply {
    parser.merge(json.toString(), this)
}

/** An object of texts, numbers, truths and JSON; what is null is left out. */
fun jsonOf(vararg members: Pair<String, Any?>) =
    JsonObject().apply {
        for ((name, value) in members) {
            when (value) {
                null -> {}
                is JsonElement -> add(name, value)
                is Boolean -> addProperty(name, value)
                is Number -> addProperty(name, value)
                else -> addProperty(name, value.toString())
            }
        }
    }

fun JsonObject.text(name: String): String? = this[name]?.asString

fun JsonObject.number(name: String): Long? = this[name]?.asLong
