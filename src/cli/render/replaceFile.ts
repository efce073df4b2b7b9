/**
 * Replaces a file atomically: readers get either the old or the new text, even after a crash.
 *
 * @module
 */
import { Effect } from "effect"
import type { Stats } from "node:fs"
import { chmod, chown, open, readFile, realpath, rename, rm, stat } from "node:fs/promises"
import { basename, dirname, join } from "node:path"
import process from "node:process"
import { RenderFailed } from "./errors.ts"

/** The file and its new text. */
export interface ReplaceOptions {
  /** If it is a symbolic link, its target is replaced. */
  readonly path: string
  readonly text: string
  /** The mode of a new file. An existing file keeps its mode and owner. Default: 0o644. */
  readonly mode?: number
  /** Validates the staged file. If it fails, the old file stays. */
  readonly check?: (staged: string) => Effect.Effect<void, RenderFailed>
}

const codeOf = (cause: unknown): unknown => cause instanceof Error && "code" in cause ? cause.code : undefined

const attempt = <A>(what: string, run: () => Promise<A>): Effect.Effect<A, RenderFailed> =>
  Effect.tryPromise({
    try: run,
    catch: (cause) =>
      new RenderFailed({ message: `cannot ${what}: ${cause instanceof Error ? cause.message : String(cause)}.` })
  })

/** The result of a promise, or `undefined` if the file does not exist. */
const ifExists = <A>(promise: Promise<A>): Promise<A | undefined> =>
  promise.catch((cause: unknown) => {
    if (codeOf(cause) === "ENOENT") return undefined
    throw cause
  })

/** Reads the file to replace. */
const look = async (path: string) => {
  const target = await ifExists(realpath(path)) ?? path
  const status = await ifExists(stat(target))
  if (status !== undefined && !status.isFile()) throw new Error(`${JSON.stringify(target)} is not a regular file`)
  return { target, status, text: status === undefined ? undefined : await readFile(target, "utf8") }
}

const syncFolder = async (folder: string): Promise<void> => {
  // Windows cannot open folders.
  if (process.platform === "win32") return
  const handle = await open(folder, "r")
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/**
 * Replaces a file. Returns false if the file already has this text.
 *
 * **Details**
 *
 * Writes the text to `.<name>.staged-<pid>` in the same folder, with the mode and the owner of the old file, and
 * flushes it to the disk. Then runs `check` and renames the staged file. Removes the staged file if anything fails.
 */
export const replaceFile = ({ check, mode, path, text }: ReplaceOptions): Effect.Effect<boolean, RenderFailed> =>
  // An interrupted file system call would continue and leave the staged file behind.
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function* () {
      const file = JSON.stringify(path)
      const { status, target, text: old } = yield* attempt(`read ${file}`, () => look(path))
      if (old === text) return false
      const folder = dirname(target)
      const staged = join(folder, `.${basename(target)}.staged-${process.pid}`)
      const replace = async () => {
        await rename(staged, target)
        await syncFolder(folder)
      }
      yield* attempt(`write ${file}`, () => stage(staged, text, status, mode)).pipe(
        Effect.andThen(check === undefined ? Effect.void : restore(Effect.suspend(() => check(staged)))),
        Effect.andThen(attempt(`replace ${file}`, replace)),
        Effect.ensuring(Effect.promise(() => rm(staged, { force: true }).catch(() => {})))
      )
      return true
    })
  )

/** Writes the staged file with the mode and the owner of the old file. */
const stage = async (staged: string, text: string, old: Stats | undefined, mode = 0o644): Promise<void> => {
  // A killed process may have left one.
  await rm(staged, { force: true })
  const handle = await open(staged, "wx", 0o600)
  try {
    await handle.writeFile(text)
    await handle.sync()
  } finally {
    await handle.close()
  }
  const own = await stat(staged)
  if (old !== undefined && (own.uid !== old.uid || own.gid !== old.gid)) await chown(staged, old.uid, old.gid)
  await chmod(staged, old === undefined ? mode : old.mode & 0o7777)
}
