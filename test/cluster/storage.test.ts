import { Effect } from "effect"
import * as EtcdGrpc from "../../src/etcd/grpc/EtcdGrpc.ts"
import { eachSharedEtcd } from "../harness/EtcdServer.ts"
import { describe, live } from "../harness/it.ts"
import { checks } from "./checks.ts"

let prefixes = 0

describe("EtcdRunnerStorage on etcd", () => {
  eachSharedEtcd((server) => {
    for (const { body, title } of checks) {
      live(title, () =>
        Effect.scoped(Effect.suspend(() => body(`/cluster-${++prefixes}/`))).pipe(
          Effect.provide(EtcdGrpc.layer({ endpoints: [server().endpoint] }))
        ))
    }
  })
})
