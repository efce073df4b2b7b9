/**
 * The table of faults.
 *
 * @module
 */
import type { Fault } from "../Fault.ts"
import { authFaults } from "./auth.ts"
import { clientFaults } from "./client.ts"
import { clusterFaults } from "./cluster.ts"
import { networkFaults } from "./network.ts"
import { operatorFaults } from "./operator.ts"
import { serverFaults } from "./server.ts"
import { surroundingFaults } from "./surroundings.ts"

export const faults: ReadonlyArray<Fault> = [
  ...serverFaults,
  ...clientFaults,
  ...clusterFaults,
  ...networkFaults,
  ...operatorFaults,
  ...authFaults,
  ...surroundingFaults
]
