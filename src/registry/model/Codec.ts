/**
 * The encoding of an instance in etcd.
 *
 * The default envelope is one JSON object, `{"id","name","version","metadata","endpoints","weight","zone","status"}`.
 * Members at their default may be missing, and unknown members are ignored. go-kratos reads a value whose metadata is
 * strings.
 *
 * @since 0.1.0
 * @module
 */
import { Cause, Result, Schema } from "effect"
import { InstanceStatus, isValidWeight, type Labels, maxWeight, type ServiceInstance } from "./Instance.ts"
import type { Layout } from "./Layout.ts"
import { parseJson } from "../../internal/text/json.ts"
import { TaggedErrorClass } from "../../internal/TaggedErrorClass.ts"

const InvalidInstanceBase: TaggedErrorClass<"InvalidInstance", {
  /** The rule that the value breaks. */
  readonly detail: string
  /** The member of the instance that the format refuses. */
  readonly member?: keyof ServiceInstance
  /** The error of the schema or the codec. */
  readonly cause?: unknown
}> = TaggedErrorClass("InvalidInstance")

/**
 * A value that is not an instance of the service, or an instance that the format refuses.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidInstance extends InvalidInstanceBase {
  override get message(): string {
    return `not an instance: ${this.detail}`
  }
}

/** The largest value that is written, in bytes. etcd accepts requests of up to 1.5 MiB. */
export const maxValueBytes: number = 1024 * 1024

/**
 * Where a JSON format has the members that an operator may edit.
 *
 * **Details**
 *
 * A missing path means that the format lacks the member.
 *
 * @since 0.1.0
 * @category models
 */
export interface JsonMembers {
  /** The path of the status. */
  readonly status?: readonly [string, ...ReadonlyArray<string>]
  readonly weight?: {
    readonly path: readonly [string, ...ReadonlyArray<string>]
    /** The weight as the format writes it. */
    readonly toJson: (weight: number) => unknown
  }
}

/**
 * The codec of a service of any metadata.
 *
 * @since 0.1.0
 * @category models
 */
export interface AnyCodec {
  readonly layout?: Layout
  readonly members?: JsonMembers
  readonly encode: (instance: ServiceInstance<never>) => Result.Result<Uint8Array, InvalidInstance>
  readonly decode: (
    name: string,
    id: string,
    value: Uint8Array
  ) => Result.Result<ServiceInstance<unknown>, InvalidInstance>
}

/**
 * Encodes and decodes the instances of a service, and defines where they are kept.
 *
 * @since 0.1.0
 * @category models
 */
export interface Codec<M> extends AnyCodec {
  /** Where the instances are in etcd. Default: `<namespace>/<service>/<id>`, in the namespace of the registry. */
  readonly layout?: Layout
  /** Where an operator may edit the value. Default: nowhere. */
  readonly members?: JsonMembers
  /** Returns the value to put, or why the format refuses the instance. */
  readonly encode: (instance: ServiceInstance<M>) => Result.Result<Uint8Array, InvalidInstance>
  /** Returns the instance that the key and the value describe, or why they describe none. */
  readonly decode: (name: string, id: string, value: Uint8Array) => Result.Result<ServiceInstance<M>, InvalidInstance>
}

/**
 * A schema that turns metadata into JSON and back, synchronously and without services.
 *
 * @since 0.1.0
 * @category models
 */
export type MetadataSchema<M> = Schema.Codec<M, unknown>

const Envelope = Schema.Struct({
  id: Schema.optionalKey(Schema.String),
  name: Schema.optionalKey(Schema.String),
  version: Schema.optionalKey(Schema.String),
  metadata: Schema.optionalKey(Schema.Unknown),
  endpoints: Schema.NonEmptyArray(Schema.NonEmptyString),
  weight: Schema.optionalKey(Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: maxWeight }))),
  zone: Schema.optionalKey(Schema.String),
  status: Schema.optionalKey(InstanceStatus)
})

type Envelope = typeof Envelope.Type

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value)

const isTextIfThere = (value: unknown): boolean => value === undefined || typeof value === "string"

const statuses: ReadonlyArray<unknown> = InstanceStatus.literals

/** Whether a value is an envelope. Valid envelopes skip schema decoding, which explains the others. */
const isEnvelope = (found: unknown): found is Envelope =>
  isObject(found) && isTextIfThere(found["id"]) && isTextIfThere(found["name"]) && isTextIfThere(found["version"]) &&
  Array.isArray(found["endpoints"]) && found["endpoints"].length > 0 &&
  found["endpoints"].every((endpoint) => typeof endpoint === "string" && endpoint !== "") &&
  (found["weight"] === undefined || isValidWeight(found["weight"])) &&
  isTextIfThere(found["zone"]) && (found["status"] === undefined || statuses.includes(found["status"]))

const decodeBySchema = Schema.decodeUnknownResult(Envelope)

const decodeEnvelope = (found: unknown): Result.Result<Envelope, Schema.SchemaError> =>
  isEnvelope(found) ? Result.succeed(found) : decodeBySchema(found)

const encoder = new TextEncoder()
const utf8 = new TextDecoder("utf-8", { fatal: true })

const invalid = (detail: string, cause?: unknown): Result.Result<never, InvalidInstance> =>
  Result.fail(new InvalidInstance({ detail, cause }))

/** The longest quote of a value in a message: another process wrote the value. */
const maxDetailLength = 500

const shorten = (text: string): string => text.length <= maxDetailLength ? text : `${text.slice(0, maxDetailLength)}…`

const explain = (error: Schema.SchemaError): string => shorten(error.message.replaceAll(/\s*\n\s*/g, " "))

/**
 * The failure for what code of a codec or a schema throws. It may throw, be asynchronous, or overflow the stack on a deep
 * value. The cause is the defect.
 */
const threw = (what: string, thrown: unknown): Result.Result<never, InvalidInstance> => {
  // Effect wraps what a schema throws.
  const cause = thrown instanceof Error && Cause.isCause(thrown.cause) ? Cause.squash(thrown.cause) : thrown
  return invalid(`${what} threw ${textOf(cause)}`, cause)
}

const textOf = (cause: unknown): string => {
  try {
    return shorten(String(cause))
  } catch {
    return "a value without text"
  }
}

/** `codec.decode`. What it throws, and what is not an instance with this id, is a failure. */
export const decode = <M>(
  codec: Codec<M>,
  name: string,
  id: string,
  value: Uint8Array
): Result.Result<ServiceInstance<M>, InvalidInstance> => {
  try {
    const decoded = codec.decode(name, id, value)
    if (!isResult(decoded)) return invalid("the codec returned no Result")
    if (Result.isFailure(decoded)) return Result.fail(asInvalid(decoded.failure))
    const { success: instance } = decoded
    if (!isInstance(instance)) return invalid("the codec returned no instance: a member is missing or has another type")
    if (!isValidWeight(instance.weight)) {
      return invalid(`the weight is ${instance.weight}; it must be from 0 to ${maxWeight}`)
    }
    return instance.id === id || codec.layout?.idFromValue === true ?
      decoded :
      invalid("the codec returned an instance with another id")
  } catch (thrown) {
    return threw("the codec", thrown)
  }
}

/** `codec.encode`. What it throws, and what is not bytes, is a failure. */
export const encode = <M>(
  codec: Codec<M>,
  instance: ServiceInstance<M>
): Result.Result<Uint8Array, InvalidInstance> => {
  try {
    const encoded = codec.encode(instance)
    if (!isResult(encoded)) return invalid("the codec returned no Result")
    if (Result.isFailure(encoded)) return Result.fail(asInvalid(encoded.failure))
    return encoded.success instanceof Uint8Array ? encoded : invalid("the codec returned no bytes")
  } catch (thrown) {
    return threw("the codec", thrown)
  }
}

// A codec is code of the user, which its type describes but does not check.

const isResult: (value: unknown) => boolean = Result.isResult

const asInvalid = (failure: InvalidInstance): InvalidInstance =>
  failure instanceof InvalidInstance ?
    failure :
    new InvalidInstance({ detail: `the codec failed with ${textOf(failure)}`, cause: failure })

const isInstance = (found: unknown): boolean =>
  isObject(found) && typeof found["id"] === "string" && typeof found["name"] === "string" &&
  typeof found["weight"] === "number" && statuses.includes(found["status"]) && Array.isArray(found["endpoints"]) &&
  found["endpoints"].every((endpoint) => typeof endpoint === "string")

const invalidMetadata = (cause: Schema.SchemaError): Result.Result<never, InvalidInstance> =>
  invalid(`metadata: ${explain(cause)}`, cause)

type DecodedMetadata<M> = Result.Result<M, Schema.SchemaError>

/** The JSON envelope with metadata that the schema describes. */
export const json = <M>(metadata: MetadataSchema<M>): Codec<M> => {
  const decode = Schema.decodeUnknownResult(Schema.toCodecJson(metadata))
  return make(metadata, (found) => {
    // Missing metadata is empty. So is null (Go's empty map), unless the schema accepts null.
    const decoded = decode(found === undefined ? {} : found)
    return found === null && Result.isFailure(decoded) ? decode({}) : decoded
  })
}

const make = <M>(metadata: MetadataSchema<M>, decodeMetadata: (found: unknown) => DecodedMetadata<M>): Codec<M> => {
  const encodeMetadata = Schema.encodeResult(Schema.toCodecJson(metadata))
  return {
    members: { status: ["status"], weight: { path: ["weight"], toJson: (weight) => weight } },
    encode: (instance) => {
      try {
        const encoded = encodeMetadata(instance.metadata)
        return Result.isFailure(encoded) ?
          invalidMetadata(encoded.failure) :
          Result.succeed(encoder.encode(JSON.stringify({
            id: instance.id,
            name: instance.name,
            version: instance.version,
            metadata: encoded.success,
            endpoints: instance.endpoints,
            weight: instance.weight,
            zone: instance.zone,
            status: instance.status
          })))
      } catch (thrown) {
        return threw("the schema of the metadata", thrown)
      }
    },
    decode: (name, id, value) => {
      const parsed = parse(value)
      if (Result.isFailure(parsed)) return invalid(parsed.failure)
      const envelope = decodeEnvelope(parsed.success)
      if (Result.isFailure(envelope)) return invalid(explain(envelope.failure), envelope.failure)
      const { success: found } = envelope
      if (found.id !== undefined && found.id !== id) return invalid(`"id" must be that of the key`)
      if (found.name !== undefined && found.name !== name) return invalid(`"name" must be that of the key`)
      try {
        const metadata = decodeMetadata(found.metadata)
        return Result.isFailure(metadata) ?
          invalidMetadata(metadata.failure) :
          Result.succeed(instanceOf(id, name, found, metadata.success))
      } catch (thrown) {
        return threw("the schema of the metadata", thrown)
      }
    }
  }
}

/** An immutable instance. A member that the envelope lacks is at its default, or missing. */
const instanceOf = <M>(
  id: string,
  name: string,
  { endpoints, status = "up", version, weight = 1, zone }: Envelope,
  metadata: M
): ServiceInstance<M> => {
  const instance: { -readonly [Member in keyof ServiceInstance]: ServiceInstance<M>[Member] } = {
    id,
    name,
    metadata,
    endpoints: Object.freeze(endpoints),
    weight,
    status
  }
  if (version !== undefined) instance.version = version
  if (zone !== undefined) instance.zone = zone
  return Object.freeze(instance)
}

const parse = (value: Uint8Array): Result.Result<unknown, string> => {
  let text: string
  try {
    text = utf8.decode(value)
  } catch {
    return Result.fail("the value is not UTF-8")
  }
  try {
    return Result.succeed(parseJson(text))
  } catch {
    return Result.fail("the value is not JSON")
  }
}

const isLabels = (found: unknown): found is Labels =>
  isObject(found) && Object.values(found).every((value) => typeof value === "string")

/** Metadata as strings. Metadata that is not an object becomes one label with an empty name. */
const labelsOf = (found: unknown): Labels => {
  if (isLabels(found)) return found
  if (found === undefined || found === null) return {}
  const members = typeof found === "object" ? Object.entries(found) : [["", found]] as const
  return Object.fromEntries(
    members.map(([name, value]) => [name, typeof value === "string" ? value : JSON.stringify(value)])
  )
}

/**
 * The JSON envelope with metadata of strings. A member that is not a string is read as its JSON text, so that a
 * consumer without a schema reads what a typed service wrote.
 */
export const strings: Codec<Labels> = make(
  Schema.Record(Schema.String, Schema.String),
  (found) => Result.succeed(labelsOf(found))
)
