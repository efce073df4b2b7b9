/**
 * `etcd-discovery serve`
 *
 * @module
 */
import * as Effect from "effect/Effect"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { durationFlag, given } from "../instance.ts"
import { bracketed, hostFlag, portFlag } from "../listening.ts"
import { load } from "../load.ts"
import { Json, printJson, printNote } from "../output.ts"

export const serve = Command.make(
  "serve",
  {
    port: portFlag(9090),
    host: hostFlag("The address to bind; 0.0.0.0 accepts connections from other hosts"),
    services: Flag.String("service").pipe(
      Flag.withDescription("Only this service; may be repeated; needs read permission on these services only"),
      Flag.withMetavar("name"),
      Flag.atLeast(0)
    ),
    maxStale: durationFlag(
      "max-stale",
      "How long to list the last known instances while etcd does not answer [default: 5 minutes]"
    )
  },
  Effect.fnUntraced(function* ({ host, maxStale, port, services }) {
    const { Monitoring } = yield* load(() => import("../../monitoring/mod.ts"))
    const handler = yield* Monitoring.webHandler({
      ...given({ maxStale }),
      ...(services.length === 0 ? {} : { services }),
      ready: "targets"
    })
    const { hostname, port: bound } = yield* Monitoring.serve(handler, { hostname: host, port })
    const url = `http://${bracketed(hostname)}:${bound}`
    if (yield* Json) yield* printJson({ url })
    else yield* printNote(`serving /metrics, /sd/prometheus, /livez and /readyz on ${url}`)
    // Start following now: the metrics of the services then do not wait for the first request.
    yield* Effect.promise(() => handler(new Request("http://localhost/readyz")))
    return yield* Effect.never
  }, Effect.scoped)
).pipe(
  Command.withDescription("Serve Prometheus metrics, Prometheus targets and health probes until Ctrl-C or SIGTERM"),
  Command.withExamples([
    { command: "etcd-discovery serve", description: "Every service, on 127.0.0.1:9090" },
    {
      command: "etcd-discovery serve --host 0.0.0.0 --port 9090 --service orders --service payments",
      description: "Two services, for a Prometheus on another host"
    }
  ])
)
