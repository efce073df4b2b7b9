import type { Effect, Scope } from "effect"
import type { Etcd } from "../../src/etcd/Etcd.ts"

/** One check. It runs on the engine and on etcd, on virtual time, with a prefix of its own. */
export interface Check {
  /** Stands alone in a log. */
  readonly title: string
  readonly body: (prefix: string) => Effect.Effect<void, unknown, Etcd | Scope.Scope>
}
