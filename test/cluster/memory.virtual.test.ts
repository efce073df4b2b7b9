import { Effect } from "effect"
import * as EtcdMemory from "../../src/etcd/memory/EtcdMemory.ts"
import { describe, effect } from "../harness/it.ts"
import { checks } from "./checks.ts"

describe("EtcdRunnerStorage on EtcdMemory", () => {
  for (const { body, title } of checks) {
    effect(title, () => Effect.provide(Effect.scoped(Effect.suspend(() => body("/cluster/"))), EtcdMemory.layer()))
  }
})
