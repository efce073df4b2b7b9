/**
 * A small simulated fleet: instances start, drain, fail and return, a lock has a queue, and one value is invalid.
 *
 * @module
 */
import { Effect, Exit, Random, Schedule, Scope } from "effect"
import { Election, Lock } from "../coordination/mod.ts"
import { Etcd } from "../etcd/Etcd.ts"
import { registerService } from "../registry/registerService.ts"
import type { Registry } from "../registry/Registry.ts"
import type { Registration } from "../registry/registration/Registration.ts"
import type { Labels } from "../registry/model/Instance.ts"

interface Template {
  readonly service: string
  readonly size: number
  readonly versions: ReadonlyArray<string>
  readonly metadata: Labels
}

const fleet: ReadonlyArray<Template> = [
  { service: "catalog", size: 6, versions: ["2.4.0"], metadata: { team: "shop" } },
  { service: "checkout", size: 3, versions: ["5.0.1", "5.1.0"], metadata: { team: "shop", tier: "critical" } },
  { service: "mailer", size: 2, versions: ["1.9.3"], metadata: { team: "messaging" } },
  { service: "orders", size: 9, versions: ["3.7.1", "3.7.2"], metadata: { team: "orders", protocol: "http/2" } },
  { service: "payments", size: 4, versions: ["8.2.0"], metadata: { team: "payments", pci: "yes" } },
  { service: "search", size: 7, versions: ["0.31.4", "0.32.0"], metadata: { team: "shop", index: "2026-11" } },
  { service: "users", size: 5, versions: ["4.12.0"], metadata: { team: "identity" } }
]

const zones = ["eu-west-1a", "eu-west-1b", "eu-west-1c"] as const

/** A member of the fleet, and the scope that ends it. */
interface Member {
  readonly template: Template
  readonly registration: Registration
  readonly scope: Scope.Closeable
  /** The result of its health check. */
  readonly check: { isHealthy: boolean }
}

/** Derives the id, host and options of an instance from its place in the fleet. */
const start = Effect.fnUntraced(function* (template: Template, index: number) {
  const scope = yield* Effect.flatMap(Effect.scope, (parent) => Scope.fork(parent))
  const host = `10.4.${fleet.indexOf(template)}.${10 + index}`
  const check = { isHealthy: true }
  const registration = yield* registerService(template.service, {
    id: `${template.service}-${(0x3a7f + index * 7919 + fleet.indexOf(template) * 104_729).toString(16).slice(-5)}`,
    endpoints: [`http://${host}:8080`],
    version: template.versions[index % template.versions.length] ?? "1.0.0",
    zone: zones[index % zones.length] ?? zones[0],
    metadata: template.metadata,
    ttl: "10 seconds",
    health: Effect.suspend(() => check.isHealthy ? Effect.void : Effect.fail("the check failed")),
    healthEvery: "500 millis"
  }).pipe(Scope.provide(scope))
  return { template, registration, scope, check } satisfies Member
})

/** Problems that the fleet has from the start, so that the pages show some. */
const flaws = Effect.gen(function* () {
  const etcd = yield* Etcd
  const { id: lease } = yield* etcd.leaseGrant({ ttl: 3600 })
  yield* etcd.put({ key: "/services/mailer/mailer-old", value: `{"endpoints":"mailer.internal:25"}`, lease })
  yield* etcd.put({ key: "/services/payments/payments-static", value: `{"endpoints":["http://10.4.4.99:8080"]}` })
  yield* etcd.put({ key: "/config/checkout", value: `{"currency":"EUR","retries":3}` })
  yield* etcd.put({ key: "/config/feature-flags", value: `{"new-cart":true}` })
})

const holdLocks = Effect.gen(function* () {
  for (const worker of ["worker-1", "worker-2", "worker-3"]) {
    yield* Effect.forkScoped(
      Lock.withLock("/locks/nightly-report")(Effect.sleep("20 seconds")).pipe(
        Effect.ignore,
        Effect.repeat(Schedule.spaced("1 second"))
      )
    )
    yield* Effect.forkScoped(Effect.ignore(Election.whileLeader("/elections/scheduler", worker)(Effect.never)))
    yield* Effect.sleep("20 millis")
  }
})

/** How often an event occurs. */
const pace = Schedule.spaced("1500 millis")

/**
 * Starts the fleet, which ends with the scope.
 *
 * Every 1.5 seconds one event occurs: an instance leaves, with or without draining; a health check fails for a while; a
 * weight changes; an instance returns.
 */
export const demo: Effect.Effect<void, never, Registry | Etcd | Scope.Scope> = Effect.gen(function* () {
  yield* Effect.orDie(flaws)
  const members: Array<Member> = []
  const missing: Array<readonly [Template, number]> = []
  for (const template of fleet) {
    for (let index = 0; index < template.size; index++) {
      members.push(yield* Effect.orDie(start(template, index)))
    }
  }
  yield* holdLocks

  const [search, checkout] = ["search", "checkout"].map((name) =>
    members.find(({ template }) => template.service === name)
  )
  if (search !== undefined) yield* Effect.ignore(search.registration.update({ weight: 0 }))
  if (checkout !== undefined) yield* Effect.ignore(checkout.registration.drain)

  const take = Effect.fnUntraced(function* () {
    // Keep the first instance of each service, so that no service disappears.
    const replaceable = members.filter((member) =>
      members.find(({ template }) => template === member.template) !== member
    )
    const member = replaceable[yield* Random.nextIntBetween(0, replaceable.length)]
    if (member === undefined) return undefined
    members.splice(members.indexOf(member), 1)
    const { template } = member
    missing.push([template, template.size + (yield* Random.nextIntBetween(0, 200))])
    return member
  })

  const leave = ({ registration, scope }: Member) =>
    Effect.gen(function* () {
      // Some leave without notice.
      if (yield* Random.nextBoolean) {
        yield* registration.drain
        yield* Effect.sleep("4 seconds")
      }
      yield* Scope.close(scope, Exit.void)
    })

  const happen = Effect.gen(function* () {
    const dice = yield* Random.nextIntBetween(0, 10)
    if (missing.length > 3 || dice < 4) {
      const next = missing.shift()
      if (next !== undefined) members.push(yield* start(next[0], next[1]))
    } else if (dice < 7) {
      const member = yield* take()
      if (member !== undefined) yield* Effect.forkScoped(leave(member))
    } else if (dice < 9) {
      const member = members[yield* Random.nextIntBetween(0, members.length)]
      if (member !== undefined) {
        member.check.isHealthy = false
        yield* Effect.forkScoped(Effect.delay(Effect.sync(() => member.check.isHealthy = true), "12 seconds"))
      }
    } else {
      const member = members[yield* Random.nextIntBetween(0, members.length)]
      const weight = yield* Random.nextIntBetween(1, 6)
      if (member !== undefined) yield* member.registration.update({ weight })
    }
  })
  yield* Effect.forkScoped(Effect.repeat(Effect.ignore(happen), pace))
})
