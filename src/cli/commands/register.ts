/**
 * `etcd-discovery register`
 *
 * @module
 */
import * as Effect from "effect/Effect"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Option from "effect/Option"
import { library } from "../load.ts"
import { Json, printJson, printLine } from "../output.ts"
import * as Target from "../target.ts"

const optional = (name: string, metavar: string, description: string) =>
  Flag.String(name).pipe(Flag.withDescription(description), Flag.withMetavar(metavar), Flag.optional)

const given = <Name extends string, A>(name: Name, value: Option.Option<A>): { readonly [N in Name]?: A } =>
  Option.isSome(value) ? { [name]: value.value } as { readonly [N in Name]: A } : {}

export const register = Command.make(
  "register",
  {
    service: Target.service,
    endpoint: Flag.String("endpoint").pipe(
      Flag.withDescription("A URL that the instance serves; may be repeated"),
      Flag.withMetavar("url"),
      Flag.atLeast(1)
    ),
    id: optional("id", "text", "The id of the instance. Default: a random one"),
    version: optional("release", "text", "The version of the program"),
    weight: Flag.Finite("weight").pipe(Flag.withDescription("The share of the traffic. Default: 1"), Flag.optional),
    zone: optional("zone", "text", "Where the instance runs"),
    metadata: Flag.KeyValuePair("metadata").pipe(
      Flag.withDescription("A member of the metadata; may be repeated"),
      Flag.optional
    ),
    ttl: optional("ttl", "duration", "How long the instance stays without a heartbeat. Default: 15 seconds"),
    drain: optional("drain", "duration", "How long to publish draining before leaving. Default: 0"),
    claim: Flag.Literals("claim", ["restart", "exclusive", "overwrite"]).pipe(
      Flag.withDescription("What to do if the id is registered already"),
      Flag.withDefault("restart")
    ),
    format: Target.format
  },
  Effect.fnUntraced(function* (
    { claim, drain, endpoint, format, id, metadata, service, ttl, version, weight, zone }
  ) {
    const { registerService } = yield* library
    const registration = yield* registerService(yield* Target.serviceOf(service, format), {
      claim,
      endpoints: endpoint,
      ...given("id", id),
      ...given("version", version),
      ...given("weight", weight),
      ...given("zone", zone),
      ...given("metadata", metadata),
      // `registerService` checks durations.
      ...given("ttl", ttl) as object,
      ...given("drain", drain) as object
    })
    const { instance, key } = registration
    const lease = Option.match(yield* registration.leaseId, { onNone: () => "none", onSome: (id) => id.toString(16) })
    yield* (yield* Json) ?
      printJson({ key, lease, instance }) :
      printLine(`registered ${key} under lease ${lease}; Ctrl-C takes it away`)
    return yield* registration.awaitFailure
  }, Effect.scoped)
).pipe(
  Command.withDescription("Register an instance until Ctrl-C or SIGTERM"),
  Command.withExamples([
    {
      command: "etcd-discovery register orders --endpoint http://10.0.0.5:8080 --zone a --metadata shard=3",
      description: "Keeps the instance registered and takes it away at the end"
    }
  ])
)
