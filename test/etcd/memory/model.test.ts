import { Arbitrary, Context, Effect, Layer, type Scope } from "effect"
import { Etcd } from "../../../src/etcd/Etcd.ts"
import type { EtcdError } from "../../../src/etcd/EtcdError.ts"
import * as EtcdGrpc from "../../../src/etcd/grpc/EtcdGrpc.ts"
import { eachEtcd, startEtcd, versions } from "../../harness/EtcdServer.ts"
import { live } from "../../harness/it.ts"
import assert from "node:assert/strict"
import process from "node:process"
import { check, type Difference, type Step } from "./check.ts"
import { ExpiringProgram, Program } from "./Program.ts"

/*
 * To repeat a run: MODEL_SEED with the seed in the title, MODEL_RUNS for another number of programs. To repeat one
 * failure with its shrinking: MODEL_REPLAY with the text that the failure shows.
 */
const { MODEL_REPLAY: replay, MODEL_RUNS: runs, MODEL_SEED: seed = String(Math.floor(Math.random() * 1e9)) } =
  process.env

const assertAgreement = <A>(
  version: string,
  programs: Arbitrary.Arbitrary<A>,
  stepsOf: (program: A) => ReadonlyArray<Step>,
  runs: number
): Effect.Effect<void, Error | EtcdError, Scope.Scope> =>
  Effect.gen(function* () {
    const server = yield* startEtcd({ version })
    const etcd = Context.get(yield* Layer.build(EtcdGrpc.layer({ endpoints: [server.endpoint] })), Etcd)
    const losesDeletionAtCompactRevision = version.startsWith("3.4.")
    const result: Arbitrary.CheckResult<A, Difference | EtcdError> = yield* Arbitrary.checkEffect(
      programs,
      (program) => check(etcd, stepsOf(program), { losesDeletionAtCompactRevision }),
      { runs, seed, size: 30, maxShrinks: 200, replay }
    )
    assert.equal(Arbitrary.formatCheckFailure(result), undefined)
  })

// All of them on one runtime and version: the engine's logic is the same on each, and so is a server's.
const most = "Deno" in globalThis ? versions[0] : undefined

eachEtcd((version) => {
  const count = Number(runs ?? (version === most ? 1_000 : 200))
  live(
    `EtcdMemory and etcd agree about ${count} random programs (seed ${seed})`,
    () => assertAgreement(version, Arbitrary.schema(Program), (program) => program, count),
    { timeout: 300_000 }
  )

  const expiring = Math.ceil(count / 300)
  live(
    `EtcdMemory and etcd agree about ${expiring} random programs in which a lease runs out (seed ${seed})`,
    () =>
      assertAgreement(
        version,
        Arbitrary.schema(ExpiringProgram),
        ({ after, before, expiring }) => [...before, { _tag: "Expire", names: expiring }, ...after],
        expiring
      ),
    { timeout: 300_000 }
  )
})
