import { Effect } from "effect"
import type { Etcd } from "../../src/etcd/Etcd.ts"
import type { Layer, Scope } from "effect"
import * as EtcdGrpc from "../../src/etcd/grpc/EtcdGrpc.ts"
import * as EtcdMemory from "../../src/etcd/memory/EtcdMemory.ts"
import { eachSharedEtcd } from "../harness/EtcdServer.ts"
import { describe, effect, live } from "../harness/it.ts"
import { checks } from "./checks.ts"

let roots = 0

const declare = (
  test: (title: string, body: () => Effect.Effect<void, unknown, Scope.Scope>) => void,
  layer: () => Layer.Layer<Etcd, unknown>
): void => {
  for (const { body, title } of checks) {
    test(title, () => Effect.provide(Effect.suspend(() => body(`/kv-${++roots}/`)), layer()))
  }
}

describe("Kv on EtcdMemory", () => declare(effect, () => EtcdMemory.layer()))

describe("Kv", () => {
  eachSharedEtcd((server) => declare(live, () => EtcdGrpc.layer({ endpoints: [server().endpoint] })))
})
