import { Effect } from "effect"
import { TestClock } from "effect/testing"
import * as EtcdMemory from "../../../src/etcd/memory/EtcdMemory.ts"
import * as it from "../../harness/it.ts"
import { conformance } from "./conformance.ts"

conformance(
  "EtcdMemory",
  it.effect,
  () => Effect.map(EtcdMemory.engine(), (engine) => ({ connect: engine.connect, elapse: TestClock.adjust }))
)
