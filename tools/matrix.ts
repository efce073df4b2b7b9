/**
 * Decides which test file runs on which runtime and against which etcd. The name or the folder of a file decides. A
 * file without a matching row is in the last class.
 *
 * | class | its files | `deno task test` | `deno task test:all` |
 * | --- | --- | --- | --- |
 * | pure | `*.virtual.test.ts`, `*.pure.test.ts` | Node | every runtime |
 * | harness | `test/harness/` | Node, the newest etcd | every runtime |
 * | faults | `test/faults/`: a sample of `deno task faults` | not | Node; `.ci/run`: not |
 * | system | `*.system.test.ts`: foreign programs, several processes, long | not | every runtime, the newest etcd; `.ci/run`: Node |
 * | browser | `test/console/*.system.test.ts` | not | Node, the newest etcd |
 * | bundles | `test/bundles/` | not | Node, which runs each bundle on its own runtime |
 * | demo | `test/examples/demo.test.ts` | Deno, as the README does | every runtime |
 * | documents | `test/examples/documents.test.ts` | Node | every runtime |
 * | platform | transport, processes, HTTP, examples, … | every runtime, the newest etcd | older etcds on Node |
 * | upper | command line, console, monitoring, cluster, persistence | Node, the newest etcd | every runtime; older etcds on Node |
 * | contract | `test/etcd/conformance/`, `test/etcd/memory/` | every runtime; older etcds on Node | all |
 * | operations | `./kv`, `./coordination`, `./admin` | Node, the newest etcd | all |
 * | any | all the rest | Node, the newest etcd | every runtime; older etcds on Node |
 *
 * @module
 */
import { type RuntimeName, runtimeNames } from "./runtimes.ts"

/** One way to run a file. */
export interface Cell {
  readonly runtime: RuntimeName
  readonly etcd: "newest" | "older"
}

/** The everyday command, everything, or the rest that the everyday command omits. */
export type Scope = "everyday" | "all" | "rest"

interface Class {
  readonly files: RegExp
  readonly everyday: ReadonlyArray<Cell>
  readonly all: ReadonlyArray<Cell>
  /** The cells of `test:all --rest`, and so of `.ci/run`. Default: everything that is not everyday. */
  readonly rest?: ReadonlyArray<Cell>
}

const newest: ReadonlyArray<Cell> = runtimeNames.map((runtime) => ({ runtime, etcd: "newest" }))
const older: ReadonlyArray<Cell> = runtimeNames.map((runtime) => ({ runtime, etcd: "older" }))
const onDeno = (cells: ReadonlyArray<Cell>): ReadonlyArray<Cell> => cells.filter(({ runtime }) => runtime === "deno")
const onNode = (cells: ReadonlyArray<Cell>): ReadonlyArray<Cell> => cells.filter(({ runtime }) => runtime === "node")

/** The class of a file is the first one whose pattern matches its path. */
const classes: ReadonlyArray<Class> = [
  // Uses neither etcd nor an API of the runtime. `virtual`: on virtual time; `pure`: without time.
  { files: /\.(?:virtual|pure)\.test\.ts$/, everyday: onNode(newest), all: newest },
  // The harness tests itself.
  { files: /^test\/harness\//, everyday: onNode(newest), all: newest },
  // A sample of the faults. `deno task faults` runs all, on every runtime.
  { files: /^test\/faults\//, everyday: [], all: onNode(newest), rest: [] },
  // Slow, and the browser shows the same pages whatever runtime the server uses.
  { files: /^test\/console\/.*\.system\.test\.ts$/, everyday: [], all: onNode(newest) },
  // Slow: starts foreign programs or fleets of processes.
  { files: /\.system\.test\.ts$/, everyday: [], all: newest, rest: onNode(newest) },
  // Slow: installs bundlers.
  { files: /^test\/bundles\//, everyday: [], all: onNode(newest) },
  { files: /^test\/examples\/demo\.test\.ts$/, everyday: onDeno(newest), all: newest },
  { files: /^test\/examples\/documents\.test\.ts$/, everyday: onNode(newest), all: newest },
  // The runtime decides whether these pass, not the version of etcd.
  {
    files: /^test\/(?:internal|etcd\/grpc|http|grpc|rpc|promise|examples|interop)\/|\/(?:process|exit)\.test\.ts$/,
    everyday: newest,
    all: [...newest, ...onNode(older)]
  },
  // The same, one storey higher: their foundations have run on every runtime.
  {
    files: /^test\/(?:cli|console|monitoring|cluster|persistence)\//,
    everyday: onNode(newest),
    all: [...newest, ...onNode(older)]
  },
  // Differences between versions of etcd show here.
  {
    files: /^test\/etcd\/(?:conformance|memory)\//,
    everyday: [...newest, ...onNode(older)],
    all: [...newest, ...older]
  },
  { files: /^test\/(?:kv|coordination|admin)\//, everyday: onNode(newest), all: [...newest, ...older] },
  { files: /^/, everyday: onNode(newest), all: [...newest, ...onNode(older)] }
]

/** The cells of a file: how a command of this scope runs it. */
const cellsOf = (file: string, scope: Scope): ReadonlyArray<Cell> => {
  const found = classes.find(({ files }) => files.test(file))
  if (found === undefined) return []
  if (scope !== "rest") return found[scope]
  return found.rest ?? found.all.filter((cell) => !found.everyday.includes(cell))
}

/** One run of a runner: files that share a runtime and the etcd versions at hand. */
export interface Run {
  readonly runtime: RuntimeName
  readonly versions: ReadonlyArray<string>
  readonly files: ReadonlyArray<string>
}

/**
 * The runs for these files. Each file is in at most one run per runtime.
 *
 * `versions` are those of the etcds at hand, newest first.
 */
export const runsOf = (
  files: ReadonlyArray<string>,
  scope: Scope,
  [first, ...others]: ReadonlyArray<string>,
  runtimes: ReadonlyArray<RuntimeName> = runtimeNames
): ReadonlyArray<Run> =>
  runtimes.flatMap((runtime) => {
    const groups = new Map<string, Run & { files: Array<string> }>()
    for (const file of files) {
      const versions = cellsOf(file, scope)
        .filter((cell) => cell.runtime === runtime)
        .flatMap(({ etcd }) => etcd === "older" ? others : first === undefined ? [] : [first])
      if (versions.length === 0) continue
      const group = groups.get(versions.join()) ?? { runtime, versions, files: [] }
      group.files.push(file)
      groups.set(versions.join(), group)
    }
    return [...groups.values()]
  })
