/** Many instances appear at once: how long until a consumer has them all. `scenarios/burst.ts` writes. */
import { Effect, Option, Stream } from "effect"
import { Etcd3 } from "etcd3"
import { discover, Registry } from "../../mod.ts"
import { now, type Parsed, prefixOf, readArguments, report, service, startCpu, tell } from "./measure.ts"

const { endpoint, parameters: { instances: count }, who } = readArguments<"instances">()

// Ordering is what an array of instances costs most: whoever asks for none must not pay for it.
let sorted = 0
for (const name of ["sort", "toSorted"] as const) {
  const original: (this: Array<unknown>, compare?: (a: unknown, b: unknown) => number) => Array<unknown> =
    Array.prototype[name]
  Array.prototype[name] = function (this: Array<unknown>, compare) {
    if (this.length >= 100) sorted += 1
    return original.call(this, compare)
  }
}

let spentCpu = () => 0
let elements = 0
const ready = (): void => {
  spentCpu = startCpu()
  tell("ready")
}
const done = (writtenAt: string | undefined): void =>
  report({
    "ms": now() - Number(writtenAt),
    "CPU ms": spentCpu() / 1000,
    "sets or events": elements,
    "arrays sorted": sorted
  })

const ours = discover(service).pipe(
  Stream.runForEach((set) =>
    Effect.sync(() => {
      elements += 1
      if (set.size === 0) ready()
      if (set.size === count) done(Option.getOrUndefined(set.get("i0"))?.metadata["mark"])
    })
  ),
  Effect.provide(Registry.layerEtcd({ endpoints: [endpoint] }))
)

const raw = async (): Promise<void> => {
  const client = new Etcd3({ hosts: endpoint })
  const instances = new Map<string, Parsed>()
  const watcher = await client.watch().prefix(prefixOf()).create()
  watcher.on("put", ({ key, value }) => {
    elements += 1
    instances.set(key.toString(), JSON.parse(value.toString()))
    if (instances.size === count) done(instances.get(`${prefixOf()}i0`)?.metadata.mark)
  })
  watcher.on("delete", ({ key }) => instances.delete(key.toString()))
  ready()
}

await (who === "ours" ? Effect.runPromise(ours) : raw())
