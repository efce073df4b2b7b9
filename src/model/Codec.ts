/**
 * How an instance is written in etcd.
 *
 * The default envelope is one JSON object, `{"id","name","version","metadata","endpoints","weight","zone","status"}`.
 * Members at their default may be left out and unknown ones are ignored. With metadata of strings it is also a value
 * that go-kratos reads.
 *
 * @module
 */
import { Data, Result, Schema } from "effect"
import { InstanceStatus, type ServiceInstance } from "./Instance.ts"
import type { Layout } from "./Layout.ts"
import type { TaggedErrorClass } from "../internal/TaggedErrorClass.ts"

const InvalidInstanceBase: TaggedErrorClass<"InvalidInstance", {
  readonly detail: string
  /** The member of the instance that cannot be written, where it is one. */
  readonly member?: keyof ServiceInstance
  readonly cause?: unknown
}> = Data.TaggedError("InvalidInstance")

/** A value that is no instance of the service; `detail` says which rule it breaks. */
export class InvalidInstance extends InvalidInstanceBase {
  override get message(): string {
    return `not an instance: ${this.detail}`
  }
}

/** The largest value, in bytes, that is written or read: etcd itself takes a little more. */
export const maxValueBytes: number = 1024 * 1024

/** Instances to bytes and back, and where they are kept. */
export interface Codec<M> {
  /** Where the instances are in etcd. Default: `<namespace>/<service>/<id>`, in the namespace of the registry. */
  readonly layout?: Layout
  /** The value to put, or why the instance cannot be written. */
  readonly encode: (instance: ServiceInstance<M>) => Result.Result<Uint8Array, InvalidInstance>
  /** The instance that the key names and the value describes, or why it is none. */
  readonly decode: (name: string, id: string, value: Uint8Array) => Result.Result<ServiceInstance<M>, InvalidInstance>
}

/** A schema that turns metadata into JSON and back, without services. */
export type MetadataSchema<M> = Schema.Codec<M, unknown>

const Envelope = Schema.Struct({
  id: Schema.optionalKey(Schema.String),
  name: Schema.optionalKey(Schema.String),
  version: Schema.optionalKey(Schema.String),
  metadata: Schema.optionalKey(Schema.Unknown),
  endpoints: Schema.NonEmptyArray(Schema.NonEmptyString),
  weight: Schema.optionalKey(Schema.Finite.check(Schema.isGreaterThanOrEqualTo(0))),
  zone: Schema.optionalKey(Schema.String),
  status: Schema.optionalKey(InstanceStatus)
})

const decodeEnvelope = Schema.decodeUnknownResult(Envelope)
const encoder = new TextEncoder()
const utf8 = new TextDecoder("utf-8", { fatal: true })

const invalid = (detail: string, cause?: unknown): Result.Result<never, InvalidInstance> =>
  Result.fail(new InvalidInstance({ detail, cause }))

/** Some errors quote the value, which somebody else has chosen: what is told of it stays short. */
const longestDetail = 500

const explain = (error: Schema.SchemaError): string => {
  const text = error.message.replaceAll(/\s*\n\s*/g, " ")
  return text.length <= longestDetail ? text : `${text.slice(0, longestDetail)}…`
}

/** The JSON envelope with metadata that the schema describes. */
export const json = <M>(metadata: MetadataSchema<M>): Codec<M> => {
  const schema = Schema.toCodecJson(metadata)
  const encodeMetadata = Schema.encodeResult(schema)
  const decodeMetadata = Schema.decodeUnknownResult(schema)
  /** What is left out counts as empty, and so does null (an empty map, to Go) unless the schema knows it. */
  const decodeWanted = (found: unknown): Result.Result<M, Schema.SchemaError> => {
    const decoded = decodeMetadata(found === undefined ? {} : found)
    return found === null && Result.isFailure(decoded) ? decodeMetadata({}) : decoded
  }
  return {
    encode: (instance) => {
      const encoded = encodeMetadata(instance.metadata)
      if (Result.isFailure(encoded)) return invalid(`metadata: ${explain(encoded.failure)}`, encoded.failure)
      return Result.succeed(encoder.encode(JSON.stringify({
        id: instance.id,
        name: instance.name,
        version: instance.version,
        metadata: encoded.success,
        endpoints: instance.endpoints,
        weight: instance.weight,
        zone: instance.zone,
        status: instance.status
      })))
    },
    decode: (name, id, value) => {
      const parsed = parse(value)
      if (Result.isFailure(parsed)) return invalid(parsed.failure)
      const envelope = decodeEnvelope(parsed.success)
      if (Result.isFailure(envelope)) return invalid(explain(envelope.failure), envelope.failure)
      const { success: found } = envelope
      if (found.id !== undefined && found.id !== id) return invalid(`"id" must be that of the key`)
      if (found.name !== undefined && found.name !== name) return invalid(`"name" must be that of the key`)
      const decoded = decodeWanted(found.metadata)
      if (Result.isFailure(decoded)) return invalid(`metadata: ${explain(decoded.failure)}`, decoded.failure)
      return Result.succeed(Object.freeze({
        id,
        name,
        ...(found.version === undefined ? {} : { version: found.version }),
        metadata: decoded.success,
        endpoints: Object.freeze(found.endpoints),
        weight: found.weight ?? 1,
        ...(found.zone === undefined ? {} : { zone: found.zone }),
        status: found.status ?? "up"
      }))
    }
  }
}

const parse = (value: Uint8Array): Result.Result<unknown, string> => {
  let text: string
  try {
    text = utf8.decode(value)
  } catch {
    return Result.fail("the value is not UTF-8")
  }
  try {
    return Result.succeed(JSON.parse(text))
  } catch {
    return Result.fail("the value is not JSON")
  }
}

/** The JSON envelope with metadata of strings. */
export const strings: Codec<Readonly<Record<string, string>>> = json(Schema.Record(Schema.String, Schema.String))
