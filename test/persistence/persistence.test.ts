import { Effect } from "effect"
import { TestClock } from "effect/testing"
import * as EtcdGrpc from "../../src/etcd/grpc/EtcdGrpc.ts"
import { eachSharedEtcd } from "../harness/EtcdServer.ts"
import { describe, live } from "../harness/it.ts"
import { checks } from "./checks.ts"

let prefixes = 0

describe("Persistence on etcd", () => {
  eachSharedEtcd((server) => {
    for (const { body, title } of checks) {
      // The stores are on virtual time, their client and etcd are not.
      live(title, () =>
        Effect.suspend(() => body(`/persistence-${++prefixes}/`)).pipe(
          Effect.provide(TestClock.layer()),
          Effect.provide(EtcdGrpc.layer({ endpoints: [server().endpoint] }))
        ))
    }
  })
})
