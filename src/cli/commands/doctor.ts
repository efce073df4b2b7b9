/**
 * `etcd-discovery doctor`
 *
 * @module
 */
import * as Effect from "effect/Effect"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { Connection } from "../connection.ts"
import type { Report } from "../doctor/findings.ts"
import { exitCodes, ExitWith } from "../failure.ts"
import { load } from "../load.ts"
import { Json, printJson, printLine, styled } from "../output.ts"

const count = (number: number, name: string): string => `${number} ${name}${number === 1 ? "" : "s"}`

const print = Effect.fnUntraced(function* ({ findings, skipped }: Report) {
  for (const { check, message, remedy, severity, subject } of findings) {
    yield* printLine(styled(severity === "problem" ? "red" : "yellow", `${severity}: ${check}: ${subject}`))
    yield* printLine(`  ${message}`)
    yield* printLine(`  ${remedy}`)
  }
  for (const { checks, reason, subject } of skipped) {
    yield* printLine(styled("dim", `skipped: ${checks.join(", ")}: ${subject}: ${reason}`))
  }
  const problems = findings.filter(({ severity }) => severity === "problem").length
  yield* printLine(
    findings.length === 0 ?
      styled("green", "no problems found") :
      `${count(problems, "problem")}, ${count(findings.length - problems, "warning")}`
  )
})

export const doctor = Command.make(
  "doctor",
  {
    quota: Flag.Int("quota-bytes").pipe(
      Flag.withDescription("The storage quota; etcd before 3.6 does not report its own [default: 2 GiB]"),
      Flag.withMetavar("number"),
      Flag.withDefault(2 * 1024 * 1024 * 1024)
    ),
    days: Flag.Int("certificate-days").pipe(
      Flag.withDescription("Report certificates that expire within this many days [default: 14]"),
      Flag.withMetavar("number"),
      Flag.withDefault(14)
    )
  },
  Effect.fnUntraced(function* ({ days, quota }) {
    const { gather, judge } = yield* load(() => import("../doctor/mod.ts"))
    const connection = yield* Connection
    const facts = yield* gather(connection)
    const report = judge(facts, connection.keyspace, { quotaBytes: quota, certificateDays: days })
    yield* (yield* Json) ? printJson(report) : print(report)
    if (report.findings.some(({ severity }) => severity === "problem")) {
      return yield* new ExitWith({ exitCode: exitCodes.findings })
    }
  })
).pipe(
  Command.withDescription(
    "Check etcd and the namespace, and report problems with remedies: members, leader, alarms, quota, certificates, clocks, " +
      "permissions, keys and leases. Exits with 7 if there is a problem"
  ),
  Command.withExamples([
    {
      command: "etcd-discovery doctor",
      description: "Needs no root user; lists checks that etcd does not permit as skipped"
    },
    {
      command: "etcd-discovery doctor --json | jq '.findings[] | select(.severity == \"problem\")'",
      description: "Problems as JSON, for a script"
    }
  ])
)
