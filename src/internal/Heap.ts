/**
 * A binary heap whose items know their index, so that any of them can be removed in O(log n).
 *
 * @module
 */

/** An item of a {@link Heap}. An item is in one heap at a time. */
export interface HeapItem {
  /** The index in the heap, -1 outside of it. Only the heap writes it. */
  place: number
}

/** A set of items of which the one that comes `before` all others is first. */
export class Heap<A extends HeapItem> {
  readonly #items: Array<A> = []
  readonly #before: (self: A, that: A) => boolean

  constructor(before: (self: A, that: A) => boolean) {
    this.#before = before
  }

  /** All items, in no order. */
  get items(): ReadonlyArray<A> {
    return this.#items
  }

  get first(): A | undefined {
    return this.#items[0]
  }

  add(item: A): void {
    this.#rise(item, this.#items.length)
  }

  /** Removes an item. Does nothing if the item is in no heap. */
  remove(item: A): void {
    const { place } = item
    if (place < 0) return
    item.place = -1
    const last = this.#items.pop()
    if (last === undefined || last === item) return
    if (place > 0 && this.#before(last, this.#at((place - 1) >> 1))) this.#rise(last, place)
    else this.#sink(last, place)
  }

  #at(place: number): A {
    return this.#items[place] as A
  }

  #set(item: A, place: number): void {
    this.#items[place] = item
    item.place = place
  }

  #rise(item: A, from: number): void {
    let place = from
    while (place > 0) {
      const up = (place - 1) >> 1
      const parent = this.#at(up)
      if (!this.#before(item, parent)) break
      this.#set(parent, place)
      place = up
    }
    this.#set(item, place)
  }

  #sink(item: A, from: number): void {
    let place = from
    for (;;) {
      let down = 2 * place + 1
      if (down >= this.#items.length) break
      if (down + 1 < this.#items.length && this.#before(this.#at(down + 1), this.#at(down))) down++
      const child = this.#at(down)
      if (!this.#before(child, item)) break
      this.#set(child, place)
      place = down
    }
    this.#set(item, place)
  }
}
