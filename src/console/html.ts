/**
 * HTML that escapes every interpolation.
 *
 * Anyone who may write to etcd can choose names, metadata and values. Pages consist of templates of this module only:
 * they escape every interpolated text, and only other templates count as markup.
 *
 * @module
 */

/** Markup that a template made. */
export class Html {
  readonly text: string

  /** Only {@link html} may call this: other callers would have to escape the text. */
  constructor(text: string) {
    this.text = text
  }
}

/** The values that a template accepts. `undefined`, `null` and `false` render as nothing. */
export type Child = string | number | bigint | Html | undefined | null | false | ReadonlyArray<Child>

const entities: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;"
}

/**
 * Escapes a text for content and for quoted attribute values.
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

/** Refuses a template with an unquoted attribute value, which escaping cannot protect. */
const check = (strings: TemplateStringsArray): void => {
  if (checked.has(strings)) return
  if (strings.slice(0, -1).some((text) => /=\s*$/.test(text))) {
    throw new Error(`the value of an attribute is not quoted: ${strings.join("…")}`)
  }
  checked.add(strings)
}

/** The template tag. A line break with its indentation becomes one space, so that a formatter may break lines. */
export const html = (strings: TemplateStringsArray, ...children: ReadonlyArray<Child>): Html => {
  check(strings)
  let text = ""
  for (let index = 0; index < strings.length; index++) {
    text += (strings[index] ?? "").replace(/\n\s*/g, " ")
    if (index < children.length) text += render(children[index])
  }
  return new Html(text)
}

/** Empty markup. */
export const nothing: Html = new Html("")
