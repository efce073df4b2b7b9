import { Effect, Option, Result } from "effect"
import assert from "node:assert/strict"
import { InstanceSet, registerService, Registry } from "../../../mod.ts"
import { ServiceClient } from "../../../src/balancing/mod.ts"
import { EtcdGrpc } from "../../../src/etcd/mod.ts"
import { resolutionOf } from "../../../src/grpc/addresses.ts"
import { withoutUserInfo } from "../../../src/internal/text/userInfo.ts"
import { goKit, goZero, kratos } from "../../../src/interop/mod.ts"
import { describe, effect } from "../../harness/it.ts"

const bytes = (text: string) => new TextEncoder().encode(text)

describe("withoutUserInfo", () => {
  effect("withoutUserInfo hides what is before the last @ and keeps the scheme", () =>
    Effect.sync(() => {
      for (
        const [endpoint, shown] of [
          ["http://user:hunter2@10.0.0.5:80/a", "http://…@10.0.0.5:80/a"],
          ["http://user:hun@ter/2@10.0.0.5", "http://…@10.0.0.5"],
          ["user:hunter2@10.0.0.5:80", "…@10.0.0.5:80"],
          ["user:hunter2@10.0.0.5/://", "…@10.0.0.5/://"],
          ["http://10.0.0.5:80", "http://10.0.0.5:80"],
          ["", ""]
        ] as const
      ) {
        assert.equal(withoutUserInfo(endpoint), shown)
      }
    }))

  effect("no error, rejection or note shows the password of an endpoint", () =>
    Effect.gen(function* () {
      const instance = {
        id: "a",
        name: "orders",
        endpoints: ["tcp://user:hunter2@10.0.0.5:80"],
        metadata: {},
        weight: 1,
        status: "up"
      } as const
      const register = (id: string, endpoint: string) =>
        registerService("orders", { id, endpoints: [endpoint], claim: "exclusive" })
      const taken = yield* Effect.gen(function* () {
        yield* register("a", instance.endpoints[0])
        return yield* Effect.flip(register("a", "tcp://10.0.0.6:80"))
      }).pipe(Effect.scoped, Effect.provide(Registry.layerMemory()))
      const refused = yield* Effect.flip(register("b", "tcp://user:hunter2@10.0.0.5:0")).pipe(
        Effect.scoped,
        Effect.provide(Registry.layerMemory())
      )
      const rejections = [
        goKit().decode("orders", "a", bytes("tcp:/user:hunter2@10.0.0.5:0://")),
        goZero.decode("orders", "a", bytes("user:hunter2@10.0.0.5:80")),
        kratos().decode("orders", "a", bytes(`{"id":"a","name":"orders","endpoints":["//user:hunter2@10.0.0.5:80"]}`))
      ].map((decoded) => Option.getOrThrow(Result.getFailure(decoded)))
      const shown = [
        taken,
        refused,
        yield* Effect.flip(ServiceClient.endpointOf(instance, "http")),
        yield* Effect.flip(Effect.scoped(EtcdGrpc.make({ endpoints: ["http://user:hunter2@10.0.0.5:2379"] }))),
        ...rejections
      ].map((error) => [error.message, JSON.stringify(error)])
      const { note } = resolutionOf(InstanceSet.fromInstances([instance]), {
        schemes: ["grpc"],
        zone: undefined,
        minLocal: 1
      })
      for (const texts of [...shown, [note]]) {
        assert.match(texts.join(), /…@10\.0\.0\.5/)
        assert.doesNotMatch(texts.join(), /hunter2/)
      }
    }))
})
