import { Effect, Layer } from "effect"
import { EtcdMemory } from "/work/wt/console/src/etcd/mod.ts"
import { Registry, runMain } from "/work/wt/console/mod.ts"
import { WebConsole } from "/work/wt/console/src/console/mod.ts"
import { serve } from "/work/wt/console/src/console/serve.ts"
import { demo } from "/work/wt/console/src/console/demo.ts"
import { Etcd } from "/work/wt/console/src/etcd/Etcd.ts"
runMain(Effect.gen(function*(){
  const etcd = yield* Etcd
  const a = yield* serve(WebConsole.layer().pipe(Layer.provide(Layer.succeed(Etcd, etcd))), {host: "127.0.0.1", port: 8599})
  yield* demo
  console.log("ready", a)
  yield* Effect.never
}).pipe(Effect.scoped, Effect.provide(Registry.layer().pipe(Layer.provideMerge(EtcdMemory.layer())))))
