/**
 * The target of a command: a service, an instance, and the format of its values.
 *
 * @module
 */
import * as Effect from "effect/Effect"
import * as Argument from "effect/cli/Argument"
import * as Flag from "effect/cli/Flag"
import type { AnyService } from "../registry/model/Service.ts"
import { CommandFailed, exitCodes } from "./failure.ts"
import { library, load } from "./load.ts"

/** The formats of `--format`, and their codecs in `interop`. */
const codecs = {
  "go-kit": "goKit",
  "grpc-naming": "grpcNaming",
  "go-zero": "goZero",
  kratos: "kratos",
  kitex: "kitex",
  dubbo: "dubbo",
  skydns: "skydns"
} as const

/** The name of a format. */
export type Format = "default" | keyof typeof codecs

/** `--format` */
export const format: Flag.Flag<Format> = Flag.Literals("format", [
  "default",
  "go-kit",
  "grpc-naming",
  "go-zero",
  "kratos",
  "kitex",
  "dubbo",
  "skydns"
]).pipe(
  Flag.withDescription("The format of keys and values"),
  Flag.withDefault("default")
)

/** The name of a service. */
export const service: Argument.Argument<string> = Argument.String("service").pipe(
  Argument.withDescription("The name of the service")
)

/** The id of an instance. */
export const id: Argument.Argument<string> = Argument.String("id").pipe(
  Argument.withDescription("The id of the instance")
)

/** Returns the service with this name in a format. */
export const serviceOf = Effect.fnUntraced(function* (name: string, format: Format): Effect.fn.Return<AnyService> {
  const { Service } = yield* library
  if (format === "default") return Service.make(name)
  const interop = yield* load(() => import("../interop/mod.ts"))
  return Service.make(name, { codec: interop[codecs[format]] })
})

/** The failure for a service that has no keys. */
export const unknownService = (service: string): CommandFailed =>
  new CommandFailed({
    message: `service ${JSON.stringify(service)} has no keys. ` +
      "Run etcd-discovery services to list the services, and check --namespace.",
    exitCode: exitCodes.notFound
  })
