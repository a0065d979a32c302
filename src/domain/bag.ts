/**
 * What is under way at the moment, in no order: a Set for members that come and go all the time.
 *
 * A Set that they go through is replaced by a new one within, over and over, and each of these points at the next and
 * still holds who was in it at its end. Where the collector of young objects has once moved one of them to the old ones,
 * it takes all that came after it for alive, and every member with them, until the next full collection: a fifth of all
 * that requests allocate was copied for that. Members of this leave nothing behind.
 */
export class Bag<T> implements Iterable<T> {
  readonly #members: T[] = [];

  get size(): number {
    return this.#members.length;
  }

  /** A member that is in it already must not be added again. */
  add(member: T): void {
    this.#members.push(member);
  }

  /** Looks through it, at a nanosecond for each: nothing, for as many as a process can serve. */
  delete(member: T): boolean {
    const at = this.#members.indexOf(member);
    if (at < 0) return false;
    const last = this.#members.pop() as T;
    if (at < this.#members.length) this.#members[at] = last;
    return true;
  }

  clear(): void {
    this.#members.length = 0;
  }

  /** Those who are in it now, whoever comes or goes meanwhile. */
  [Symbol.iterator](): Iterator<T> {
    return [...this.#members][Symbol.iterator]();
  }
}
