import { Effect } from "effect"
import assert from "node:assert/strict"
import { registerService, Registry } from "../../mod.ts"
import { describe, live } from "../harness/it.ts"
import { memory, ran } from "./support.ts"

describe("command line: looking", () => {
  live("services prints an aligned table, and JSON with --json", () =>
    Effect.gen(function* () {
      const { connect, registry } = yield* memory
      const register = (name: string, id: string) =>
        Effect.provideService(
          registerService(name, { id, endpoints: ["http://10.0.0.5:8080"] }),
          Registry.Registry,
          registry
        )
      yield* register("orders", "a")
      yield* register("orders", "b")
      yield* register("payments-of-europe", "c")
      assert.deepEqual(yield* ran(["services"], { connect }), {
        exitCode: 0,
        stderr: "",
        stdout: "SERVICE             INSTANCES\norders              2\npayments-of-europe  1\n"
      })
      assert.deepEqual(JSON.parse((yield* ran(["services", "--json"], { connect })).stdout), {
        services: [{ name: "orders", instances: 2 }, { name: "payments-of-europe", instances: 1 }]
      })
    }))
})
