/**
 * Live pages: one stream of patches for each open page, and one rendering for all pages that show the same.
 *
 * A page is rendered when its reader takes the next patch. A browser that stops reading costs only its connection; one
 * patch then contains everything that it missed.
 *
 * @module
 */
import { Effect, Stream } from "effect"
import type { Sse } from "effect/encoding"
import { hash } from "../internal/hash.ts"
import { standing } from "./layout.ts"
import type { Context } from "./pages/Context.ts"
import { pageOf } from "./pages/pages.ts"
import { refreshMillis } from "./Readings.ts"
import type { Source } from "./Source.ts"
import { diff, type Rendered, renderedOf, type View } from "./view.ts"

/** The minimum time between two patches of a page. Changes in between are conflated. */
const minGapMillis = 250

/** A page without a patch for this long gets an empty event, so that proxies keep the connection open. */
const pingMillis = 10_000

/** How many renderings are kept for pages that reconnect. */
const maxKept = 256

/** A rendered page. */
export interface Rendering {
  readonly view: View
  readonly parts: Rendered
  /** Identifies the rendering. Renderings with the same name have the same parts. */
  readonly version: string
}

/** Renders each page once for all its readers. */
export class Renderer {
  readonly #source: Source
  readonly #newest = new Map<
    string,
    { readonly version: number; readonly sequence: number; readonly rendering: Rendering }
  >()
  readonly #kept = new Map<string, Rendered>()

  constructor(source: Source) {
    this.#source = source
  }

  /** Renders the page of a path and a query, such as `/services?q=a`. */
  render(page: string): Effect.Effect<Rendering> {
    return Effect.gen({ self: this }, function* () {
      const { fleet, knowledge } = this.#source
      const [version, sequence] = [this.#source.version(), fleet.sequence]
      const known = this.#newest.get(page)
      if (known?.version === version) return known.rendering
      if (known?.sequence === sequence && known.rendering.view.hasReadings !== true) {
        const { rendering } = known
        return { ...rendering, view: { ...rendering.view, knowledge: knowledge() } }
      }
      const context: Context = {
        source: this.#source,
        now: yield* this.#source.now,
        ...parse(page)
      }
      const view = yield* pageOf(context.segments)(context)
      const parts = renderedOf(view.blocks)
      const rendering = { view, parts, version: nameOf(parts) }
      put(this.#newest, page, { version, sequence, rendering })
      put(this.#kept, rendering.version, parts)
      return rendering
    })
  }

  /** Returns the parts of an earlier rendering, if they are still kept. */
  kept(version: string): Rendered | undefined {
    return this.#kept.get(version)
  }
}

const put = <A>(map: Map<string, A>, key: string, value: A): void => {
  map.delete(key)
  map.set(key, value)
  for (const oldest of map.keys()) {
    if (map.size <= maxKept) break
    map.delete(oldest)
  }
}

/** Returns a hash of all parts in order. */
const nameOf = (parts: Rendered): string => {
  let [low, high] = [0, 1]
  const add = (text: string): void => {
    low = hash(text, low)
    high = hash(text, high)
  }
  for (const [id, part] of parts) {
    add(id)
    if (typeof part === "string") add(part)
    else for (const row of part.values()) add(row)
  }
  return low.toString(36) + high.toString(36)
}

/**
 * Returns the segments and the parameters of a path with a query. Segments with an invalid encoding stay as they are.
 */
export const parse = (page: string): Pick<Context, "segments" | "query"> => {
  const [path = "", search = ""] = page.split(/\?(.*)/s)
  const segments = path.split("/").filter((segment) => segment !== "").map((segment) => {
    try {
      return decodeURIComponent(segment)
    } catch {
      return segment
    }
  })
  return { segments, query: new URLSearchParams(search) }
}

/** Returns whether patches can turn one rendering into the other: both need the same blocks. */
const isSameShape = (from: Rendered, to: Rendered): boolean =>
  from.size === to.size && Array.from(to).every(([id, part]) => typeof from.get(id) === typeof part)

/**
 * The events of a page that shows the rendering `from`: `patch` with the id of the next rendering, `reload` if no patch
 * leads there, and `ping`.
 */
export const events = (source: Source, renderer: Renderer, page: string, from: string): Stream.Stream<Sse.Event> =>
  Stream.unwrap(Effect.gen(function* () {
    const changes = yield* Stream.toPull(source.versions)
    let shown = renderer.kept(from)
    let shownStanding = ""
    let sentAt = yield* source.now
    let isFirst = true

    const wait = Effect.gen(function* () {
      yield* Effect.sleep(minGapMillis)
      // Rendering a page also refreshes its readings.
      yield* Effect.raceFirst(Effect.ignore(changes), Effect.sleep(refreshMillis))
    })

    const next: Effect.Effect<Sse.Event> = Effect.gen(function* () {
      while (true) {
        if (!isFirst) yield* wait
        isFirst = false
        const { parts, version, view } = yield* renderer.render(page)
        const now = yield* source.now
        if (shown === undefined || !isSameShape(shown, parts)) {
          shown = parts
          return event("reload", version, "")
        }
        const patch = diff(shown, parts) ?? { live: [], tables: [] }
        const nextStanding = standing(view.knowledge, now, source.settings).text
        const hasMoved = nextStanding !== shownStanding
        const hasChanged = patch.live.length > 0 || patch.tables.length > 0
        shown = parts
        shownStanding = nextStanding
        if (hasMoved || hasChanged) {
          sentAt = now
          const live = hasMoved ? [...patch.live, ["standing", nextStanding]] : patch.live
          return event("patch", version, JSON.stringify({ live, tables: patch.tables }))
        }
        if (now - sentAt >= pingMillis) {
          sentAt = now
          return event("ping", version, "")
        }
      }
    })
    return Stream.fromEffectRepeat(next)
  }))

const event = (name: string, id: string, data: string): Sse.Event => ({ _tag: "Event", event: name, id, data })
