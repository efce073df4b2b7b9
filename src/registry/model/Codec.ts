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
import { InstanceStatus, type Labels, type ServiceInstance } from "./Instance.ts"
import type { Layout } from "./Layout.ts"
import type { TaggedErrorClass } from "../../internal/TaggedErrorClass.ts"

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

/** The codec of a service of any metadata. */
export interface AnyCodec {
  readonly layout?: Layout
  readonly encode: (instance: ServiceInstance<never>) => Result.Result<Uint8Array, InvalidInstance>
  readonly decode: (
    name: string,
    id: string,
    value: Uint8Array
  ) => Result.Result<ServiceInstance<unknown>, InvalidInstance>
}

/** Instances to bytes and back, and where they are kept. */
export interface Codec<M> extends AnyCodec {
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

type Envelope = typeof Envelope.Type

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value)

const isTextIfThere = (value: unknown): boolean => value === undefined || typeof value === "string"

const statuses: ReadonlyArray<unknown> = InstanceStatus.literals

/**
 * Whether a value is an envelope. What the schema says of one that is not is for people to read; a set of 10,000 is
 * read several times faster without asking it each time.
 */
const isEnvelope = (found: unknown): found is Envelope =>
  isObject(found) && isTextIfThere(found["id"]) && isTextIfThere(found["name"]) && isTextIfThere(found["version"]) &&
  Array.isArray(found["endpoints"]) && found["endpoints"].length > 0 &&
  found["endpoints"].every((endpoint) => typeof endpoint === "string" && endpoint !== "") &&
  (found["weight"] === undefined || (Number.isFinite(found["weight"]) && Number(found["weight"]) >= 0)) &&
  isTextIfThere(found["zone"]) && (found["status"] === undefined || statuses.includes(found["status"]))

const decodeBySchema = Schema.decodeUnknownResult(Envelope)

const decodeEnvelope = (found: unknown): Result.Result<Envelope, Schema.SchemaError> =>
  isEnvelope(found) ? Result.succeed(found) : decodeBySchema(found)

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
export const json = <M>(metadata: MetadataSchema<M>): Codec<M> => make(metadata, (_): _ is M => false)

/** `isDecoded`: whether JSON stands for itself, so that the schema need not be asked. */
const make = <M>(metadata: MetadataSchema<M>, isDecoded: (found: unknown) => found is M): Codec<M> => {
  const schema = Schema.toCodecJson(metadata)
  const encodeMetadata = Schema.encodeResult(schema)
  const decodeMetadata = Schema.decodeUnknownResult(schema)
  /** What is left out counts as empty, and so does null (an empty map, to Go) unless the schema knows it. */
  const decodeWanted = (found: unknown): Result.Result<M, Schema.SchemaError> => {
    if (isDecoded(found)) return Result.succeed(found)
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
      const { endpoints, status = "up", version, weight = 1, zone } = found
      const instance = { id, name, metadata: decoded.success, endpoints: Object.freeze(endpoints), weight, status }
      if (version === undefined && zone === undefined) return Result.succeed(Object.freeze(instance))
      return Result.succeed(Object.freeze({
        ...instance,
        ...(version === undefined ? {} : { version }),
        ...(zone === undefined ? {} : { zone })
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
export const strings: Codec<Labels> = make(
  Schema.Record(Schema.String, Schema.String),
  (found): found is Labels => isObject(found) && Object.values(found).every((value) => typeof value === "string")
)
