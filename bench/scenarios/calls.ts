/** The cost of a call through the library compared with a bare call, and the cost of a pick. */
import type { Contender, Scenario } from "../scenario.ts"

const by = (file: string): Contender => ({ name: file, file })

export const scenarios = (smoke: boolean): ReadonlyArray<Scenario> => {
  const calls = smoke ? 200 : 5000
  return [
    {
      name: "calls",
      about: `${calls} calls to a server that answers at once, eight at a time`,
      program: "calls",
      contenders: ["DiscoveryHttpClient", "HttpClient", "fetch"].map(by),
      parameters: { calls },
      limits: [
        { figure: "µs of CPU", of: "DiscoveryHttpClient", atMost: 1.15, comparedWith: { contender: "HttpClient" } }
      ]
    },
    {
      name: "service-client",
      about: `${calls * 4} calls of a client that does nothing, eight at a time`,
      program: "calls",
      contenders: ["ServiceClient", "nothing"].map(by),
      parameters: { calls: calls * 4 },
      limits: [{
        figure: "µs of CPU",
        of: "ServiceClient",
        atMost: 15,
        comparedWith: { contender: "nothing", as: "difference" }
      }]
    },
    {
      name: "picks",
      about: "a pick from 1,000 instances",
      program: "picks",
      contenders: [by("ours")],
      parameters: { instances: 1000 },
      rounds: 3,
      limits: ["roundRobin", "random", "leastRequests", "peakEwma", "consistentHash"]
        .map((name) => ({ figure: `ns of ${name}`, atMost: 1000 }))
    }
  ]
}
