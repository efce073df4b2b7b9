/**
 * Deadlines ordered by time, earliest first. Reads no clock: callers pass the time in milliseconds.
 *
 * @module
 */
import { Heap, type HeapItem } from "../Heap.ts"

/** A callback and the time at which it is due. Of two at the same time, the one that was set first runs first. */
export class Deadline implements HeapItem {
  readonly due: (now: number) => void
  at = 0
  order = 0
  place = -1

  /** `due` may set deadlines again, at later times. */
  constructor(due: (now: number) => void) {
    this.due = due
  }
}

/** A set of {@link Deadline}s. */
export class Deadlines {
  readonly #heap = new Heap<Deadline>((self, that) =>
    self.at < that.at || (self.at === that.at && self.order < that.order)
  )
  #sets = 0

  /** The time of the earliest deadline. */
  get earliest(): number | undefined {
    return this.#heap.first?.at
  }

  /** Adds a deadline, or moves it to another time. */
  set(deadline: Deadline, at: number): void {
    this.#heap.remove(deadline)
    deadline.at = at
    deadline.order = this.#sets++
    this.#heap.add(deadline)
  }

  /** Removes a deadline. Does nothing if it is not set. */
  delete(deadline: Deadline): void {
    this.#heap.remove(deadline)
  }

  /** Removes the deadlines that are due and calls them. */
  run(now: number): void {
    for (let first = this.#heap.first; first !== undefined && first.at <= now; first = this.#heap.first) {
      this.#heap.remove(first)
      first.due(now)
    }
  }
}
