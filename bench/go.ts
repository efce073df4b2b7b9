/**
 * The contenders written in Go, where Go and its packages are at hand.
 *
 * @module
 */
import { join } from "node:path"
import { buildGo } from "../tools/go.ts"
import { root } from "../tools/runtimes.ts"

/** What `tools/go.ts` fetches: the binaries do not tell. */
export const goVersions = "1.24 (clientv3 3.5.16, go-kit 0.13.0)"

const built = new Map<string, string | Error>()

/** The executable of a program in `go/`, fetched and built when it is first asked for; or why there is none. */
export const goProgram = (name: string): string | Error => {
  const known = built.get(name)
  if (known !== undefined) return known
  let found: string | Error
  try {
    found = buildGo(join(root, "bench", "go", `${name}.go`))
  } catch (error) {
    found = error instanceof Error ? error : new Error(String(error))
  }
  built.set(name, found)
  return found
}
