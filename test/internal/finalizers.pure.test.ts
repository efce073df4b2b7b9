import { Context, Effect, Exit, Scope } from "effect"
import assert from "node:assert/strict"
import { acquireSync, addFinalizer } from "../../src/internal/finalizers.ts"
import { describe, effect } from "../harness/it.ts"

const Name = Context.Reference<string>("test/Name", { defaultValue: () => "nobody" })

/** Runs an effect in a scope that is closed in another context. */
const inScope = Effect.fnUntraced(function* <A>(use: Effect.Effect<A, never, Scope.Scope>) {
  const scope = yield* Scope.make()
  const result = yield* use.pipe(Scope.provide(scope), Effect.provideService(Name, "opener"))
  yield* Scope.close(scope, Exit.fail("why")).pipe(Effect.provideService(Name, "closer"))
  return result
})

describe("finalizers", () => {
  effect(
    "addFinalizer runs its effect in the context of its call, with the exit of the scope",
    () =>
      Effect.gen(function* () {
        const log: Array<unknown> = []
        yield* inScope(addFinalizer((exit) => Effect.map(Name, (name) => log.push(name, exit))))
        assert.deepEqual(log, ["opener", Exit.fail("why")])
      })
  )

  effect(
    "acquireSync releases what it acquired when the scope closes, at once if it is closed",
    () =>
      Effect.gen(function* () {
        const log: Array<string> = []
        const acquired = acquireSync(() => "it", (released) => log.push(released))
        const opened = Effect.tap(acquired, () => Effect.sync(() => log.push("open")))
        assert.equal(yield* inScope(opened), "it")
        assert.deepEqual(log, ["open", "it"])
        const closed = yield* Scope.make()
        yield* Scope.close(closed, Exit.void)
        yield* Scope.provide(acquired, closed)
        assert.deepEqual(log, ["open", "it", "it"])
      })
  )
})
