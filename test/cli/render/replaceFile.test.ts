// Replacing a file in one step.
import { Deferred, Effect, Exit, Fiber } from "effect"
import assert from "node:assert/strict"
import {
  chmodSync,
  chownSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import process from "node:process"
import { RenderFailed } from "../../../src/cli/render/errors.ts"
import { replaceFile } from "../../../src/cli/render/replaceFile.ts"
import { describe, live } from "../../harness/it.ts"

const folder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "render-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)

const modeOf = (path: string) => (statSync(path).mode & 0o7777).toString(8)

describe("replaceFile", () => {
  live("replaceFile creates a file with the given mode and leaves nothing else behind", () =>
    Effect.gen(function* () {
      const path = join(yield* folder, "a.conf")
      assert.equal(yield* replaceFile({ path, text: "one\n", mode: 0o640 }), true)
      assert.equal(readFileSync(path, "utf8"), "one\n")
      assert.equal(modeOf(path), "640")
      assert.deepEqual(readdirSync(join(path, "..")), ["a.conf"])
    }))

  live("replaceFile keeps mode and owner of an existing file", () =>
    Effect.gen(function* () {
      const path = join(yield* folder, "a.conf")
      writeFileSync(path, "one")
      chmodSync(path, 0o4604)
      const isRoot = process.getuid?.() === 0
      if (isRoot) {
        chownSync(path, 1234, 4321)
        chmodSync(path, 0o4604)
      }
      assert.equal(yield* replaceFile({ path, text: "two", mode: 0o600 }), true)
      assert.equal(modeOf(path), "4604")
      if (isRoot) assert.deepEqual([statSync(path).uid, statSync(path).gid], [1234, 4321])
    }))

  live("replaceFile does not touch a file with equal text", () =>
    Effect.gen(function* () {
      const path = join(yield* folder, "a.conf")
      writeFileSync(path, "one")
      const before = statSync(path)
      assert.equal(yield* replaceFile({ path, text: "one", check: () => Effect.die("not reached") }), false)
      assert.deepEqual([statSync(path).ino, statSync(path).mtimeMs], [before.ino, before.mtimeMs])
    }))

  live(
    "replaceFile runs the check on the staged file in the same folder, and keeps the old file if it fails",
    () =>
      Effect.gen(function* () {
        const path = join(yield* folder, "a.conf")
        writeFileSync(path, "one")
        const error = yield* Effect.flip(replaceFile({
          path,
          text: "two",
          check: (staged) => {
            assert.equal(join(staged, ".."), join(path, ".."))
            assert.equal(readFileSync(staged, "utf8"), "two")
            assert.equal(readFileSync(path, "utf8"), "one")
            return Effect.fail(new RenderFailed({ message: "broken" }))
          }
        }))
        assert.equal(error.message, "broken")
        assert.equal(readFileSync(path, "utf8"), "one")
        assert.deepEqual(readdirSync(join(path, "..")), ["a.conf"])
      })
  )

  live(
    "replaceFile leaves the old file and no staged file when it is interrupted in the check",
    () =>
      Effect.gen(function* () {
        const path = join(yield* folder, "a.conf")
        writeFileSync(path, "one")
        const checking = yield* Deferred.make<void>()
        const fiber = yield* Effect.forkChild(
          replaceFile({
            path,
            text: "two",
            check: () => Effect.andThen(Deferred.succeed(checking, undefined), Effect.never)
          })
        )
        yield* Deferred.await(checking)
        yield* Fiber.interrupt(fiber)
        assert.equal(readFileSync(path, "utf8"), "one")
        assert.deepEqual(readdirSync(join(path, "..")), ["a.conf"])
      })
  )

  live("replaceFile replaces a staged file that a killed process left", () =>
    Effect.gen(function* () {
      const path = join(yield* folder, "a.conf")
      writeFileSync(join(path, "..", `.a.conf.staged-${process.pid}`), "half")
      yield* replaceFile({ path, text: "one" })
      assert.deepEqual(readdirSync(join(path, "..")), ["a.conf"])
    }))

  live("replaceFile follows a symbolic link and replaces the file that it names", () =>
    Effect.gen(function* () {
      const root = yield* folder
      mkdirSync(join(root, "real"))
      writeFileSync(join(root, "real", "a.conf"), "one")
      symlinkSync(join("real", "a.conf"), join(root, "link"))
      yield* replaceFile({ path: join(root, "link"), text: "two" })
      assert.ok(lstatSync(join(root, "link")).isSymbolicLink())
      assert.equal(readFileSync(join(root, "real", "a.conf"), "utf8"), "two")
    }))

  live("replaceFile fails for a folder and for a folder that does not exist", () =>
    Effect.gen(function* () {
      const root = yield* folder
      const message = (path: string) =>
        Effect.map(Effect.flip(replaceFile({ path, text: "" })), ({ message }) => message)
      assert.match(yield* message(root), /is not a regular file/)
      assert.match(yield* message(join(root, "no", "a.conf")), /cannot write .*ENOENT/)
      const exit = yield* Effect.exit(replaceFile({ path: join(root, "no", "a.conf"), text: "" }))
      assert.ok(Exit.isFailure(exit))
    }))
})
