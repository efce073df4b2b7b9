// A representative part of the table. `deno task faults` runs all of it.
import assert from "node:assert/strict"
import { describe } from "../harness/it.ts"
import { explain } from "./Fault.ts"
import { declareFaults } from "./suite.ts"
import { faults } from "./table/mod.ts"

describe("when", () => {
  declareFaults(
    faults.filter(({ always }) => always === true),
    "library",
    ({ title }) => `${title}, every promise holds`,
    (outcome) => assert.equal(explain(outcome), "")
  )
})
