import { Arbitrary, Context, Effect, Layer, type Scope } from "effect"
import { Etcd } from "../../../src/etcd/Etcd.ts"
import type { EtcdError } from "../../../src/etcd/EtcdError.ts"
import * as EtcdGrpc from "../../../src/etcd/grpc/EtcdGrpc.ts"
import { eachEtcd, startEtcd, versions } from "../../harness/EtcdServer.ts"
import { live } from "../../harness/it.ts"
import { seed } from "../../harness/seed.ts"
import assert from "node:assert/strict"
import process from "node:process"
import { check, type Difference, type Step } from "./check.ts"
import { ExpiringProgram, Program } from "./Program.ts"

/*
 * To repeat a run, set TEST_SEED to the seed in the title; TEST_RUNS sets the number of programs. To repeat one failure
 * with its shrinking, set TEST_REPLAY to the text in the failure.
 */
const { TEST_REPLAY: replay, TEST_RUNS: runs } = process.env

const assertAgreement = <A>(
  version: string,
  programs: Arbitrary.Arbitrary<A>,
  stepsOf: (program: A) => ReadonlyArray<Step>,
  runs: number
): Effect.Effect<void, Error | EtcdError, Scope.Scope> =>
  Effect.gen(function* () {
    const server = yield* startEtcd({ version })
    const etcd = Context.get(
      yield* Layer.build(EtcdGrpc.layer({ endpoints: [server.endpoint], requestTimeout: "30 seconds" })),
      Etcd
    )
    const losesDeletionAtCompactRevision = version.startsWith("3.4.")
    const result: Arbitrary.CheckResult<A, Difference | EtcdError> = yield* Arbitrary.checkEffect(
      programs,
      (program) => check(etcd, stepsOf(program), { losesDeletionAtCompactRevision }),
      { runs, seed, size: 30, maxShrinks: 200, replay }
    )
    assert.equal(Arbitrary.formatCheckFailure(result), undefined)
  })

// All programs on one runtime and version: the logic of the engine and of a server does not depend on the runtime.
const most = "Deno" in globalThis ? versions[0] : undefined

eachEtcd((version) => {
  const count = Number(runs ?? (version === most ? 1_000 : 200))
  live(
    `EtcdMemory and etcd agree about ${count} random programs (seed ${seed})`,
    () => assertAgreement(version, Arbitrary.schema(Program), (program) => program, count),
    { timeout: 300_000 }
  )

  const expiring = Math.ceil(count / 500)
  live(
    `EtcdMemory and etcd agree about ${expiring} random programs in which a lease expires (seed ${seed})`,
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
