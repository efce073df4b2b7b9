/**
 * Points in time at which something falls due, earliest first: a binary heap whose entries know their place, so that
 * one can be moved or taken out. It reads no clock: time is told to it, in milliseconds.
 *
 * @module
 */

/** Something that falls due. Of two at the same time, the one that was set first comes first. */
export class Deadline {
  readonly due: (now: number) => void
  at = 0
  order = 0
  /** The place in the heap, `-1` outside of it. */
  place = -1

  /** `due` may set deadlines again, at later times. */
  constructor(due: (now: number) => void) {
    this.due = due
  }
}

const before = (self: Deadline, that: Deadline): boolean =>
  self.at < that.at || (self.at === that.at && self.order < that.order)

/** A set of {@link Deadline}s. */
export class Deadlines {
  readonly #heap: Array<Deadline> = []
  #sets = 0

  /** The time of the earliest one. */
  get earliest(): number | undefined {
    return this.#heap[0]?.at
  }

  /** Adds a deadline, or moves it to another time. */
  set(deadline: Deadline, at: number): void {
    deadline.at = at
    deadline.order = this.#sets++
    if (deadline.place < 0) this.#put(deadline, this.#heap.length)
    this.#sift(deadline)
  }

  /** Takes a deadline out; it may be outside already. */
  delete(deadline: Deadline): void {
    if (deadline.place < 0) return
    const place = deadline.place
    deadline.place = -1
    const last = this.#heap.pop()
    if (last === undefined || last === deadline) return
    this.#put(last, place)
    this.#sift(last)
  }

  /** Takes out what is due and lets it know. */
  run(now: number): void {
    for (let first = this.#heap[0]; first !== undefined && first.at <= now; first = this.#heap[0]) {
      this.delete(first)
      first.due(now)
    }
  }

  #put(deadline: Deadline, place: number): void {
    this.#heap[place] = deadline
    deadline.place = place
  }

  /** Moves an entry up or down to where it belongs. */
  #sift(entry: Deadline): void {
    let above = this.#heap[(entry.place - 1) >> 1]
    while (above !== undefined && before(entry, above)) {
      this.#swap(entry, above)
      above = this.#heap[(entry.place - 1) >> 1]
    }
    while (true) {
      const left = this.#heap[2 * entry.place + 1]
      const right = this.#heap[2 * entry.place + 2]
      const below = left !== undefined && right !== undefined && before(right, left) ? right : left
      if (below === undefined || !before(below, entry)) return
      this.#swap(entry, below)
    }
  }

  #swap(self: Deadline, that: Deadline): void {
    const place = self.place
    this.#put(self, that.place)
    this.#put(that, place)
  }
}
