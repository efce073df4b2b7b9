/**
 * An immutable balanced tree of intervals that finds those that contain a key.
 *
 * An AVL tree ordered by start, then by end. Each node stores the largest end below it, so a search skips subtrees that
 * end before the key. A change copies one path, so a search may continue on the old tree.
 *
 * @module
 */
import { type ByteText, compareText, type Interval } from "./keys.ts"

/** A tree of intervals, at most one of each start and end. */
export type IntervalTree<A extends Interval> = Node<A> | undefined

interface Node<A extends Interval> {
  readonly left: IntervalTree<A>
  readonly item: A
  readonly right: IntervalTree<A>
  readonly height: number
  readonly maxEnd: ByteText
}

const height = <A extends Interval>(tree: IntervalTree<A>): number => tree === undefined ? 0 : tree.height

const later = (end: ByteText, tree: IntervalTree<Interval>): ByteText =>
  tree === undefined || tree.maxEnd < end ? end : tree.maxEnd

const compare = (self: Interval, that: Interval): -1 | 0 | 1 =>
  compareText(self.start, that.start) || compareText(self.end, that.end)

const node = <A extends Interval>(left: IntervalTree<A>, item: A, right: IntervalTree<A>): Node<A> => ({
  left,
  item,
  right,
  height: 1 + Math.max(height(left), height(right)),
  maxEnd: later(later(item.end, left), right)
})

/** Like `node`, for sides whose heights differ by at most two. */
const balanced = <A extends Interval>(left: IntervalTree<A>, item: A, right: IntervalTree<A>): Node<A> => {
  if (left !== undefined && left.height > height(right) + 1) {
    const inner = left.right
    return inner === undefined || height(left.left) >= inner.height ?
      node(left.left, left.item, node(inner, item, right)) :
      node(node(left.left, left.item, inner.left), inner.item, node(inner.right, item, right))
  }
  if (right !== undefined && right.height > height(left) + 1) {
    const inner = right.left
    return inner === undefined || height(right.right) >= inner.height ?
      node(node(left, item, inner), right.item, right.right) :
      node(node(left, item, inner.left), inner.item, node(inner.right, right.item, right.right))
  }
  return node(left, item, right)
}

/** The item with exactly this start and end. */
export const find = <A extends Interval>(tree: IntervalTree<A>, interval: Interval): A | undefined => {
  let at = tree
  while (at !== undefined) {
    const order = compare(interval, at.item)
    if (order === 0) return at.item
    at = order < 0 ? at.left : at.right
  }
  return undefined
}

/** The tree with an item, which replaces an item with the same start and end. */
export const insert = <A extends Interval>(tree: IntervalTree<A>, item: A): IntervalTree<A> => {
  if (tree === undefined) return node(undefined, item, undefined)
  const order = compare(item, tree.item)
  if (order === 0) return node(tree.left, item, tree.right)
  return order < 0 ?
    balanced(insert(tree.left, item), tree.item, tree.right) :
    balanced(tree.left, tree.item, insert(tree.right, item))
}

/** The tree without the item with this start and end. */
export const remove = <A extends Interval>(tree: IntervalTree<A>, interval: Interval): IntervalTree<A> => {
  if (tree === undefined) return undefined
  const order = compare(interval, tree.item)
  if (order < 0) return balanced(remove(tree.left, interval), tree.item, tree.right)
  if (order > 0) return balanced(tree.left, tree.item, remove(tree.right, interval))
  if (tree.right === undefined) return tree.left
  const successor = first(tree.right)
  return balanced(tree.left, successor, remove(tree.right, successor))
}

const first = <A extends Interval>(tree: Node<A>): A => tree.left === undefined ? tree.item : first(tree.left)

/** Visits the items that contain the key. */
export const forEachHolding = <A extends Interval>(
  tree: IntervalTree<A>,
  key: ByteText,
  visit: (item: A) => void
): void => {
  if (tree === undefined || tree.maxEnd <= key) return
  forEachHolding(tree.left, key, visit)
  if (tree.item.start > key) return
  if (key < tree.item.end) visit(tree.item)
  forEachHolding(tree.right, key, visit)
}
