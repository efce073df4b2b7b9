/**
 * Shell completions. `effect/cli` generates them from the commands. For the names of services and instances, the script
 * calls `etcd-discovery __complete` with the words before the cursor.
 *
 * Names come from etcd. The scripts never let the shell expand them.
 *
 * @module
 */
import * as Effect from "effect/Effect"
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Completions from "effect/cli/Completions"
import * as Console from "effect/Console"
import * as Option from "effect/Option"
import { library } from "./load.ts"
import { printable, printLines } from "./output.ts"

const program = "etcd-discovery"

/** The first argument of a command line that requests names. */
export const completeWord = "__complete"

/** The hidden command that prints names. */
const namesWord = "__names"

const bash = `
_etcd_discovery_with_names()
{
  _etcd_discovery "$@"
  (( \${#COMPREPLY[@]} )) && return
  local _name _quoted _word="\${COMP_WORDS[COMP_CWORD]}"
  [[ "$_word" == -* ]] && return
  while IFS= read -r _name; do
    [[ "$_name" == "$_word"* ]] || continue
    printf -v _quoted '%q' "$_name"
    COMPREPLY+=("$_quoted")
  done < <(${program} ${completeWord} "\${COMP_WORDS[@]:1:COMP_CWORD-1}" 2>/dev/null)
}
complete -F _etcd_discovery_with_names ${program}
`

const zsh = `
_etcd_discovery_with_names() {
  _etcd_discovery "$@"
  [[ "\${words[CURRENT]}" == -* ]] && return
  local -a _names
  _names=("\${(@f)$(${program} ${completeWord} "\${(@)words[2,CURRENT-1]}" 2>/dev/null)}")
  [[ -n "\${_names[1]}" ]] && compadd -a _names
}
compdef _etcd_discovery_with_names ${program}
`

const fish = `
complete -c ${program} -f -a '(${program} ${completeWord} (commandline -opc)[2..-1] 2>/dev/null)'
`

/** Additions to the static script of each shell. PowerShell completes no names. */
const dynamic: Readonly<Record<Completions.Shell, string>> = { bash, zsh, fish, powershell: "" }

/**
 * Returns the script for a shell. The generated usage comment calls a built-in flag `--completions`, which `cli.ts` omits:
 * it becomes the command `completions`.
 */
export const scriptOf = (shell: Completions.Shell, root: Command.Command.Any): string =>
  Completions.generate(program, shell, Completions.fromCommand(root))
    .replaceAll(`${program} --completions `, `${program} completions `) + dynamic[shell]

/** Prints the script for a shell. */
export const completions = (root: () => Command.Command.Any) =>
  Command.make(
    "completions",
    {
      shell: Argument.Literals("shell", ["bash", "zsh", "fish", "powershell"]).pipe(
        Argument.withDescription("The shell that will load the script")
      )
    },
    ({ shell }) => Console.log(scriptOf(shell, root()))
  ).pipe(
    Command.withDescription("Print a script that completes commands, flags, and names of services and instances"),
    Command.withExamples([
      {
        command: "source <(etcd-discovery completions bash)",
        description: "For this bash; add it to ~/.bashrc to keep it"
      },
      {
        command: "source <(etcd-discovery completions zsh)",
        description: "For this zsh; add it to ~/.zshrc, after compinit, to keep it"
      },
      {
        command: "etcd-discovery completions fish > ~/.config/fish/completions/etcd-discovery.fish",
        description: "For all shells of this user"
      }
    ])
  )

/** Prints the names of all services, or the ids of the instances of one. */
export const names = Command.make(
  namesWord,
  { service: Argument.String("service").pipe(Argument.optional) },
  Effect.fnUntraced(function* ({ service }) {
    const { getInstances, listServices } = yield* library
    const found = Option.isNone(service) ?
      (yield* listServices()).map(({ name }) => name) :
      Array.from(yield* getInstances(service.value), ({ id }) => id)
    // Shells cannot complete names that are not printable.
    yield* printLines(found.filter((name) => printable(name) === name))
  })
).pipe(Command.withDescription("Print names for completions"), Command.unlisted)

const takesValue = ({ type }: Completions.FlagDescriptor): boolean => type._tag !== "Boolean"

/**
 * Returns the command line that prints the names for a cursor after these words, or `undefined` if no name is expected.
 *
 * Keeps the connection flags, so that the names come from the etcd that the command will use.
 */
export const namesFor = (
  words: ReadonlyArray<string>,
  root: Command.Command.Any
): ReadonlyArray<string> | undefined => {
  let command = Completions.fromCommand(root)
  const shared = new Set(command.flags.map(({ name }) => name))
  const connection: Array<string> = []
  const given: Array<string> = []
  for (let at = 0; at < words.length; at++) {
    const word = words[at] ?? ""
    if (word === "--") return undefined
    if (word.startsWith("-")) {
      const [name = ""] = word.replace(/^--?/, "").split("=")
      const flag = command.flags.find(({ aliases, name: own }) => own === name || aliases.includes(name))
      const isSeparate = flag !== undefined && takesValue(flag) && !word.includes("=")
      if (isSeparate && at + 1 === words.length) return undefined
      if (flag !== undefined && shared.has(flag.name)) connection.push(...words.slice(at, at + (isSeparate ? 2 : 1)))
      if (isSeparate) at += 1
      continue
    }
    const below = command.subcommands.find(({ name }) => name === word)
    if (below !== undefined && given.length === 0) command = below
    else given.push(word)
  }
  const [service] = given
  const { name } = command.arguments[given.length] ?? {}
  if (name === "service") return [...connection, namesWord]
  return name === "id" && service !== undefined ? [...connection, namesWord, service] : undefined
}
