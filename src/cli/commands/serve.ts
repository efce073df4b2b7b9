/**
 * `etcd-discovery serve`
 *
 * @module
 */
import * as Effect from "effect/Effect"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { durationFlag, given } from "../instance.ts"
import { load } from "../load.ts"
import { Json, printJson, printNote } from "../output.ts"

export const serve = Command.make(
  "serve",
  {
    port: Flag.Int("port").pipe(
      Flag.withDescription("The port; 0 takes a free one"),
      Flag.withMetavar("number"),
      Flag.withDefault(9090)
    ),
    host: Flag.String("host").pipe(
      Flag.withDescription("The address to bind; 0.0.0.0 accepts connections from other hosts"),
      Flag.withMetavar("address"),
      Flag.withDefault("127.0.0.1")
    ),
    services: Flag.String("service").pipe(
      Flag.withDescription("Only this service, and others that are named so; needs read permission on them alone"),
      Flag.withMetavar("name"),
      Flag.atLeast(0)
    ),
    maxStale: durationFlag("max-stale", "How long the last known instances are listed [default: 5 minutes]")
  },
  Effect.fnUntraced(function* ({ host, maxStale, port, services }) {
    const { Monitoring } = yield* load(() => import("../../monitoring/mod.ts"))
    const handler = yield* Monitoring.webHandler({
      ...given({ maxStale }),
      ...(services.length === 0 ? {} : { services }),
      ready: "targets"
    })
    const { hostname, port: bound } = yield* Monitoring.serve(handler, { hostname: host, port })
    const url = `http://${hostname.includes(":") ? `[${hostname}]` : hostname}:${bound}`
    if (yield* Json) yield* printJson({ url })
    else yield* printNote(`serving /metrics, /sd/prometheus, /livez and /readyz on ${url}`)
    // Starts to follow, so that the metrics of the services do not wait for the first request.
    yield* Effect.promise(() => handler(new Request("http://localhost/readyz")))
    return yield* Effect.never
  }, Effect.scoped)
).pipe(
  Command.withDescription("Serve metrics and targets for Prometheus, and health probes, until a signal"),
  Command.withExamples([
    { command: "etcd-discovery serve", description: "Every service, on 127.0.0.1:9090" },
    {
      command: "etcd-discovery serve --host 0.0.0.0 --port 9090 --service orders --service payments",
      description: "Two services, for a Prometheus on another host"
    }
  ])
)
