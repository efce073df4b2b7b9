/**
 * What a scenario of the benchmark is.
 *
 * @module
 */
import type { Effect, Scope } from "effect"
import type { Etcd } from "../src/etcd/mod.ts"
import type { EtcdCluster, EtcdServer } from "../test/harness/EtcdServer.ts"
import type { Program } from "../test/harness/program.ts"
import type { RuntimeName } from "../tools/runtimes.ts"
import type { Counters } from "./etcd.ts"

/** Numbers by what they are; the unit is part of the name. */
export type Figures = Readonly<Record<string, number>>

/** One who takes part in a scenario. */
export interface Contender {
  readonly name: string
  /** The module in `contenders/`, or what the program makes of it; `"go"` for a program in `go/`. */
  readonly file: string
  /** Uses the npm package, as it is installed, instead of the sources. */
  readonly installed?: boolean
  /** Runs this program, bundled into one file, instead of the scenario's. */
  readonly bundled?: string
  /** Typed metadata; default: strings. */
  readonly typed?: boolean
  /** Added to the scenario's parameters. */
  readonly parameters?: Figures
  /** At most so many turns. */
  readonly rounds?: number
}

/** With typed metadata. What this benchmark is about. */
export const ours: Contender = { name: "ours", file: "ours", installed: true, typed: true }
/** With metadata of strings. */
export const strings: Contender = { name: "ours, strings", file: "ours", installed: true }
/** All registrations on one lease. */
export const shared: Contender = { ...ours, name: "ours, shared", parameters: { sharedLease: 1 } }
/** npm `etcd3`. */
export const raw: Contender = { name: "raw", file: "raw", typed: true }
/** `node:http2` alone. */
export const floor: Contender = { name: "floor", file: "floor", typed: true }

/** What a figure must reach on each runtime. The median of its turns is held to it. */
export interface Limit {
  readonly figure: string
  /** Whose figure; default: `ours`. */
  readonly of?: string
  /** A number for all runtimes or for each. */
  readonly atMost: number | Readonly<Record<RuntimeName, number>>
  /** What the figure is divided by, or what is taken off it; default: nothing. */
  readonly comparedWith?: {
    readonly contender?: string
    /** Our own figure of another scenario. */
    readonly scenario?: string
    readonly as?: "ratio" | "difference"
  }
  /** Holds on every machine, so a smoke run checks it, too. */
  readonly always?: boolean
}

/** One contender's turn. */
export interface Turn {
  readonly contender: Contender
  readonly program: Program
  readonly server: EtcdServer
  /** With `servers: "cluster"`: the cluster whose first member `server` is. */
  readonly cluster?: EtcdCluster
  readonly etcd: Etcd
  /** etcd's counters before the program started. */
  readonly before: Counters
}

export type Drive = (turn: Turn) => Effect.Effect<Figures, unknown, Scope.Scope>

export interface Scenario {
  /** The size comes behind a dash if there are several. */
  readonly name: string
  readonly about: string
  /** In `programs/`. */
  readonly program: string
  /** The second is the one that the table shows ratios to. */
  readonly contenders: ReadonlyArray<Contender>
  readonly parameters?: Figures
  /** Instances that are in etcd before, put once for all turns. */
  readonly instances?: number
  /** Each of so many services has that many instances; default: one service, `bench`. */
  readonly services?: number
  /** At most so many alternations; default: the number of the run. */
  readonly rounds?: number
  /**
   * `"one"` (the default) for all turns; `"each"` for each turn; `"together"`: each, and all turns at the same time;
   * `"cluster"`: three members for each turn.
   */
  readonly servers?: "one" | "each" | "together" | "cluster"
  /** Milliseconds after which a turn has failed; default: 60,000. */
  readonly turnLimitMillis?: number
  /** Works on the program from outside. Default: lets it start, and waits for its figures. */
  readonly drive?: Drive
  readonly limits: ReadonlyArray<Limit>
}
