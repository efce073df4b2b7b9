import { Context, Effect, Layer } from "effect"
import { Etcd } from "../../../src/etcd/Etcd.ts"
import * as EtcdGrpc from "../../../src/etcd/grpc/EtcdGrpc.ts"
import { eachSharedEtcd } from "../../harness/EtcdServer.ts"
import * as it from "../../harness/it.ts"
import { conformance } from "./conformance.ts"

// The minimum TTL of a lease follows from the election timeout. This is etcd's default.
const defaultTimers = ["--heartbeat-interval", "100", "--election-timeout", "1000"]

eachSharedEtcd((etcd, version) => {
  conformance(`EtcdGrpc on etcd ${version}`, it.live, () =>
    Effect.sync(() => ({
      connect: Effect.map(
        Layer.build(EtcdGrpc.layer({ endpoints: [etcd().endpoint], requestTimeout: "30 seconds" })),
        Context.get(Etcd)
      ),
      elapse: (milliseconds) => Effect.sleep(milliseconds)
    })))
}, { args: defaultTimers })
