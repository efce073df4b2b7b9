/**
 * The definition of a scenario of the benchmark.
 *
 * @module
 */
import type { Effect, Scope } from "effect"
import type { Etcd } from "../src/etcd/mod.ts"
import type { EtcdCluster, EtcdServer } from "../test/harness/EtcdServer.ts"
import type { Program } from "../test/harness/program.ts"
import type { RuntimeName } from "../tools/runtimes.ts"
import type { Counters } from "./etcd.ts"

/** Numbers by name; the unit is part of the name. */
export type Figures = Readonly<Record<string, number>>

/** A participant of a scenario. */
export interface Contender {
  readonly name: string
  /** The module in `contenders/`, or the program's own parameter. `"go"`: a program in `go/`. */
  readonly file: string
  /** Uses the installed npm package instead of the sources. */
  readonly installed?: boolean
  /** Imports the modules of Effect by their paths. */
  readonly byPath?: boolean
  /** Runs this program, bundled into one file, instead of the scenario's program. */
  readonly bundled?: string
  /** Typed metadata. By default strings. */
  readonly typed?: boolean
  /** Extra parameters. */
  readonly parameters?: Figures
  /** The maximum number of turns. */
  readonly rounds?: number
}

/** With typed metadata: the main subject of this benchmark. */
export const ours: Contender = { name: "ours", file: "ours", installed: true, typed: true }
/** With metadata of strings. */
export const strings: Contender = { name: "ours, strings", file: "ours", installed: true }
/** All registrations on one lease. */
export const shared: Contender = { ...ours, name: "ours, shared", parameters: { sharedLease: 1 } }
/** Imports the modules of Effect by their paths. */
export const byPath: Contender = { ...ours, name: "ours, by path", byPath: true }
/** npm `etcd3`. */
export const raw: Contender = { name: "raw", file: "raw", typed: true }
/** npm `etcd3` in a program that imports Effect and does not use it. */
export const rawWithEffect: Contender = { ...raw, name: "raw, effect", parameters: { effect: 1 } }
/** `node:http2` alone. */
export const floor: Contender = { name: "floor", file: "floor", typed: true }

/** The limit of a figure on each runtime. It applies to the median of the turns. */
export interface Limit {
  readonly figure: string
  /** The contender of the figure. Default: `ours`. */
  readonly of?: string
  /** One number for all runtimes, or one per runtime. */
  readonly atMost: number | Readonly<Record<RuntimeName, number>>
  /** The figure to divide by or to subtract. Default: none. */
  readonly comparedWith?: {
    readonly contender?: string
    /** Our own figure of another scenario. */
    readonly scenario?: string
    readonly as?: "ratio" | "difference"
  }
  /** Holds on every machine, so smoke runs evaluate it as well. */
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
  /** The size follows a dash if there are several. */
  readonly name: string
  readonly about: string
  /** In `programs/`. */
  readonly program: string
  /** The table shows ratios to the second one. */
  readonly contenders: ReadonlyArray<Contender>
  readonly parameters?: Figures
  /** Instances in etcd before the program starts, put once for all turns. */
  readonly instances?: number
  /** The number of services, each with that many instances. Default: one service, `bench`. */
  readonly services?: number
  /** The maximum number of alternations. Default: that of the run. */
  readonly rounds?: number
  /**
   * `"one"` (the default): one server for all turns. `"each"`: one per turn. `"together"`: one per turn, all turns
   * simultaneously. `"cluster"`: three members per turn.
   */
  readonly servers?: "one" | "each" | "together" | "cluster"
  /** The time limit of a turn in milliseconds. Default: 60,000. */
  readonly turnLimitMillis?: number
  /** Acts on the program from outside. By default starts it and waits for its figures. */
  readonly drive?: Drive
  readonly limits: ReadonlyArray<Limit>
}
