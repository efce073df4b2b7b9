/**
 * Small parts of pages: states, times, numbers, sparklines.
 *
 * @module
 */
import { parseJson } from "../internal/text/json.ts"
import type { State, Summary } from "./Fleet.ts"
import { states } from "./Fleet.ts"
import { Html, html } from "./html.ts"
import { join } from "./view.ts"

/** A number and its noun: `1 instance`, `2 instances`. */
export const count = (many: number | bigint, noun: string, plural = `${noun}s`): string =>
  `${grouped(many)} ${Number(many) === 1 ? noun : plural}`

/** A number with its digits in groups of three. */
export const grouped = (many: number | bigint): string => String(many).replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f")

/** A duration, rounded down: `3 s`, `2 min`, `5 h`, `4 d`. */
export const ago = (millis: number): string => {
  const seconds = Math.max(0, Math.floor(millis / 1000))
  if (seconds < 60) return `${seconds} s`
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`
  return seconds < 86_400 ? `${Math.floor(seconds / 3600)} h` : `${Math.floor(seconds / 86_400)} d`
}

/** Bytes in a suitable unit. */
export const bytes = (many: number | bigint): string => {
  const value = Number(many)
  if (value < 1024) return `${value} B`
  if (value < 1024 ** 2) return `${(value / 1024).toFixed(1)} KiB`
  return value < 1024 ** 3 ? `${(value / 1024 ** 2).toFixed(1)} MiB` : `${(value / 1024 ** 3).toFixed(1)} GiB`
}

/** A time of day, which the script replaces by a relative time. */
export const time = (at: number): Html => {
  const iso = new Date(at).toISOString()
  return html`<time datetime="${iso}" title="${iso.slice(0, 19).replace("T", " ")} UTC">${iso.slice(11, 19)} UTC</time>`
}

/** A text from etcd. Its direction does not affect the text around it. */
export const foreign = (text: string): Html => html`<bdi>${text}</bdi>`

/** A shape and a word for a state. */
export const state = (name: State): Html =>
  html`<span class="state ${name}"><svg aria-hidden="true"><use href="#s-${name}"/></svg>${name}</span>`

/** The icons of the states, once for each page. */
export const shapes: Html = new Html(
  `<svg hidden>${
    Object.entries({
      up: `<circle cx="6" cy="6" r="5"/>`,
      off: `<circle cx="6" cy="6" r="4.2" class="o"/><path d="M3 9 9 3" class="o"/>`,
      starting: `<circle cx="6" cy="6" r="4.2" class="o"/><path d="M6 6V1.8A4.2 4.2 0 0 1 10.2 6Z"/>`,
      draining: `<circle cx="6" cy="6" r="4.2" class="o"/><path d="M1.8 6a4.2 4.2 0 0 0 8.4 0Z"/>`,
      down: `<circle cx="6" cy="6" r="4.2" class="o"/>`,
      rejected: `<path d="M6 1 11.5 11H.5Z"/>`,
      left: `<path d="M2 6h8" class="o"/>`
    }).map(([name, shape]) => `<symbol id="s-${name}" viewBox="0 0 12 12">${shape}</symbol>`).join("")
  }</svg>`
)

/** The counts above 0, in words. */
export const countsText = ({ counts }: Summary): Html => {
  const parts = states.filter((name) => counts[name] > 0).map((name) =>
    html`<span class="state ${name}"><svg aria-hidden="true"><use href="#s-${name}"/></svg>${
      grouped(counts[name])
    } ${name}</span>`
  )
  return parts.length === 0 ?
    html`<span class="quiet">none</span>` :
    html`<span class="counts">${join(parts, " ")}</span>`
}

/** The counts as a bar. The words beside it give the same numbers. */
export const countsBar = ({ counts, total }: Summary): Html => {
  let x = 0
  const segments = states.filter((name) => counts[name] > 0).map((name) => {
    const width = 100 * counts[name] / total
    const segment = html`
      <rect class="${name}" x="${x.toFixed(2)}" width="${width.toFixed(2)}" height="6" />
    `
    x += width
    return segment
  })
  return html`<svg class="bar" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">${segments}</svg>`
}

/** The number of available instances over time, on a scale that starts at 0. */
export const sparkline = (samples: ReadonlyArray<number>, minutes: number): Html => {
  const low = Math.min(...samples)
  const high = Math.max(...samples)
  const last = samples.at(-1) ?? 0
  const span = Math.max(1, high)
  const step = 100 / Math.max(1, samples.length - 1)
  const points = samples.map((sample, index) =>
    `${(samples.length === 1 ? 100 : index * step).toFixed(1)},${(18 - 16 * sample / span).toFixed(1)}`
  )
  const line = samples.length === 1 ? `0,${points[0]?.split(",")[1] ?? 18} ${points[0] ?? ""}` : points.join(" ")
  const range = low === high ? `${low}` : `${low} to ${high}`
  const spoken = `${range} available in the last ${minutes} min, now ${last}`
  return html`
    <svg class="spark" role="img" aria-label="${spoken}" viewBox="0 0 100 20" preserveAspectRatio="none">
      <title>${spoken}</title>
      <polyline points="${line}" />
    </svg>
  `
}

/** Returns bytes as text if they are UTF-8, and in hexadecimal otherwise. */
export const readable = (value: Uint8Array): { readonly text: string; readonly format: "JSON" | "text" | "bytes" } => {
  let text: string
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(value)
  } catch {
    const hex = Array.from(value.subarray(0, 1024), (byte) => byte.toString(16).padStart(2, "0")).join(" ")
    return { text: value.length > 1024 ? `${hex} …` : hex, format: "bytes" }
  }
  try {
    const value = parseJson(text)
    // A number with more digits than a double would be shown rounded.
    return { text: /\d{16}/.test(text) ? text : JSON.stringify(value, undefined, 2), format: "JSON" }
  } catch {
    return { text, format: "text" }
  }
}

/** The id of a lease in the format of etcd's own tools. */
export const leaseText = (id: bigint): string => BigInt.asUintN(64, id).toString(16)
