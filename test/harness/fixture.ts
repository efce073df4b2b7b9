// A program for the tests of `program.ts`: prints which runtime it is, then waits for SIGTERM or the end of its input.
import process from "node:process"

const name = "deno" in process.versions ? "deno" : "bun" in process.versions ? "bun" : "node"
const typed: string = `${name} says ${process.env["WORD"] ?? "nothing"} ${process.argv.slice(2).join(" ")}`
process.on("SIGTERM", () => {
  console.log("terminated")
  process.exit(7)
})
process.stdin.on("end", () => process.exit(0)).resume()
console.log(typed)
console.error("ready") // last: the test may send a signal as soon as it reads this
