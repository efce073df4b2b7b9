/**
 * HTML that is escaped by construction.
 *
 * Names, metadata and values come from anybody who may write to etcd. A page is made of templates of this module only:
 * every interpolated text is escaped, and only another template stands for markup.
 *
 * @module
 */

/** Markup that a template made. */
export class Html {
  readonly text: string

  /** For {@link html} only: any other caller would have to escape by itself. */
  constructor(text: string) {
    this.text = text
  }
}

/** What a template accepts. `undefined`, `null` and `false` are nothing. */
export type Child = string | number | bigint | Html | undefined | null | false | ReadonlyArray<Child>

const entities: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;"
}

/**
 * A text as content or as the value of a quoted attribute.
 *
 * Control characters, which HTML does not allow, become their visible symbols.
 */
export const escape = (text: string): string =>
  text
    .replace(/[&<>"']/g, (found) => entities[found] ?? "")
    // deno-lint-ignore no-control-regex
    .replace(/[\u0000-\u0008\u000b-\u001f\u007f]/g, (found) => {
      const code = found.charCodeAt(0)
      return String.fromCharCode(code === 0x7f ? 0x2421 : 0x2400 + code)
    })

const render = (child: Child): string => {
  if (child instanceof Html) return child.text
  if (typeof child === "string") return escape(child)
  if (typeof child === "number" || typeof child === "bigint") return String(child)
  return child === undefined || child === null || child === false ? "" : child.map(render).join("")
}

const checked = new WeakSet<TemplateStringsArray>()

/** Refuses a template with an attribute whose value is not quoted: escaping does not protect that. */
const check = (strings: TemplateStringsArray): void => {
  if (checked.has(strings)) return
  if (strings.slice(0, -1).some((text) => /=\s*$/.test(text))) {
    throw new Error(`the value of an attribute is not quoted: ${strings.join("…")}`)
  }
  checked.add(strings)
}

/** The tag of templates. A line break with its indentation is one space, so that a formatter may break lines. */
export const html = (strings: TemplateStringsArray, ...children: ReadonlyArray<Child>): Html => {
  check(strings)
  let text = ""
  for (let index = 0; index < strings.length; index++) {
    text += (strings[index] ?? "").replace(/\n\s*/g, " ")
    if (index < children.length) text += render(children[index])
  }
  return new Html(text)
}

/** Nothing. */
export const nothing: Html = new Html("")
